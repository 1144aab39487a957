"""`control_tasks cancel --node`: one node is stopped, and its run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.utils import timezone

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.acting import Acting
from graduation_backend.control_tasks.terminal import Screen
from graduation_backend.control_tasks.waiting import wait_until_ended
from runs import control, node_control, representation
from runs.models import NodeStop, Run
from runs.states import NodeStopOutcome, StopMode, StopSource
from runs.words import duration, node_path, rungs_ahead


def cancel_node(options: dict[str, Any], mode: StopMode, acting: Acting, screen: Screen) -> int:
    for name in ("dry_run", "no_cascade"):
        if options[name]:
            raise exits.Error(f"--{name.replace('_', '-')} is not allowed with --node", exits.USAGE)
    run = acting.get(options["task_id"])
    acting.require_stop(run, mode, grace_seconds=options["grace"], cascade=False)  # children keep their own times
    stops = control.cancel_node(
        run.id,
        options["node"],
        **acting.who_asks(),
        source=StopSource.CLI,
        reason=options["reason"],
        mode=mode,
        grace_seconds=options["grace"],
        interrupt_after_seconds=options["interrupt_after"],
        every=options["every"],
    )
    if not options["json"]:
        for stop in stops:
            screen.line(_describe(stop))
    if options["wait"]:
        _wait(stops, options, screen)
        stops = node_control.list_stops([stop.pk for stop in stops])
        if not options["json"]:
            for stop in stops:
                screen.line(_describe_end(stop))
    if options["json"]:
        screen.json({"stops": [representation.node_stop_as_json(stop) for stop in stops]})
    return exits.DONE


def _wait(stops: Sequence[NodeStop], options: dict[str, Any], screen: Screen) -> None:
    run_id: UUID = stops[0].run_id
    how = f"manage.py control_tasks cancel --force --task-id {run_id} --node {stops[0].pk}"

    def look() -> list[Run]:
        # The run is named while one of its nodes has not left.
        return [] if node_control.is_over(stops) else [control.get(run_id)]

    wait_until_ended(
        look,
        screen,
        timeout_seconds=options["timeout"],
        advice=f"the stop goes on; to kill at once: {how}",
    )


def _describe(stop: NodeStop) -> str:
    ahead = rungs_ahead(stop.plan, timezone.now())
    fate = f": {ahead} unless it stops before" if ahead else ": killed now"
    name = node_path(stop.namespace, stop.execution.node)
    return f"Asked node {name} ({stop.pk}) to stop; its run goes on{fate}."


def _describe_end(stop: NodeStop) -> str:
    name = node_path(stop.namespace, stop.execution.node)
    if stop.outcome == NodeStopOutcome.CANCELLED and stop.gone_at:
        took = duration((stop.gone_at - stop.requested_at).total_seconds())
        return f"Node {name} is cancelled, after {took}."
    return f"Node {name} was not stopped: {stop.get_outcome_display()}."
