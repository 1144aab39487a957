"""Pause and resume, and how a run that has left its process without an end goes on. `control` is the way in.

A pause is no stop: a running graph drains, which means that it leaves at its next step boundary with a checkpoint and
no node is cut. A stop that comes meanwhile wins, and so does an end by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from runs import dispatch, events, registry
from runs.registry import PauseRequest
from runs.states import PAUSING, Status


@dataclass(frozen=True)
class PauseResult:
    """What one pause did: `reached` were asked by it, `settled` of them are paused: nothing of them executed."""

    reached: list[UUID] = field(default_factory=list)
    settled: list[UUID] = field(default_factory=list)


@dataclass(frozen=True)
class ResumeResult:
    """What one resume did: `resumed` go on, `withdrawn` had not been paused yet and need not be any more."""

    resumed: list[UUID] = field(default_factory=list)
    withdrawn: list[UUID] = field(default_factory=list)


def pause_runs(run_ids: Sequence[UUID], request: PauseRequest) -> PauseResult:
    """Ask these runs to pause; what is stopping, has ended or was asked before is left alone."""
    reached = [item for part in _parts(run_ids) for item in registry.request_pause(part, request)]
    settled = [item.run_id for item in reached if item.status is Status.PAUSED]
    if len(settled) < len(reached):
        transaction.on_commit(dispatch.ring_look)
    for item in reached:
        transaction.on_commit(partial(events.sink().emit, item.run_id, "run.pause", {"reason": request.reason}))
        displayed = PAUSING if item.status is Status.RUNNING else ""
        events.sink().status(item.run_id, item.status, displayed=displayed)
    return PauseResult([item.run_id for item in reached], settled)


def resume_runs(run_ids: Sequence[UUID], *, cascade: bool = True) -> ResumeResult:
    """Let these runs go on; what is neither paused nor pausing is left alone."""
    reached = [item for part in _parts(run_ids) for item in registry.resume(part, cascade=cascade)]
    for item in reached:
        transaction.on_commit(partial(events.sink().emit, item.run_id, "run.resume", {}))
        events.sink().status(item.run_id, item.status)
    _ring([item.run_id for item in reached if item.status is Status.QUEUED])
    # What it waits for may have ended in between.
    wake(item.run_id for item in reached if item.status is Status.WAITING)
    return ResumeResult(
        resumed=[item.run_id for item in reached if item.status is not Status.RUNNING],
        withdrawn=[item.run_id for item in reached if item.status is Status.RUNNING],
    )


def _parts(run_ids: Sequence[UUID]) -> list[Sequence[UUID]]:
    """Few enough for one statement."""
    return [run_ids[start : start + 500] for start in range(0, len(run_ids), 500)]


def wake(run_ids: Iterable[UUID]) -> None:
    """Queue those waiting runs again that no longer wait for anything."""
    for run_id in run_ids:
        landed = registry.wake(run_id)
        done_and_total = registry.find_progress(run_id)
        if done_and_total is not None:
            events.sink().waiting_progress(run_id, *done_and_total)
        if landed:
            events.sink().status(run_id, Status.QUEUED)
            _ring([run_id])


def give_back(run_id: UUID, attempt: int, *, resurrect: bool = False, pause_seconds: float = 0.0) -> Status | None:
    """Queue a run again that has left its process without an end, or pause it if that was asked.

    Args:
        resurrect: whether it counts as a loss.
        pause_seconds: how long no worker takes it.

    Returns:
        Its status now; None if the attempt is stale or a stop was requested.
    """
    status = registry.requeue(run_id, attempt, resurrect=resurrect, pause_seconds=pause_seconds)
    if status is not None:
        more: dict[str, Any] = {"resurrected": True} if resurrect else {}
        events.sink().status(run_id, status, attempt=attempt, **more)
    if status is Status.QUEUED:
        _ring([run_id])
    return status


def _ring(run_ids: Sequence[UUID]) -> None:
    if run_ids:
        transaction.on_commit(partial(dispatch.ring, run_ids))
