"""Pauses: requested of a tree, and taken back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from runs.models import Run
from runs.registry.rows import PAUSE_COLUMNS, Stopped, list_tree, record
from runs.registry.waits import ready_to_wake
from runs.requests import PauseRequest
from runs.states import ACTIVE, IDLE, Status


def request_pause(run_ids: Sequence[UUID], request: PauseRequest) -> list[Stopped]:
    """Ask runs to pause, and everything below them if the request cascades.

    What is queued or waiting is paused on the spot; what runs drains first. What is stopping, has ended or was asked
    before is left alone and is not in the answer. A child that was told to outlive its parent goes on.

    Race: as `request_stop`. A child that was being inserted meanwhile is found by the next round, or is born paused.
    """
    reached: dict[UUID, Stopped] = {}
    active = sorted(ACTIVE)
    columns: dict[str, Any] = {
        "pause_requested_at": timezone.now(),
        "pause_by": request.by_id,
        "pause_actor": request.actor[:200],
        "pause_source": request.source,
        "pause_reason": request.reason,
        "pause_cascades": request.cascades,
    }
    with transaction.atomic():
        roots = [run.id for run in _lock(run_ids, status__in=active)]
        while found := _lock(_below(roots, request.cascades), status__in=active, pause_requested_at__isnull=True):
            idle = [run.id for run in found if run.status in IDLE]
            Run.objects.filter(id__in=idle).update(status=Status.PAUSED, **columns)
            record(idle, Status.PAUSED)
            Run.objects.filter(id__in=[run.id for run in found], status=Status.RUNNING).update(**columns)
            for run in found:
                status = Status.PAUSED if run.status in IDLE else Status.RUNNING
                reached[run.id] = Stopped(run.id, status, run.parent_id)
    return list(reached.values())


def resume(run_ids: Sequence[UUID], *, cascade: bool = True) -> list[Stopped]:
    """Let paused runs go on, and with `cascade` the paused ones below them.

    A paused run becomes queued, or waiting if it still waits for children or for answers: call `wake` for it, the last
    child may have ended in between. Of a run that is still pausing the pause is withdrawn; if it drains all the same,
    `requeue` sends it on.
    """
    reached: dict[UUID, Stopped] = {}
    nothing: dict[str, Any] = {
        **dict.fromkeys(PAUSE_COLUMNS, ""),
        "pause_requested_at": None,
        "pause_by": None,
        "pause_cascades": False,
    }
    asked: dict[str, Any] = {"status__in": [Status.PAUSED, Status.RUNNING], "pause_requested_at__isnull": False}
    with transaction.atomic():
        roots = [run.id for run in _lock(run_ids, **asked)]
        while found := _lock(_below(roots, cascade), **asked):
            paused = {run.id for run in found if run.status == Status.PAUSED}
            ready = set(ready_to_wake(Status.PAUSED).filter(id__in=paused).values_list("id", flat=True))
            for status, ids in ((Status.QUEUED, ready), (Status.WAITING, paused - ready)):
                Run.objects.filter(id__in=ids).update(status=status, queued_at=timezone.now(), rung_at=None, **nothing)
                record(sorted(ids), status)
                reached.update((run.id, Stopped(run.id, status, run.parent_id)) for run in found if run.id in ids)
            running = [run for run in found if run.status == Status.RUNNING]
            Run.objects.filter(id__in=[run.id for run in running]).update(**nothing)
            reached.update((run.id, Stopped(run.id, Status.RUNNING, run.parent_id)) for run in running)
    return list(reached.values())


def _below(roots: Sequence[UUID], cascade: bool) -> Sequence[UUID]:
    return list_tree(roots) if cascade else roots


def _lock(run_ids: Sequence[UUID], **conditions: Any) -> list[Run]:
    """Lock those of the runs that are not stopping and meet the conditions, in the order of their ids: so does every
    statement that locks several."""
    found = Run.objects.select_for_update(no_key=True).filter(
        id__in=run_ids, stop_requested_at__isnull=True, **conditions
    )
    return list(found.order_by("id").only("id", "status", "parent_id"))
