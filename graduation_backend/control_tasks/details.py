"""`control_tasks status`: one run with all that belongs to it, or one plain task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.acting import Acting, acting_as
from graduation_backend.control_tasks.terminal import Screen, printable, printable_part, shortened
from runs import control, representation
from runs.dispatch import CeleryTask
from runs.errors import BrokerAway
from runs.models import NodeExecution, Run
from runs.states import NodeStatus
from runs.words import (
    duration,
    error_in_words,
    how_it_stopped,
    limits_in_words,
    moment,
    node_path,
    progress_in_words,
)

SHOWN_NODES = 30
SHOWN_CHILDREN = 30


def show_status(options: dict[str, Any], screen: Screen) -> int:
    acting = acting_as(options["as_user"])
    run = acting.find(options["task_id"])
    if run is None:
        _show_task(get_celery_task(options["task_id"], acting), options, screen)
        return exits.DONE
    if options["follow"]:
        from graduation_backend.control_tasks.following import follow

        return follow(run, options, screen, acting, from_start=False)
    nodes = control.list_nodes(run.id)
    below = control.list_tree(run.id)[1:]
    if options["json"]:
        screen.json(
            {
                **representation.as_json(run),
                **representation.tries_as_json(run),
                "nodes": [representation.node_as_json(node) for node in nodes],
                "children": [brief_json(child) for child in below],
            }
        )
        return exits.DONE
    print_fields(screen, _fields(run, screen))
    _print_nodes(screen, nodes)
    _print_below(screen, below)
    return exits.DONE


def get_celery_task(task_id: str, acting: Acting) -> CeleryTask:
    """The plain task with this id that a worker holds.

    Raises:
        Error: no worker holds it, or none can be asked, or it may not be seen.
    """
    try:
        tasks = control.list_celery_tasks() if acting.sees_plain_tasks else []
    except BrokerAway as error:
        raise exits.Error(
            f"there is no run {task_id}, and no worker can be asked for a plain task, because {error}",
            exits.NOT_FOUND,
        ) from None
    for task in tasks:
        if task.id == task_id:
            return task
    raise exits.Error(
        f"there is no run {task_id}, and no worker holds a task with this id; "
        "to see what there is: manage.py control_tasks list --all",
        exits.NOT_FOUND,
    )


def _show_task(task: CeleryTask, options: dict[str, Any], screen: Screen) -> None:
    if options["follow"]:
        raise exits.Error(f"{task.id} is a plain Celery task, which tells nothing to follow", exits.USAGE)
    if options["json"]:
        screen.json(asdict(task))
        return
    begun = datetime.fromtimestamp(task.started_at, UTC) if task.started_at else None
    fields: list[tuple[str, Any]] = [
        ("id", task.id),
        ("task", task.name),
        ("state", task.state),
        ("worker", task.worker),
        ("arguments", task.args),
        ("due", task.eta),
        ("started", moment(begun)),
    ]
    print_fields(screen, fields)


def brief_json(child: Run) -> dict[str, Any]:
    """One member of a tree."""
    return {
        "id": str(child.id),
        "parent_id": str(child.parent_id) if child.parent_id else None,
        "graph": child.graph,
        "status": child.display_status,
        "on_parent_stop": child.on_parent_stop,
    }


def _fields(run: Run, screen: Screen) -> list[tuple[str, Any]]:
    """What there is to say of the run, by its label; an empty value is not shown."""
    return [
        ("id", str(run.id)),
        ("graph", run.graph),
        ("status", screen.status(run.display_status)),
        ("node", run.current_node),
        ("progress", progress_in_words(run)),
        ("owner", str(run.owner) if run.owner else ""),
        ("parent", str(run.parent_id) if run.parent_id else ""),
        *_try_fields(run),
        ("thread", run.thread_id if run.thread_id != str(run.id) else ""),
        ("worker", f"{run.worker}, pid {run.pid}" if run.status == "running" else run.worker),
        ("attempt", str(run.attempt) if run.attempt > 1 else ""),
        ("created", moment(run.created_at)),
        ("started", moment(run.started_at)),
        ("ended", moment(run.finished_at)),
        ("took", _took(run)),
        ("last sign", moment(run.last_activity_at) if not run.is_terminal else ""),
        ("limits", ", ".join(limits_in_words(run))),
        *stop_fields(run),
        *pause_fields(run),
        ("asks", shortened(run.questions) if run.questions and run.status == "waiting" else ""),
        ("error", error_in_words(run.error)),
        ("input", shortened(run.input)),
        ("output", shortened(run.output) if run.output is not None else ""),
    ]


def _try_fields(run: Run) -> list[tuple[str, str]]:
    """What it is another try of, and what is another try of it."""
    tries = representation.tries_as_json(run)
    fields = []
    if retry := tries["retry"]:
        who = f", asked by {retry['by']}" if retry["by"] else ""
        how = "from the start" if retry["from_start"] else "from its last checkpoint"
        fields += [("retry of", f"{tries['retry_of']}, {how}{who}"), ("retry reason", retry["reason"])]
    if tries["retried_by"]:
        fields.append(("retried as", tries["retried_by"]))
    if tries["adopted"]:
        fields.append(("took over", f"children of an earlier try: {', '.join(tries['adopted'])}"))
    return fields


def stop_fields(run: Run) -> list[tuple[str, str]]:
    if run.stop_requested_at is None:
        return []
    who = " ".join(part for part in (run.stop_actor, f"({run.get_stop_source_display()})") if part)
    fields = [
        ("stop asked", f"{moment(run.stop_requested_at)} by {who}"),
        ("stop reason", run.stop_reason),
        ("stop mode", run.stop_mode),
    ]
    if run.is_stopping:
        fields += [
            ("delivered", moment(run.stop_delivered_at)),
            ("interrupted at", moment(run.stop_interrupt_at)),
            ("killed at", moment(run.stop_deadline)),
        ]
    elif run.stop_gone_at:
        after = duration((run.stop_gone_at - run.stop_requested_at).total_seconds())
        fields.append(("stopped", f"after {after}, {how_it_stopped(run.stop_rung)}"))
    return fields


def pause_fields(run: Run) -> list[tuple[str, str]]:
    if run.pause_requested_at is None:
        return []
    who = " ".join(part for part in (run.pause_actor, f"({run.get_pause_source_display()})") if part)
    return [("pause asked", f"{moment(run.pause_requested_at)} by {who}"), ("pause reason", run.pause_reason)]


def _took(run: Run) -> str:
    if run.started_at is None:
        return ""
    return duration(((run.finished_at or timezone.now()) - run.started_at).total_seconds())


def print_fields(screen: Screen, fields: Sequence[tuple[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold" if screen.is_terminal else "", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in fields:
        if value:
            grid.add_row(label, value if isinstance(value, Text) else Text(printable(value)))
    screen.show(grid)


def _print_nodes(screen: Screen, nodes: Sequence[NodeExecution]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not nodes:
        return
    screen.line()
    if len(nodes) > SHOWN_NODES:
        screen.line(f"nodes: the last {SHOWN_NODES} of {len(nodes)}, all of them with --json")
    else:
        screen.line("nodes")
    grid = Table.grid(padding=(0, 2, 0, 0))
    for node in nodes[-SHOWN_NODES:]:
        took = duration(((node.finished_at or timezone.now()) - node.started_at).total_seconds())
        problem = error_in_words(node.error) if node.status in (NodeStatus.FAILED, NodeStatus.CANCELLED) else ""
        cells = ("", node_path(node.namespace, node.node), node.status, took, problem)
        grid.add_row(*(Text(printable(cell)) for cell in cells))
    screen.show(grid)


def _print_below(screen: Screen, below: Sequence[Run]) -> None:
    if not below:
        return
    screen.line()
    screen.line("children" if len(below) <= SHOWN_CHILDREN else f"children: {len(below)}")
    print_runs(screen, below[:SHOWN_CHILDREN])
    if len(below) > SHOWN_CHILDREN:
        screen.line(f"  … and {len(below) - SHOWN_CHILDREN} more, all of them with --json")


def print_runs(screen: Screen, runs: Sequence[Run], more: Callable[[Run], str] = lambda run: "") -> None:
    """Runs as an indented tree, one a line, with what else there is to say of each."""
    for run, depth in control.in_tree_order(runs):
        fate = "  (goes on when its parent is stopped)" if run.on_parent_stop == "abandon" else ""
        status = screen.status(run.display_status)
        screen.line(f"  {'  ' * depth}{run.id}  {printable(run.graph)}  {status}{printable_part(more(run))}{fate}")
