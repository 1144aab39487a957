"""Whatever dies, every run ends, and none runs twice at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import current_app

from runs import control, dispatch
from runs.conf import runs_settings
from runs.models import Run, Worker
from tests.services import Marks, WorkerProcess, freeze, wait_for_status, wait_until

StartWorker = Callable[..., WorkerProcess]

SHORT_LEASE = "4"  # seconds


def submit(graph: str, marks: Marks, **values: object) -> Run:
    return control.submit(graph, {"marks": str(marks), **values})


def test_killed_child_goes_on_from_its_checkpoint_in_another(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("dying_once", marks)
    ended = control.wait(run.id, timeout_seconds=30)

    assert (ended.status, ended.attempt, ended.resurrections) == ("completed", 2, 1)
    assert marks.names() == ["before", "dying", "dying", "after"]
    before, first, second, _ = marks.all()
    assert before["pid"] == first["pid"] != second["pid"]
    assert ended.output["values"] == ["before", "risen", "after"]
    assert [(node.node, node.attempt, node.status) for node in ended.nodes.filter(status="failed")] in (
        [],  # it died before its beginning was written
        [("dies", 1, "failed")],
    )


def test_child_killed_from_outside_goes_on_soon(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("held_between", marks)
    marks.wait_for("call.begun")
    wait_until(lambda: control.get(run.id).nodes.filter(node="held").exists(), "the node's beginning is written")
    os.kill(marks.all()[-1]["pid"], signal.SIGKILL)

    # No lease has to run out for that: the supervisor sees its child die.
    marks.wait_for("call.begun", 2, seconds=runs_settings().lease_seconds - 1)
    marks.open("call")
    ended = control.wait(run.id, timeout_seconds=30)

    assert (ended.status, ended.attempt) == ("completed", 2)
    assert marks.names() == ["before", "call.begun", "call.begun", "call.ended", "after"]
    assert [(node.node, node.status) for node in ended.nodes.filter(attempt=1)] == [
        ("before", "finished"),
        ("held", "failed"),
    ]


def test_killed_child_that_left_a_fork_is_missed_all_the_same(worker: WorkerProcess, marks: Marks) -> None:
    # The fork has inherited the line to the supervisor: its end does not close with the child's.
    run = submit("forking", marks)
    marks.wait_for("forked")
    pid = marks.all()[-1]["pid"]
    forks = psutil.Process(pid).children()
    os.kill(pid, signal.SIGKILL)
    try:
        ended = control.wait(run.id, timeout_seconds=30)
    finally:
        for fork in forks:
            fork.kill()

    assert (ended.status, ended.attempt) == ("completed", 2)


def test_run_that_kills_its_process_every_time_fails(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("poison", marks)
    ended = control.wait(run.id, timeout_seconds=60)

    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error["type"] == "WorkerLost"
    assert (ended.attempt, ended.resurrections) == (4, 3)
    assert marks.names() == ["before"] + ["dying"] * 4
    assert control.wait(control.submit("quick", {}).id, timeout_seconds=30).status == "completed"


def test_cancelled_run_whose_child_dies_is_cancelled(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("held_between", marks)
    marks.wait_for("call.begun")
    control.cancel(run.id, grace_seconds=600)
    marks.wait_for("call.told")
    os.kill(marks.all()[-1]["pid"], signal.SIGKILL)

    ended = control.wait(run.id, timeout_seconds=30)
    assert (ended.status, ended.attempt, ended.error) == ("cancelled", 1, None)


@pytest.mark.slow
def test_waiting_parent_survives_the_loss_of_its_worker(start_worker: StartWorker, marks: Marks) -> None:
    first = start_worker()
    run = submit("family", marks, graphs=["held_between"])
    marks.wait_for("call.begun")
    wait_for_status(run, "waiting")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(10)
    marks.open("call")
    assert control.get(run.id).status == "waiting"

    start_worker()
    ended = control.wait(run.id, timeout_seconds=40)

    assert ended.status == "completed"
    assert ended.output["values"] == ["held_between completed", "after"]
    assert marks.names().count("family.joined") == 1


@pytest.mark.slow
def test_killed_main_process_takes_its_children_along_and_another_worker_takes_over(
    start_worker: StartWorker, marks: Marks
) -> None:
    first = start_worker(RUNS_LEASE_SECONDS=SHORT_LEASE)
    run = submit("held_between", marks)
    marks.wait_for("call.begun")
    pid = marks.all()[-1]["pid"]

    first.process.send_signal(signal.SIGKILL)
    first.process.wait(10)
    wait_until(lambda: not psutil.pid_exists(pid), "the child has died with its MainProcess", 5)
    assert first.survivors() == []
    marks.open("call")
    assert control.get(run.id).status == "running"  # nobody knows yet

    second = start_worker()
    ended = control.wait(run.id, timeout_seconds=runs_settings().lease_seconds * 3)

    assert (ended.status, ended.attempt, ended.resurrections) == ("completed", 2, 1)
    assert ended.worker.startswith(second.mark)
    assert marks.names().count("before") == 1


@pytest.mark.slow
def test_stop_of_a_run_whose_worker_is_lost_is_settled_by_another(start_worker: StartWorker, marks: Marks) -> None:
    first = start_worker(RUNS_LEASE_SECONDS=SHORT_LEASE)
    run = submit("held_between", marks)
    marks.wait_for("call.begun")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(10)

    control.cancel(run.id)
    assert control.get(run.id).display_status == "cancelling"
    start_worker()

    ended = control.wait(run.id, timeout_seconds=runs_settings().lease_seconds * 3)
    assert (ended.status, ended.attempt) == ("cancelled", 1)
    assert not ended.nodes.filter(status="running").exists()


@pytest.mark.slow
def test_frozen_main_process_finds_that_it_lost_its_run(start_worker: StartWorker, marks: Marks) -> None:
    first = start_worker(concurrency=1, RUNS_LEASE_SECONDS=SHORT_LEASE)
    run = submit("held_between", marks)
    marks.wait_for("call.begun")
    freeze(first.process.pid)
    second = start_worker(concurrency=1)

    marks.wait_for("call.begun", 2, seconds=runs_settings().lease_seconds * 3)
    stale = marks.all()[1]["pid"]
    first.process.send_signal(signal.SIGCONT)
    wait_until(lambda: stale not in first.children(), "the process of the stale attempt is killed")
    marks.open("call")
    ended = control.wait(run.id, timeout_seconds=30)

    assert (ended.status, ended.attempt) == ("completed", 2)
    assert ended.worker.startswith(second.mark)
    assert marks.names().count("after") == 1


def test_lost_message_is_rung_again_by_an_idle_worker(worker: WorkerProcess) -> None:
    run = control.submit("quick", {}, ring=False)
    Run.objects.filter(id=run.id).update(queued_at="2026-01-01T00:00:00Z")
    ended = control.wait(run.id, timeout_seconds=runs_settings().ring_again_seconds * 3)
    assert ended.status == "completed"


def test_repeated_message_runs_nothing_twice(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("held_between", marks)
    marks.wait_for("call.begun")
    for _ in range(3):
        dispatch.ring([run.id])
    marks.open("call")
    control.wait(run.id, timeout_seconds=30)
    dispatch.ring([run.id])
    control.wait(control.submit("quick", {}, priority=0).id, timeout_seconds=30)
    assert marks.names() == ["before", "call.begun", "call.ended", "after"]


# --- shutdown ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sigterm_to_the_worker_cancels_its_runs_and_leaves_the_queue(
    start_worker: StartWorker, marks: Marks, tmp_path: Path
) -> None:
    worker = start_worker()
    other = Marks(tmp_path / "other.jsonl")
    running = [submit("napping", marks), submit("before_node", other)]
    marks.wait_for("nap.begun")
    other.wait_for("call.begun")
    queued = [submit("quick", marks) for _ in range(3)]

    worker.process.send_signal(signal.SIGTERM)
    other.wait_for("call.told")
    other.open("call")
    assert worker.process.wait(20) == 0

    for run in running:
        ended = control.get(run.id)
        assert (ended.status, ended.stop_source, ended.stop_rung) == ("cancelled", "shutdown", 0)
    assert {control.get(run.id).status for run in queued} == {"queued"}
    assert "only" not in marks.names()
    assert worker.survivors() == []
    assert not Worker.objects.exists()

    start_worker()
    for run in queued:
        assert control.wait(run.id, timeout_seconds=30).status == "completed"


def test_sigterm_to_the_worker_kills_what_does_not_stop_in_time(start_worker: StartWorker, marks: Marks) -> None:
    worker = start_worker()
    hostile = [submit("swallows", marks), submit("with_processes", marks)]
    marks.wait_for("hostile.begun", 2)

    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(runs_settings().grace_seconds + 12)

    for run in hostile:
        ended = control.get(run.id)
        assert (ended.status, ended.stop_source, ended.stop_rung) == ("cancelled", "shutdown", 2)
    assert worker.survivors() == []


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_the_shutdown_has_begun_kills_at_once(
    start_worker: StartWorker, marks: Marks, first: signal.Signals
) -> None:
    worker = start_worker(RUNS_GRACE_SECONDS="600")
    run = submit("swallows", marks)
    marks.wait_for("hostile.begun")

    worker.process.send_signal(first)
    wait_for_status(run, "cancelling")
    worker.process.send_signal(signal.SIGINT)
    worker.process.wait(20)

    ended = control.get(run.id)
    assert (ended.status, ended.stop_rung) == ("cancelled", 2)
    assert worker.survivors() == []


def test_sigquit_kills_at_once(start_worker: StartWorker, marks: Marks) -> None:
    worker = start_worker(RUNS_GRACE_SECONDS="600")
    run = submit("swallows", marks)
    marks.wait_for("hostile.begun")

    worker.process.send_signal(signal.SIGQUIT)
    worker.process.wait(20)

    assert control.get(run.id).status == "cancelled"
    assert worker.survivors() == []


def test_sigterm_to_a_child_asks_its_run_to_stop(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("napping", marks)
    marks.wait_for("nap.begun")
    pid = marks.all()[-1]["pid"]

    os.kill(pid, signal.SIGTERM)

    ended = control.wait(run.id, timeout_seconds=30)
    assert (ended.status, ended.stop_source, ended.stop_actor) == ("cancelled", "signal", "SIGTERM")
    assert "nap.finally" in marks.names()
    assert ended.stop_rung == 0


def test_sigterm_to_the_whole_group_cancels_and_ends(start_worker: StartWorker, marks: Marks) -> None:
    worker = start_worker()
    run = submit("napping", marks)
    marks.wait_for("nap.begun")

    os.killpg(worker.process.pid, signal.SIGTERM)
    worker.process.wait(20)

    ended = control.get(run.id)
    assert ended.status == "cancelled"
    assert ended.stop_source in ("shutdown", "signal")
    assert worker.survivors() == []


# --- Celery's own revoke ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"terminate": True}, {"terminate": True, "signal": "SIGKILL"}])
def test_revoke_with_terminate_ends_a_running_run_as_cancelled(
    worker: WorkerProcess, marks: Marks, options: dict[str, Any]
) -> None:
    run = submit("napping", marks)
    marks.wait_for("nap.begun")

    current_app.control.revoke(str(run.id), **options)

    ended = control.wait(run.id, timeout_seconds=30)
    assert (ended.status, ended.attempt) == ("cancelled", 1)
    assert ended.stop_source in ("celery", "signal")
    assert "after" not in marks.names()
    assert control.wait(control.submit("quick", {}).id, timeout_seconds=30).status == "completed"


def test_revoke_without_terminate_ends_a_queued_run_as_cancelled(
    start_worker: StartWorker, marks: Marks, tmp_path: Path
) -> None:
    start_worker(concurrency=1)
    other = Marks(tmp_path / "other.jsonl")
    held = submit("before_node", other)
    other.wait_for("call.begun")
    queued = submit("quick", marks)

    current_app.control.revoke(str(queued.id))
    other.open("call")
    control.wait(held.id, timeout_seconds=30)

    ended = control.wait(queued.id, timeout_seconds=30)
    assert (ended.status, ended.stop_source, ended.attempt) == ("cancelled", "celery", 0)
    assert marks.names() == []
