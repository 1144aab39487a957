"""Finds what nobody owns any more: expired leases, lost doorbells, forgotten waiters.

It runs in every supervisor. Each finding is settled by a guarded write, so running it many times at once is safe.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta

from django.utils import timezone

from runs import dispatch, events, executions, freezes, leases, node_stops, pauses, registry, remains, stops
from runs.conf import runs_settings
from runs.errors import RunAlreadyEnded
from runs.models import Run
from runs.states import NodeStatus, Status, StopSource

logger = logging.getLogger(__name__)


def reap(*, has_free_slot: bool) -> None:
    """One round. Doorbells are rung again only by a worker that could run something and was told nothing."""
    expired = [run for run in leases.list_expired() if leases.give_up(run)]
    if expired:
        remains.kill_orphans([run.id for run in expired])  # before another attempt carries the same mark
    for run in expired:
        recover(run)
    pauses.wake(registry.list_forgotten_waiters())
    node_stops.close_forgotten()
    stop_overdue()
    if has_free_slot:
        ring_again()


def recover(run: Run) -> None:
    """Give a run whose process is gone back to the queue, or end it.

    It goes on from its last checkpoint, a few times, after a pause that grows; a run that was being stopped ends as
    cancelled.
    """
    was_stopped = run.stop_requested_at is not None
    status = NodeStatus.CANCELLED if was_stopped else NodeStatus.FAILED
    events.end_nodes_of_lost_process(run.id, run.attempt, status)
    if not was_stopped and run.resurrections < runs_settings().max_resurrections:
        pause = runs_settings().resurrection_pause_seconds * 2**run.resurrections
        if pauses.give_back(run.id, run.attempt, resurrect=True, pause_seconds=pause):
            logger.warning("the process of run %s was lost, it goes on from its last checkpoint in %g s", run.id, pause)
        return
    error = {
        "type": "WorkerLost",
        "message": f"the process that ran it was lost {run.resurrections + 1} times",
    }
    settled = registry.settle(run.id, run.attempt, Status.FAILED, error=None if was_stopped else error, rung=2)
    if settled is not None:
        logger.warning("the process of run %s was lost, it is %s", run.id, settled.status)
        executions.announce(settled)


def stop_overdue() -> None:
    """Stop the runs that are not over although their `max_seconds` are."""
    limited = Run.objects.filter(
        status__in=[Status.QUEUED, Status.RUNNING, Status.WAITING],
        max_seconds__isnull=False,
        started_at__isnull=False,
        stop_requested_at__isnull=True,
    )
    now = timezone.now()
    for run in limited.only("id", "graph", "started_at", "max_seconds"):
        if run.started_at and run.max_seconds and now >= run.started_at + timedelta(seconds=run.max_seconds):
            reason = f"it was not over after its limit of {run.max_seconds:g} s"
            with suppress(RunAlreadyEnded):
                stops.cancel(run.id, actor=run.graph, source=StopSource.LIMIT, reason=reason)
            logger.warning("run %s of graph %s is stopped: %s", run.id, run.graph, reason)


def ring_again() -> None:
    """Ring for queued runs that nobody took although a worker is free: their message was lost."""
    now = timezone.now()
    before = now - timedelta(seconds=runs_settings().ring_again_seconds)
    lost = Run.objects.filter(status=Status.QUEUED, queued_at__lt=before).exclude(rung_at__gte=before)
    lost = lost.exclude(not_before__gt=now).exclude(freezes.is_frozen())
    found = list(lost.order_by("queued_at").values_list("id", flat=True)[:100])
    if found:
        logger.info("ringing again for %d queued runs", len(found))
        dispatch.ring(found)
