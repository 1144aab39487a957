"""The public API of the engine: submit, cancel, wait, look. Every surface calls this and nothing below it.

All of it works in any process, because the truth is in the database.
"""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError, connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from runs import announcements, catalog, dispatch, draining, events, pauses, receipts, registry
from runs.conf import runs_settings
from runs.dispatch import CeleryTask
from runs.errors import (
    InputRefused,
    RunAlreadyEnded,
    RunIsStopping,
    RunNotFound,
    RunNotPaused,
    RunNotWaiting,
    ThreadBusy,
    WaitTimedOut,
)
from runs.inputs import checked_choice as _checked_choice
from runs.inputs import checked_seconds
from runs.inputs import checked_text as _checked_text
from runs.jsonable import as_json
from runs.limits import Limits, limits_of
from runs.models import DEFAULT_PRIORITY, PRIORITY_RANGE, NodeExecution, Run, StopReceipt, Worker, new_run_id
from runs.node_control import cancel_node as cancel_node
from runs.pauses import PauseResult, ResumeResult
from runs.registry import PauseRequest, StopRequest
from runs.retrying import retry as retry
from runs.states import ACTIVE, CANCELLING, PAUSING, OnParentStop, Status, StopMode, StopSource

WORKER_ALIVE_SECONDS = 15
LARGE_FIELDS = ("input", "output", "questions", "answers", "metadata")  # as large as a graph makes them


@dataclass(frozen=True)
class StopResult:
    """What one call of `cancel` or `cancel_all` did.

    `reached` were asked to stop by this call, `settled` of them are already cancelled because nothing of them was
    executing, `escalated` were stopping before and are now killed sooner.
    """

    reached: list[UUID] = field(default_factory=list)
    settled: list[UUID] = field(default_factory=list)
    escalated: list[UUID] = field(default_factory=list)


# --- starting ---------------------------------------------------------------------------------------------


def submit(
    graph: str,
    input: Any,
    *,
    owner: AbstractBaseUser | None = None,
    parent: UUID | None = None,
    child_key: str | None = None,
    on_parent_stop: str = OnParentStop.CANCEL,
    thread_id: str | None = None,
    idempotency_key: str | None = None,
    priority: int = DEFAULT_PRIORITY,
    metadata: Mapping[str, Any] | None = None,
    grace_seconds: float | None = None,
    interrupt_after_seconds: float | None = None,
    max_seconds: float | None = None,
    run_id: UUID | None = None,
    task: str = dispatch.EXECUTE_TASK,
    queue: str | None = None,
    ring: bool = True,
) -> Run:
    """Queue one execution of a graph. The worker is told after the surrounding transaction commits.

    Args:
        parent: the run that starts this one; owner and root come from it.
        child_key: names the child among its siblings; the same key again gives the same run.
        thread_id: LangGraph's checkpoint thread; None is a thread of its own.
        idempotency_key: the same key of the same owner gives the same run, whatever became of it.
        priority: 0 to 9, higher is sooner.
        grace_seconds, interrupt_after_seconds: from a stop that names no times to the kill and to the interrupt.
        max_seconds: from its first start; a run that is not over by then is stopped. None are its graph's times in
            `RUNS_GRAPHS`, or else the settings and no limit.
        ring: False if the caller runs it at once.

    Raises:
        GraphNotFound, InputRefused, ThreadBusy, ParentIsStopping, ShuttingDown.
    """
    draining.refuse_new_runs()
    catalog.get_entry(graph)
    limits = Limits(grace_seconds, interrupt_after_seconds, max_seconds).or_else(limits_of(graph))
    run_id = run_id or new_run_id()
    run = Run(
        id=run_id,
        graph=graph,
        parent_id=parent,
        root_id=_root_of(parent) if parent else run_id,
        child_key=child_key,
        on_parent_stop=_checked_choice("on_parent_stop", on_parent_stop, OnParentStop.values),
        owner_id=_owner_of(parent) if parent else (owner.pk if owner else None),
        thread_id=_checked_text("thread_id", thread_id or str(run_id), 200),
        task=task,
        queue=queue or runs_settings().queue,
        priority=_checked_priority(priority),
        idempotency_key=_checked_text("idempotency_key", idempotency_key, 200) if idempotency_key else None,
        metadata=_checked_json("metadata", dict(metadata or {})),
        input=_checked_json("input", input),
        grace_seconds=limits.grace_seconds,
        interrupt_after_seconds=limits.interrupt_after_seconds,
        max_seconds=limits.max_seconds,
        rung_at=timezone.now() if ring else None,  # taken back if the broker does not take the message
    )
    try:
        with transaction.atomic():
            registry.create(run)
    except IntegrityError:
        same = _find_same(run)
        if same is None:
            raise
        return same
    events.sink().know(run)
    events.sink().status(run.id, Status(run.status), attempt=0)  # paused, if its parent is being paused
    if ring and run.status == Status.QUEUED:
        transaction.on_commit(partial(dispatch.ring_one, run))
    return run


