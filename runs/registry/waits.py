"""How a run leaves its process without an end, and how it goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.utils import timezone

from runs.models import Run
from runs.registry.rows import record
from runs.states import ACTIVE, TERMINAL, Status


def suspend(run_id: UUID, attempt: int, *, awaited: Iterable[UUID], questions: Mapping[str, Any]) -> Status | None:
    """Free the slot until the awaited children have ended and the questions are answered.

    Call `wake` after it: the last child may have ended in between.

    Returns:
        Waiting, or paused if a pause was requested; None if the attempt is stale or a stop was requested: the caller
        then settles.
    """
    with transaction.atomic():
        landed = Run.objects.filter(
            id=run_id, attempt=attempt, status=Status.RUNNING, stop_requested_at__isnull=True
        ).update(
            status=_paused_or(Status.WAITING),
            questions=dict(questions),
            answers={},
            current_call="",
            lease_expires_at=None,
            last_activity_at=timezone.now(),
        )
        if not landed:
            return None
        Run.objects.filter(_joined_by(run_id), id__in=list(awaited)).update(is_awaited=True)
        return _record_own(run_id, attempt)


def wake(run_id: UUID) -> bool:
    """Queue a waiting run that no longer waits for anything; safe to call at any time.

    A run that goes on waiting shows how many of the children that it waits for have ended.
    """
    awaited = Run.objects.filter(_joined_by(run_id), is_awaited=True)
    with transaction.atomic():
        Run.objects.filter(id=run_id, status=Status.WAITING).update(
            progress_done=awaited.filter(status__in=sorted(TERMINAL)).count(), progress_total=awaited.count()
        )
        # All have ended, also those that did after they were counted.
        landed = (
            ready_to_wake()
            .filter(id=run_id)
            .update(status=Status.QUEUED, queued_at=timezone.now(), progress_done=F("progress_total"))
        )
        if landed:
            record([run_id], Status.QUEUED)
    return bool(landed)


def find_progress(run_id: UUID) -> tuple[int, int] | None:
    """How many of the children that a run waits for, or has waited for until now, have ended; None if it is another."""
    waits = Run.objects.filter(id=run_id, status__in=[Status.WAITING, Status.QUEUED], progress_total__gt=0)
    return waits.values_list("progress_done", "progress_total").order_by().first()


def _joined_by(run_id: UUID) -> Q:
    """A run's children, and those of an earlier try of it whose results it took: they completed before it began."""
    return Q(parent_id=run_id) | Q(adopted_by_id=run_id)


def list_forgotten_waiters() -> list[UUID]:
    """Waiting runs that nobody woke, because the process that should have died first."""
    return list(ready_to_wake().values_list("id", flat=True)[:1_000])


def ready_to_wake(status: Status = Status.WAITING) -> QuerySet[Run]:
    awaited = Run.objects.filter(parent_id=OuterRef("id"), is_awaited=True, status__in=sorted(ACTIVE))
    return Run.objects.filter(Q(questions={}) | ~Q(answers={}), ~Exists(awaited), status=status)


def answer(run_id: UUID, answers: Mapping[str, Any]) -> bool:
    """Keep the answers to a waiting run's questions, once. Call `wake` after it."""
    return bool(
        Run.objects.filter(id=run_id, status=Status.WAITING, answers={})
        .exclude(questions={})
        .update(answers=dict(answers))
    )


def requeue(run_id: UUID, attempt: int, *, resurrect: bool, pause_seconds: float = 0.0) -> Status | None:
    """Take a run from an attempt that is lost or has drained, to go on from its last checkpoint.

    Args:
        resurrect: whether it counts as a loss.
        pause_seconds: how long it is not claimed.

    Returns:
        Queued, or paused if a pause was requested; None if the attempt is stale or a stop was requested.
    """
    now = timezone.now()
    with transaction.atomic():
        landed = Run.objects.filter(
            id=run_id, attempt=attempt, status=Status.RUNNING, stop_requested_at__isnull=True
        ).update(
            status=_paused_or(Status.QUEUED),
            queued_at=now,
            not_before=now + timedelta(seconds=pause_seconds) if pause_seconds else None,
            current_call="",
            lease_expires_at=None,
            rung_at=None,
            resurrections=F("resurrections") + (1 if resurrect else 0),
        )
        return _record_own(run_id, attempt) if landed else None


def _paused_or(status: Status) -> Case:
    """What a run becomes that leaves its process: a pause that was asked for meanwhile has then happened."""
    return Case(When(pause_requested_at__isnull=True, then=Value(status)), default=Value(Status.PAUSED))


def _record_own(run_id: UUID, attempt: int) -> Status:
    """Record the status that this transaction has given to a run."""
    status = Status(Run.objects.values_list("status", flat=True).get(id=run_id))
    record([run_id], status, attempt)
    return status


def list_results(run_ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """How children ended, in the order asked for, as `join` gives it to its node: id, graph, status, output, error."""
    found = {
        row["id"]: {**row, "id": str(row["id"])}
        for row in Run.objects.filter(id__in=run_ids).values("id", "graph", "status", "output", "error")
    }
    return [found[run_id] for run_id in run_ids if run_id in found]
