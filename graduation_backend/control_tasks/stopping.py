"""`control_tasks cancel` and `control_tasks cancel-all`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from graduation_backend.control_tasks import brake, exits
from graduation_backend.control_tasks.accounts import get_account
from graduation_backend.control_tasks.acting import acting_as
from graduation_backend.control_tasks.details import get_celery_task
from graduation_backend.control_tasks.node_stopping import cancel_node
from graduation_backend.control_tasks.preview import show_what_would_stop
from graduation_backend.control_tasks.terminal import Screen
from graduation_backend.control_tasks.waiting import Active, wait_until_ended
from runs import control, representation
from runs.control import StopResult
from runs.dispatch import CeleryTask
from runs.errors import BrokerAway
from runs.ladder import Rung, Schedule, latest, next_rung
from runs.models import Run
from runs.states import StopMode, StopSource
from runs.words import count, duration, rungs_ahead


def cancel(options: dict[str, Any], screen: Screen) -> int:
    if options["force"] and options["grace"] is not None:
        raise exits.Error("--grace is not allowed with --force: a kill waits for nothing", exits.USAGE)
    if options["interrupt_after"] is not None and (options["force"] or options["interrupt"]):
        raise exits.Error("--interrupt-after is not allowed with --force or --interrupt: at once it is", exits.USAGE)
    if options["every"] and options["node"] is None:
        raise exits.Error("--every needs --node", exits.USAGE)
    acting = acting_as(options["as_user"])
    if options["node"] is not None:
        return cancel_node(options, _mode(options), acting, screen)
    run = acting.find(options["task_id"])
    if run is None:
        task = get_celery_task(options["task_id"], acting)
        acting.require_stop_of_plain_tasks(_mode(options))
        return _cancel_celery_task(task, options, screen)
    acting.require_stop(run, _mode(options), grace_seconds=options["grace"], cascade=not options["no_cascade"])
    if options["dry_run"]:
        return show_what_would_stop(run, _find_affected(run.id, options), _mode(options), options, screen)
    result = control.cancel(
        run.id,
        **acting.who_asks(),
        source=StopSource.CLI,
        reason=options["reason"],
        mode=_mode(options),
        grace_seconds=options["grace"],
        interrupt_after_seconds=options["interrupt_after"],
        cascade=not options["no_cascade"],
    )
    run_id = run.id
    run = control.get(run_id)
    if not options["json"]:
        plan = latest(member.stop_plan for member in _find_affected(run_id, options))
        screen.line(_describe(run, result, plan, timezone.now()))
    if options["wait"]:
        _wait(
            lambda: _find_affected(run_id, options),
            options,
            screen,
            command=f"manage.py control_tasks status --task-id {run.id}",
            force=f"manage.py control_tasks cancel --force --task-id {run.id}",
        )
        run = control.get(run.id)
        if not options["json"]:
            screen.line(_describe_end(run))
    if options["json"]:
        screen.json({**representation.result_as_json(result), "run": representation.as_json(run)})
    return exits.DONE


def cancel_all(options: dict[str, Any], screen: Screen) -> int:
    if options["tasks"] and (options["graph"] or options["owner"]):
        raise exits.Error("--tasks has no --graph and no --owner: plain tasks have neither", exits.USAGE)
    brake.check(options)
    if not options["yes"] and not sys.stdin.isatty():
        raise exits.Error("nobody can be asked here; say --yes to cancel without a question", exits.USAGE)
    owner = get_account(options["owner"])
    matching = [run.id for run in control.list_active(graph=options["graph"], owner=owner)]
    affected = control.list_stoppable(matching)
    tasks, problem = _find_celery_tasks() if options["tasks"] else ([], None)
    asks = (affected or tasks or options["freeze"]) and not options["yes"]
    if asks and not _is_confirmed(affected, tasks, options, screen):
        raise exits.Error("nothing was cancelled")
    frozen = brake.freeze(options, owner) if options["freeze"] else None
    result = control.cancel_all(
        graph=options["graph"],
        owner=owner,
        actor=control.cli_actor(),
        source=StopSource.CLI,
        reason=options["reason"],
        mode=_mode(options),
    )
    if tasks:
        control.cancel_celery_tasks([task.id for task in tasks], kill=options["force"])
    if not options["json"]:
        plan = latest(run.stop_plan for run in control.list_stoppable(list({*matching, *result.reached})))
        screen.line(_describe_all(result, tasks, plan, timezone.now()))
        if frozen is not None:
            screen.line(brake.describe(frozen))
    if options["wait"]:
        awaited = list({*matching, *result.reached})
        _wait(
            lambda: [*control.list_stoppable(awaited), *_still_held(tasks)],
            options,
            screen,
            command="manage.py control_tasks list",
            force="manage.py control_tasks cancel-all --force",
        )
        if not options["json"] and (awaited or tasks):
            screen.line("All of it has stopped.")
    if options["json"]:
        freeze = {"freeze": brake.as_json(frozen)} if frozen is not None else {}
        screen.json({**representation.result_as_json(result), "tasks": [task.id for task in tasks], **freeze})
    if problem is not None:
        raise exits.Error(f"the plain Celery tasks were not cancelled, because {problem}")
    return exits.DONE


# --- runs -------------------------------------------------------------------------------------------------


def _mode(options: dict[str, Any]) -> StopMode:
    if options["force"]:
        return StopMode.KILL
    return StopMode.INTERRUPT if options["interrupt"] else StopMode.CANCEL


def _find_affected(run_id: UUID, options: dict[str, Any]) -> list[Run]:
    """The active runs that a stop of this one reaches."""
    if options["no_cascade"]:
        current = control.get(run_id)
        return [] if current.is_terminal else [current]
    return control.list_stoppable([run_id])


def _describe(run: Run, result: StopResult, plan: Schedule | None, now: datetime) -> str:
    if result.reached:
        text = f"Asked {count(len(result.reached), 'run')} to stop"
        executing = len(result.reached) - len(result.settled)
        if not executing:
            return f"{text}; cancelled."
        what = f"{len(result.settled)} cancelled, {executing} still executing" if result.settled else "still executing"
        return f"{text}; {what}{_fate(plan, now, executing)}."
    if result.escalated:
        return _describe_escalated(result, plan, now)
    if run.is_terminal:
        return f"Run {run.id} was cancelled already."
    since = duration((now - (run.stop_requested_at or now)).total_seconds())
    ahead = rungs_ahead(plan, now) if plan else ""
    return f"Run {run.id} has been stopping for {since} already{f' ({ahead})' if ahead else ''}; {_remedy(plan, now)}."


def _fate(plan: Schedule | None, now: datetime, runs: int) -> str:
    """Which rung follows when: `: interrupted in 20 s, killed in 30 s unless it stops before`."""
    if plan is None:
        return ""
    coming = next_rung(plan, now)
    if coming is None:
        return ": killed now"
    begun = "interrupted now, " if coming is Rung.KILL else ""
    return f": {begun}{rungs_ahead(plan, now)} unless {'it stops' if runs == 1 else 'they stop'} before"


def _remedy(plan: Schedule | None, now: datetime) -> str:
    coming = next_rung(plan, now)
    if coming is None:
        return "its process is being killed"
    return "--force kills it at once" if coming is Rung.KILL else "--interrupt or --force is quicker"


def _describe_escalated(result: StopResult, plan: Schedule | None, now: datetime) -> str:
    number = len(result.escalated)
    were = "was" if number == 1 else "were"
    return f"{count(number, 'run')} that {were} stopping{_fate(plan, now, number)}."


def _describe_end(run: Run) -> str:
    if run.stop_requested_at is None or run.stop_gone_at is None:
        return f"Run {run.id} is {run.display_status}."
    after = duration((run.stop_gone_at - run.stop_requested_at).total_seconds())
    return f"Stopped, {after} after it was asked; its status is {run.status}."


def _describe_all(result: StopResult, tasks: Sequence[CeleryTask], plan: Schedule | None, now: datetime) -> str:
    parts = []
    if result.reached:
        settled = f" ({len(result.settled)} cancelled at once)" if result.settled else ""
        executing = len(result.reached) - len(result.settled)
        fate = _fate(plan, now, executing) if executing else ""
        parts.append(f"Asked {count(len(result.reached), 'run')} to stop{settled}{fate}.")
    if result.escalated:
        parts.append(_describe_escalated(result, plan, now))
    if tasks:
        parts.append(f"Cancelled {count(len(tasks), 'plain task')}.")
    return " ".join(parts) or "There was nothing to cancel."


def _is_confirmed(
    affected: Sequence[Run], tasks: Sequence[CeleryTask], options: dict[str, Any], screen: Screen
) -> bool:
    what = [count(len(affected), "run")] if affected else []
    what += [count(len(tasks), "plain task")] if tasks else []
    verb = _mode(options).label
    parts = [brake.question(options)] if options["freeze"] else []
    parts += [f"{verb} {' and '.join(what)}"] if what else []
    question = " and ".join(parts)
    try:
        return screen.ask(f"{question[0].upper()}{question[1:]}? [y/N]").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _wait(look: Callable[[], Active], options: dict[str, Any], screen: Screen, *, command: str, force: str) -> None:
    wait_until_ended(
        look,
        screen,
        timeout_seconds=options["timeout"],
        advice=f"the stop goes on; to look at it: {command}; to kill at once: {force}",
    )


# --- plain Celery tasks -----------------------------------------------------------------------------------


def _cancel_celery_task(task: CeleryTask, options: dict[str, Any], screen: Screen) -> int:
    if options["dry_run"]:
        if options["json"]:
            screen.json({"would_stop": [asdict(task)]})
        else:
            screen.line(f"Would end the {task.state} task {task.id}  {task.name}")
        return exits.DONE
    control.cancel_celery_tasks([task.id], kill=options["force"])
    if not options["json"]:
        end = "its process is terminated" if task.state == "active" else "it will not start"
        screen.line(f"Cancelled the {task.state} task {task.name}: {end}.")
    if options["wait"]:
        _wait(
            lambda: _still_held([task]),
            options,
            screen,
            command=f"manage.py control_tasks status --task-id {task.id}",
            force=f"manage.py control_tasks cancel --force --task-id {task.id}",
        )
    if options["json"]:
        screen.json({"task": asdict(task), "cancelled": True})
    return exits.DONE


def _find_celery_tasks() -> tuple[list[CeleryTask], BrokerAway | None]:
    """The plain tasks, or why they can't be known: the runs are stopped all the same."""
    try:
        return control.list_celery_tasks(), None
    except BrokerAway as error:
        return [], error


def _still_held(tasks: Sequence[CeleryTask]) -> list[CeleryTask]:
    if not tasks:
        return []
    ids = {task.id for task in tasks}
    return [task for task in control.list_celery_tasks() if task.id in ids]
