"""`control_tasks cancel --dry-run`: what a stop would end now, and what it is doing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.details import brief_json, print_runs
from graduation_backend.control_tasks.terminal import Screen
from runs import control, reading, representation
from runs.conf import runs_settings
from runs.errors import RunAlreadyEnded
from runs.ladder import Schedule, latest, schedule, sooner
from runs.models import NodeExecution, Run
from runs.states import Status, StopMode
from runs.words import count, duration, node_path, rungs_ahead


def show_what_would_stop(
    run: Run, affected: Sequence[Run], mode: StopMode, options: dict[str, Any], screen: Screen
) -> int:
    if run.status in (Status.COMPLETED, Status.FAILED):
        raise RunAlreadyEnded(run.id, run.status)
    now = timezone.now()
    nodes: dict[UUID, list[NodeExecution]] = {}
    for node in reading.list_running_nodes([member.id for member in affected]):
        nodes.setdefault(node.run_id, []).append(node)
    reached = {member.id for member in affected}
    left = [member for member in control.list_tree(run.id) if not member.is_terminal and member.id not in reached]
    if options["json"]:
        would_stop = [
            {
                **brief_json(member),
                "current_call": member.current_call or None,
                "nodes": [representation.node_as_json(node) for node in nodes.get(member.id, [])],
            }
            for member in affected
        ]
        screen.json({"would_stop": would_stop, "goes_on": [brief_json(member) for member in left]})
    elif affected:
        screen.line(f"Would stop {count(len(affected), 'run')}:")
        print_runs(screen, affected, lambda member: _doing(member, nodes.get(member.id, []), now))
        if fate := _fate(affected, mode, options, now):
            screen.line(fate)
        if left:
            screen.line(f"{count(len(left), 'run')} below would go on.")
    else:
        screen.line(f"Would stop nothing: run {run.id} was cancelled already.")
    return exits.DONE


def _doing(run: Run, nodes: Sequence[NodeExecution], now: datetime) -> str:
    """What would be cut: ` in node read for 12 s, calling gpt`."""
    parts = [
        f"in node {node_path(node.namespace, node.node)} for {duration((now - node.started_at).total_seconds())}"
        for node in nodes
    ]
    if run.current_call and run.status == Status.RUNNING:
        parts.append(f"calling {run.current_call}")
    return "  " + ", ".join(parts) if parts else ""


def _fate(affected: Sequence[Run], mode: StopMode, options: dict[str, Any], now: datetime) -> str:
    """What becomes of the runs that execute, and when."""
    executing = [run for run in affected if run.status == Status.RUNNING]
    plan = latest(_plan(run, mode, options, now) for run in executing)
    if plan is None:
        return ""
    ahead = rungs_ahead(plan, now)
    begun = "interrupted now, " if mode is StopMode.INTERRUPT else ""
    what = "What executes" if len(executing) < len(affected) else "It"
    return f"{what} would be {begun}{ahead} unless it stops before." if ahead else f"{what} would be killed now."


def _plan(run: Run, mode: StopMode, options: dict[str, Any], now: datetime) -> Schedule:
    settings = runs_settings()

    def first(*seconds: float | None) -> float:
        return next(value for value in seconds if value is not None)

    asked = schedule(
        mode,
        now,
        interrupt_after_seconds=first(
            options["interrupt_after"], run.interrupt_after_seconds, settings.interrupt_after_seconds
        ),
        grace_seconds=first(options["grace"], run.grace_seconds, settings.grace_seconds),
    )
    return sooner(asked, run.stop_plan) if run.stop_plan else asked
