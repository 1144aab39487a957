"""Tries a run that failed or was cancelled again, as a new run on the same thread.

A retry goes on from the last checkpoint, or from the state in which the first try began. It takes the results of the
children that had completed, and starts the others again as retries of their own. `control` offers `retry`; `nodes`
calls the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.utils import timezone

from runs import catalog, dispatch, draining, events, lineage, registry
from runs.errors import AlreadyRetried, RetryRefused, RunNotFound, ThreadBusy
from runs.inputs import checked_run_id, checked_text
from runs.models import Run, new_run_id
from runs.signals import run_retried
from runs.states import ACTIVE, Status

RETRIABLE = frozenset({Status.FAILED, Status.CANCELLED})


def retry(
    run_id: UUID | str,
    *,
    from_start: bool = False,
    by: AbstractBaseUser | None = None,
    actor: str = "",
    reason: str = "",
) -> Run:
    """Queue another try of a run that failed or was cancelled: a new run, `retry_of` the old one.

    It has the old one's graph, input, owner, thread, task, queue, priority and metadata. The retry of a child is no
    child: its parent has ended or goes on without it. A child is retried as one by the retry of its parent.

    Args:
        from_start: begin anew, on the thread as it was before the first try; else go on from the last checkpoint,
            repeating no finished node.
        by: who asks; `actor` says it in words where there is no user.

    Raises:
        RunNotFound, GraphNotFound, InputRefused.
        RetryRefused: it has not ended, or has completed; something below it still executes; its thread has gone on.
        AlreadyRetried: only the newest try can be retried.
        ThreadBusy: another run of the thread has not ended.
        ShuttingDown.

    Race: the old run's row is locked, and it can be retried once; of two calls one is refused.
    """
    draining.refuse_new_runs()
    checked_text("reason", reason, 2_000)
    key = checked_run_id(run_id)
    with transaction.atomic():
        old = Run.objects.select_for_update(no_key=True).filter(id=key).first()
        if old is None:
            raise RunNotFound(run_id)
        catalog.get_entry(old.graph)
        _check_retriable(old)
        new = _again(old)
        new.retry_from_start = from_start
        new.retry_actor = (actor or (str(by) if by else ""))[:200]
        new.retry_reason = reason
        _insert(new, old)
    return new


def take_over_child(parent_id: UUID, earlier: Sequence[UUID], child_key: str, graph: str) -> Run | None:
    """What the retry of a parent gets for a child that an earlier try of it had started.

    Returns:
        The old child if it completed, else the child that is its retry; None if there was no such child.
    """
    own = Run.objects.filter(parent_id=parent_id, child_key=child_key).first()
    if own is not None:
        return own
    old = lineage.find_child(earlier, child_key)
    return _take_over(parent_id, old, child_key) if old is not None and old.graph == graph else None


def _take_over(parent_id: UUID, old: Run, child_key: str) -> Run:
    if old.status == Status.COMPLETED:
        Run.objects.filter(id=old.id).update(adopted_by=parent_id)
        return old
    try:
        return _renew_child(old, parent_id, child_key)
    except (RetryRefused, ThreadBusy):
        # Somebody retries the child by itself at this moment, as a run that is not ours to wait for.
        return _renew_child(old, parent_id, child_key, on_its_thread=False)


def take_over_children(parent_id: UUID, earlier: Sequence[UUID], child_ids: Sequence[UUID]) -> list[UUID]:
    """The ids to wait for in the place of these, some of which may be children of an earlier try."""
    olds = {run.id: run for run in Run.objects.filter(id__in=child_ids, parent_id__in=earlier)}
    completed = [run.id for run in olds.values() if run.status == Status.COMPLETED]
    Run.objects.filter(id__in=completed).update(adopted_by=parent_id)
    taken: dict[UUID, UUID] = {}
    for old in olds.values():
        if old.status != Status.COMPLETED:
            key = old.child_key or f"retry of {old.id}"  # one that was started by no node has none
            newest = lineage.find_child([parent_id], key) or lineage.find_child(earlier, key) or lineage.newest_of(old)
            taken[old.id] = newest.id if newest.parent_id == parent_id else _take_over(parent_id, newest, key).id
    return [taken.get(child_id, child_id) for child_id in child_ids]


def _check_retriable(old: Run) -> None:
    newest = lineage.newest_of(old)
    if newest.id != old.id:
        raise AlreadyRetried(old.id, newest.id, newest.display_status)
    if old.status not in RETRIABLE:
        why = "it has completed" if old.status == Status.COMPLETED else f"it is {old.display_status}, cancel it first"
        raise RetryRefused(old.id, why)
    below = _find_active_below(old)
    if below is not None:
        raise RetryRefused(old.id, f"run {below.id} below it is still {below.display_status}, wait for it or cancel it")
    later = (
        Run.objects.filter(thread_id=old.thread_id, created_at__gt=old.created_at, attempt__gt=0)
        .exclude(id=old.id)
        .first()
    )
    if later is not None:
        if not later.is_terminal:
            raise ThreadBusy(old.thread_id)
        raise RetryRefused(old.id, f"its thread {old.thread_id} has gone on with run {later.id}, start a new run")


def _find_active_below(run: Run) -> Run | None:
    """A run below this one that still executes, also one that was started to outlive it."""
    level = [run.id]
    while level:
        children = list(Run.objects.filter(parent_id__in=level).only("id", "status", "stop_requested_at"))
        active = next((child for child in children if not child.is_terminal), None)
        if active is not None:
            return active
        level = [child.id for child in children]
    return None


def _renew_child(old: Run, parent_id: UUID, child_key: str, *, on_its_thread: bool = True) -> Run:
    with transaction.atomic():
        old = Run.objects.select_for_update(no_key=True).get(id=old.id)
        new = _again(old)
        new.parent_id = parent_id
        new.root_id = Run.objects.values_list("root_id", flat=True).get(id=parent_id)
        new.child_key = child_key
        new.retry_reason = "its parent was retried"
        if on_its_thread:
            _check_retriable(old)
        else:
            new.retry_of_id = None
            new.thread_id = str(new.id)
        _insert(new, old)
    return new


def _again(old: Run) -> Run:
    run_id = new_run_id()
    return Run(
        id=run_id,
        graph=old.graph,
        root_id=run_id,
        on_parent_stop=old.on_parent_stop,
        retry_of_id=old.id,
        owner_id=old.owner_id,
        thread_id=old.thread_id,
        task=old.task,
        queue=old.queue,
        priority=old.priority,
        metadata=old.metadata,
        grace_seconds=old.grace_seconds,
        interrupt_after_seconds=old.interrupt_after_seconds,
        max_seconds=old.max_seconds,
        input=old.input,
        rung_at=timezone.now(),  # taken back if the broker does not take the message
    )


def _insert(new: Run, old: Run) -> None:
    try:
        with transaction.atomic():
            registry.create(new)
    except IntegrityError:
        if Run.objects.filter(thread_id=new.thread_id, status__in=ACTIVE).exists():
            raise ThreadBusy(new.thread_id) from None
        raise
    run_retried.send(Run, old=old, new=new)
    transaction.on_commit(partial(_tell, new, old))


def _tell(new: Run, old: Run) -> None:
    sink = events.sink()
    sink.know(new)
    sink.status(new.id, Status.QUEUED, attempt=0)
    sink.emit(old.id, "run.retried", {"run_id": str(new.id), "from_start": new.retry_from_start})
    dispatch.ring_one(new)
