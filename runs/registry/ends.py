"""How an attempt ends: once, whoever writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from runs.columns import as_uuid, moment
from runs.errors import IllegalTransition
from runs.models import Run
from runs.registry.rows import TABLE, as_column, as_parameter, record
from runs.states import TRANSITIONS, Status


@dataclass(frozen=True)
class Settled:
    """How an attempt ended; `rung` is that of a stop."""

    run_id: UUID
    status: Status
    parent_id: UUID | None
    attempt: int | None = None
    error: dict[str, Any] | None = None
    rung: int | None = None


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
        UPDATE {TABLE} SET
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
        as_column("output", output),
        as_column("error", error),
        at,
        at,
        at,
        rung,
        *([moment(acknowledged_at)] if acknowledged_at else []),
        as_parameter(run_id),
        attempt,
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row = cursor.fetchone()
        if row is None:
            return None
        status, parent_id = Status(row[0]), row[1] and as_uuid(row[1])
        record([run_id], status, attempt)
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
        record([run_id], Status.FAILED)
    return Settled(run_id, Status.FAILED, parent_id, None, error)


def _check(source: Status, target: Status) -> None:
    if target not in TRANSITIONS[source]:
        raise IllegalTransition(source, target)
