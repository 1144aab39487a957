"""What a run leaves behind, in a process that goes on and in one that was lost."""

from __future__ import annotations

import psutil

from runs import control, receipts
from tests.services import Marks


def test_stopped_run_takes_its_own_processes_and_no_others(start_worker, marks: Marks) -> None:
    worker = start_worker(concurrency=1)
    first = control.submit("starting_process", {"marks": str(marks)})
    assert control.wait(first.id, timeout_seconds=30).status == "completed"
    second = control.submit("starting_process", {"marks": str(marks), "seconds": 600})
    marks.wait_for("started", count=2)
    kept, taken = (psutil.Process(mark["pid"]) for mark in marks.all())
    pool = worker.children()

    control.cancel(second.id, mode="interrupt", grace_seconds=30)
    ended = control.wait(second.id, timeout_seconds=30)

    assert (ended.status, ended.stop_rung) == ("cancelled", 1)
    assert not taken.is_running()
    assert kept.status() == psutil.STATUS_SLEEPING
    assert worker.children() == pool
    receipt = receipts.find(second.id)
    assert receipt is not None
    assert [process["pid"] for process in receipt.killed] == [taken.pid]
    assert receipt.exit_signal is None


def test_processes_of_a_lost_process_end_before_its_run_goes_on(start_worker, marks: Marks) -> None:
    start_worker(concurrency=1)
    run = control.submit("starting_process", {"marks": str(marks), "values": ["crash"]})

    ended = control.wait(run.id, timeout_seconds=60)

    assert (ended.status, ended.error["type"]) == ("failed", "WorkerLost")
    started = [mark["pid"] for mark in marks.all()]
    assert len(started) == 4  # each attempt started one
    assert [pid for pid in started if psutil.pid_exists(pid)] == []


def test_processes_of_a_lost_worker_end_when_its_run_is_taken_over(start_worker, marks: Marks) -> None:
    worker = start_worker(concurrency=1)
    run = control.submit("starting_process", {"marks": str(marks), "seconds": 600})
    marks.wait_for("started")
    orphan = psutil.Process(marks.all()[0]["pid"])
    control.cancel(run.id, grace_seconds=60)
    worker.process.kill()
    worker.process.wait()
    assert orphan.is_running()

    start_worker(concurrency=1)
    ended = control.wait(run.id, timeout_seconds=30)

    assert ended.status == "cancelled"
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE  # nobody may have reaped it yet
