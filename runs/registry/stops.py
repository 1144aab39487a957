"""Stops: requested of a tree in one statement, and brought forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Case, DateTimeField, Value, When
from django.db.models.functions import Least
from django.utils import timezone

from runs.columns import as_uuid, columns_of, moment, names_of
from runs.ladder import Schedule
from runs.models import Run
from runs.registry.rows import TABLE, Stopped, as_column, as_parameter, list_tree, record
from runs.requests import StopRequest
from runs.states import ACTIVE, IDLE, OnParentStop, Status, StopMode

# A run's own grace and its own time until the interrupt, in seconds.
Times: TypeAlias = "tuple[float | None, float | None]"


def request_stop(run_ids: Sequence[UUID], request: StopRequest, *, cascade: bool = True) -> list[Stopped]:
    """Ask runs, and with `cascade` everything below them, to stop.

    Idle runs are cancelled on the spot. What had ended by itself is left alone, with everything below it. A run
    that was asked before keeps its first reason and is not in the answer; `escalate` climbs for it.

    Race: the recursive statement is repeated until it reaches nothing new. A child that was being inserted
    meanwhile either was committed, and is found by the next round, or is refused by `create`, which waits for the
    parent's row.
    """
    reached: dict[UUID, Stopped] = {}
    with transaction.atomic():
        while True:
            found = _request_stop_once(run_ids, request, cascade=cascade)
            if not found:
                break
            reached.update((stopped.run_id, stopped) for stopped in found)
        cancelled = [stopped.run_id for stopped in reached.values() if stopped.status is Status.CANCELLED]
        record(cancelled, Status.CANCELLED)
    return list(reached.values())


def request_own_stop(run_id: UUID, attempt: int, request: StopRequest) -> list[Stopped]:
    """The stop that an attempt asks for by itself; a stale one reaches nothing, least of all its successor."""
    with transaction.atomic():
        own = Run.objects.select_for_update(no_key=True).filter(id=run_id, attempt=attempt, status=Status.RUNNING)
        return request_stop([run_id], request) if own.only("id").first() else []


def _request_stop_once(run_ids: Sequence[UUID], request: StopRequest, *, cascade: bool) -> list[Stopped]:
    if not run_ids:
        return []
    now = timezone.now()
    columns = _stop_columns(request, now)
    names = names_of(columns_of(Run, columns))
    idle = ", ".join(f"'{status.value}'" for status in sorted(IDLE))
    active = ", ".join(f"'{status.value}'" for status in sorted(ACTIVE))
    # Whoever locks several runs locks a parent before its children, which have later ids: otherwise two of them
    # could wait for each other.
    locking = "FOR NO KEY UPDATE" if connection.vendor == "postgresql" else ""
    sql = f"""
        WITH RECURSIVE tree(id) AS (
            SELECT id FROM {TABLE} WHERE id IN ({", ".join(["%s"] * len(run_ids))})
            AND (status IN ({active}) OR stop_requested_at IS NOT NULL)
            UNION
            SELECT child.id FROM {TABLE} child JOIN tree ON child.parent_id = tree.id
            WHERE %s AND child.on_parent_stop = '{OnParentStop.CANCEL.value}'
        ), found(id) AS (
            SELECT id FROM {TABLE} WHERE id IN (SELECT id FROM tree)
            AND status IN ({active}) AND stop_requested_at IS NULL
            ORDER BY id {locking}
        )
        UPDATE {TABLE} SET
            {", ".join(f"{name} = %s" for name in names)}, stop_node = current_node, stop_call = current_call,
            status = CASE WHEN status IN ({idle}) THEN '{Status.CANCELLED.value}' ELSE status END,
            finished_at = CASE WHEN status IN ({idle}) THEN %s ELSE NULL END,
            stop_gone_at = CASE WHEN status IN ({idle}) THEN %s ELSE NULL END
        WHERE id IN (SELECT id FROM found) AND status IN ({active}) AND stop_requested_at IS NULL
        RETURNING id, status, parent_id, grace_seconds, interrupt_after_seconds
    """  # noqa: S608 - names of columns and constants; every value is a parameter
    values = [as_column(name, value) for name, value in columns.items()]
    at = moment(now)
    parameters = [*map(as_parameter, run_ids), cascade, *values, at, at]
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows = cursor.fetchall()
    _plan_by_own_times({as_uuid(row[0]): (row[3], row[4]) for row in rows}, request, now)
    return [
        Stopped(as_uuid(row[0]), Status(row[1]), row[2] and as_uuid(row[2]), request.schedule(now, row[3], row[4]))
        for row in rows
    ]


def _plan_by_own_times(times: Mapping[UUID, Times], request: StopRequest, now: datetime) -> None:
    """Correct the schedule of those runs that have times of their own, in one statement; most have none."""
    usual = request.schedule(now)
    plans = {run_id: request.schedule(now, *own) for run_id, own in times.items() if own != (None, None)}
    plans = {run_id: plan for run_id, plan in plans.items() if plan != usual}
    if plans:
        interrupt_at, kill_at = _by_run(plans, usual)
        Run.objects.filter(id__in=plans).update(stop_interrupt_at=interrupt_at, stop_deadline=kill_at)


def _by_run(plans: Mapping[UUID, Schedule], otherwise: Schedule) -> tuple[Case, Case]:
    """The two moments of each run's schedule, each as one expression."""
    runs_of: dict[Schedule, list[UUID]] = {}
    for run_id, plan in plans.items():
        if plan != otherwise:
            runs_of.setdefault(plan, []).append(run_id)

    def moment_of(name: str) -> Case:
        cases = [When(id__in=ids, then=Value(getattr(plan, name), DateTimeField())) for plan, ids in runs_of.items()]
        return Case(*cases, default=Value(getattr(otherwise, name), DateTimeField()))

    return moment_of("interrupt_at"), moment_of("kill_at")


