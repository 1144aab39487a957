"""Cancel, rung 0, and the plain kill: a real worker, a real Redis, orders forced."""

from __future__ import annotations

import pytest

from runs import control
from runs.errors import RunAlreadyEnded
from tests.services import Marks, WorkerProcess, wait_for_status


def test_cancel_polling_node_stops_at_next_question(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("polling", {"marks": str(marks)})
    marks.wait_for("tick")

    result = control.cancel(run.id, reason="enough", source="cli", actor="tester")

    assert result.reached == [run.id]
    ended = control.wait(run.id, timeout_seconds=5)
    assert ended.status == "cancelled"
    assert (ended.stop_reason, ended.stop_actor, ended.stop_rung) == ("enough", "tester", 0)
    assert "poll.finally" in marks.names()
    assert "after" not in marks.names()


def test_cancel_deaf_node_is_killed_after_its_grace(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("deaf", {"marks": str(marks)})
    marks.wait_for("deaf.begun")
    pid = marks.all()[0]["pid"]

    control.cancel(run.id, grace_seconds=0.5)
    assert wait_for_status(run, "cancelling", "cancelled").status in ("running", "cancelled")
    ended = control.wait(run.id, timeout_seconds=10)

    assert (ended.status, ended.stop_rung) == ("cancelled", 2)
    assert pid not in worker.children()
    assert control.wait(control.submit("quick", {}).id, timeout_seconds=5).status == "completed"


def test_cancel_completed_run_says_so(worker: WorkerProcess) -> None:
    run = control.submit("quick", {})
    control.wait(run.id, timeout_seconds=5)

    with pytest.raises(RunAlreadyEnded) as refused:
        control.cancel(run.id)

    assert refused.value.status == "completed"
