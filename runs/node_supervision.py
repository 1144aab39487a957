"""The part of a supervisor that stops single nodes: delivers, climbs the ladder, and when a node does not leave, ends
its process and gives the run back to the queue.

The stop of a whole run goes before: nothing is done for the nodes of a run that is stopping.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from runs import events, executions, node_control, node_stops, pauses, receipts, registry
from runs.errors import NodeCancelled
from runs.ladder import Rung, next_change_at, rung_due
from runs.models import NodeExecution, NodeStop
from runs.node_tokens import NodeStopOrder
from runs.states import NodeStatus, NodeStopOutcome, Status

logger = logging.getLogger(__name__)

# A process that still answers has told by then that the node had left before.
ANSWER_SECONDS = 0.25


@dataclass
class Pending:
    """One stop whose node has not left."""

    stop: NodeStop
    told: Rung | None = None
    told_at: datetime | None = None


@dataclass
class NodeSupervision:
    """Used by the supervisor's thread alone."""

    send: Callable[[NodeStopOrder], bool]
    critical_until: Callable[[UUID], datetime | None]
    is_stopping: Callable[[UUID], bool]  # the whole run
    pending: dict[UUID, Pending] = field(default_factory=dict)  # by the execution's id
    left: set[UUID] = field(default_factory=set)  # since the last look

    def look(self, table: dict[UUID, int]) -> None:
        """Read what is asked, and tell the processes. Call it with the database."""
        left, self.left = self.left, set()
        seen = set()
        for stop in node_stops.list_open(table):
            if stop.attempt != table[stop.run_id]:
                continue  # the attempt that runs now has read it at its beginning
            if stop.execution.status != NodeStatus.RUNNING:
                node_stops.settle(stop.pk, NodeStopOutcome.ENDED)
                continue
            seen.add(stop.pk)
            if stop.pk not in left:
                self.pending.setdefault(stop.pk, Pending(stop)).stop = stop
        for execution_id in set(self.pending) - seen:
            del self.pending[execution_id]
        self._deliver()
        for stop in NodeStop.objects.filter(pk__in=left).exclude(outcome=NodeStopOutcome.ENDED) if left else ():
            node_control.stop_children_of(stop)  # also those that it spawned after it was asked

    def has_left(self, execution_id: UUID) -> None:
        """Its process tells that the node has left, or was not there any more."""
        self.pending.pop(execution_id, None)
        self.left.add(execution_id)

    def forget(self, run_id: UUID) -> None:
        self.pending = {key: one for key, one in self.pending.items() if one.stop.run_id != run_id}

    def seconds_to_next_rung(self) -> float:
        now = timezone.now()
        changes = [self._next_change(one, now) for one in self.pending.values()]
        return min(((change - now).total_seconds() for change in changes if change is not None), default=1.0)

    def climb(self) -> list[NodeStop]:
        """Do for each node what its rung is due.

        Returns:
            Those whose process must be killed.
        """
        now = timezone.now()
        due = []
        for one in self.pending.values():
            if self.is_stopping(one.stop.run_id) or one.told_at is None:
                continue
            rung = rung_due(one.stop.plan, now, self.critical_until(one.stop.run_id))
            if rung is Rung.INTERRUPT:
                self._tell(one, rung)
            elif rung is Rung.KILL and now >= one.told_at + timedelta(seconds=ANSWER_SECONDS):
                due.append(one.stop)
        return due

    def interrupt(self, stop: NodeStop) -> None:
        """A thread pool has no process to kill; raising inside the node is the most that can be done."""
        self._tell(self.pending[stop.pk], Rung.INTERRUPT)
        del self.pending[stop.pk]

    def _deliver(self) -> None:
        for one in self.pending.values():
            if not self.is_stopping(one.stop.run_id):
                self._tell(one, Rung.CANCEL)
        told = [one.stop.pk for one in self.pending.values() if one.told is not None and one.stop.delivered_at is None]
        if told:
            node_stops.mark_delivered(told, timezone.now())

    def _tell(self, one: Pending, rung: Rung) -> None:
        stop = one.stop
        if one.told is not None and one.told >= rung:
            return
        if self.send(NodeStopOrder(stop.run_id, stop.attempt, stop.pk, stop.namespace, stop.reason, rung)):
            one.told = rung
            one.told_at = one.told_at or timezone.now()

    def _next_change(self, one: Pending, now: datetime) -> datetime | None:
        if one.told_at is not None and now < one.told_at + timedelta(seconds=ANSWER_SECONDS):
            return one.told_at + timedelta(seconds=ANSWER_SECONDS)
        return next_change_at(one.stop.plan, now, self.critical_until(one.stop.run_id))


def record_kill(stop: NodeStop, *, pid: int, stacks: str, killed: list[dict[str, Any]]) -> None:
    """The node's process is gone: the run goes on from its last checkpoint, in another one."""
    evidence = {"pid": pid, "stacks": stacks, "killed": killed}
    node_stops.settle(stop.pk, NodeStopOutcome.CANCELLED, rung=Rung.KILL, evidence=evidence)
    _end_nodes(stop)
    node_control.stop_children_of(stop)
    if pauses.give_back(stop.run_id, stop.attempt):
        return
    # The whole run was asked to stop meanwhile.
    receipts.record_death(stop.run_id, exit_signal=signal.SIGKILL, killed=killed)
    settled = registry.settle(stop.run_id, stop.attempt, Status.CANCELLED, rung=Rung.KILL)
    if settled is not None:
        executions.announce(settled)


def _end_nodes(stop: NodeStop) -> None:
    of_attempt = NodeExecution.objects.filter(run_id=stop.run_id, attempt=stop.attempt)
    own = Q(pk=stop.pk) | Q(namespace__startswith=f"{stop.namespace}|")
    error = events.as_error(NodeCancelled(stop.execution.node, stop.reason))
    events.end_nodes(of_attempt.filter(own), NodeStatus.CANCELLED, error)
    message = f"its process was killed to stop {stop.execution.node}; it runs again"
    events.end_nodes(of_attempt, NodeStatus.CANCELLED, {"type": "ProcessKilled", "message": message})
