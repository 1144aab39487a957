"""The only writer of `Run.status`.

Every function is one guarded UPDATE, or one transaction around it, and reports whether it landed. False, None and
the empty list are answers, not errors: another writer got there first, and the caller must drop its own outcome.
Nothing here sends a message; callers do that after the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Case, DateTimeField, Exists, F, OuterRef, Q, QuerySet, Value, When
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
_PAUSE_COLUMNS = ("pause_requested_at", "pause_by", "pause_actor", "pause_source", "pause_reason", "pause_cascades")
# A run's own grace and its own time until the interrupt, in seconds.
Times: TypeAlias = "tuple[float | None, float | None]"
# What a runner needs to know, in the order of the model's fields, which `from_db` expects.
_CLAIMED = (
    "id",
    "graph",
    "parent_id",
    "root_id",
    "retry_of_id",
    "retry_from_start",
    "owner_id",
    "thread_id",
    "input",
    "answers",
    "attempt",
)

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
    """Who asks what; `grace_seconds` is the time until the process is killed, `interrupt_after_seconds` that until its
    nodes are interrupted. None are each run's own times, or else the settings."""

    mode: StopMode
    source: StopSource
    actor: str
    reason: str
    grace_seconds: float | None = None
    by_id: UUID | None = None
    interrupt_after_seconds: float | None = None

    def schedule(
        self, now: datetime, own_grace_seconds: float | None = None, own_interrupt_after_seconds: float | None = None
    ) -> Schedule:
        """The schedule for a run with these times of its own."""
        settings = runs_settings()
        return schedule(
            self.mode,
            now,
            interrupt_after_seconds=_first(
                self.interrupt_after_seconds, own_interrupt_after_seconds, settings.interrupt_after_seconds
            ),
            grace_seconds=_first(self.grace_seconds, own_grace_seconds, settings.grace_seconds),
        )


@dataclass(frozen=True)
class PauseRequest:
    """Who asks for a pause and why; with `cascades`, of everything below it as well."""

    source: StopSource
    actor: str
    reason: str
    cascades: bool = True
    by_id: UUID | None = None


@dataclass(frozen=True)
class Stopped:
    """One run that a stop, a pause or a resume reached, and the status it has now; for a stop, when it climbs."""

    run_id: UUID
    status: Status
    parent_id: UUID | None
    plan: Schedule | None = None


@dataclass(frozen=True)
class Settled:
    """How an attempt ended; `rung` is that of a stop."""

    run_id: UUID
    status: Status
    parent_id: UUID | None
    attempt: int | None = None
    error: dict[str, Any] | None = None
    rung: int | None = None


# --- beginnings -------------------------------------------------------------------------------------------


