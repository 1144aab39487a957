"""Pause and resume, and how a run that has left its process without an end goes on. `control` offers the use cases.

A pause is no stop: a running graph drains, which means that it leaves at its next step boundary with a checkpoint and
no node is cut. A stop that comes meanwhile wins, and so does an end by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction

from runs import dispatch, events, queries, registry
from runs.errors import RunAlreadyEnded, RunIsStopping, RunNotPaused
from runs.inputs import checked_choice, checked_text
from runs.requests import PauseRequest
from runs.states import PAUSING, Status, StopSource


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


def pause(
    run_id: UUID | str,
    *,
    by: AbstractBaseUser | None = None,
    actor: str = "",
    source: str = StopSource.API,
    reason: str = "",
    cascade: bool = True,
) -> PauseResult:
    """Ask a run, and by default everything below it, to pause. Returns at once.

    What is queued or waiting is paused on the spot. What runs leaves at its next step boundary: no node is cut. If it
    ends before that, that outcome stands. Asked again, the first reason stays.

    Raises:
        RunNotFound, InputRefused.
        RunAlreadyEnded, RunIsStopping: nothing was changed.
    """
    run = queries.get(run_id)
    result = pause_runs([run.id], by=by, actor=actor, source=source, reason=reason, cascade=cascade)
    if run.id not in result.reached:
        run.refresh_from_db()
        if run.is_terminal:
            raise RunAlreadyEnded(run.id, run.status)
        if run.is_stopping:
            raise RunIsStopping(run.id)
    return result


def pause_runs(
    run_ids: Sequence[UUID],
    *,
    by: AbstractBaseUser | None = None,
    actor: str = "",
    source: str = StopSource.API,
    reason: str = "",
    cascade: bool = True,
) -> PauseResult:
    """Ask all these runs to pause; see `pause`. What has ended or is stopping is left alone."""
    request = PauseRequest(
        source=StopSource(checked_choice("source", source, StopSource.values)),
        actor=actor or (str(by) if by else ""),
        reason=checked_text("reason", reason, 2_000),
        cascades=cascade,
        by_id=by.pk if by else None,
    )
    reached = [item for part in _parts(run_ids) for item in registry.request_pause(part, request)]
    settled = [item.run_id for item in reached if item.status is Status.PAUSED]
    if len(settled) < len(reached):
        transaction.on_commit(dispatch.ring_look)
    for item in reached:
        transaction.on_commit(partial(events.sink().emit, item.run_id, "run.pause", {"reason": request.reason}))
        displayed = PAUSING if item.status is Status.RUNNING else ""
        events.sink().status(item.run_id, item.status, displayed=displayed)
    return PauseResult([item.run_id for item in reached], settled)


def resume(run_id: UUID | str, *, cascade: bool = True) -> ResumeResult:
    """Let a paused run go on from its last checkpoint, and by default everything below it that is paused.

    One that is still pausing goes on, too: its pause is withdrawn.

    Raises:
        RunNotFound.
        RunNotPaused: nothing was changed.
    """
    run = queries.get(run_id)
    result = resume_runs([run.id], cascade=cascade)
    if run.id not in {*result.resumed, *result.withdrawn}:
        run.refresh_from_db()
        raise RunNotPaused(run.id, run.display_status)
    return result


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
