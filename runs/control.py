"""The public API of the engine: submit, cancel, wait, look. Every surface calls this and nothing below it.

All of it works in any process, because the truth is in the database. What starts a run or gives it something is here;
the other use cases have modules of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.utils import timezone

from runs import announcements, catalog, dispatch, draining, events, registry
from runs.bulk_stops import find_bulk_stop, find_progress, stop_many
from runs.conf import runs_settings
from runs.errors import InputRefused, RunNotFound, RunNotWaiting, ThreadBusy
from runs.inputs import checked_choice, checked_text
from runs.jsonable import as_json
from runs.limits import Limits, limits_of
from runs.models import DEFAULT_PRIORITY, PRIORITY_RANGE, Run, new_run_id
from runs.node_control import cancel_node
from runs.pauses import PauseResult, ResumeResult, pause, pause_runs, resume, resume_runs
from runs.pauses import wake as wake_parents
from runs.queries import (
    LARGE_FIELDS,
    WORKER_ALIVE_SECONDS,
    displayed_as,
    find,
    find_by_key,
    get,
    in_tree_order,
    list_active,
    list_celery_tasks,
    list_nodes,
    list_runs,
    list_stoppable,
    list_tree,
    list_workers,
    look_at,
    slimmed,
    wait,
)
from runs.retrying import retry
from runs.states import ACTIVE, OnParentStop, Status
from runs.stops import (
    StopResult,
    cancel,
    cancel_all,
    cancel_celery_tasks,
    cancel_key,
    cancel_runs,
    cli_actor,
    stop_request,
    stop_runs,
)

__all__ = [
    "LARGE_FIELDS",
    "WORKER_ALIVE_SECONDS",
    "PauseResult",
    "ResumeResult",
    "StopResult",
    "answer",
    "cancel",
    "cancel_all",
    "cancel_celery_tasks",
    "cancel_key",
    "cancel_node",
    "cancel_runs",
    "cli_actor",
    "displayed_as",
    "find",
    "find_bulk_stop",
    "find_by_key",
    "find_progress",
    "get",
    "in_tree_order",
    "list_active",
    "list_celery_tasks",
    "list_nodes",
    "list_runs",
    "list_stoppable",
    "list_tree",
    "list_workers",
    "look_at",
    "pause",
    "pause_runs",
    "resume",
    "resume_runs",
    "retry",
    "slimmed",
    "stop_many",
    "stop_request",
    "stop_runs",
    "submit",
    "wait",
    "wake_parents",
]


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
        idempotency_key: the same key of the same owner gives the same run, whatever became of it; after `cancel_key`
            a cancelled one.
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
        on_parent_stop=checked_choice("on_parent_stop", on_parent_stop, OnParentStop.values),
        owner_id=_owner_of(parent) if parent else (owner.pk if owner else None),
        thread_id=checked_text("thread_id", thread_id or str(run_id), 200),
        task=task,
        queue=queue or runs_settings().queue,
        priority=_checked_priority(priority),
        idempotency_key=checked_text("idempotency_key", idempotency_key, 200) if idempotency_key else None,
        metadata=_checked_json("metadata", dict(metadata or {})),
        input=_checked_json("input", input),
        grace_seconds=limits.grace_seconds,
        interrupt_after_seconds=limits.interrupt_after_seconds,
        max_seconds=limits.max_seconds,
        rung_at=timezone.now() if ring else None,  # taken back if the broker does not take the message
    )
    try:
        with transaction.atomic():
            asked = registry.create(run)
    except IntegrityError:
        same = _find_same(run)
        if same is None:
            raise
        return same
    events.sink().know(run)
    if asked is not None:  # before it came
        announcements.tell_stop([registry.Stopped(run.id, Status.CANCELLED, parent)], asked)
        return run
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
    return get(run.id)


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
