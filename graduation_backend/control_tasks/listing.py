"""`control_tasks list`: runs from the database, plain tasks from the workers that answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.utils import timezone

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.acting import Acting, acting_as
from graduation_backend.control_tasks.arguments import DEFAULT_LIMIT
from graduation_backend.control_tasks.tables import branch, print_table
from graduation_backend.control_tasks.terminal import Screen
from runs import control, representation
from runs.dispatch import CeleryTask
from runs.errors import BrokerAway
from runs.models import Run
from runs.states import ACTIVE, CANCELLING, PAUSING, TERMINAL
from runs.words import duration, progress_in_words

RUN_COLUMNS = ("id", "graph", "status", "node", "progress", "owner", "age", "worker")
# What is left out first where the terminal is too narrow; never the id, the graph and the status.
LEAST_NEEDED = ("worker", "owner", "age", "progress", "node")
TASK_COLUMNS = ("id", "task", "state", "worker", "arguments")
TASKS_LEAST_NEEDED = ("arguments", "worker")


def list_tasks(options: dict[str, Any], screen: Screen) -> int:
    if options["watch"]:
        from graduation_backend.control_tasks.watching import watch

        return watch(options, screen)
    acting = acting_as(options["as_user"])
    runs, has_more = find_runs(options, acting, slim=not options["json"])
    tasks: list[CeleryTask] = []
    if shows_plain_tasks(options, acting):
        try:
            tasks = control.list_celery_tasks()
        except BrokerAway as error:
            screen.note(f"Warning: the plain Celery tasks are not listed, because {error}")
    if options["json"]:
        screen.json(as_json(runs, tasks))
    else:
        print_list(runs, tasks, options, screen)
    if has_more:
        screen.note(f"Only the newest {len(runs)} are shown; for more: --limit N")
    return exits.DONE


def find_runs(options: dict[str, Any], acting: Acting, *, slim: bool) -> tuple[list[Run], bool]:
    """The runs to show, and whether there are more.

    Args:
        slim: without what the JSON form shows and a table does not.
    """
    statuses: Sequence[str] = options["status"]
    with_ended = options["all"] or not TERMINAL.isdisjoint(statuses)
    if not statuses and not with_ended:
        statuses = [*sorted(ACTIVE), CANCELLING, PAUSING]
    limit: int | None = options["limit"] or (DEFAULT_LIMIT if with_ended else None)
    runs = control.list_runs(
        graph=options["graph"],
        statuses=statuses,
        limit=limit and limit + 1,
        among=acting.visible_runs,
        slim=slim,
    )
    return runs[:limit], limit is not None and len(runs) > limit


def shows_plain_tasks(options: dict[str, Any], acting: Acting) -> bool:
    """They have no graph, no status of a run and no owner."""
    return not options["graph"] and not options["status"] and acting.sees_plain_tasks


def as_json(runs: Sequence[Run], tasks: Sequence[CeleryTask]) -> dict[str, Any]:
    return {"runs": [representation.as_json(run) for run in runs], "tasks": [asdict(task) for task in tasks]}


def print_list(runs: list[Run], tasks: list[CeleryTask], options: dict[str, Any], screen: Screen) -> None:
    if not runs and not tasks:
        is_narrowed = options["graph"] or options["status"]
        screen.line("Nothing found." if is_narrowed or options["all"] else "Nothing is running.")
        return
    if runs:
        ordered = control.in_tree_order(runs) if options["tree"] else [(run, 0) for run in runs]
        print_table(screen, RUN_COLUMNS, LEAST_NEEDED, [_run_row(screen, *item) for item in ordered])
    if runs and tasks:
        screen.line()
    if tasks:
        print_table(screen, TASK_COLUMNS, TASKS_LEAST_NEEDED, [task_row(task) for task in tasks])


def _run_row(screen: Screen, run: Run, depth: int) -> list[Any]:
    return [
        str(run.id),
        branch(screen, depth) + run.graph,
        screen.status(run.display_status),
        run.current_node,
        progress_in_words(run),
        str(run.owner) if run.owner else "",
        duration((timezone.now() - run.created_at).total_seconds()),
        run.worker if run.status == "running" else "",
    ]


def task_row(task: CeleryTask) -> list[Any]:
    state = f"{task.state} for {task.eta[:19]}" if task.eta else task.state
    return [task.id, task.name, state, task.worker, task.args]
