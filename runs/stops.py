"""Stopping runs, and everything below them; see `registry.request_stop` for what is certain when a call returns."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.db.models import QuerySet

from runs import announcements, dispatch, pauses, queries, registry
from runs.errors import InputRefused, RunAlreadyEnded
from runs.inputs import checked_choice, checked_seconds, checked_text
from runs.models import Run
from runs.registry import Stopped
from runs.requests import StopRequest
from runs.states import OnParentStop, Status, StopMode, StopSource


@dataclass(frozen=True)
class StopResult:
    """What one call of `cancel` or `cancel_all` did.

    `reached` were asked to stop by this call, `settled` of them are already cancelled because nothing of them was
    executing, `escalated` were stopping before and are now killed sooner.
    """

    reached: list[UUID] = field(default_factory=list)
    settled: list[UUID] = field(default_factory=list)
    escalated: list[UUID] = field(default_factory=list)


def cancel(
    run_id: UUID | str,
    *,
    by: AbstractBaseUser | None = None,
    actor: str = "",
    source: str = StopSource.API,
    reason: str = "",
    mode: str = StopMode.CANCEL,
    grace_seconds: float | None = None,
    interrupt_after_seconds: float | None = None,
    cascade: bool = True,
) -> StopResult:
    """Ask a run, and by default everything below it, to stop. Returns at once; `wait` tells when it has happened.

    If it returns, the run can end only as cancelled. Asked again, the first reason stays; a stronger mode, or a
    shorter grace, brings the kill forward.

    Args:
        by: who asks; `actor` says it in words where there is no user.
        mode: cancel (stop at the next boundary; interrupted, then killed, when it takes too long), interrupt (raise
            inside its nodes now, killed after the grace) or kill (at once).
        grace_seconds, interrupt_after_seconds: from now to the kill and to the interrupt, for every run that it
            reaches; None are each run's own times, or else the settings.

    Raises:
        RunNotFound, InputRefused.
        RunAlreadyEnded: it had completed or failed, and nothing was changed. A run that is already cancelled is no
            error: the result is empty.
    """
    request = stop_request(by, actor, source, reason, mode, grace_seconds, interrupt_after_seconds)
    return _cancel(run_id, request, cascade=cascade)


def _cancel(run_id: UUID | str, request: StopRequest, *, cascade: bool) -> StopResult:
    run = queries.get(run_id)
    result = stop_runs([run.id], request, cascade=cascade)
    if run.id not in result.reached:
        run.refresh_from_db()
        if run.status in (Status.COMPLETED, Status.FAILED):
            raise RunAlreadyEnded(run.id, run.status)
    return result


def cancel_key(
    owner: AbstractBaseUser | None,
    key: str,
    *,
    by: AbstractBaseUser | None = None,
    actor: str = "",
    source: str = StopSource.API,
    reason: str = "",
    mode: str = StopMode.CANCEL,
    grace_seconds: float | None = None,
    interrupt_after_seconds: float | None = None,
    cascade: bool = True,
) -> tuple[UUID | None, StopResult]:
    """Cancel what was submitted by this owner with this idempotency key, also if it comes only later: then it is born
    cancelled.

    Returns:
        The run, None if there is none yet; and what was done to it, as `cancel` tells it.

    Raises:
        InputRefused, RunAlreadyEnded.
        TooManyTombstones: of one owner only so many keys are kept whose runs have not come.
    """
    if not key:
        raise InputRefused("the idempotency key is empty")
    checked_text("idempotency_key", key, 200)
    request = stop_request(by, actor, source, reason, mode, grace_seconds, interrupt_after_seconds)
    run_id = registry.leave_tombstone(owner.pk if owner else None, key, request)
    if run_id is None:
        return None, StopResult()
    return run_id, _cancel(run_id, request, cascade=cascade)


def cancel_all(
    *,
    graph: str | None = None,
    owner: AbstractBaseUser | None = None,
    by: AbstractBaseUser | None = None,
    actor: str = "",
    source: str = StopSource.API,
    reason: str = "",
    mode: str = StopMode.CANCEL,
    grace_seconds: float | None = None,
    interrupt_after_seconds: float | None = None,
) -> StopResult:
    """Ask every active run that matches to stop, with everything below it; see `cancel`."""
    return cancel_runs(
        queries.list_active_ids(graph=graph, owner=owner),
        by=by,
        actor=actor,
        source=source,
        reason=reason,
        mode=mode,
        grace_seconds=grace_seconds,
        interrupt_after_seconds=interrupt_after_seconds,
    )


def cancel_runs(
    run_ids: Sequence[UUID],
    *,
    by: AbstractBaseUser | None = None,
    actor: str = "",
    source: str = StopSource.API,
    reason: str = "",
    mode: str = StopMode.CANCEL,
    grace_seconds: float | None = None,
    interrupt_after_seconds: float | None = None,
) -> StopResult:
    """Ask all these runs to stop, with everything below them; see `cancel`. What has ended is left alone."""
    request = stop_request(by, actor, source, reason, mode, grace_seconds, interrupt_after_seconds)
    parts = [stop_runs(run_ids[start : start + 500], request) for start in range(0, len(run_ids), 500)]
    return StopResult(
        reached=[run_id for part in parts for run_id in part.reached],
        settled=[run_id for part in parts for run_id in part.settled],
        escalated=[run_id for part in parts for run_id in part.escalated],
    )


def stop_runs(run_ids: Sequence[UUID], request: StopRequest, *, cascade: bool = True) -> StopResult:
    """What `cancel` and `cancel_all` have in common, for callers that already have a request."""
    stopped = _stop(run_ids, request, cascade=cascade)
    new = {item.run_id for item in stopped}
    escalated: list[UUID] = []
    if not new.issuperset(run_ids):
        reached = registry.escalate(run_ids, request, cascade=cascade)
        escalated = [run_id for run_id in reached if run_id not in new]
        transaction.on_commit(partial(dispatch.ring_stops, escalated, request.reason))
        announcements.tell_escalation(escalated, request)
    settled = [item.run_id for item in stopped if item.status is Status.CANCELLED]
    return StopResult([item.run_id for item in stopped], settled, escalated)


def stop_children(children: QuerySet[Run], request: StopRequest) -> None:
    """Stop those of the children whose results nobody will read, with everything below them.

    What was told to outlive its parent goes on; what is stopping already keeps its times.
    """
    _stop(list(children.filter(on_parent_stop=OnParentStop.CANCEL).values_list("id", flat=True)), request)


def _stop(run_ids: Sequence[UUID], request: StopRequest, *, cascade: bool = True) -> list[Stopped]:
    """Request the stop, and tell everybody who waits for it: the supervisors, the watchers, the parents."""
    stopped = registry.request_stop(run_ids, request, cascade=cascade)
    executing = [item.run_id for item in stopped if item.status is not Status.CANCELLED]
    # The doorbell first: everything after it can wait.
    transaction.on_commit(partial(dispatch.ring_stops, executing, request.reason))
    announcements.tell_stop(stopped, request)
    waiting = {item.parent_id for item in stopped if item.parent_id and item.status is Status.CANCELLED}
    pauses.wake(waiting - {item.run_id for item in stopped})
    return stopped


def stop_request(
    by: AbstractBaseUser | None,
    actor: str,
    source: str,
    reason: str,
    mode: str,
    grace_seconds: float | None,
    interrupt_after_seconds: float | None,
) -> StopRequest:
    """
    Raises:
        InputRefused.
    """
    return StopRequest(
        mode=StopMode(checked_choice("mode", mode, StopMode.values)),
        source=StopSource(checked_choice("source", source, StopSource.values)),
        actor=actor or (str(by) if by else ""),
        reason=checked_text("reason", reason, 2_000),
        grace_seconds=checked_seconds("grace_seconds", grace_seconds),
        by_id=by.pk if by else None,
        interrupt_after_seconds=checked_seconds("interrupt_after_seconds", interrupt_after_seconds),
    )


def cli_actor() -> str:
    """Who types the command, for stops that no logged-in user asks for."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return f"{name}@{socket.gethostname()}"


def cancel_celery_tasks(task_ids: Sequence[str], *, kill: bool = False) -> None:
    """End plain tasks: dropped where they have not started, otherwise SIGTERM, with `kill` SIGKILL.

    Raises:
        BrokerAway.
    """
    dispatch.revoke(task_ids, kill=kill)
