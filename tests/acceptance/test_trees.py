"""Trees of runs: children are started, waited for without a slot, and stopped with their parents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from runs import control, dispatch, registry
from runs.errors import InputRefused, RunNotWaiting
from runs.models import Run
from tests.integration.engine import make_run, make_running, stop_request
from tests.services import Marks, WorkerProcess, wait_for_status, wait_until


def submit(graph: str, marks: Marks, **values: object) -> Run:
    return control.submit(graph, {"marks": str(marks), **values})


def children_of(run: Run) -> list[Run]:
    return list(run.children.order_by("id"))


def test_join_waits_without_a_slot_and_gives_the_results(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("parent", marks, children=3, child_graph="before_node")
    waiting = wait_for_status(run, "waiting")
    assert waiting.lease_expires_at is None
    assert {child.is_awaited for child in children_of(run)} == {True}
    # Both slots are free for the children.
    marks.wait_for("call.begun", 2)
    marks.open("call")

    ended = control.wait(run.id, timeout_seconds=30)

    assert (ended.status, ended.attempt) == ("completed", 2)
    assert ended.output["values"] == ["completed"] * 3 + ["after"]
    assert (ended.progress_done, ended.progress_total) == (3, 3)
    assert {child.root_id for child in children_of(run)} == {run.id}
    assert [node.status for node in ended.nodes.filter(node="family")] == ["suspended", "finished"]


def test_join_with_a_failed_child_tells_how_each_ended(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("family", marks, graphs=["failing", "quick", "before_node"])
    marks.wait_for("call.begun")
    control.cancel(run.children.get(graph="before_node").id)
    marks.open("call")

    ended = control.wait(run.id, timeout_seconds=30)

    assert ended.status == "completed"
    assert ended.output["values"] == ["failing failed", "quick completed", "before_node cancelled", "after"]


def test_join_with_a_failed_child_raises(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("strict", marks, graphs=["quick", "failing"])

    ended = control.wait(run.id, timeout_seconds=30)

    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error["type"] == "ChildFailed"
    assert "failed: ['failing']" in marks.names()


def test_join_in_parallel_branches(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("joins_in_branches", marks)
    ended = control.wait(run.id, timeout_seconds=30)
    assert ended.status == "completed"
    assert sorted(ended.output["values"]) == ["after", "left completed", "right completed"]
    assert len(children_of(run)) == 2


def test_join_twice_in_one_node(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("twice", marks)
    ended = control.wait(run.id, timeout_seconds=30)
    assert (ended.status, ended.attempt) == ("completed", 3)
    assert ended.output["values"] == ["completed"] * 3 + ["after"]
    assert sorted(child.graph for child in children_of(run)) == ["quick", "quick", "ten_nodes"]


def test_join_in_a_subgraph(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("in_subgraph", marks)
    ended = control.wait(run.id, timeout_seconds=30)
    assert ended.status == "completed"
    assert len(children_of(run)) == 1
    assert "deep completed" in ended.output["values"]


def test_spawn_and_join_in_an_async_node(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("async_family", marks)
    ended = control.wait(run.id, timeout_seconds=30)
    assert ended.error is None
    assert ended.output["values"] == ["completed", "completed", "after"]
    assert len(children_of(run)) == 2


def test_spawn_under_a_retry_policy_starts_no_child_twice(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("retried", marks)
    marks.wait_for("call.begun")
    marks.open("call")
    ended = control.wait(run.id, timeout_seconds=30)

    assert ended.error is None
    assert ended.output["values"] == ["completed", "completed"]
    assert marks.names().count("try") >= 3  # two in the first attempt, one after the join
    assert len(children_of(run)) == 2
    assert marks.names().count("only") == 2


@pytest.mark.timeout(120)
def test_twenty_parents_with_five_children_each_end_on_two_slots(worker: WorkerProcess, marks: Marks) -> None:
    parents = [submit("parent", marks, children=5, priority=number) for number in range(20)]
    for parent in parents:
        ended = control.wait(parent.id, timeout_seconds=90)
        assert (ended.status, ended.attempt) == ("completed", 2)
    assert Run.objects.filter(graph="quick", status="completed").count() == 100
    assert Counter(marks.names())["only"] == 100


@pytest.mark.parametrize("children_first", [True, False])
def test_parents_and_children_end_in_either_order_of_the_queue(
    start_worker: Callable[..., WorkerProcess], marks: Marks, children_first: bool
) -> None:
    start_worker(concurrency=1)
    parents = [
        control.submit(
            "parent", {"marks": str(marks), "children": 3, "child_graph": "quick"}, priority=2 if children_first else 8
        )
        for _ in range(5)
    ]
    for parent in parents:
        assert control.wait(parent.id, timeout_seconds=40).status == "completed"


def test_deep_chain_waits_on_fewer_slots_than_it_is_deep(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("deep", marks, depth=6, seconds=0.01)
    assert control.wait(run.id, timeout_seconds=30).status == "completed"
    assert Run.objects.filter(root_id=run.id).count() == 7


# --- stops ------------------------------------------------------------------------------------------------


def test_cancel_reaches_the_whole_chain(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("deep", marks, depth=4)
    marks.wait_for("nap.begun")

    result = control.cancel(run.id, reason="enough")
    control.wait(run.id, timeout_seconds=10, tree=True)

    tree = Run.objects.filter(root_id=run.id)
    assert set(result.reached) == set(tree.values_list("id", flat=True))
    assert set(tree.values_list("status", flat=True)) == {"cancelled"}
    assert set(tree.values_list("stop_reason", flat=True)) == {"enough"}
    assert "nap.finally" in marks.names()
    assert "nap.ended" not in marks.names()


def test_cancel_of_a_waiting_parent_stops_its_running_and_queued_children(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("parent", marks, children=4, child_graph="before_node")
    wait_for_status(run, "waiting")
    marks.wait_for("call.begun", 2)

    result = control.cancel(run.id)
    assert control.get(run.id).status == "cancelled"
    assert len(result.settled) == 3  # the parent and the two children that were queued
    marks.wait_for("call.told", 2)
    marks.open("call")
    control.wait(run.id, timeout_seconds=10, tree=True)

    assert {child.status for child in children_of(run)} == {"cancelled"}
    assert marks.names().count("call.begun") == 2
    assert "beyond" not in marks.names()
    assert "parent.joined" not in marks.names()


def test_cancel_spares_abandoned_children(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("family", marks, graphs=["before_node"], abandon=True)
    marks.wait_for("call.begun")
    wait_for_status(run, "waiting")

    control.cancel(run.id)
    marks.open("call")

    (child,) = children_of(run)
    assert control.wait(child.id, timeout_seconds=30).status == "completed"
    assert control.get(run.id).status == "cancelled"


def test_cancel_without_cascade_leaves_the_children_running(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("family", marks, graphs=["before_node"])
    marks.wait_for("call.begun")
    wait_for_status(run, "waiting")

    control.cancel(run.id, cascade=False)
    marks.open("call")

    (child,) = children_of(run)
    assert control.wait(child.id, timeout_seconds=30).status == "completed"


def test_cancel_of_one_child_wakes_the_parent(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("family", marks, graphs=["napping", "quick"])
    marks.wait_for("nap.begun")
    wait_for_status(run, "waiting")

    control.cancel(run.children.get(graph="napping").id)

    ended = control.wait(run.id, timeout_seconds=30)
    assert ended.output["values"] == ["napping cancelled", "quick completed", "after"]


def test_cancel_while_a_node_spawns_leaves_no_child_running(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("spawning", marks)
    marks.wait_for("spawned", 10)

    control.cancel(run.id)
    control.wait(run.id, timeout_seconds=10, tree=True)

    assert {child.status for child in children_of(run)} <= {"cancelled", "completed"}
    begun = marks.names().count("only")
    # Whatever was queued before this has had its turn.
    control.wait(control.submit("quick", {}, priority=0).id, timeout_seconds=30)
    assert marks.names().count("only") == begun
    assert Run.objects.filter(status__in=["queued", "running"]).count() == 0


def test_spawn_after_the_stop_has_arrived_is_refused(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("late_spawner", marks)
    marks.wait_for("waiting")
    control.cancel(run.id)

    assert control.wait(run.id, timeout_seconds=30).status == "cancelled"
    assert marks.names() == ["waiting", "refused: RunCancelled"]
    assert children_of(run) == []


def test_parent_that_fails_stops_its_children(worker: WorkerProcess, marks: Marks, tmp_path: Path) -> None:
    run = submit("failing_parent", marks, graphs=["napping", "napping", "napping"])
    marks.wait_for("nap.begun")
    marks.open("call")

    assert control.wait(run.id, timeout_seconds=10, tree=True).status == "failed"
    assert {child.status for child in children_of(run)} == {"cancelled"}
    assert {child.stop_source for child in children_of(run)} == {"parent"}


def test_claim_below_a_stopped_run_settles_it_without_a_start(
    start_worker: Callable[..., WorkerProcess], marks: Marks
) -> None:
    # What a stop leaves behind that reached the parent alone: no writer of ours does that, a crash might.
    parent = make_running()
    child = make_run(parent=parent, input={"marks": str(marks)})
    registry.request_stop([parent.id], stop_request(), cascade=False)
    start_worker()
    dispatch.ring([child.id])

    ended = control.wait(child.id, timeout_seconds=30)
    assert (ended.status, ended.attempt, ended.stop_source) == ("cancelled", 0, "parent")
    assert marks.names() == []


# --- questions to a person --------------------------------------------------------------------------------


def test_answer_lets_a_graph_go_on(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("asking_human", marks)
    waiting = wait_for_status(run, "waiting")
    ((question_id, question),) = waiting.questions.items()
    assert question == {"question": "go on?"}
    with pytest.raises(InputRefused):
        control.answer(run.id, {"another": "yes"})
    with pytest.raises(InputRefused):
        control.answer(run.id, {})

    control.answer(run.id, {question_id: {"go": True}})

    ended = control.wait(run.id, timeout_seconds=30)
    assert (ended.status, ended.attempt, ended.output["answers"]) == ("completed", 2, [{"go": True}])
    with pytest.raises(RunNotWaiting):
        control.answer(run.id, {question_id: "again"})


@pytest.mark.parametrize("answer", [None, False, 0, "", []])
def test_answer_may_be_empty(worker: WorkerProcess, marks: Marks, answer: object) -> None:
    run = submit("asking_human", marks)
    (question_id,) = wait_for_status(run, "waiting").questions
    control.answer(run.id, {question_id: answer})
    assert control.wait(run.id, timeout_seconds=30).output["answers"] == [answer]


def test_answer_before_the_children_end_waits_for_them(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("asks_and_joins", marks)
    waiting = wait_for_status(run, "waiting")
    wait_until(lambda: children_of(run)[0].status == "completed", "the child has ended")
    assert control.get(run.id).status == "waiting"
    (question_id,) = waiting.questions

    control.answer(run.id, {question_id: "yes"})

    ended = control.wait(run.id, timeout_seconds=30)
    assert ended.status == "completed"
    assert ended.output["answers"] == ["yes"]
    assert sorted(ended.output["values"]) == ["after", "child completed"]


def test_questions_of_one_node_are_asked_one_after_the_other(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("asking_twice", marks)
    for expected, answer in (("first?", 1), ("second?", 2)):
        waiting = wait_until(
            lambda expected=expected: found if expected in (found := control.get(run.id)).questions.values() else None,
            f"it asks {expected}",
        )
        wait_for_status(run, "waiting")
        (question_id,) = waiting.questions
        control.answer(run.id, {question_id: answer})
    assert control.wait(run.id, timeout_seconds=30).output["answers"] == [1, 2]


def test_one_answer_of_two_leaves_the_other_question_open(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("two_questions", marks)
    first, second = wait_for_status(run, "waiting").questions

    control.answer(run.id, {first: "one"})
    wait_until(lambda: set(control.get(run.id).questions) == {second}, "the second question is left")
    wait_for_status(run, "waiting")
    control.answer(run.id, {second: "two"})

    assert sorted(control.wait(run.id, timeout_seconds=30).output["answers"]) == ["one", "two"]


def test_cancel_of_a_run_that_asked_ends_it_at_once(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("asking_human", marks)
    (question_id,) = wait_for_status(run, "waiting").questions
    assert control.cancel(run.id).settled == [run.id]
    with pytest.raises(RunNotWaiting):
        control.answer(run.id, {question_id: "late"})
