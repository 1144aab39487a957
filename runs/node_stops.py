"""The only writer of `NodeStop`: what was asked of a node, and what became of it.

Every function is one guarded statement. Nothing here sends a message; callers do that after the commit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from runs.ladder import Rung, Schedule, sooner
from runs.models import NodeExecution, NodeStop
from runs.node_tokens import NodeStopOrder
from runs.states import TERMINAL, NodeStopOutcome, StopMode, StopSource


@dataclass(frozen=True)
class NodeStopRequest:
    """Who asks what of a node; the plan says when the higher rungs are due."""

    mode: StopMode
    source: StopSource
    actor: str
    reason: str
    plan: Schedule
    by_id: UUID | None = None


def request(executions: Iterable[NodeExecution], asked: NodeStopRequest) -> list[NodeStop]:
    """Ask running executions of one run to stop. Call it with the run's row locked.

    What was asked before keeps its first reason; a stronger mode, or a shorter time, brings its rungs forward.

    Returns:
        One row for each execution, in the same order.
    """
    return [_request_one(execution, asked) for execution in executions]


def _request_one(execution: NodeExecution, asked: NodeStopRequest) -> NodeStop:
    now = timezone.now()
    stop, is_new = NodeStop.objects.get_or_create(
        execution=execution,
        defaults={
            "run_id": execution.run_id,
            "attempt": execution.attempt,
            "namespace": execution.namespace,
            "by_id": asked.by_id,
            "actor": asked.actor[:200],
            "source": asked.source,
            "reason": asked.reason,
            "mode": asked.mode,
            "requested_at": now,
            "interrupt_at": asked.plan.interrupt_at,
            "kill_at": asked.plan.kill_at,
        },
    )
    if not is_new:
        plan = sooner(stop.plan, asked.plan)
        mode = max(StopMode(stop.mode), asked.mode, key=lambda one: Rung[one.name])
        NodeStop.objects.filter(pk=stop.pk, outcome="").update(
            interrupt_at=plan.interrupt_at, kill_at=plan.kill_at, mode=mode
        )
        stop.refresh_from_db()
    return stop


def list_open(run_ids: Collection[UUID]) -> list[NodeStop]:
    """The stops of these runs of which nobody has told yet what became of them, with their executions."""
    return list(NodeStop.objects.filter(run_id__in=run_ids, outcome="").select_related("execution"))


def list_standing(run_id: UUID, attempt: int) -> list[NodeStopOrder]:
    """The stops of earlier attempts that hold, should their nodes be executed again from the same checkpoint."""
    holding = NodeStop.objects.filter(
        run_id=run_id, attempt__lt=attempt, outcome__in=["", NodeStopOutcome.CANCELLED]
    ).only("run_id", "attempt", "namespace", "reason", "rung")
    return [
        NodeStopOrder(run_id, attempt, stop.execution_id, stop.namespace, stop.reason, stop.rung or 0)
        for stop in holding
    ]


def mark_delivered(execution_ids: Sequence[UUID], at: datetime) -> None:
    NodeStop.objects.filter(pk__in=execution_ids, outcome="", delivered_at__isnull=True).update(delivered_at=at)


def settle(
    execution_id: UUID,
    outcome: NodeStopOutcome,
    *,
    rung: int | None = None,
    evidence: dict[str, Any] | None = None,
) -> bool:
    """Write what became of a stop, once; False if that was written before."""
    columns = {"outcome": outcome, "rung": rung, "gone_at": timezone.now(), **(evidence or {})}
    return bool(NodeStop.objects.filter(pk=execution_id, outcome="").update(**columns))


def close_forgotten() -> int:
    """Stops of runs that have ended meanwhile, for example because their process was lost."""
    return NodeStop.objects.filter(outcome="", run__status__in=sorted(TERMINAL)).update(
        outcome=NodeStopOutcome.OVERTAKEN, gone_at=timezone.now()
    )


def list_of(run_id: UUID) -> list[NodeStop]:
    """All of a run's node stops, in the order in which they were asked for."""
    return list(NodeStop.objects.filter(run_id=run_id).select_related("execution"))
