"""`control_tasks start` and `control_tasks graphs`."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.accounts import get_account
from graduation_backend.control_tasks.acting import Acting
from graduation_backend.control_tasks.brake import describe
from graduation_backend.control_tasks.ending import require_completed, tell_end
from graduation_backend.control_tasks.tables import print_table
from graduation_backend.control_tasks.terminal import Screen
from graduation_backend.control_tasks.waiting import wait_until_ended
from runs import brake, catalog, control, representation
from runs.errors import GraphImportFailed
from runs.models import DEFAULT_PRIORITY, Run, new_run_id
from runs.words import count


def start(options: dict[str, Any], screen: Screen) -> int:
    owner = get_account(options["owner"])
    priority: int | None = options["priority"]
    run_id = new_run_id()
    run = control.submit(
        options["graph"],
        options["input"],
        owner=owner,
        thread_id=options["thread"],
        idempotency_key=options["key"],
        priority=DEFAULT_PRIORITY if priority is None else priority,
        grace_seconds=options["grace"],
        interrupt_after_seconds=options["interrupt_after"],
        max_seconds=options["max_seconds"],
        run_id=run_id,
    )
    if run.id != run_id:
        screen.note(f"The key was used before, by this run; it is {run.display_status}.")
    elif not control.list_workers():
        screen.note("No worker is alive: the run is queued until one starts.")
    if hold := brake.find_hold(run):
        screen.note(f"{describe(hold)}. The run is queued.")
    return tell_started(run, options, screen)


def tell_started(run: Run, options: dict[str, Any], screen: Screen) -> int:
    """Print the id of a run that was queued, and with `--wait` or `--follow` how it ends."""
    if not options["json"]:
        screen.line(str(run.id))
    if options.get("follow"):
        from graduation_backend.control_tasks.following import follow

        return follow(run, options, screen, Acting(), from_start=True)
    if not options["wait"]:
        if options["json"]:
            screen.json(representation.as_json(run))
        elif screen.is_terminal:
            screen.note(f"To look at it: manage.py control_tasks status --follow --task-id {run.id}")
        return exits.DONE
    return _wait(run, options, screen)


def _wait(run: Run, options: dict[str, Any], screen: Screen) -> int:
    def look() -> list[Run]:
        current = control.get(run.id)
        return [] if current.is_terminal else [current]

    wait_until_ended(
        look,
        screen,
        timeout_seconds=options["timeout"],
        advice=f"run {run.id} goes on; to cancel it: manage.py control_tasks cancel --task-id {run.id}",
    )
    run = control.get(run.id)
    if options["json"]:
        screen.json(representation.as_json(run))
    else:
        tell_end(run, screen)
    return require_completed(run)


def list_graphs(options: dict[str, Any], screen: Screen) -> int:
    entries = catalog.list_graphs()
    problems = {entry.name: _find_problem(entry.name) for entry in entries} if options["check"] else {}
    if options["json"]:
        screen.json(
            [
                {
                    "name": entry.name,
                    "path": f"{entry.module_path}:{entry.attribute}",
                    "description": entry.description,
                    **({"error": problems[entry.name]} if options["check"] else {}),
                }
                for entry in entries
            ]
        )
    elif not entries:
        screen.line("There is no graph: name one in langgraph.json.")
    else:
        rows = [
            [
                entry.name,
                f"{entry.module_path}:{entry.attribute}",
                _verdict(problems, entry.name),
                entry.description,
            ]
            for entry in entries
        ]
        print_table(screen, ("graph", "where", "check", "description"), ("description", "where"), rows)
    failed = [f"{name} ({problem})" for name, problem in problems.items() if problem]
    if failed:
        raise exits.Error(f"{count(len(failed), 'graph')} can't be imported: {'; '.join(failed)}")
    return exits.DONE


def _verdict(problems: dict[str, str | None], name: str) -> str:
    if name not in problems:
        return ""
    return "fails" if problems[name] else "ok"


def _find_problem(name: str) -> str | None:
    """Why a graph can't be imported; None if it can."""
    try:
        # What a module prints when it is imported must not spoil our JSON.
        with contextlib.redirect_stdout(sys.stderr):
            catalog.load(name)
    except GraphImportFailed as error:
        return error.cause
    except SystemExit as error:
        return f"it ends the program when it is imported: {error.code}"
    return None
