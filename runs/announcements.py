"""Tells the watchers of runs what was asked of them and what came of it, once that is committed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from runs import events
from runs.models import Run
from runs.registry import Settled, Stopped, StopRequest
from runs.states import CANCELLING, Status


def tell_stop(stopped: Sequence[Stopped], request: StopRequest) -> None:
    """A stop has reached these runs; those that were idle are cancelled already."""
    if stopped:
        transaction.on_commit(partial(_tell_stop, stopped, request))


def _tell_stop(stopped: Sequence[Stopped], request: StopRequest) -> None:
    sink = events.sink()
    sink.learn([item.run_id for item in stopped])
    for item in stopped:
        sink.stop(
            item.run_id,
            "requested",
            mode=request.mode.value,
            by=request.actor or None,
            source=request.source.value,
            reason=request.reason,
            interrupt_at=item.plan and item.plan.interrupt_at,
            deadline=item.plan and item.plan.kill_at,
        )
        if item.status is Status.CANCELLED:
            sink.stop(item.run_id, "gone", rung=0)
            sink.status(item.run_id, Status.CANCELLED)
        else:
            sink.status(item.run_id, item.status, displayed=CANCELLING)


def tell_escalation(run_ids: Sequence[UUID], request: StopRequest) -> None:
    """These runs were stopping, and are to stop sooner."""
    if run_ids:
        transaction.on_commit(partial(_tell_escalation, run_ids, request))


def _tell_escalation(run_ids: Sequence[UUID], request: StopRequest) -> None:
    sink = events.sink()
    sink.learn(run_ids)
    columns = ("id", "stop_mode", "stop_interrupt_at", "stop_deadline")
    for start in range(0, len(run_ids), 500):
        for row in Run.objects.filter(id__in=run_ids[start : start + 500]).values_list(*columns):
            sink.stop(
                row[0],
                "requested",
                mode=row[1],
                by=request.actor or None,
                source=request.source.value,
                reason=request.reason,
                interrupt_at=row[2],
                deadline=row[3],
            )


def tell_settled(settled: Settled) -> None:
    """A run has ended; if it was stopped, nothing of it executes any more."""
    transaction.on_commit(partial(_tell_settled, settled))


def _tell_settled(settled: Settled) -> None:
    sink = events.sink()
    sink.learn([settled.run_id])
    if settled.status is Status.CANCELLED:
        sink.stop(settled.run_id, "gone", rung=settled.rung)
    more: dict[str, Any] = {"error": settled.error} if settled.error else {}
    sink.status(settled.run_id, settled.status, attempt=settled.attempt, **more)
