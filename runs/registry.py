"""The only writer of `Run.status`.

Every function is one guarded UPDATE, or one transaction around it, and reports whether it landed. False, None and
the empty list are answers, not errors: another writer got there first, and the caller must drop its own outcome.
Nothing here sends a message; callers do that after the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Least
from django.utils import timezone

from runs.columns import (
    as_uuid,
    columns_of,
    from_database,
    insert_into,
    moment,
    names_of,
    to_database,
    values_of,
)
from runs.conf import runs_settings
from runs.errors import IllegalTransition, ParentIsStopping
from runs.ladder import Schedule, schedule
from runs.models import Run, StatusChange
from runs.states import ACTIVE, IDLE, TERMINAL, TRANSITIONS, OnParentStop, Status, StopMode, StopSource

_ACTIVE = sorted(ACTIVE)
_TERMINAL = sorted(TERMINAL)
_TABLE = Run._meta.db_table
# What a runner needs to know, in the order of the model's fields, which `from_db` expects.
_CLAIMED = ("id", "graph", "thread_id", "input", "answers", "attempt")

# Walks up from one run (the parameter) to the first that it was told to outlive.
_STOPPING_ANCESTOR = f"""
    WITH RECURSIVE above(id, parent_id, on_parent_stop, stop_requested_at) AS (
        SELECT id, parent_id, on_parent_stop, NULL FROM {_TABLE} WHERE id = %s
        UNION ALL
        SELECT run.id, run.parent_id, run.on_parent_stop, CAST(run.stop_requested_at AS text)
        FROM {_TABLE} run JOIN above ON run.id = above.parent_id
        WHERE above.on_parent_stop = '{OnParentStop.CANCEL.value}'
    )
    SELECT 1 FROM above WHERE stop_requested_at IS NOT NULL LIMIT 1
"""  # noqa: S608 - the table's name and a constant


@dataclass(frozen=True)
class Claimant:
    """The process that asks for a run: its worker's id, its pid and the start time that makes the pid unique."""

    worker: str
    pid: int
    pid_started_at: float  # seconds since the epoch


@dataclass(frozen=True)
class StopRequest:
    """Who asks what; `grace_seconds` is the time until the process is killed."""

    mode: StopMode
    source: StopSource
    actor: str
    reason: str
    grace_seconds: float
    by_id: UUID | None = None

    def schedule(self, now: datetime) -> Schedule:
        after = runs_settings().interrupt_after_seconds
        return schedule(self.mode, now, interrupt_after_seconds=after, grace_seconds=self.grace_seconds)


@dataclass(frozen=True)
class Stopped:
    """One run that a stop reached, and the status it has now."""

    run_id: UUID
    status: Status
    parent_id: UUID | None


@dataclass(frozen=True)
class Settled:
    run_id: UUID
    status: Status
    parent_id: UUID | None


# --- beginnings -------------------------------------------------------------------------------------------


def create(run: Run) -> None:
    """Insert a queued run.

    Race: the parent's row is locked first, so a child is either seen by the stop of its parent or refused here.

    Raises:
        ParentIsStopping: the parent has a stop requested, or has ended.
        IntegrityError: a unique key is taken; the caller knows which of them mean "the same run".
    """
    with transaction.atomic():
        if run.parent_id is not None:
            parent = (
                Run.objects.select_for_update(no_key=True).only("status", "stop_requested_at").get(id=run.parent_id)
            )
            if parent.is_terminal or parent.is_stopping:
                raise ParentIsStopping(run.parent_id, parent.display_status)
        run.status = Status.QUEUED
        _insert(run)
        _record([run.id], Status.QUEUED, 0)


def create_cancelled(run: Run, request: StopRequest) -> None:
    """Insert a run that is born cancelled, because its stop came before it."""
    now = timezone.now()
    with transaction.atomic():
        run.status = Status.CANCELLED
        run.finished_at = now
        columns = _stop_columns(request, now)
        for column, value in zip(columns_of(Run, columns), columns.values(), strict=True):
            setattr(run, column.attname, value)
        run.stop_gone_at = now
        run.save(force_insert=True)
        _record([run.id], Status.CANCELLED)


