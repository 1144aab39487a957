"""Node stops without a worker: what is asked, who is told, and what becomes of it, whoever comes first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from runs import control, events, executions, node_stops, reaper, registry
from runs.errors import NodeNotRunning, RunIsStopping
from runs.links import LocalLink, decode_order, encode_order
from runs.models import NodeExecution, NodeStop, Run
from runs.node_supervision import record_kill
from runs.node_tokens import NodeStopOrder
from runs.registry import Claimant
from runs.states import NodeStatus, NodeStopOutcome, Status
from runs.supervisor import Supervisor
from runs.tokens import StopOrder
from tests.integration.engine import Elsewhere, claim, make_run, make_running, status_of, stop_request
from tests.services import Marks, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_server", "no_worker")]

OURS = Claimant("ours", 4242, 1.0)


def execute(run: Run, **columns: Any) -> NodeExecution:
    """A node as it is stored while it is executed."""
    number = NodeExecution.objects.count()
    usual = {"node": "review", "namespace": f"review:{number}", "status": "running", "attempt": run.attempt}
    return NodeExecution.objects.create(
        id=uuid4(), run_id=run.id, started_at=timezone.now(), is_stoppable=True, **{**usual, **columns}
    )


def end(execution: NodeExecution, status: NodeStatus = NodeStatus.FINISHED) -> None:
    NodeExecution.objects.filter(pk=execution.pk).update(status=status, finished_at=timezone.now())


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[NodeStopOrder]:
    """What arrives in the process that executes."""
    arrived: list[NodeStopOrder] = []
    monkeypatch.setattr("runs.executions.deliver", lambda order: arrived.append(order) or True)
    return arrived


@pytest.fixture
def link() -> LocalLink:
    return LocalLink("ours", alone=False)


@pytest.fixture
def supervisor(link: LocalLink) -> Iterator[Supervisor]:
    supervisor = Supervisor("ours", "host", link)
    supervisor.celery_worker = SimpleNamespace(pool=None, concurrency=2, hub=None)
    supervisor.selector.register(supervisor.bells.bell, 1, lambda bell: bell.recv(100))
    yield supervisor
    supervisor.selector.close()


def look(supervisor: Supervisor) -> None:
    supervisor._next_poll = 0.0
    supervisor._next_heartbeat = float("inf")
    supervisor.bells.ring()
    supervisor._round()


def outcome_of(stop: NodeStop) -> str:
    return NodeStop.objects.get(pk=stop.pk).outcome


def test_orders_keep_their_kind_on_the_line() -> None:
    for order in (
        StopOrder(uuid4(), 3, "enough", 1),
        NodeStopOrder(uuid4(), 3, uuid4(), "a:1|b:2", "it's\nenough", 1),
    ):
        assert decode_order(encode_order(order)) == order


def test_node_is_told_and_interrupted_when_it_is_due_and_forgotten_when_it_has_left(
    supervisor: Supervisor, link: LocalLink, orders: list[NodeStopOrder]
) -> None:
    run = claim(make_run(), OURS)
    execution = execute(run)
    link.begun(run.id, run.attempt)

    (stop,) = control.cancel_node(run.id, "review", grace_seconds=60, interrupt_after_seconds=60)
    look(supervisor)
    look(supervisor)
    assert [(order.execution_id, order.namespace, order.rung) for order in orders] == [
        (execution.id, execution.namespace, 0)
    ]
    assert NodeStop.objects.get().delivered_at
    control.cancel_node(run.id, execution.id, mode="interrupt", grace_seconds=60)
    look(supervisor)
    assert [order.rung for order in orders] == [0, 1]
    link.node_left(run.id, execution.id)
    supervisor._round()
    assert supervisor.nodes.pending == {}
    node_stops.settle(stop.pk, NodeStopOutcome.CANCELLED, rung=1)
    look(supervisor)
    assert supervisor.nodes.pending == {}


def test_stop_that_finds_the_node_ended_says_so(
    supervisor: Supervisor, link: LocalLink, orders: list[NodeStopOrder]
) -> None:
    run = claim(make_run(), OURS)
    execution = execute(run)
    link.begun(run.id, run.attempt)
    (stop,) = control.cancel_node(run.id, "review")

    end(execution)
    look(supervisor)

    assert (orders, outcome_of(stop)) == ([], "ended")


def test_node_of_a_stopping_run_is_left_to_the_run_s_stop(
    supervisor: Supervisor, link: LocalLink, orders: list[NodeStopOrder]
) -> None:
    run = claim(make_run(), OURS)
    execute(run)
    link.begun(run.id, run.attempt)
    control.cancel_node(run.id, "review", mode="kill")
    control.cancel(run.id, grace_seconds=60)

    look(supervisor)

    assert [type(order) for order in orders] == [StopOrder]
    with pytest.raises(RunIsStopping):
        control.cancel_node(run.id, "review")


def test_stop_of_a_run_that_has_ended_meanwhile_is_closed() -> None:
    run = make_running()
    execute(run)
    (stop,) = control.cancel_node(run.id, "review")
    registry.settle(run.id, run.attempt, Status.COMPLETED)

    reaper.reap(has_free_slot=False)

    assert outcome_of(stop) == "overtaken"


def test_killed_node_s_run_is_queued_again_and_is_no_resurrection() -> None:
    run = make_running()
    own, other = execute(run), execute(run, node="write", namespace="write:1")
    inside = execute(run, node="deep", namespace=f"{own.namespace}|deep:1")
    (stop,) = control.cancel_node(run.id, own.id, mode="kill", reason="enough")

    record_kill(stop, pid=1, stacks="in a C call", killed=[])

    again = Run.objects.get(id=run.id)
    assert (again.status, again.resurrections, again.attempt) == ("queued", 0, 1)
    errors = dict(NodeExecution.objects.values_list("pk", "error"))
    assert [errors[one.pk]["type"] for one in (own, inside, other)] == [
        "NodeCancelled",
        "NodeCancelled",
        "ProcessKilled",
    ]
    found = NodeStop.objects.get()
    assert (found.outcome, found.rung, found.stacks) == ("cancelled", 2, "in a C call")
    assert [order.namespace for order in node_stops.list_standing(run.id, 2)] == [own.namespace]


def test_run_that_is_stopped_while_its_node_is_killed_ends_as_cancelled() -> None:
    run = make_running()
    own = execute(run)
    (stop,) = control.cancel_node(run.id, own.id, mode="kill")
    registry.request_stop([run.id], stop_request())

    record_kill(stop, pid=1, stacks="", killed=[])

    assert status_of(run) == "cancelled"


def test_stop_of_a_node_and_of_its_run_wait_for_each_other() -> None:
    """The run's stop comes in the middle of the node's: the node's was first, and the run's goes before it."""
    run = make_running()
    execute(run)

    stopping_node = Elsewhere(control.cancel_node, run.id, "review", hold_before="INSERT").until_held()
    stopping_run = Elsewhere(control.cancel, run.id).until_blocked()
    (stop,) = stopping_node.let_go().result()
    stopping_run.result()

    assert Run.objects.get(id=run.id).is_stopping
    assert outcome_of(stop) == ""


def test_outcome_is_written_with_the_node_s_end_and_once() -> None:
    run = make_running()
    execution = execute(run)
    (stop,) = control.cancel_node(run.id, "review")
    activity = events.NodeActivity(
        id=execution.id,
        run_id=run.id,
        attempt=1,
        node="review",
        namespace=execution.namespace,
        step=1,
        started_at=execution.started_at,
        status=NodeStatus.CANCELLED,
        finished_at=timezone.now(),
        is_stoppable=True,
        stop=events.NodeStopEnd(execution.id, NodeStopOutcome.CANCELLED, 1),
    )
    events.sink().node_changed(activity)
    events.sink().store_nodes(run.id)

    assert outcome_of(stop) == "cancelled"
    assert not node_stops.settle(stop.pk, NodeStopOutcome.ENDED)
    with pytest.raises(NodeNotRunning, match="cancelled"):
        control.cancel_node(run.id, execution.id)


def test_children_of_the_node_are_asked_and_those_of_others_are_not() -> None:
    run = make_running()
    own, other = execute(run, namespace="a:1"), execute(run, namespace="a:12", node="other")

    def child(execution: NodeExecution, **columns: Any) -> Run:
        return make_run(parent=run, child_key=f"{execution.namespace}{columns.pop('below', '')}:#1", **columns)

    children = [child(own), child(own, below="|b:3"), child(own, below="|c:4", on_parent_stop="abandon"), child(other)]

    (stop,) = control.cancel_node(run.id, own.id)

    assert [status_of(one) for one in children] == ["cancelled", "cancelled", "queued", "queued"]
    assert Run.objects.get(id=children[0].id).stop_source == "parent"
    assert stop.execution_id == own.id


def test_late_child_of_a_node_that_has_left_is_stopped(
    supervisor: Supervisor, link: LocalLink, orders: list[NodeStopOrder]
) -> None:
    run = claim(make_run(), OURS)
    execution = execute(run)
    link.begun(run.id, run.attempt)
    (stop,) = control.cancel_node(run.id, "review", grace_seconds=60)
    late = make_run(parent=run, child_key=f"{execution.namespace}:#1")
    node_stops.settle(stop.pk, NodeStopOutcome.CANCELLED, rung=0)
    end(execution, NodeStatus.CANCELLED)

    link.node_left(run.id, execution.id)
    look(supervisor)

    assert status_of(late) == "cancelled"


def test_node_stop_plans_by_the_run_s_own_times() -> None:
    run = make_running(grace_seconds=90, interrupt_after_seconds=60)
    execute(run)

    (stop,) = control.cancel_node(run.id, "review")

    assert stop.interrupt_at - stop.requested_at >= timedelta(seconds=59)
    assert stop.kill_at - stop.interrupt_at == timedelta(seconds=30)


@pytest.mark.usefixtures("own_checkpoints")
def test_kill_of_a_node_in_a_thread_pool_interrupts_it(supervisor: Supervisor, link: LocalLink, marks: Marks) -> None:
    """There is no process of its own to kill."""
    run = make_run(graph="node_swallows_once", input={"marks": str(marks), "values": []})
    executing = Elsewhere(executions.execute, run.id, link)
    marks.wait_for("begun")
    marks.open("sibling")
    execution = wait_until(lambda: NodeExecution.objects.filter(node="branch").first(), "it is stored")
    (stop,) = control.cancel_node(run.id, execution.id, mode="kill")

    def step() -> str:
        look(supervisor)
        return outcome_of(stop)

    assert wait_until(step, "it is known what became of it") == "cancelled"
    assert executing.result().status == "completed"
    assert NodeStop.objects.get().rung == 1
    assert Run.objects.get(id=run.id).output["values"] == ["declared", "sibling", "after"]
