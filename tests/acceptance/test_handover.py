"""What becomes of a worker's runs when it is told to end and is to keep them: RUNS_ON_SHUTDOWN requeue and leave."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from runs import control
from runs.models import Run, Worker
from tests.services import Marks, WorkerProcess, wait_for_status, wait_until

StartWorker = Callable[..., WorkerProcess]


def submit(graph: str, marks: Marks, **values: object) -> Run:
    return control.submit(graph, {"marks": str(marks), **values})


def wait_until_stopping(worker: WorkerProcess) -> None:
    def is_stopping() -> bool:
        return Worker.objects.filter(id__startswith=worker.mark, is_stopping=True).exists()

    wait_until(is_stopping, "the worker shuts down")


def given_back(run: Run) -> tuple[object, ...]:
    after = control.get(run.id)
    return after.status, after.attempt, after.resurrections, after.stop_requested_at, after.lease_expires_at


@pytest.mark.slow
def test_requeue_drains_to_the_checkpoint_and_another_worker_goes_on(
    start_worker: StartWorker, marks: Marks, tmp_path: Path
) -> None:
    ending = Marks(tmp_path / "ending.jsonl")
    first = start_worker(RUNS_ON_SHUTDOWN="requeue", RUNS_GRACE_SECONDS="30")
    run, ends_by_itself = submit("pausable", marks), submit("ends_by_itself", ending)
    marks.wait_for("call.begun")
    ending.wait_for("call.begun")

    first.process.send_signal(signal.SIGTERM)
    marks.wait_for("call.draining")
    marks.open("call")
    ending.open("call")
    assert first.process.wait(20) == 0

    assert given_back(run) == ("queued", 1, 0, None, None)
    assert control.get(ends_by_itself.id).status == "completed"
    assert marks.names() == ["before", "call.begun", "call.draining", "call.ended"]  # and no stop was seen
    assert first.survivors() == []
    assert not Worker.objects.filter(id__startswith=first.mark).exists()

    start_worker()
    ended = control.wait(run.id, timeout_seconds=30)
    assert (ended.status, ended.attempt, ended.resurrections) == ("completed", 2, 0)
    assert marks.names() == ["before", "call.begun", "call.draining", "call.ended", "after"]


def test_requeue_kills_what_has_not_drained_in_time_with_all_it_started(
    start_worker: StartWorker, marks: Marks
) -> None:
    worker = start_worker(RUNS_ON_SHUTDOWN="requeue")
    hostile = [submit("holds_gil", marks), submit("with_processes", marks)]
    marks.wait_for("hostile.begun", 2)

    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(20)

    for run in hostile:
        assert given_back(run) == ("queued", 1, 0, None, None)
    assert worker.survivors() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "signals"),
    [
        ("requeue", (signal.SIGTERM, signal.SIGINT)),
        ("leave", (signal.SIGINT, signal.SIGINT)),
        ("requeue", (signal.SIGQUIT,)),
    ],
)
def test_second_ctrl_c_kills_at_once_and_gives_back(
    start_worker: StartWorker, marks: Marks, mode: str, signals: tuple[signal.Signals, ...]
) -> None:
    worker = start_worker(concurrency=1, RUNS_ON_SHUTDOWN=mode, RUNS_GRACE_SECONDS="600")
    run = submit("swallows", marks)
    marks.wait_for("hostile.begun")

    for index, number in enumerate(signals):
        worker.process.send_signal(number)
        if index < len(signals) - 1:
            wait_until_stopping(worker)
    worker.process.wait(20)

    assert given_back(run) == ("queued", 1, 0, None, None)
    assert worker.survivors() == []


def test_stop_beats_the_handover(start_worker: StartWorker, marks: Marks) -> None:
    worker = start_worker(concurrency=1, RUNS_ON_SHUTDOWN="requeue", RUNS_GRACE_SECONDS="30")
    run = submit("pausable", marks)
    marks.wait_for("call.begun")

    worker.process.send_signal(signal.SIGTERM)
    marks.wait_for("call.draining")
    control.cancel(run.id)
    wait_until(lambda: control.get(run.id).stop_delivered_at, "the stop is delivered")
    marks.open("call")
    assert worker.process.wait(20) == 0

    assert control.get(run.id).status == "cancelled"
    assert "after" not in marks.names()


def test_signal_to_the_whole_group_hands_over_too(start_worker: StartWorker, marks: Marks) -> None:
    worker = start_worker(concurrency=1, RUNS_ON_SHUTDOWN="requeue", RUNS_GRACE_SECONDS="30")
    run = submit("pausable", marks)
    marks.wait_for("call.begun")

    os.killpg(worker.process.pid, signal.SIGTERM)
    marks.wait_for("call.draining")
    marks.open("call")
    worker.process.wait(20)

    assert given_back(run) == ("queued", 1, 0, None, None)
    assert worker.survivors() == []


def test_waiting_family_is_left_alone_and_its_child_handed_over(start_worker: StartWorker, marks: Marks) -> None:
    worker = start_worker(RUNS_ON_SHUTDOWN="requeue", RUNS_GRACE_SECONDS="30")
    parent = submit("family", marks, graphs=["pausable"])
    marks.wait_for("call.begun")
    wait_for_status(parent, "waiting")

    worker.process.send_signal(signal.SIGTERM)
    marks.wait_for("call.draining")
    marks.open("call")
    assert worker.process.wait(20) == 0

    (child,) = parent.children.all()
    assert (control.get(parent.id).status, given_back(child)) == ("waiting", ("queued", 1, 0, None, None))


def test_leave_lets_a_run_end_by_itself(start_worker: StartWorker, marks: Marks) -> None:
    worker = start_worker(concurrency=1, RUNS_ON_SHUTDOWN="leave", RUNS_GRACE_SECONDS="30")
    run = submit("pausable", marks)
    queued = submit("quick", marks)
    marks.wait_for("call.begun")

    worker.process.send_signal(signal.SIGTERM)
    wait_until_stopping(worker)
    marks.open("call")
    assert worker.process.wait(20) == 0

    assert control.get(run.id).status == "completed"
    assert control.get(queued.id).status == "queued"
    assert marks.names() == ["before", "call.begun", "call.ended", "after"]


def test_leave_gives_back_what_has_not_ended_in_time(start_worker: StartWorker, marks: Marks) -> None:
    worker = start_worker(concurrency=1, RUNS_ON_SHUTDOWN="leave")
    run = submit("napping", marks)
    marks.wait_for("nap.begun")

    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(20)

    assert given_back(run) == ("queued", 1, 0, None, None)
    assert [(node.node, node.status) for node in control.list_nodes(run.id)] == [
        ("before", "finished"),
        ("nap", "cancelled"),
    ]
    assert worker.survivors() == []
