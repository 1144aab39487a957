"""Rung 1 with a real worker: nodes that never ask are stopped without losing their process."""

from __future__ import annotations

import pytest

from runs import control
from tests.services import Marks, WorkerProcess

INTERRUPTIBLE = [
    "short_sleeps",
    "cpu_loop",
    "swallows_exceptions",
    "swallows_twice",
    "awaits",
    "shields",
    "parallel",
    "nested",
    "sync_in_async",
]


@pytest.mark.parametrize("graph", INTERRUPTIBLE)
def test_interrupt_node_that_never_asks_stops_and_keeps_its_process(
    worker: WorkerProcess, marks: Marks, graph: str
) -> None:
    run = control.submit(f"stubborn_{graph}", {"marks": str(marks)})
    marks.wait_for("begun", count=3 if graph == "parallel" else 1)
    pid = marks.all()[0]["pid"]

    control.cancel(run.id, mode="interrupt", grace_seconds=30)
    ended = control.wait(run.id, timeout_seconds=30)

    assert (ended.status, ended.stop_rung, ended.stop_mode) == ("cancelled", 1, "interrupt")
    assert pid in worker.children()
    assert "after" not in marks.names()
    if graph in ("short_sleeps", "awaits"):
        assert marks.names()[-1] == "finally"
    assert {node.status for node in ended.nodes.filter(node="node")} <= {"cancelled"}
    assert control.wait(control.submit("quick", {}).id, timeout_seconds=30).status == "completed"


@pytest.mark.parametrize("graph", ["swallows_everything", "one_long_sleep"])
def test_interrupt_that_is_not_enough_is_followed_by_the_kill(worker: WorkerProcess, marks: Marks, graph: str) -> None:
    run = control.submit(f"stubborn_{graph}", {"marks": str(marks)})
    marks.wait_for("begun")

    control.cancel(run.id, mode="interrupt", grace_seconds=1)
    ended = control.wait(run.id, timeout_seconds=30)

    assert (ended.status, ended.stop_rung) == ("cancelled", 2)


def test_cancel_climbs_to_the_interrupt_by_itself(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("stubborn_short_sleeps", {"marks": str(marks)})
    marks.wait_for("begun")

    control.cancel(run.id, grace_seconds=60)  # the interrupt comes after RUNS_INTERRUPT_AFTER_SECONDS
    ended = control.wait(run.id, timeout_seconds=30)

    assert (ended.status, ended.stop_rung, ended.stop_mode) == ("cancelled", 1, "cancel")


def test_second_stop_climbs_to_the_interrupt(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("stubborn_short_sleeps", {"marks": str(marks)})
    marks.wait_for("begun")

    control.cancel(run.id, reason="first", grace_seconds=60)
    again = control.cancel(run.id, mode="interrupt", reason="second", grace_seconds=60)
    ended = control.wait(run.id, timeout_seconds=30)

    assert again.escalated == [run.id]
    assert (ended.stop_rung, ended.stop_reason) == (1, "first")
