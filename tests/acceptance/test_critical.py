"""Sections that a stop waits for, and cleanups that it leaves time for."""

from __future__ import annotations

import pytest

from runs import control, receipts
from tests.services import Marks, WorkerProcess


@pytest.mark.parametrize("mode", ["cancel", "interrupt", "kill"])
def test_critical_section_ends_before_any_rung(worker: WorkerProcess, marks: Marks, mode: str) -> None:
    run = control.submit("stubborn_charges_a_card", {"marks": str(marks)})
    marks.wait_for("charging")

    control.cancel(run.id, mode=mode)
    ended = control.wait(run.id, timeout_seconds=30)

    assert ended.status == "cancelled"
    assert "charged" in marks.names()
    assert "went on" not in marks.names()
    if ended.stop_rung != 2:
        assert marks.names()[-1] == "cleaned up"
        receipt = receipts.find(run.id)
        assert receipt is not None
        assert [section["name"] for section in receipt.sections] == ["charge card"]


@pytest.mark.parametrize(("mode", "rung"), [("interrupt", 1), ("kill", 2)])
def test_critical_section_that_overstays_is_ended(worker: WorkerProcess, marks: Marks, mode: str, rung: int) -> None:
    run = control.submit("stubborn_overstays", {"marks": str(marks)})
    marks.wait_for("charging")

    control.cancel(run.id, mode=mode, grace_seconds=30 if mode == "interrupt" else None)
    ended = control.wait(run.id, timeout_seconds=30)

    assert (ended.status, ended.stop_rung) == ("cancelled", rung)
    assert ended.stop_gone_at is not None
    assert ended.stop_requested_at is not None
    assert (ended.stop_gone_at - ended.stop_requested_at).total_seconds() > 0.5


def test_cleanup_runs_before_the_kill(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("stubborn_cleans_up", {"marks": str(marks)})
    marks.wait_for("begun")

    control.cancel(run.id, mode="interrupt", grace_seconds=1)
    ended = control.wait(run.id, timeout_seconds=30)

    assert (ended.status, ended.stop_rung) == ("cancelled", 2)
    assert marks.names() == ["begun", "cleaned up"]
