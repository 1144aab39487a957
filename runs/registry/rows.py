"""What every write shares: parameters for the database, the record of a change, and which runs lie below others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from runs.columns import columns_of, moment, to_database
from runs.ladder import Schedule
from runs.models import Run, StatusChange
from runs.states import OnParentStop, Status

TABLE = Run._meta.db_table
PAUSE_COLUMNS = ("pause_requested_at", "pause_by", "pause_actor", "pause_source", "pause_reason", "pause_cascades")


@dataclass(frozen=True)
class Stopped:
    """One run that a stop, a pause or a resume reached, and the status it has now; for a stop, when it climbs."""

    run_id: UUID
    status: Status
    parent_id: UUID | None
    plan: Schedule | None = None


def record(run_ids: Sequence[UUID], status: Status, attempt: int | None = None) -> None:
    """Keep the change as a row of its own; without `attempt` it is that of each run."""
    if attempt is None:
        attempts = dict(Run.objects.filter(id__in=run_ids).values_list("id", "attempt"))
    else:
        attempts = dict.fromkeys(run_ids, attempt)
    now = moment(timezone.now())
    rows = [(as_parameter(run_id), status.value, attempts[run_id], now) for run_id in run_ids]
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {StatusChange._meta.db_table} (run_id, status, attempt, at) VALUES (%s, %s, %s, %s)",  # noqa: S608
            rows,
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


def as_parameter(run_id: UUID) -> Any:
    return to_database(Run._meta.pk, run_id)


def as_column(name: str, value: Any) -> Any:
    return to_database(columns_of(Run, [name])[0], value)
