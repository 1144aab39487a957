"""Stops that come before their run: a tombstone for a key, and the run that is born cancelled because of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from runs.errors import TooManyTombstones
from runs.models import Run, Tombstone
from runs.requests import StopRequest
from runs.states import Status, StopMode, StopSource

MOST_TOMBSTONES = 1_000  # of one owner, whose runs have not come


def leave_tombstone(owner_id: Any, key: str, request: StopRequest) -> UUID | None:
    """Have the run with this owner and idempotency key be born cancelled, unless there is one already.

    Race: whoever looks at the key first holds it until the commit, so either the run is found here, or the tombstone
    is found by `create`.

    Returns:
        The run that there is already, for which nothing was left.

    Raises:
        TooManyTombstones.
    """
    with transaction.atomic():
        _hold(owner_id, key)
        run_id = Run.objects.filter(owner_id=owner_id, idempotency_key=key).values_list("id", flat=True).first()
        if run_id is not None:
            return run_id
        if owner_id is not None and Tombstone.objects.filter(owner_id=owner_id).count() >= MOST_TOMBSTONES:
            raise TooManyTombstones(MOST_TOMBSTONES)
        Tombstone.objects.get_or_create(
            owner_id=owner_id,
            idempotency_key=key,
            defaults={
                "by_id": request.by_id,
                "actor": request.actor[:200],
                "source": request.source,
                "reason": request.reason,
                "mode": request.mode,
            },
        )
    return None


def take_tombstone(run: Run) -> StopRequest | None:
    """For `create`: make a run that was cancelled before it came a cancelled one, and tell what was asked."""
    if run.idempotency_key is None:
        return None
    _hold(run.owner_id, run.idempotency_key)
    left = Tombstone.objects.filter(owner_id=run.owner_id, idempotency_key=run.idempotency_key).first()
    if left is None:
        return None
    now = timezone.now()
    run.status = Status.CANCELLED
    run.stop_requested_at, run.stop_by_id, run.stop_actor = now, left.by_id, left.actor
    run.stop_source, run.stop_reason, run.stop_mode = left.source, left.reason, left.mode
    run.stop_interrupt_at = run.stop_deadline = now
    run.finished_at = run.stop_gone_at = now
    run.rung_at = None
    left.delete()
    return StopRequest(StopMode(left.mode), StopSource(left.source), left.actor, left.reason, by_id=left.by_id)


def _hold(owner_id: Any, key: str) -> None:
    """Keep everybody else away from a key until the transaction ends. On SQLite every transaction that writes has
    the database for itself, from its beginning."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"runs {owner_id} {key}"])