def create(run: Run) -> None:
    """Insert a queued run; a paused one if its parent is being paused with all below it.

    Race: the parent's row is locked first, so a child is either seen by the stop of its parent or refused here; and
    either seen by the pause of its parent or born paused.

    Raises:
        ParentIsStopping: the parent has a stop requested, or has ended.
        IntegrityError: a unique key is taken; the caller knows which of them mean "the same run".
    """
    with transaction.atomic():
        run.status = Status.QUEUED
        if run.parent_id is not None:
            parent = (
                Run.objects.select_for_update(no_key=True)
                .only("status", "stop_requested_at", *_PAUSE_COLUMNS)
                .get(id=run.parent_id)
            )
            if parent.is_terminal or parent.is_stopping:
                raise ParentIsStopping(run.parent_id, parent.display_status)
            if parent.is_pausing and parent.pause_cascades and run.on_parent_stop == OnParentStop.CANCEL:
                run.status = Status.PAUSED
                for column in columns_of(Run, _PAUSE_COLUMNS):
                    setattr(run, column.attname, getattr(parent, column.attname))
        _insert(run)
        _record([run.id], Status(run.status), 0)


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
        The run with its new attempt, or None: it is not queued (a repeated doorbell), it pauses before another
        attempt, or it or an ancestor has a stop requested.
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
            AND (not_before IS NULL OR not_before <= %s) AND NOT EXISTS ({_STOPPING_ANCESTOR})
        RETURNING {", ".join(_CLAIMED)}
    """  # noqa: S608 - names and constants; every value is a parameter
    parameters = [claimant.worker, claimant.pid, claimant.pid_started_at, lease, now, now, key, now, key]
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
            current_node = '', current_call = '', stop_gone_at = {stopping}, stop_rung = {stopping}
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
    return Settled(run_id, status, parent_id, attempt, error, rung if status is Status.CANCELLED else None)


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
    return Settled(run_id, Status.FAILED, parent_id, None, error)


# --- suspending and waking --------------------------------------------------------------------------------


def suspend(run_id: UUID, attempt: int, *, awaited: Iterable[UUID], questions: Mapping[str, Any]) -> Status | None:
    """Free the slot until the awaited children have ended and the questions are answered.

    Call `wake` after it: the last child may have ended in between.

    Returns:
        Waiting, or paused if a pause was requested; None if the attempt is stale or a stop was requested: the caller
        then settles.
    """
    with transaction.atomic():
        landed = Run.objects.filter(
            id=run_id, attempt=attempt, status=Status.RUNNING, stop_requested_at__isnull=True
        ).update(
            status=_paused_or(Status.WAITING),
            questions=dict(questions),
            answers={},
            current_call="",
            lease_expires_at=None,
            last_activity_at=timezone.now(),
        )
        if not landed:
            return None
        Run.objects.filter(_joined_by(run_id), id__in=list(awaited)).update(is_awaited=True)
        return _record_own(run_id, attempt)


def wake(run_id: UUID) -> bool:
    """Queue a waiting run that no longer waits for anything; safe to call at any time.

    A run that goes on waiting shows how many of the children that it waits for have ended.
    """
    awaited = Run.objects.filter(_joined_by(run_id), is_awaited=True)
    with transaction.atomic():
        Run.objects.filter(id=run_id, status=Status.WAITING).update(
            progress_done=awaited.filter(status__in=_TERMINAL).count(), progress_total=awaited.count()
        )
        # All have ended, also those that did after they were counted.
        landed = (
            _ready_to_wake()
            .filter(id=run_id)
            .update(status=Status.QUEUED, queued_at=timezone.now(), progress_done=F("progress_total"))
        )
        if landed:
            _record([run_id], Status.QUEUED)
    return bool(landed)


def find_progress(run_id: UUID) -> tuple[int, int] | None:
    """How many of the children that a run waits for, or has waited for until now, have ended; None if it is another."""
    waits = Run.objects.filter(id=run_id, status__in=[Status.WAITING, Status.QUEUED], progress_total__gt=0)
    return waits.values_list("progress_done", "progress_total").order_by().first()


def _joined_by(run_id: UUID) -> Q:
    """A run's children, and those of an earlier try of it whose results it took: they completed before it began."""
    return Q(parent_id=run_id) | Q(adopted_by_id=run_id)


def list_forgotten_waiters() -> list[UUID]:
    """Waiting runs that nobody woke, because the process that should have died first."""
    return list(_ready_to_wake().values_list("id", flat=True)[:1_000])


def _ready_to_wake(status: Status = Status.WAITING) -> QuerySet[Run]:
    awaited = Run.objects.filter(parent_id=OuterRef("id"), is_awaited=True, status__in=_ACTIVE)
    return Run.objects.filter(Q(questions={}) | ~Q(answers={}), ~Exists(awaited), status=status)


def answer(run_id: UUID, answers: Mapping[str, Any]) -> bool:
    """Keep the answers to a waiting run's questions, once. Call `wake` after it."""
    return bool(
        Run.objects.filter(id=run_id, status=Status.WAITING, answers={})
        .exclude(questions={})
        .update(answers=dict(answers))
    )


def requeue(run_id: UUID, attempt: int, *, resurrect: bool, pause_seconds: float = 0.0) -> Status | None:
    """Take a run from an attempt that is lost or has drained, to go on from its last checkpoint.

    Args:
        resurrect: whether it counts as a loss.
        pause_seconds: how long it is not claimed.

    Returns:
        Queued, or paused if a pause was requested; None if the attempt is stale or a stop was requested.
    """
    now = timezone.now()
    with transaction.atomic():
        landed = Run.objects.filter(
            id=run_id, attempt=attempt, status=Status.RUNNING, stop_requested_at__isnull=True
        ).update(
            status=_paused_or(Status.QUEUED),
            queued_at=now,
            not_before=now + timedelta(seconds=pause_seconds) if pause_seconds else None,
            current_call="",
            lease_expires_at=None,
            rung_at=None,
            resurrections=F("resurrections") + (1 if resurrect else 0),
        )
        return _record_own(run_id, attempt) if landed else None