def claim(run_id: UUID, claimant: Claimant, *, lease_seconds: float) -> Run | None:
    """Make a queued run the claimant's, by compare-and-set.

    Returns:
        The run with its new attempt, or None: it is not queued (a repeated doorbell), or it or an ancestor has a
        stop requested.
    """
    now = moment(timezone.now())
    lease = moment(timezone.now() + timedelta(seconds=lease_seconds))
    key = _as_parameter(run_id)
    # By hand, because it is the hot path: the ORM would take three statements and five times as long.
    sql = f"""
        UPDATE {_TABLE} SET
            status = '{Status.RUNNING.value}', attempt = attempt + 1, worker = %s, pid = %s, pid_started_at = %s,
            lease_expires_at = %s, started_at = COALESCE(started_at, %s), last_activity_at = %s
        WHERE id = %s AND status = '{Status.QUEUED.value}' AND stop_requested_at IS NULL
            AND NOT EXISTS ({_STOPPING_ANCESTOR})
        RETURNING {", ".join(_CLAIMED)}
    """  # noqa: S608 - names and constants; every value is a parameter
    parameters = [claimant.worker, claimant.pid, claimant.pid_started_at, lease, now, now, key, key]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row = cursor.fetchone()
        if row is None:
            return None
        values = map(from_database, columns_of(Run, _CLAIMED), row)
        run = Run.from_db(connection.alias, _CLAIMED, list(values))
        _record([run_id], Status.RUNNING, run.attempt)
    return run


def has_stopping_ancestor(run_id: UUID) -> bool:
    """Whether an ancestor, up to the first that the child was told to outlive, has a stop requested."""
    with connection.cursor() as cursor:
        cursor.execute(_STOPPING_ANCESTOR, [_as_parameter(run_id)])
        return cursor.fetchone() is not None


# --- ends -------------------------------------------------------------------------------------------------


