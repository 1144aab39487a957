"""The use case of stopping one node while its run goes on. `control` offers it; every surface calls it there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from runs import dispatch, events, node_stops, stops
from runs.errors import (
    NodeAmbiguous,
    NodeNotFound,
    NodeNotRunning,
    NodeNotStoppable,
    RunAlreadyEnded,
    RunIsStopping,
    RunNotFound,
)
from runs.inputs import checked_run_id
from runs.models import NodeExecution, NodeStop, Run
from runs.node_stops import NodeStopRequest
from runs.requests import StopRequest
from runs.states import NodeStatus, Status, StopMode, StopSource
from runs.words import node_path


def cancel_node(
    run_id: UUID | str,
    node: UUID | str,
    *,
    by: AbstractBaseUser | None = None,
    actor: str = "",
    source: str = StopSource.API,
    reason: str = "",
    mode: str = StopMode.CANCEL,
    grace_seconds: float | None = None,
    interrupt_after_seconds: float | None = None,
    every: bool = False,
) -> list[NodeStop]:
    """Ask one running node to stop, with the children that it has spawned; its run goes on with what the node
    declared by `on_cancelled`, or with nothing of it. Returns at once; the row's `outcome` tells what became of it.

    Asked again, the first reason stays; a stronger mode or shorter times bring the higher rungs forward.

    Args:
        node: its name, its path (`review/write`), or the id of one NodeExecution.
        mode: cancel (stop at the next boundary), interrupt (raise inside the node now) or kill (end its process now:
            the run goes on from its last checkpoint in another one).
        grace_seconds, interrupt_after_seconds: from now to the kill and to the interrupt; None are the run's own times.
        every: if the name stands for several executions, stop them all.

    Raises:
        RunNotFound, RunAlreadyEnded, RunIsStopping, InputRefused.
        NodeNotFound, NodeNotRunning, NodeNotStoppable.
        NodeAmbiguous: the name stands for several executions; it names their ids.
    """
    times = stops.stop_request(by, actor, source, reason, mode, grace_seconds, interrupt_after_seconds)
    with transaction.atomic():
        run = _lock(run_id)
        found = _find(run, str(node))
        if len(found) > 1 and not every:
            raise NodeAmbiguous(run.id, str(node), [execution.id for execution in found])
        plan = times.schedule(timezone.now(), run.grace_seconds, run.interrupt_after_seconds)
        request = NodeStopRequest(times.mode, times.source, times.actor, times.reason, plan, times.by_id)
        requested = node_stops.request(found, request)
        for stop in requested:
            _stop_children(run.id, stop.namespace, times)
    transaction.on_commit(dispatch.ring_look)
    for execution in found:
        data = {"execution_id": execution.id, "node": execution.node, "reason": reason, "mode": times.mode.value}
        transaction.on_commit(partial(events.sink().emit, run.id, "node.stop", data))
    return requested


def _lock(run_id: UUID | str) -> Run:
    """The run, whose row keeps its own stop from coming in between."""
    key = checked_run_id(run_id)
    columns = ("id", "status", "attempt", "stop_requested_at", "grace_seconds", "interrupt_after_seconds")
    run = Run.objects.select_for_update(no_key=True).only(*columns).filter(id=key).first()
    if run is None:
        raise RunNotFound(run_id)
    if run.is_terminal:
        raise RunAlreadyEnded(run.id, run.status)
    if run.is_stopping:
        raise RunIsStopping(run.id)
    return run


def _find(run: Run, node: str) -> list[NodeExecution]:
    """The running executions that a name, a path or an id stands for."""
    executions = NodeExecution.objects.filter(run_id=run.id)
    now = executions.filter(status=NodeStatus.RUNNING, attempt=run.attempt)
    running = [one for one in now.exclude(stop__outcome__gt="") if _is_named(one, node)]
    if run.status != Status.RUNNING or not running:
        before = next((one for one in executions.order_by("-started_at").iterator() if _is_named(one, node)), None)
        if before is None:
            raise NodeNotFound(run.id, node, sorted({node_path(one.namespace, one.node) for one in now}))
        if run.status != Status.RUNNING:
            raise NodeNotRunning(run.id, node, f"the run is {run.status}")
        status = "it has just been stopped" if before.status == NodeStatus.RUNNING else f"it is {before.status}"
        raise NodeNotRunning(run.id, node, status)
    for one in running:
        if not one.is_stoppable:
            holder = one.namespace.rpartition("|")[0]
            name = holder.rpartition("|")[2].partition(":")[0]
            raise NodeNotStoppable(run.id, node, node_path(holder, name) if holder else "another node")
    return running


def _is_named(execution: NodeExecution, node: str) -> bool:
    return node in (str(execution.id), execution.node, node_path(execution.namespace, execution.node))


def stop_children_of(stop: NodeStop) -> None:
    """Those too that the node has spawned between its stop and its end."""
    request = StopRequest(StopMode(stop.mode), StopSource.PARENT, stop.actor, stop.reason, None, stop.by_id)
    _stop_children(stop.run_id, stop.namespace, request)


def _stop_children(run_id: UUID, namespace: str, request: StopRequest) -> None:
    """Ask the children that a node has spawned, or a node inside it, to stop: nobody will read their results."""
    spawned = Q(child_key__startswith=f"{namespace}:") | Q(child_key__startswith=f"{namespace}|")
    reason = "the node that started it was stopped" + (f": {request.reason}" if request.reason else "")
    asked = StopRequest(request.mode, StopSource.PARENT, request.actor, reason, None, request.by_id)
    stops.stop_children(Run.objects.filter(spawned, parent_id=run_id), asked)


def list_stops(execution_ids: Sequence[UUID]) -> list[NodeStop]:
    """The stops of these executions, with them."""
    return list(NodeStop.objects.select_related("execution").filter(pk__in=execution_ids))


def is_over(asked: Sequence[NodeStop]) -> bool:
    """Whether it is known of all of them what became of them."""
    return not NodeStop.objects.filter(pk__in=[stop.pk for stop in asked], outcome="").exists()
