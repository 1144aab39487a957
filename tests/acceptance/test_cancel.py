"""Cancel with a real worker, a real Redis and orders that are forced: nothing begins after a stop has arrived."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from graduation_backend.celery import get_active_graphs
from runs import control
from runs.errors import RunAlreadyEnded, RunNotFound
from runs.models import Run
from tests.openai_server import Reply, openai_server
from tests.services import Marks, WorkerProcess, wait_for_status, wait_until

StartWorker = Callable[..., WorkerProcess]

BOUNDARIES = [
    "before_node",
    "before_tool",
    "before_retriever",
    "before_spawn",
    "before_store_write",
    "before_store_read",
    "nested",
    "nested_in_a_call",
    "static_branches",
    "send_branches",
    "async_nodes",
    "before_async_store",
    "before_async_spawn",
    "functional",
    "plain_factory",
    "builder_factory",
    "async_factory",
]


def stop_at_gate(run: Run, marks: Marks, **options: Any) -> None:
    """Cancel a run that is held at its gate, see that the stop has arrived there, and let it go on."""
    marks.wait_for("call.begun")
    control.cancel(run.id, reason="enough", source="cli", actor="tester", **options)
    marks.wait_for("call.told")
    assert control.get(run.id).display_status == "cancelling"
    marks.open("call")


@pytest.mark.parametrize("graph", BOUNDARIES)
def test_cancel_stops_at_the_next_boundary(worker: WorkerProcess, marks: Marks, graph: str) -> None:
    run = control.submit(graph, {"marks": str(marks)})
    stop_at_gate(run, marks, grace_seconds=60)

    ended = control.wait(run.id, timeout_seconds=30)

    assert (ended.status, ended.stop_reason, ended.stop_actor, ended.stop_rung) == ("cancelled", "enough", "tester", 0)
    assert "call.ended" in marks.names()
    assert "beyond" not in marks.names()
    assert not ended.children.exists()
    assert not ended.nodes.filter(status="running").exists()
    assert ended.stop_requested_at is not None
    assert ended.stop_acknowledged_at is not None
    assert ended.stop_gone_at is not None
    assert ended.stop_requested_at <= ended.stop_acknowledged_at <= ended.stop_gone_at
    if ended.stop_delivered_at is not None:  # a graph may be gone before that is written
        assert ended.stop_requested_at <= ended.stop_delivered_at


def test_cancel_stops_before_an_llm_call(worker: WorkerProcess, marks: Marks) -> None:
    with openai_server() as server:
        run = control.submit("before_llm", {"marks": str(marks), "url": server.url})
        stop_at_gate(run, marks, grace_seconds=60)

        assert control.wait(run.id, timeout_seconds=30).status == "cancelled"
        assert server.requests == []
        assert "beyond" not in marks.names()


@pytest.mark.parametrize("graph", ["asking", "async_asking"])
def test_cancel_lets_the_llm_call_in_flight_end_and_begins_no_other(
    worker: WorkerProcess, marks: Marks, graph: str
) -> None:
    with openai_server() as server:
        answer_now = threading.Event()
        server.queue(Reply(answer="yes", hold=answer_now))
        run = control.submit(graph, {"marks": str(marks), "url": server.url})
        server.wait_for_requests(1)

        control.cancel(run.id, grace_seconds=60)
        marks.wait_for("told")
        assert control.get(run.id).display_status == "cancelling"
        assert "first.answered" not in marks.names()
        answer_now.set()
        ended = control.wait(run.id, timeout_seconds=30)

        assert (ended.status, ended.stop_rung) == ("cancelled", 0)
        assert len(server.requests) == 1
        assert not server.requests[0].disconnected
        assert marks.names() == ["told", "first.answered", "client.closed"]


@pytest.mark.parametrize("graph", ["polling", "napping", "async_napping"])
def test_cancel_of_a_node_that_asks_ends_it_soon_and_runs_its_finally(
    worker: WorkerProcess, marks: Marks, graph: str
) -> None:
    node = {"polling": "poll", "napping": "nap", "async_napping": "anap"}[graph]
    run = control.submit(graph, {"marks": str(marks)})
    marks.wait_for(f"{node}.begun")

    result = control.cancel(run.id)

    assert result.reached == [run.id]
    assert result.settled == []
    assert control.wait(run.id, timeout_seconds=2.5).status == "cancelled"  # the grace is longer
    assert f"{node}.finally" in marks.names()
    assert f"{node}.ended" not in marks.names()
    assert "after" not in marks.names()


@pytest.mark.parametrize("graph", ["context_factory", "async_context_factory"])
def test_cancel_leaves_the_context_of_a_factory(start_worker: StartWorker, marks: Marks, graph: str) -> None:
    start_worker(FACTORY_MARKS=str(marks))
    run = control.submit(graph, {"marks": str(marks)})
    stop_at_gate(run, marks, grace_seconds=60)

    assert control.wait(run.id, timeout_seconds=30).status == "cancelled"
    assert marks.names() == ["factory.entered", "call.begun", "call.told", "call.ended", "factory.left"]


def test_factory_that_fails_fails_its_run(worker: WorkerProcess) -> None:
    ended = control.wait(control.submit("failing_factory", {}).id, timeout_seconds=30)
    assert ended.status == "failed"
    assert ended.error == {"type": "ValueError", "message": "this factory fails on purpose"}


def test_cancel_queued_run_never_starts(worker: WorkerProcess, marks: Marks, tmp_path: Path) -> None:
    others = [Marks(tmp_path / f"other-{number}.jsonl") for number in range(2)]
    held = [control.submit("before_node", {"marks": str(other)}) for other in others]
    for other in others:
        other.wait_for("call.begun")
    queued = control.submit("quick", {"marks": str(marks)})

    result = control.cancel(queued.id)

    assert result.settled == [queued.id]
    ended = control.get(queued.id)
    assert (ended.status, ended.attempt, ended.started_at) == ("cancelled", 0, None)
    for other in others:
        other.open("call")
    for run in held:
        assert control.wait(run.id, timeout_seconds=30).status == "completed"
    # The cancelled run's message was before this one's.
    assert control.wait(control.submit("quick", {}).id, timeout_seconds=30).status == "completed"
    assert marks.names() == []
    assert control.get(queued.id).attempt == 0


def test_cancel_is_cancelling_until_the_graph_has_returned(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("before_node", {"marks": str(marks)})
    marks.wait_for("call.begun")
    control.cancel(run.id, grace_seconds=60)
    marks.wait_for("call.told")

    shown = get_active_graphs()[str(run.id)]
    assert shown["status"] == "cancelling"
    assert shown["stop"]["gone_at"] is None
    assert run.id in {active.id for active in control.list_active()}

    marks.open("call")
    ended = control.wait(run.id, timeout_seconds=30)
    last = marks.all()[-1]
    assert last["what"] == "call.ended"
    assert ended.finished_at is not None
    assert ended.finished_at.timestamp() >= last["at"]
    assert str(run.id) not in get_active_graphs()


def test_cancel_accepted_before_the_graph_ends_by_itself_is_cancelled_with_its_output(
    worker: WorkerProcess, marks: Marks
) -> None:
    run = control.submit("ends_by_itself", {"marks": str(marks)})
    stop_at_gate(run, marks, grace_seconds=60)

    ended = control.wait(run.id, timeout_seconds=30)

    assert ended.status == "cancelled"
    assert ended.output["values"] == ["held"]
    assert ended.nodes.get().status == "finished"


def test_cancel_of_a_completed_run_says_so(worker: WorkerProcess) -> None:
    run = control.submit("quick", {})
    control.wait(run.id, timeout_seconds=30)

    with pytest.raises(RunAlreadyEnded) as refused:
        control.cancel(run.id)

    assert refused.value.status == "completed"
    ended = control.get(run.id)
    assert (ended.status, ended.stop_requested_at) == ("completed", None)


def test_cancel_of_a_failed_run_says_so(worker: WorkerProcess) -> None:
    run = control.submit("failing", {})
    ended = control.wait(run.id, timeout_seconds=30)
    assert ended.error == {"type": "ValueError", "message": "this node fails on purpose"}

    with pytest.raises(RunAlreadyEnded) as refused:
        control.cancel(run.id)
    assert refused.value.status == "failed"


@pytest.mark.parametrize("unknown", ["00000000-0000-0000-0000-000000000000", "not-an-id", ""])
def test_cancel_of_an_unknown_run_says_so(db: None, unknown: str) -> None:
    with pytest.raises(RunNotFound):
        control.cancel(unknown)


def test_cancel_passes_except_exception_and_a_retry_policy(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("careless", {"marks": str(marks)})
    stop_at_gate(run, marks, grace_seconds=60)

    assert control.wait(run.id, timeout_seconds=30).status == "cancelled"
    assert marks.names() == ["node.begun", "call.begun", "call.told", "call.ended"]


def test_cancel_all_stops_running_and_queued_runs(worker: WorkerProcess, marks: Marks) -> None:
    runs = [control.submit("napping", {"marks": str(marks)}) for _ in range(5)]
    marks.wait_for("nap.begun", 2)

    result = control.cancel_all(reason="everything")

    assert set(result.reached) == {run.id for run in runs}
    assert len(result.settled) == 3
    for run in runs:
        assert control.wait(run.id, timeout_seconds=30).status == "cancelled"
    assert marks.names().count("nap.begun") == 2
    assert marks.names().count("nap.finally") == 2


# --- the plain kill ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", ["deaf", "holds_gil", "swallows", "with_processes"])
def test_cancel_of_a_node_that_does_not_stop_kills_its_process(worker: WorkerProcess, marks: Marks, graph: str) -> None:
    run = control.submit(graph, {"marks": str(marks)})
    begun = "deaf.begun" if graph == "deaf" else "hostile.begun"
    marks.wait_for(begun)
    pids = {mark["pid"] for mark in marks.all()}

    control.cancel(run.id, grace_seconds=0.5)
    ended = control.wait(run.id, timeout_seconds=30)

    assert (ended.status, ended.stop_rung, ended.attempt) == ("cancelled", 2, 1)
    assert ended.stop_deadline is not None
    assert ended.stop_gone_at is not None
    assert ended.stop_gone_at >= ended.stop_deadline
    # With the GIL held its process could not even tell that the node had begun.
    assert {node.status for node in ended.nodes.all()} == (set() if graph == "holds_gil" else {"cancelled"})
    wait_until(lambda: not any(map(is_alive, pids)), f"every process of {pids} is gone", 5)

    following = [control.submit("quick", {"marks": str(marks)}) for _ in range(2)]
    for other in following:
        assert control.wait(other.id, timeout_seconds=30).status == "completed"
    wait_until(lambda: len(worker.children()) == 2, "the pool has two children again", 5)
    # Its message was not delivered again.
    assert marks.names().count(begun) == 1
    assert "after" not in marks.names()
    assert control.get(run.id).attempt == 1


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_kill_leaves_the_run_of_the_other_slot_alone(worker: WorkerProcess, marks: Marks, tmp_path: Path) -> None:
    other = Marks(tmp_path / "other.jsonl")
    peaceful = control.submit("before_node", {"marks": str(other)})
    other.wait_for("call.begun")
    hostile = control.submit("swallows", {"marks": str(marks)})
    marks.wait_for("hostile.begun")

    control.cancel(hostile.id, mode="kill")

    assert control.wait(hostile.id, timeout_seconds=30).stop_rung == 2
    other.open("call")
    ended = control.wait(peaceful.id, timeout_seconds=30)
    assert (ended.status, ended.attempt) == ("completed", 1)


def test_kill_after_a_cancel_brings_the_end_forward(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("deaf", {"marks": str(marks)})
    marks.wait_for("deaf.begun")
    control.cancel(run.id, reason="first", grace_seconds=600)
    wait_for_status(run, "cancelling")

    result = control.cancel(run.id, mode="kill", reason="second")

    assert result.escalated == [run.id]
    ended = control.wait(run.id, timeout_seconds=30)
    assert (ended.status, ended.stop_rung, ended.stop_reason) == ("cancelled", 2, "first")


def test_kill_of_a_well_behaved_run_may_be_its_own_end(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("napping", {"marks": str(marks)})
    marks.wait_for("nap.begun")
    control.cancel(run.id, mode="kill")
    assert control.wait(run.id, timeout_seconds=30).status == "cancelled"
    assert control.wait(control.submit("quick", {}).id, timeout_seconds=30).status == "completed"