def settle(
    run_id: UUID,
    attempt: int,
    target: Status,
    *,
    output: Any = None,
    error: dict[str, Any] | None = None,
    acknowledged_at: datetime | None = None,
    rung: int = 0,
    unless_stopping: bool = False,
) -> Settled | None:
    """Write the outcome of an attempt, once.

    A run with a stop requested ends as cancelled whatever `target` is; its output is kept. With `unless_stopping`
    nothing is written for such a run. A process that was killed has acknowledged nothing.
    """
    _check(Status.RUNNING, target)
    now = timezone.now()
    stopping = "CASE WHEN stop_requested_at IS NULL THEN NULL ELSE %s END"
    sql = f"""
        UPDATE {_TABLE} SET
            status = CASE WHEN stop_requested_at IS NULL THEN %s ELSE '{Status.CANCELLED.value}' END,
            output = %s, error = %s, finished_at = %s, last_activity_at = %s, lease_expires_at = NULL,
            current_node = '', stop_gone_at = {stopping}, stop_rung = {stopping}
            {f", stop_acknowledged_at = {stopping}" if acknowledged_at else ""}
        WHERE id = %s AND attempt = %s AND status = '{Status.RUNNING.value}'
            {"AND stop_requested_at IS NULL" if unless_stopping else ""}
        RETURNING status, parent_id
    """  # noqa: S608 - names and constants; every value is a parameter
    at = moment(now)
    parameters = [
        target.value,
        _as_column("output", output),
        _as_column("error", error),
        at,
        at,
        at,
        rung,
        *([moment(acknowledged_at)] if acknowledged_at else []),
        _as_parameter(run_id),
        attempt,
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row = cursor.fetchone()
        if row is None:
            return None
        status, parent_id = Status(row[0]), row[1] and as_uuid(row[1])
        _record([run_id], status, attempt)
    return Settled(run_id, status, parent_id)


def fail_queued(run_id: UUID, error: dict[str, Any]) -> Settled | None:
    """End a run that can never start, for example because its graph is gone."""
    now = timezone.now()
    with transaction.atomic():
        landed = Run.objects.filter(id=run_id, status=Status.QUEUED).update(
            status=Status.FAILED, error=error, finished_at=now
        )
        if not landed:
            return None
        parent_id = Run.objects.values_list("parent_id", flat=True).get(id=run_id)
        _record([run_id], Status.FAILED)
    return Settled(run_id, Status.FAILED, parent_id)


# --- suspending and waking --------------------------------------------------------------------------------


def suspend(run_id: UUID, attempt: int, *, awaited: Iterable[UUID], questions: Mapping[str, Any]) -> bool:
    """Free the slot until the awaited children have ended and the questions are answered.

    False if the attempt is stale or a stop was requested; the caller then settles. Call `wake` after it: the last
    child may have ended in between.
    """
    with transaction.atomic():
        landed = Run.objects.filter(
            id=run_id, attempt=attempt, status=Status.RUNNING, stop_requested_at__isnull=True
        ).update(
            status=Status.WAITING,
            questions=dict(questions),
            answers={},
            lease_expires_at=None,
            last_activity_at=timezone.now(),
        )
        if not landed:
            return False
        Run.objects.filter(parent_id=run_id, id__in=list(awaited)).update(is_awaited=True)
        _record([run_id], Status.WAITING, attempt)
    return True


def wake(run_id: UUID) -> bool:
    """Queue a waiting run that no longer waits for anything; safe to call at any time.

    A run that goes on waiting shows how many of the children that it waits for have ended.
    """
    awaited = Run.objects.filter(parent_id=run_id, is_awaited=True)
    with transaction.atomic():
        Run.objects.filter(id=run_id, status=Status.WAITING).update(
            progress_done=awaited.filter(status__in=_TERMINAL).count(), progress_total=awaited.count()
        )
        landed = _ready_to_wake().filter(id=run_id).update(status=Status.QUEUED, queued_at=timezone.now())
        if landed:
            _record([run_id], Status.QUEUED)
    return bool(landed)


def list_forgotten_waiters() -> list[UUID]:
    """Waiting runs that nobody woke, because the process that should have died first."""
    return list(_ready_to_wake().values_list("id", flat=True)[:1_000])


def _ready_to_wake() -> QuerySet[Run]:
    awaited = Run.objects.filter(parent_id=OuterRef("id"), is_awaited=True, status__in=_ACTIVE)
    return Run.objects.filter(Q(questions={}) | ~Q(answers={}), ~Exists(awaited), status=Status.WAITING)


def answer(run_id: UUID, answers: Mapping[str, Any]) -> bool:
    """Keep the answers to a waiting run's questions, once. Call `wake` after it."""
    return bool(
        Run.objects.filter(id=run_id, status=Status.WAITING, answers={})
        .exclude(questions={})
        .update(answers=dict(answers))
    )


def requeue(run_id: UUID, attempt: int, *, resurrect: bool) -> bool:
    """Give the run of a lost attempt back to the queue, to go on from its last checkpoint."""
    with transaction.atomic():
        landed = Run.objects.filter(
            id=run_id, attempt=attempt, status=Status.RUNNING, stop_requested_at__isnull=True
        ).update(
            status=Status.QUEUED,
            queued_at=timezone.now(),
            lease_expires_at=None,
            rung_at=None,
            resurrections=F("resurrections") + (1 if resurrect else 0),
        )
        if landed:
            _record([run_id], Status.QUEUED, attempt)
    return bool(landed)


def list_results(run_ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """How children ended, in the order asked for, as `join` gives it to its node: id, graph, status, output, error."""
    found = {
        row["id"]: {**row, "id": str(row["id"])}
        for row in Run.objects.filter(id__in=run_ids).values("id", "graph", "status", "output", "error")
    }
    return [found[run_id] for run_id in run_ids if run_id in found]


# --- stops ------------------------------------------------------------------------------------------------


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
        _record(cancelled, Status.CANCELLED)
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
    active = ", ".join(f"'{status.value}'" for status in _ACTIVE)
    # Whoever locks several runs locks a parent before its children, which have later ids: otherwise two of them
    # could wait for each other.
    locking = "FOR NO KEY UPDATE" if connection.vendor == "postgresql" else ""
    sql = f"""
        WITH RECURSIVE tree(id) AS (
            SELECT id FROM {_TABLE} WHERE id IN ({", ".join(["%s"] * len(run_ids))})
            AND (status IN ({active}) OR stop_requested_at IS NOT NULL)
            UNION
            SELECT child.id FROM {_TABLE} child JOIN tree ON child.parent_id = tree.id
            WHERE %s AND child.on_parent_stop = '{OnParentStop.CANCEL.value}'
        ), found(id) AS (
            SELECT id FROM {_TABLE} WHERE id IN (SELECT id FROM tree)
            AND status IN ({active}) AND stop_requested_at IS NULL
            ORDER BY id {locking}
        )
        UPDATE {_TABLE} SET
            {", ".join(f"{name} = %s" for name in names)},
            status = CASE WHEN status IN ({idle}) THEN '{Status.CANCELLED.value}' ELSE status END,
            finished_at = CASE WHEN status IN ({idle}) THEN %s ELSE NULL END,
            stop_gone_at = CASE WHEN status IN ({idle}) THEN %s ELSE NULL END
        WHERE id IN (SELECT id FROM found) AND status IN ({active}) AND stop_requested_at IS NULL
        RETURNING id, status, parent_id
    """  # noqa: S608 - names of columns and constants; every value is a parameter
    values = [_as_column(name, value) for name, value in columns.items()]
    at = moment(now)
    parameters = [*map(_as_parameter, run_ids), cascade, *values, at, at]
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows = cursor.fetchall()
    return [Stopped(as_uuid(row[0]), Status(row[1]), row[2] and as_uuid(row[2])) for row in rows]


def escalate(run_ids: Sequence[UUID], request: StopRequest, *, cascade: bool = True) -> list[UUID]:
    """Bring the higher rungs of runs that are already stopping forward; never puts them off."""
    plan = request.schedule(timezone.now())
    with transaction.atomic():
        ids = list_tree(run_ids) if cascade else list(run_ids)
        later = Run.objects.select_for_update(no_key=True).filter(
            Q(stop_deadline__gt=plan.kill_at) | Q(stop_interrupt_at__gt=plan.interrupt_at),
            id__in=ids,
            status=Status.RUNNING,
            stop_requested_at__isnull=False,
        )
        reached = list(later.order_by("id").values_list("id", flat=True))
        Run.objects.filter(id__in=reached).update(
            stop_mode=Case(When(stop_mode=StopMode.KILL, then=Value(StopMode.KILL)), default=Value(request.mode)),
            stop_interrupt_at=Least("stop_interrupt_at", Value(plan.interrupt_at)),
            stop_deadline=Least("stop_deadline", Value(plan.kill_at)),
        )
    return reached


def list_tree(run_ids: Sequence[UUID]) -> list[UUID]:
    """The runs and all below them that a stop takes along."""
    found = list(run_ids)
    level = found
    while level:
        level = list(
            Run.objects.filter(parent_id__in=level, on_parent_stop=OnParentStop.CANCEL).values_list("id", flat=True)
        )
        found.extend(level)
    return found


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


# --- helpers ----------------------------------------------------------------------------------------------


def _record(run_ids: Sequence[UUID], status: Status, attempt: int | None = None) -> None:
    if attempt is None:
        attempts = dict(Run.objects.filter(id__in=run_ids).values_list("id", "attempt"))
    else:
        attempts = dict.fromkeys(run_ids, attempt)
    now = moment(timezone.now())
    rows = [(_as_parameter(run_id), status.value, attempts[run_id], now) for run_id in run_ids]
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {StatusChange._meta.db_table} (run_id, status, attempt, at) VALUES (%s, %s, %s, %s)",  # noqa: S608
            rows,
        )


def _insert(run: Run) -> None:
    columns = list(Run._meta.concrete_fields)
    with connection.cursor() as cursor:
        cursor.execute(insert_into(Run, columns), values_of(columns, run))
    run._state.adding = False
    run._state.db = connection.alias


def _check(source: Status, target: Status) -> None:
    if target not in TRANSITIONS[source]:
        raise IllegalTransition(source, target)


def _as_parameter(run_id: UUID) -> Any:
    return to_database(Run._meta.pk, run_id)


def _as_column(name: str, value: Any) -> Any:
    return to_database(columns_of(Run, [name])[0], value)