def _find_same(run: Run) -> Run | None:
    """The run whose unique key stopped an insert.

    Raises:
        ThreadBusy: it was not the same run but another one on the same thread.
    """
    if run.idempotency_key is not None:
        same = Run.objects.filter(owner_id=run.owner_id, idempotency_key=run.idempotency_key).first()
        if same is not None:
            return same
    if run.child_key is not None:
        same = Run.objects.filter(parent_id=run.parent_id, child_key=run.child_key).first()
        if same is not None:
            return same
    same = Run.objects.filter(id=run.id).first()
    if same is None and Run.objects.filter(thread_id=run.thread_id, status__in=ACTIVE).exists():
        raise ThreadBusy(run.thread_id)
    return same


# --- stopping ---------------------------------------------------------------------------------------------


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
    run = get(run_id)
    request = _stop_request(by, actor, source, reason, mode, grace_seconds, interrupt_after_seconds)
    result = stop_runs([run.id], request, cascade=cascade)
    if run.id not in result.reached:
        run.refresh_from_db()
        if run.status in (Status.COMPLETED, Status.FAILED):
            raise RunAlreadyEnded(run.id, run.status)
    return result


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
    ids = [run.id for run in list_active(graph=graph, owner=owner)]
    return cancel_runs(
        ids,
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
    request = _stop_request(by, actor, source, reason, mode, grace_seconds, interrupt_after_seconds)
    parts = [stop_runs(run_ids[start : start + 500], request) for start in range(0, len(run_ids), 500)]
    return StopResult(
        reached=[run_id for part in parts for run_id in part.reached],
        settled=[run_id for part in parts for run_id in part.settled],
        escalated=[run_id for part in parts for run_id in part.escalated],
    )


def stop_runs(run_ids: Sequence[UUID], request: StopRequest, *, cascade: bool = True) -> StopResult:
    """What `cancel` and `cancel_all` have in common, for callers that already have a request."""
    stopped = registry.request_stop(run_ids, request, cascade=cascade)
    new = {item.run_id for item in stopped}
    settled = [item.run_id for item in stopped if item.status is Status.CANCELLED]
    executing = [item.run_id for item in stopped if item.status is not Status.CANCELLED]
    # The doorbell first: everything after it can wait.
    transaction.on_commit(partial(dispatch.ring_stops, executing, request.reason))
    escalated: list[UUID] = []
    if not new.issuperset(run_ids):
        reached = registry.escalate(run_ids, request, cascade=cascade)
        escalated = [run_id for run_id in reached if run_id not in new]
        transaction.on_commit(partial(dispatch.ring_stops, escalated, request.reason))
        announcements.tell_escalation(escalated, request)
    announcements.tell_stop(stopped, request)
    wake_parents({item.parent_id for item in stopped if item.parent_id and item.status is Status.CANCELLED} - new)
    return StopResult([item.run_id for item in stopped], settled, escalated)


def _stop_request(
    by: AbstractBaseUser | None,
    actor: str,
    source: str,
    reason: str,
    mode: str,
    grace_seconds: float | None,
    interrupt_after_seconds: float | None = None,
) -> StopRequest:
    return StopRequest(
        mode=StopMode(_checked_choice("mode", mode, StopMode.values)),
        source=StopSource(_checked_choice("source", source, StopSource.values)),
        actor=actor or (str(by) if by else ""),
        reason=_checked_text("reason", reason, 2_000),
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


# --- pausing ----------------------------------------------------------------------------------------------


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
    run = get(run_id)
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
        source=StopSource(_checked_choice("source", source, StopSource.values)),
        actor=actor or (str(by) if by else ""),
        reason=_checked_text("reason", reason, 2_000),
        cascades=cascade,
        by_id=by.pk if by else None,
    )
    return pauses.pause_runs(run_ids, request)


def resume(run_id: UUID | str, *, cascade: bool = True) -> ResumeResult:
    """Let a paused run go on from its last checkpoint, and by default everything below it that is paused.

    One that is still pausing goes on, too: its pause is withdrawn.

    Raises:
        RunNotFound.
        RunNotPaused: nothing was changed.
    """
    run = get(run_id)
    result = pauses.resume_runs([run.id], cascade=cascade)
    if run.id not in {*result.resumed, *result.withdrawn}:
        run.refresh_from_db()
        raise RunNotPaused(run.id, run.display_status)
    return result


def resume_runs(run_ids: Sequence[UUID]) -> ResumeResult:
    """Let all these runs go on; see `resume`. What is not paused is left alone."""
    return pauses.resume_runs(run_ids)


# --- going on ---------------------------------------------------------------------------------------------


def wake_parents(parent_ids: set[UUID]) -> None:
    """Queue those parents again that no longer wait for anything."""
    pauses.wake(parent_ids)


def answer(run_id: UUID | str, answers: Mapping[str, Any]) -> Run:
    """Answer what a waiting run's graph asked by `interrupt()`: interrupt id → value, see `Run.questions`.

    Raises:
        RunNotFound, RunNotWaiting, InputRefused.
    """
    run = get(run_id)
    if run.status != Status.WAITING or not run.questions:
        raise RunNotWaiting(run.id, run.display_status)
    unknown = sorted(set(answers) - set(run.questions))
    if unknown or not answers:
        raise InputRefused(f"answers are for {unknown or 'nothing'}, allowed are {sorted(run.questions)}")
    if not registry.answer(run.id, _checked_json("answers", dict(answers))):
        raise RunNotWaiting(run.id, "answered already, or no longer waiting")
    wake_parents({run.id})
    return get(run_id)


# --- looking ----------------------------------------------------------------------------------------------


def get(run_id: UUID | str) -> Run:
    """Find one run.

    Raises:
        RunNotFound: also for an id that is no UUID.
    """
    run = find(run_id)
    if run is None:
        raise RunNotFound(run_id)
    return run


def find(run_id: UUID | str) -> Run | None:
    key = run_id if isinstance(run_id, UUID) else _find_uuid(run_id)
    if key is None:
        return None
    return Run.objects.select_related("owner").filter(id=key).first()


def _find_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def look_at(run_id: UUID | str, *, timeout_seconds: float = 3.0) -> StopReceipt | None:
    """What a run's process is doing now, as its supervisor sees it; of an ended run, what was kept of its stop.

    Returns:
        None if nothing was kept, or no supervisor answered in time: the run is in no process.

    Raises:
        RunNotFound.
    """
    run = get(run_id)
    if run.status != Status.RUNNING:
        return receipts.find(run.id)
    asked_at = receipts.request_evidence(run.id)
    transaction.on_commit(dispatch.ring_look)
    ends = time.monotonic() + timeout_seconds
    while time.monotonic() < ends:
        receipt = receipts.find(run.id)
        if receipt is not None and receipt.evidence_at is not None and receipt.evidence_at >= asked_at:
            return receipt
        time.sleep(0.02)
    return receipts.find(run.id)


def list_active(*, graph: str | None = None, owner: AbstractBaseUser | None = None) -> list[Run]:
    """Every run that has not ended, newest first."""
    runs = Run.objects.select_related("owner").filter(status__in=ACTIVE)
    if graph is not None:
        runs = runs.filter(graph=graph)
    if owner is not None:
        runs = runs.filter(owner_id=owner.pk)
    return list(runs)


def list_runs(
    *,
    graph: str | None = None,
    owner: AbstractBaseUser | None = None,
    statuses: Collection[str] = (),
    limit: int | None = None,
) -> list[Run]:
    """Runs, ended ones among them, newest first.

    Args:
        statuses: as people see them, so `cancelling` and `pausing` are two and `running` is without them; none are
            all.
    """
    runs = Run.objects.select_related("owner").filter(displayed_as(statuses) if statuses else Q())
    if graph is not None:
        runs = runs.filter(graph=graph)
    if owner is not None:
        runs = runs.filter(owner_id=owner.pk)
    return list(runs[:limit])


def displayed_as(statuses: Collection[str]) -> Q:
    """The filter for `Run.display_status`."""
    stopping = Q(status__in=ACTIVE, stop_requested_at__isnull=False)
    pausing = Q(status=Status.RUNNING, pause_requested_at__isnull=False) & ~stopping
    found = Q(status__in=[status for status in statuses if status in Status.values]) & ~stopping & ~pausing
    if PAUSING in statuses:
        found |= pausing
    return found | stopping if CANCELLING in statuses else found


def list_tree(run_id: UUID | str) -> list[Run]:
    """A run and everything below it, parents before their children.

    Raises:
        RunNotFound.
    """
    run = get(run_id)
    below: dict[UUID | None, list[Run]] = {}
    for member in _slim_runs().filter(root_id=run.root_id).order_by("id"):
        below.setdefault(member.parent_id, []).append(member)
    tree = [run]
    for member in tree:
        tree.extend(below.get(member.id, []))
    return tree


def in_tree_order(runs: Sequence[Run]) -> list[tuple[Run, int]]:
    """Each run, followed by its children in the order in which they were started, with its depth."""
    shown = {run.id for run in runs}
    below: dict[UUID | None, list[Run]] = {}
    for run in runs:
        below.setdefault(run.parent_id if run.parent_id in shown else None, []).append(run)
    ordered: list[tuple[Run, int]] = []
    stack = [(run, 0) for run in reversed(below.get(None, []))]
    while stack:
        run, depth = stack.pop()
        ordered.append((run, depth))
        children = sorted(below.get(run.id, []), key=lambda child: child.id, reverse=True)
        stack.extend((child, depth + 1) for child in children)
    return ordered


def list_stoppable(run_ids: Sequence[UUID]) -> list[Run]:
    """What a stop of these runs would reach now: the active ones among them and below them."""
    ids = registry.list_tree(run_ids)
    return list(_slim_runs().filter(id__in=ids, status__in=ACTIVE).order_by("id"))


def _slim_runs() -> QuerySet[Run]:
    """Runs without what may be large, for lists that can be long."""
    return Run.objects.select_related("owner").defer(*LARGE_FIELDS)


def list_nodes(run_id: UUID) -> list[NodeExecution]:
    """What a run's nodes did, in the order in which they began."""
    return list(NodeExecution.objects.filter(run_id=run_id))


def list_celery_tasks(*, timeout_seconds: float = 1.0) -> list[CeleryTask]:
    """The plain tasks that the living workers hold; a run is none.

    Raises:
        BrokerAway.
    """
    tasks = dispatch.list_celery_tasks([worker.hostname for worker in list_workers()], timeout_seconds)
    keys = {task.id: key for task in tasks if (key := _find_uuid(task.id)) is not None}
    runs = set(Run.objects.filter(id__in=keys.values()).values_list("id", flat=True))
    return [task for task in tasks if keys.get(task.id) not in runs]


def cancel_celery_tasks(task_ids: Sequence[str], *, kill: bool = False) -> None:
    """End plain tasks: dropped where they have not started, otherwise SIGTERM, with `kill` SIGKILL.

    Raises:
        BrokerAway.
    """
    dispatch.revoke(task_ids, kill=kill)


def list_workers() -> list[Worker]:
    """The workers whose supervisors have reported in the last 15 seconds."""
    return list(Worker.objects.filter(heartbeat_at__gt=timezone.now() - timedelta(seconds=WORKER_ALIVE_SECONDS)))


def wait(run_id: UUID | str, *, timeout_seconds: float | None = None, tree: bool = False) -> Run:
    """Wait until a run has ended; with `tree`, until everything below it has, too.

    Raises:
        RunNotFound, WaitTimedOut.
    """
    run = get(run_id)
    started = time.monotonic()
    pause = 0.005
    while True:
        run = get(run.id)
        if run.is_terminal and not (tree and _has_active_below(run)):
            return run
        waited = time.monotonic() - started
        if timeout_seconds is not None and waited >= timeout_seconds:
            raise WaitTimedOut(run.id, run.display_status, timeout_seconds)
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


def _has_active_below(run: Run) -> bool:
    below = registry.list_tree([run.id])
    return Run.objects.filter(id__in=below, status__in=ACTIVE).exists()


# --- checks -----------------------------------------------------------------------------------------------


def _root_of(parent_id: UUID) -> UUID:
    root_id: UUID | None = Run.objects.filter(id=parent_id).values_list("root_id", flat=True).first()
    if root_id is None:
        raise RunNotFound(parent_id)
    return root_id


def _owner_of(parent_id: UUID) -> Any:
    return Run.objects.values_list("owner_id", flat=True).get(id=parent_id)


def _checked_priority(priority: int) -> int:
    if not isinstance(priority, int) or priority not in PRIORITY_RANGE:
        raise InputRefused(f"priority is {priority!r}, allowed is {PRIORITY_RANGE[0]} to {PRIORITY_RANGE[-1]}")
    return priority


def _checked_json(name: str, value: Any) -> Any:
    try:
        return as_json(value)
    except ValueError as error:
        raise InputRefused(f"{name} has no JSON form: {error}") from None
