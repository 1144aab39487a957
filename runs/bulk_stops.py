"""Stops of many runs at once, and how far each has come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Max, Q
from django.utils import timezone

from runs.models import BulkStop, BulkStopRun
from runs.requests import StopRequest
from runs.states import ACTIVE, Status
from runs.stops import StopResult, stop_runs

MOST_BULK_STOPS = 200  # of one account; of older ones the progress is forgotten
CHUNK = 500


@dataclass(frozen=True)
class Progress:
    """Of what a bulk stop has matched, with everything below it: how many runs are where.

    `cancelling`, `interrupting` and `killing` have not left yet, by the highest rung that is due.
    """

    total: int
    settled: int
    cancelling: int
    interrupting: int
    killing: int
    not_asked: int
    ended_otherwise: int
    finished_at: datetime | None


def stop_many(run_ids: Sequence[UUID], request: StopRequest, *, graph: str = "") -> tuple[BulkStop, StopResult]:
    """Ask all these runs to stop, with everything below them. What has ended is left alone.

    All that it matches is written down before the first is asked, so whoever watches it knows what is still to come.
    """
    bulk = BulkStop(
        by_id=request.by_id,
        actor=request.actor[:200],
        source=request.source,
        mode=request.mode,
        reason=request.reason,
        graph=graph,
        matched=len(run_ids),
    )
    with transaction.atomic():
        bulk.save(force_insert=True)
        _forget_oldest(request.by_id)
        _add(bulk, run_ids)
    parts = []
    for start in range(0, len(run_ids), CHUNK):
        parts.append(part := stop_runs(run_ids[start : start + CHUNK], request))
        _add(bulk, part.reached)  # what lies below
    result = StopResult(
        reached=[run_id for part in parts for run_id in part.reached],
        settled=[run_id for part in parts for run_id in part.settled],
        escalated=[run_id for part in parts for run_id in part.escalated],
    )
    return bulk, result


def find_bulk_stop(bulk_id: UUID, by_id: Any) -> BulkStop | None:
    """The bulk stop, if this account has asked for it."""
    return BulkStop.objects.filter(id=bulk_id, by_id=by_id).first() if by_id is not None else None


def find_progress(bulk: BulkStop) -> Progress:
    now = timezone.now()
    stopping = Q(run__status__in=ACTIVE, run__stop_requested_at__isnull=False)
    kill_due, interrupt_due = Q(run__stop_deadline__lte=now), Q(run__stop_interrupt_at__lte=now)
    counts = BulkStopRun.objects.filter(bulk_stop=bulk).aggregate(
        total=Count("id"),
        settled=Count("id", filter=Q(run__status=Status.CANCELLED)),
        stopping=Count("id", filter=stopping),
        interrupting=Count("id", filter=stopping & interrupt_due & ~kill_due),
        killing=Count("id", filter=stopping & kill_due),
        not_asked=Count("id", filter=Q(run__status__in=ACTIVE, run__stop_requested_at__isnull=True)),
        ended_otherwise=Count("id", filter=Q(run__status__in=[Status.COMPLETED, Status.FAILED])),
        last=Max("run__finished_at"),
    )
    stopping_now, last = counts.pop("stopping"), counts.pop("last")
    cancelling = stopping_now - counts["interrupting"] - counts["killing"]
    is_over = not stopping_now and not counts["not_asked"]
    finished_at = max(last or bulk.requested_at, bulk.requested_at) if is_over else None
    return Progress(cancelling=cancelling, finished_at=finished_at, **counts)


def _add(bulk: BulkStop, run_ids: Iterable[UUID]) -> None:
    rows = [BulkStopRun(bulk_stop=bulk, run_id=run_id) for run_id in run_ids]
    BulkStopRun.objects.bulk_create(rows, batch_size=CHUNK, ignore_conflicts=True)


def _forget_oldest(by_id: Any) -> None:
    oldest = BulkStop.objects.filter(by_id=by_id).order_by("-id").values_list("id", flat=True)[MOST_BULK_STOPS:]
    BulkStop.objects.filter(id__in=list(oldest)).delete()