def _paused_or(status: Status) -> Case:
    """What a run becomes that leaves its process: a pause that was asked for meanwhile has then happened."""
    return Case(When(pause_requested_at__isnull=True, then=Value(status)), default=Value(Status.PAUSED))


def _record_own(run_id: UUID, attempt: int) -> Status:
    """Record the status that this transaction has given to a run."""
    status = Status(Run.objects.values_list("status", flat=True).get(id=run_id))
    _record([run_id], status, attempt)
    return status


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
            {", ".join(f"{name} = %s" for name in names)}, stop_node = current_node, stop_call = current_call,
            status = CASE WHEN status IN ({idle}) THEN '{Status.CANCELLED.value}' ELSE status END,
            finished_at = CASE WHEN status IN ({idle}) THEN %s ELSE NULL END,
            stop_gone_at = CASE WHEN status IN ({idle}) THEN %s ELSE NULL END
        WHERE id IN (SELECT id FROM found) AND status IN ({active}) AND stop_requested_at IS NULL
        RETURNING id, status, parent_id, grace_seconds, interrupt_after_seconds
    """  # noqa: S608 - names of columns and constants; every value is a parameter
    values = [_as_column(name, value) for name, value in columns.items()]
    at = moment(now)
    parameters = [*map(_as_parameter, run_ids), cascade, *values, at, at]
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


# --- pauses -----------------------------------------------------------------------------------------------


def request_pause(run_ids: Sequence[UUID], request: PauseRequest) -> list[Stopped]:
    """Ask runs to pause, and everything below them if the request cascades.

    What is queued or waiting is paused on the spot; what runs drains first. What is stopping, has ended or was asked
    before is left alone and is not in the answer. A child that was told to outlive its parent goes on.

    Race: as `request_stop`. A child that was being inserted meanwhile is found by the next round, or is born paused.
    """
    reached: dict[UUID, Stopped] = {}
    columns: dict[str, Any] = {
        "pause_requested_at": timezone.now(),
        "pause_by": request.by_id,
        "pause_actor": request.actor[:200],
        "pause_source": request.source,
        "pause_reason": request.reason,
        "pause_cascades": request.cascades,
    }
    with transaction.atomic():
        roots = [run.id for run in _lock(run_ids, status__in=_ACTIVE)]
        while found := _lock(_below(roots, request.cascades), status__in=_ACTIVE, pause_requested_at__isnull=True):
            idle = [run.id for run in found if run.status in IDLE]
            Run.objects.filter(id__in=idle).update(status=Status.PAUSED, **columns)
            _record(idle, Status.PAUSED)
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
        **dict.fromkeys(_PAUSE_COLUMNS, ""),
        "pause_requested_at": None,
        "pause_by": None,
        "pause_cascades": False,
    }
    asked: dict[str, Any] = {"status__in": [Status.PAUSED, Status.RUNNING], "pause_requested_at__isnull": False}
    with transaction.atomic():
        roots = [run.id for run in _lock(run_ids, **asked)]
        while found := _lock(_below(roots, cascade), **asked):
            paused = {run.id for run in found if run.status == Status.PAUSED}
            ready = set(_ready_to_wake(Status.PAUSED).filter(id__in=paused).values_list("id", flat=True))
            for status, ids in ((Status.QUEUED, ready), (Status.WAITING, paused - ready)):
                Run.objects.filter(id__in=ids).update(status=status, queued_at=timezone.now(), rung_at=None, **nothing)
                _record(sorted(ids), status)
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


# --- helpers ----------------------------------------------------------------------------------------------


def _first(*seconds: float | None) -> float:
    """The first that is not None, of which the last is not."""
    return next(value for value in seconds if value is not None)


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
