"""Proof that a worker lives and owns what it runs: renewed by its supervisor, found expired by every reaper."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from runs.models import Run
from runs.states import Status

GIVEN_UP = datetime(1970, 1, 1, tzinfo=UTC)


def renew(worker: str, run_ids: Collection[UUID], lease_seconds: float) -> set[tuple[UUID, int]]:
    """Renew the leases of a worker's running runs, and report which it still owns, with their attempts."""
    own = Run.objects.filter(id__in=run_ids, worker=worker, status=Status.RUNNING)
    with transaction.atomic():
        locked = own.filter(lease_expires_at__gt=GIVEN_UP).order_by("id").select_for_update(no_key=True)
        held = set(locked.values_list("id", "attempt"))
        Run.objects.filter(id__in=[run_id for run_id, _ in held]).update(
            lease_expires_at=timezone.now() + timedelta(seconds=lease_seconds)
        )
    return held


def list_expired() -> list[Run]:
    """Running runs whose worker has not been heard of for a whole lease."""
    return list(Run.objects.filter(status=Status.RUNNING, lease_expires_at__lt=timezone.now())[:1_000])


def give_up(run: Run) -> bool:
    """Make an expired lease one that can't be renewed any more. False if it was renewed meanwhile, or taken over."""
    return bool(
        Run.objects.filter(
            id=run.id, attempt=run.attempt, status=Status.RUNNING, lease_expires_at__lt=timezone.now()
        ).update(lease_expires_at=GIVEN_UP)
    )
