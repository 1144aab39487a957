"""The record of one stop: what the supervisor saw, and the whole receipt put together from it and the run.

The supervisor writes evidence before a kill, and whenever somebody asks why a run is still stopping.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from runs.models import Run, StopReceipt
from runs.tokens import CriticalSection


def request_evidence(run_id: UUID) -> datetime:
    """Ask the supervisor of a run to look at its process; the doorbell is the caller's."""
    now = timezone.now()
    StopReceipt.objects.update_or_create(run_id=run_id, defaults={"evidence_requested_at": now})
    return now


def list_requested(run_ids: list[UUID]) -> list[UUID]:
    """Those of the runs whose evidence was asked for after it was last taken."""
    asked = StopReceipt.objects.filter(run_id__in=run_ids, evidence_requested_at__isnull=False)
    return [
        receipt.run_id
        for receipt in asked.only("run_id", "evidence_requested_at", "evidence_at")
        if receipt.evidence_at is None
        or (receipt.evidence_requested_at and receipt.evidence_at < receipt.evidence_requested_at)
    ]


def record_evidence(run_id: UUID, *, pid: int, stacks: str, processes: list[dict[str, Any]]) -> None:
    """Keep what a process was doing; a later look replaces an earlier one."""
    StopReceipt.objects.update_or_create(
        run_id=run_id,
        defaults={
            "pid": pid,
            "stacks": stacks.replace("\x00", ""),
            "processes": processes,
            "evidence_at": timezone.now(),
        },
    )


def record_death(run_id: UUID, *, exit_signal: int | None, killed: list[dict[str, Any]]) -> None:
    """Keep how the process ended, and which others were killed with it."""
    StopReceipt.objects.update_or_create(run_id=run_id, defaults={"exit_signal": exit_signal, "killed": killed})


def record_sections(run_id: UUID, sections: Sequence[CriticalSection]) -> None:
    """Keep which critical sections the run had, so that a late stop is explained."""
    rows = [
        {
            "name": section.name,
            "began_at": _time(section.began_at),
            "ends_at": _time(section.ends_at),
            "ended_at": _time(section.ended_at),
        }
        for section in sections
    ]
    StopReceipt.objects.update_or_create(run_id=run_id, defaults={"sections": rows})


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def find(run_id: UUID) -> StopReceipt | None:
    return StopReceipt.objects.filter(run_id=run_id).first()


def list_children(run: Run) -> list[Run]:
    """The direct children that were stopped too, oldest first."""
    return list(run.children.filter(stop_requested_at__isnull=False).order_by("id").defer("input", "output"))
