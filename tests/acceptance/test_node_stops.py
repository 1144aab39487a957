"""One node is stopped with a real worker, and its run goes on with the result that the node has declared."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from runs import control
from runs.errors import NodeAmbiguous, NodeNotFound, NodeNotRunning, NodeNotStoppable, RunAlreadyEnded, RunIsStopping
from runs.models import NodeExecution, NodeStop, Run
from tests.acceptance.test_control_tasks import command
from tests.services import Marks, WorkerProcess, wait_until


def begun(graph: str, marks: Marks, node: str = "branch", **options: Any) -> Run:
    """A run whose node is known to be running."""
    run = control.submit(graph, {"marks": str(marks), "values": []}, **options)
    marks.wait_for("begun")
    wait_until(lambda: running(run, node), f"{node} is stored as running")
    return run


def running(run: Run, node: str = "branch") -> list[NodeExecution]:
    return list(NodeExecution.objects.filter(run=run, node=node, status="running"))


def inside(run: Run) -> NodeExecution:
    """The running node of the subgraph."""
    found: list[NodeExecution] = wait_until(
        lambda: [node for node in running(run) if "|" in node.namespace], "the inner branch is stored as running"
    )
    return found[0]


def settled(stop: NodeStop) -> NodeStop:
    def find() -> NodeStop | None:
        stop.refresh_from_db()
        return stop if stop.outcome else None

    found: NodeStop = wait_until(find, "it is known what became of the stop", 20)
    return found


def finish(run: Run, marks: Marks) -> Run:
    marks.open("sibling")
    return control.wait(run.id, timeout_seconds=30)


SYNC = ["naps", "polls", "made"]


@pytest.mark.parametrize("graph", [*SYNC, "async_naps"])
def test_node_that_asks_stops_alone_and_its_run_goes_on(worker: WorkerProcess, marks: Marks, graph: str) -> None:
    run = begun(f"node_{graph}", marks)
    marks.wait_for("sibling.begun")

    (stop,) = control.cancel_node(run.id, "branch", actor="tester", reason="enough of it", grace_seconds=60)
    stop = settled(stop)
    ended = finish(run, marks)

    assert (stop.outcome, stop.rung, stop.actor, stop.reason) == ("cancelled", 0, "tester", "enough of it")
    assert stop.requested_at <= stop.delivered_at <= stop.gone_at
    declared = ["declared"] if graph in ("polls", "made") else []
    assert (ended.status, ended.attempt) == ("completed", 1)
    assert ended.output["values"] == [*declared, "sibling", "after"]
    assert "sibling.told" not in marks.names()
    branch = ended.nodes.get(node="branch")
    assert (branch.status, branch.error["type"]) == ("cancelled", "NodeCancelled")
    assert "enough of it" in branch.error["message"]
    assert {node.status for node in ended.nodes.exclude(node="branch")} == {"finished"}


@pytest.mark.parametrize(
    ("graph", "values"),
    [
        ("cpu_loop", ["made of True"]),
        ("awaits", ["declared later"]),
        ("sync_in_async", []),
        ("swallows_once", ["declared"]),
    ],
)
def test_node_that_never_asks_is_interrupted_alone(
    worker: WorkerProcess, marks: Marks, graph: str, values: list[str]
) -> None:
    run = begun(f"node_{graph}", marks)
    marks.wait_for("sibling.begun")

    (stop,) = control.cancel_node(run.id, "branch", mode="interrupt", grace_seconds=60)
    stop = settled(stop)
    ended = finish(run, marks)

    assert (stop.outcome, stop.rung) == ("cancelled", 1)
    assert (ended.status, ended.attempt) == ("completed", 1)
    assert ended.output["values"] == [*values, "sibling", "after"]
    assert marks.all()[0]["pid"] in worker.children()


def test_cancelled_node_climbs_to_the_interrupt_by_itself(worker: WorkerProcess, marks: Marks) -> None:
    run = begun("node_swallows_once", marks)

    (stop,) = control.cancel_node(run.id, "branch", grace_seconds=60, interrupt_after_seconds=0.3)
    stop = settled(stop)

    assert (stop.outcome, stop.rung, stop.mode) == ("cancelled", 1, "cancel")
    assert finish(run, marks).status == "completed"


def test_second_stop_of_a_node_climbs(worker: WorkerProcess, marks: Marks) -> None:
    run = begun("node_swallows_once", marks)
    control.cancel_node(run.id, "branch", grace_seconds=60, interrupt_after_seconds=60, reason="first")

    (stop,) = control.cancel_node(run.id, "branch", mode="interrupt", grace_seconds=60, reason="second")
    stop = settled(stop)

    assert (stop.outcome, stop.rung, stop.mode, stop.reason) == ("cancelled", 1, "interrupt", "first")
    assert finish(run, marks).status == "completed"


@pytest.mark.parametrize("how", [{"mode": "kill"}, {"grace_seconds": 0.5}])
def test_node_in_one_c_call_is_killed_and_its_run_goes_on_from_the_checkpoint(
    worker: WorkerProcess, marks: Marks, how: dict[str, Any]
) -> None:
    run = begun("node_one_c_call", marks)
    marks.wait_for("sibling.begun")
    wait_until(lambda: not running(run, "sibling"), "the sibling has finished")

    (stop,) = control.cancel_node(run.id, "branch", **how)
    stop = settled(stop)
    ended = finish(run, marks)

    assert (stop.outcome, stop.rung) == ("cancelled", 2)
    assert "in one_long_sleep" in stop.stacks
    assert (ended.status, ended.attempt, ended.resurrections) == ("completed", 2, 0)
    assert ended.output["values"] == ["declared", "sibling", "after"]
    names = marks.names()
    assert (names.count("sibling.begun"), names.count("begun"), names.count("after")) == (1, 1, 1)
    assert marks.all()[0]["pid"] not in worker.children()
    assert [node.status for node in ended.nodes.filter(node="branch")] == ["cancelled", "cancelled"]


def test_node_in_a_subgraph_is_killed_and_what_was_before_it_is_not_repeated(
    worker: WorkerProcess, marks: Marks
) -> None:
    run = begun("node_nested_c_call", marks)

    (stop,) = control.cancel_node(run.id, inside(run).id, mode="kill")
    stop = settled(stop)
    ended = finish(run, marks)

    assert (stop.outcome, stop.rung) == ("cancelled", 2)
    assert ended.status == "completed"
    names = marks.names()
    assert [names.count(name) for name in ("inner.before", "begun", "inner.after", "after")] == [1, 1, 1, 1]


def test_node_in_a_subgraph_stops_alone(worker: WorkerProcess, marks: Marks) -> None:
    run = begun("node_nested", marks)
    assert inside(run).is_stoppable

    with pytest.raises(NodeAmbiguous) as refused:
        control.cancel_node(run.id, "branch")
    (stop,) = control.cancel_node(run.id, "branch/branch", grace_seconds=60)
    stop = settled(stop)
    ended = finish(run, marks)

    assert len(refused.value.executions) == 2
    assert stop.outcome == "cancelled"
    assert ended.status == "completed"
    assert "inner.after" in marks.names()
    statuses = {node.namespace.count("|"): node.status for node in ended.nodes.filter(node="branch")}
    assert statuses == {0: "finished", 1: "cancelled"}


def test_subgraph_that_is_stopped_from_outside_ends_with_all_its_nodes(worker: WorkerProcess, marks: Marks) -> None:
    run = begun("node_nested_declared", marks)
    inside(run)
    (outer,) = [node for node in running(run) if "|" not in node.namespace]

    (stop,) = control.cancel_node(run.id, outer.id, mode="interrupt", grace_seconds=60)
    stop = settled(stop)
    ended = finish(run, marks)

    assert (stop.outcome, stop.rung) == ("cancelled", 1)
    assert ended.output["values"] == ["declared", "sibling", "after"]
    assert "inner.after" not in marks.names()
    assert {node.status for node in ended.nodes.filter(node="branch")} == {"cancelled"}


@pytest.mark.parametrize("graph", ["conditional", "commanding"])
def test_edges_after_a_stopped_node_are_those_of_its_declared_result(
    worker: WorkerProcess, marks: Marks, graph: str
) -> None:
    run = begun(f"node_{graph}", marks)

    control.cancel_node(run.id, "branch", grace_seconds=60)

    assert control.wait(run.id, timeout_seconds=30).output["values"] == ["declared", "skipped"]


def test_stopped_node_is_not_retried_and_its_own_exception_changes_nothing(worker: WorkerProcess, marks: Marks) -> None:
    run = begun("node_careless", marks)

    (stop,) = control.cancel_node(run.id, "branch", grace_seconds=60)
    stop = settled(stop)
    ended = finish(run, marks)

    assert (stop.outcome, ended.status) == ("cancelled", "completed")
    assert marks.names().count("begun") == 1


def test_children_of_a_stopped_node_are_stopped_with_it(worker: WorkerProcess, marks: Marks) -> None:
    run = begun("node_spawns", marks)
    child = run.children.get()
    marks.wait_for("nap.begun")

    (stop,) = control.cancel_node(run.id, "branch", reason="enough", grace_seconds=60)
    settled(stop)

    assert control.wait(child.id, timeout_seconds=30).status == "cancelled"
    assert "enough" in control.get(child.id).stop_reason
    assert finish(run, marks).status == "completed"


def test_stop_that_comes_before_the_node_s_last_line_wins(worker: WorkerProcess, marks: Marks) -> None:
    """The node is deaf until its gate, and has no boundary after it: told or not, it ends by itself."""
    run = begun("node_at_the_end", marks)

    (stop,) = control.cancel_node(run.id, "branch", grace_seconds=60)
    marks.wait_for("call.told")
    marks.open("call")
    stop = settled(stop)
    ended = finish(run, marks)

    assert (stop.outcome, stop.rung) == ("ended", 0)
    assert ended.output["values"] == ["branch", "sibling", "after"]
    assert ended.nodes.get(node="branch").status == "finished"


def test_stop_that_comes_after_the_node_s_end_changes_nothing(worker: WorkerProcess, marks: Marks) -> None:
    run = begun("node_at_the_end", marks)
    (execution,) = running(run)
    marks.open("call")
    wait_until(lambda: not running(run), "the branch has ended")

    with pytest.raises(NodeNotRunning, match="finished"):
        control.cancel_node(run.id, execution.id)

    assert finish(run, marks).output["values"] == ["branch", "sibling", "after"]
    assert not NodeStop.objects.exists()


def test_stop_of_the_run_goes_before_that_of_a_node(worker: WorkerProcess, marks: Marks) -> None:
    run = begun("node_swallows_once", marks)
    marks.open("sibling")
    control.cancel_node(run.id, "branch", grace_seconds=60, interrupt_after_seconds=60)

    control.cancel(run.id, mode="interrupt", grace_seconds=60)
    ended = control.wait(run.id, timeout_seconds=30)

    assert ended.status == "cancelled"
    assert "after" not in marks.names()
    stop = NodeStop.objects.get()
    assert settled(stop).outcome == "overtaken"


def test_refusals_say_what_is_wrong(worker: WorkerProcess, marks: Marks) -> None:
    run = begun("node_called", marks)
    with pytest.raises(NodeNotFound, match="running now: branch"):
        control.cancel_node(run.id, "nobody")
    with pytest.raises(NodeNotStoppable, match=r"called by the code of branch$"):
        control.cancel_node(run.id, inside(run).id)
    control.cancel(run.id)
    with pytest.raises((RunIsStopping, RunAlreadyEnded)):
        control.cancel_node(run.id, "branch")
    marks.open("sibling")


def test_stop_survives_the_loss_of_the_process_before_the_node_has_left(
    start_worker: Callable[..., WorkerProcess], marks: Marks
) -> None:
    start_worker()
    run = begun("node_swallows_once", marks)
    marks.open("sibling")
    (stop,) = control.cancel_node(run.id, "branch", grace_seconds=60, interrupt_after_seconds=60)
    wait_until(lambda: NodeStop.objects.get().delivered_at, "it is delivered")

    os.kill(marks.all()[0]["pid"], signal.SIGKILL)
    ended = control.wait(run.id, timeout_seconds=30)

    assert ended.output["values"] == ["declared", "sibling", "after"]
    assert marks.names().count("begun") == 1
    assert settled(stop).outcome == "cancelled"


def test_run_over_its_limit_is_stopped_within_a_heartbeat(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("napping", {"marks": str(marks)}, max_seconds=0.5)
    waiting = control.submit("parent", {"marks": str(marks), "child_graph": "napping", "children": 1}, max_seconds=0.5)

    for one in (run, waiting):
        ended = control.wait(one.id, timeout_seconds=30)
        assert (ended.status, ended.stop_source) == ("cancelled", "limit")
        assert "limit of 0.5 s" in ended.stop_reason
    assert control.wait(waiting.children.get().id, timeout_seconds=30).status == "cancelled"


def test_run_is_interrupted_and_killed_after_its_own_times(worker: WorkerProcess, marks: Marks) -> None:
    deaf = control.submit("stubborn_swallows_everything", {"marks": str(marks)}, grace_seconds=0.6)
    marks.wait_for("begun")
    sleepy = control.submit("stubborn_short_sleeps", {}, grace_seconds=60, interrupt_after_seconds=0.2)
    wait_until(lambda: control.get(sleepy.id).nodes.exists(), "the other one works, too")

    control.cancel_runs([deaf.id, sleepy.id])

    assert control.wait(sleepy.id, timeout_seconds=30).stop_rung == 1
    ended = control.wait(deaf.id, timeout_seconds=30)
    assert ended.stop_rung == 2
    assert (ended.stop_gone_at - ended.stop_requested_at).total_seconds() < 20  # and not the usual 30


def test_command_stops_a_node_and_waits(worker: WorkerProcess, marks: Marks) -> None:
    run = begun("node_naps", marks)

    told = command("cancel", f"--task-id={run.id}", "--node=branch", "--reason=dear", "--wait", "--timeout=20")

    assert "Asked node branch" in told.out
    assert "Node branch is cancelled, after" in told.out
    assert finish(run, marks).status == "completed"
    nodes = command("status", f"--task-id={run.id}", "--json").json["nodes"]
    assert [node["error"]["message"] for node in nodes if node["node"] == "branch"] == [
        "node branch was cancelled: dear"
    ]
