"""How a run comes to be, and how a process gets hold of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from runs.columns import columns_of, from_database, insert_into, moment, values_of
from runs.errors import ParentIsStopping
from runs.freezes import FROZEN
from runs.models import Run
from runs.registry.rows import PAUSE_COLUMNS, TABLE, as_parameter, record
from runs.registry.tombstones import take_tombstone
from runs.requests import StopRequest
from runs.states import OnParentStop, Status

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
        SELECT id, parent_id, on_parent_stop, NULL FROM {TABLE} WHERE id = %s
        UNION ALL
        SELECT run.id, run.parent_id, run.on_parent_stop, CAST(run.stop_requested_at AS text)
        FROM {TABLE} run JOIN above ON run.id = above.parent_id
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


def create(run: Run) -> StopRequest | None:
    """Insert a queued run; a paused one if its parent is being paused with all below it, and a cancelled one if its
    key was cancelled before it came.

    Race: the parent's row is locked first, so a child is either seen by the stop of its parent or refused here; and
    either seen by the pause of its parent or born paused. Of its key see `leave_tombstone`.

    Returns:
        What was asked of it before it came.

    Raises:
        ParentIsStopping: the parent has a stop requested, or has ended.
        IntegrityError: a unique key is taken; the caller knows which of them mean "the same run".
    """
    with transaction.atomic():
        run.status = Status.QUEUED
        if run.parent_id is not None:
            parent = (
                Run.objects.select_for_update(no_key=True)
                .only("status", "stop_requested_at", *PAUSE_COLUMNS)
                .get(id=run.parent_id)
            )
            if parent.is_terminal or parent.is_stopping:
                raise ParentIsStopping(run.parent_id, parent.display_status)
            if parent.is_pausing and parent.pause_cascades and run.on_parent_stop == OnParentStop.CANCEL:
                run.status = Status.PAUSED
                for column in columns_of(Run, PAUSE_COLUMNS):
                    setattr(run, column.attname, getattr(parent, column.attname))
        asked = take_tombstone(run)
        _insert(run)
        record([run.id], Status(run.status), 0)
    return asked


def claim(run_id: UUID, claimant: Claimant, *, lease_seconds: float) -> Run | None:
    """Make a queued run the claimant's, by compare-and-set.

    Returns:
        The run with its new attempt, or None: it is not queued (a repeated doorbell), it pauses before another
        attempt, it or an ancestor has a stop requested, or a freeze holds it back.
    """
    now = moment(timezone.now())
    lease = moment(timezone.now() + timedelta(seconds=lease_seconds))
    key = as_parameter(run_id)
    # By hand, because it is the hot path: the ORM would take three statements and five times as long.
    sql = f"""
        UPDATE {TABLE} SET
            status = '{Status.RUNNING.value}', attempt = attempt + 1, worker = %s, pid = %s, pid_started_at = %s,
            lease_expires_at = %s, started_at = COALESCE(started_at, %s), last_activity_at = %s
        WHERE id = %s AND status = '{Status.QUEUED.value}' AND stop_requested_at IS NULL
            AND (not_before IS NULL OR not_before <= %s) AND NOT EXISTS ({_STOPPING_ANCESTOR})
            AND NOT EXISTS ({FROZEN})
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
        record([run_id], Status.RUNNING, run.attempt)
    return run


def has_stopping_ancestor(run_id: UUID) -> bool:
    """Whether an ancestor, up to the first that the child was told to outlive, has a stop requested."""
    with connection.cursor() as cursor:
        cursor.execute(_STOPPING_ANCESTOR, [as_parameter(run_id)])
        return cursor.fetchone() is not None


def _insert(run: Run) -> None:
    columns = list(Run._meta.concrete_fields)
    with connection.cursor() as cursor:
        cursor.execute(insert_into(Run, columns), values_of(columns, run))
    run._state.adding = False
    run._state.db = connection.alias