def escalate(run_ids: Sequence[UUID], request: StopRequest, *, cascade: bool = True) -> list[UUID]:
    """Bring the higher rungs of runs that are already stopping forward; never puts them off."""
    now = timezone.now()
    usual = request.schedule(now)
    with transaction.atomic():
        ids = list_tree(run_ids) if cascade else list(run_ids)
        stopping = Run.objects.select_for_update(no_key=True).filter(
            id__in=ids, status=Status.RUNNING, stop_requested_at__isnull=False
        )
        plans = {
            row[0]: plan
            for row in stopping.order_by("id").values_list(
                "id", "stop_interrupt_at", "stop_deadline", "grace_seconds", "interrupt_after_seconds"
            )
            if _is_sooner(plan := request.schedule(now, row[3], row[4]), row[1], row[2])
        }
        if plans:
            interrupt_at, kill_at = _by_run(plans, usual)
            Run.objects.filter(id__in=plans).update(
                stop_mode=Case(When(stop_mode=StopMode.KILL, then=Value(StopMode.KILL)), default=Value(request.mode)),
                stop_interrupt_at=Least("stop_interrupt_at", interrupt_at),
                stop_deadline=Least("stop_deadline", kill_at),
            )
    return list(plans)


def _is_sooner(plan: Schedule, interrupt_at: datetime | None, kill_at: datetime | None) -> bool:
    return (kill_at is not None and plan.kill_at < kill_at) or (
        interrupt_at is not None and plan.interrupt_at < interrupt_at
    )


def mark_delivered(run_ids: Sequence[UUID], at: datetime) -> None:
    """Record that the process which runs the graph has been told."""
    Run.objects.filter(id__in=run_ids, status=Status.RUNNING, stop_delivered_at__isnull=True).update(
        stop_delivered_at=at
    )


def _stop_columns(request: StopRequest, now: datetime) -> dict[str, Any]:
    plan = request.schedule(now)
    return {
        "stop_requested_at": now,
        "stop_by": request.by_id,
        "stop_actor": request.actor[:200],
        "stop_source": request.source.value,
        "stop_reason": request.reason,
        "stop_mode": request.mode.value,
        "stop_interrupt_at": plan.interrupt_at,
        "stop_deadline": plan.kill_at,
    }
