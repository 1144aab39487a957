"""`control_tasks list`: runs from the database, plain tasks from the workers that answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.utils import timezone

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.arguments import DEFAULT_LIMIT
from graduation_backend.control_tasks.terminal import Screen, printable
from runs import control, representation
from runs.dispatch import CeleryTask
from runs.errors import BrokerAway
from runs.models import Run
from runs.states import ACTIVE, CANCELLING, PAUSING, TERMINAL
from runs.words import duration

RUN_COLUMNS = ("id", "graph", "status", "node", "progress", "owner", "age", "worker")
# What is left out first where the terminal is too narrow; never the id, the graph and the status.
LEAST_NEEDED = ("worker", "owner", "age", "progress", "node")
TASK_COLUMNS = ("id", "task", "state", "worker", "arguments")
TASKS_LEAST_NEEDED = ("arguments", "worker")
COLUMN_GAP = 2


def list_tasks(options: dict[str, Any], screen: Screen) -> int:
    runs, has_more = _find_runs(options)
    tasks: list[CeleryTask] = []
    if not options["graph"] and not options["status"]:
        try:
            tasks = control.list_celery_tasks()
        except BrokerAway as error:
            screen.note(f"Warning: the plain Celery tasks are not listed, because {error}")
    if options["json"]:
        screen.json({"runs": [representation.as_json(run) for run in runs], "tasks": [asdict(task) for task in tasks]})
    else:
        _print(runs, tasks, options, screen)
    if has_more:
        screen.note(f"Only the newest {len(runs)} are shown; for more: --limit N")
    return exits.DONE


def _find_runs(options: dict[str, Any]) -> tuple[list[Run], bool]:
    """The runs to show, and whether there are more."""
    statuses: Sequence[str] = options["status"]
    with_ended = options["all"] or not TERMINAL.isdisjoint(statuses)
    if not statuses and not with_ended:
        statuses = [*sorted(ACTIVE), CANCELLING, PAUSING]
    limit: int | None = options["limit"] or (DEFAULT_LIMIT if with_ended else None)
    runs = control.list_runs(graph=options["graph"], statuses=statuses, limit=limit and limit + 1)
    return runs[:limit], limit is not None and len(runs) > limit


def _print(runs: list[Run], tasks: list[CeleryTask], options: dict[str, Any], screen: Screen) -> None:
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
        print_table(screen, TASK_COLUMNS, TASKS_LEAST_NEEDED, [_task_row(task) for task in tasks])


def _run_row(screen: Screen, run: Run, depth: int) -> list[Any]:
    branch = "└ " if screen.has_unicode else "- "
    return [
        str(run.id),
        "  " * (depth - 1) + branch + run.graph if depth else run.graph,
        screen.status(run.display_status),
        run.current_node,
        f"{run.progress_done}/{run.progress_total}" if run.progress_total else "",
        str(run.owner) if run.owner else "",
        duration((timezone.now() - run.created_at).total_seconds()),
        run.worker if run.status == "running" else "",
    ]


def _task_row(task: CeleryTask) -> list[Any]:
    state = f"{task.state} for {task.eta[:19]}" if task.eta else task.state
    return [task.id, task.name, state, task.worker, task.args]


def print_table(screen: Screen, columns: Sequence[str], least_needed: Sequence[str], rows: list[list[Any]]) -> None:
    """A table that leaves columns out rather than cut an id."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    cells = [[cell if isinstance(cell, Text) else Text(_on_one_line(cell)) for cell in row] for row in rows]
    widths = {name: max(len(name), *(row[index].cell_len for row in cells)) for index, name in enumerate(columns)}
    kept = [name for index, name in enumerate(columns) if any(row[index].plain for row in cells)]
    room = screen.width

    def needed() -> int:
        return sum(widths[name] + COLUMN_GAP for name in kept)

    for name in least_needed:
        if needed() > room and name in kept:
            kept.remove(name)
    table = Table(
        box=SIMPLE_HEAD if screen.is_terminal else None,
        pad_edge=False,
        padding=(0, COLUMN_GAP - screen.is_terminal, 0, 0),  # the box adds one
        header_style="bold" if screen.is_terminal else "",
        show_edge=False,
    )
    for name in kept:
        table.add_column(name.upper(), no_wrap=True)
    indexes = [columns.index(name) for name in kept]
    for row in cells:
        table.add_row(*(row[index] for index in indexes))
    screen.show(table, least_width=needed())


def _on_one_line(cell: str) -> str:
    # The indentation of a tree is kept.
    indentation = len(cell) - len(cell.lstrip(" "))
    return " " * indentation + printable(cell)
