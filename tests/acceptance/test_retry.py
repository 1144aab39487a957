"""A retry goes on where its run was left, or begins anew, and takes what the run's children had finished."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from runs import control, lineage
from runs.errors import AlreadyRetried, RetryRefused, RunNotFound, ThreadBusy
from runs.models import Run
from tests.services import Marks, WorkerProcess, freeze, wait_for_status, wait_until

EIGHT = [f"n{number}" for number in range(1, 9)]


def submit(graph: str, marks: Marks, **values: object) -> Run:
    return control.submit(graph, {"marks": str(marks), **values})


def ended(run: Run) -> Run:
    return control.wait(run.id, timeout_seconds=30)


def fail(graph: str, marks: Marks, **options: Any) -> Run:
    run = ended(control.submit(graph, {"marks": str(marks), "values": ["input"]}, **options))
    assert run.status == "failed", run.error
    return run


def keys_of(run: Run) -> list[str]:
    return sorted(str(child.input["number"]) for child in run.children.all())


# --- from the last checkpoint -----------------------------------------------------------------------------


@pytest.mark.parametrize("graph", ["eight", "async_eight"])
def test_retry_repeats_no_finished_node(worker: WorkerProcess, marks: Marks, graph: str) -> None:
    failed = fail(graph, marks)
    marks.open("mended")

    run = control.retry(failed.id, actor="tester", reason="mended")

    assert ended(run).status == "completed"
    assert marks.names() == ["n1", "n2", "n3", "n4", "n5", "n5", "n6", "n7", "n8"]
    run = control.get(run.id)
    assert run.output["values"] == ["input", *EIGHT]
    assert (run.retry_of_id, run.retry_actor, run.retry_reason) == (failed.id, "tester", "mended")
    assert (run.thread_id, run.graph, run.input, run.attempt) == (failed.thread_id, graph, failed.input, 1)
    assert control.get(failed.id).status == "failed"


def test_retry_of_a_retry_goes_on_where_that_was_left(worker: WorkerProcess, marks: Marks) -> None:
    failed = fail("eight", marks)
    second = ended(control.retry(failed.id))
    assert second.status == "failed"
    marks.open("mended")

    with pytest.raises(AlreadyRetried) as refused:
        control.retry(failed.id)
    third = ended(control.retry(second.id))

    assert refused.value.newest_id == second.id
    assert third.output["values"] == ["input", *EIGHT]
    assert marks.names().count("n4") == 1
    assert marks.names().count("n5") == 3


def test_retry_of_a_run_that_never_began_has_its_input(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("quick", {"marks": str(marks)}, ring=False)
    control.cancel(run.id)
    again = ended(control.retry(run.id))
    assert (again.status, again.output["values"]) == ("completed", ["only"])


def test_retry_of_a_cancelled_run_repeats_the_node_that_was_cut(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("napping", marks, seconds=600)
    marks.wait_for("nap.begun")
    control.cancel(run.id)
    assert ended(run).status == "cancelled"

    again = control.retry(run.id)
    marks.wait_for("nap.begun", 2)
    control.cancel(again.id)

    assert ended(again).status == "cancelled"
    assert marks.names().count("before") == 1


def test_retry_does_not_repeat_the_branch_that_had_finished(worker: WorkerProcess, marks: Marks) -> None:
    failed = fail("one_branch_fails", marks)
    marks.open("mended")
    again = ended(control.retry(failed.id))
    assert sorted(again.output["values"]) == ["after", "input", "left", "n5"]
    assert marks.names().count("left") == 1


def test_retry_of_a_functional_graph_repeats_no_finished_task(worker: WorkerProcess, marks: Marks) -> None:
    failed = fail("functional_steps", marks)
    marks.open("mended")
    again = ended(control.retry(failed.id))
    assert again.output == {"values": ["n3", "n4", "n5", "n6"]}
    assert marks.names() == ["n3", "n4", "n5", "n5", "n6"]


@pytest.mark.parametrize(("gate", "before"), [("die", 1), ("die_late", 2)])
@pytest.mark.parametrize("from_start", [False, True])
def test_retry_whose_process_dies_goes_on_all_the_same(
    worker: WorkerProcess, marks: Marks, gate: str, before: int, from_start: bool
) -> None:
    failed = fail("eight", marks)
    marks.open("mended")
    marks.open(gate)  # before the retry's own first checkpoint, and after it

    again = ended(control.retry(failed.id, from_start=from_start))

    assert (again.status, again.attempt) == ("completed", 2)
    assert again.output["values"] == ["input", *EIGHT]
    assert marks.names().count("n4") == (2 if from_start else 1)
    assert marks.names().count("dying") == 1


# --- from the start ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", ["eight", "async_eight"])
def test_retry_from_the_start_doubles_nothing(worker: WorkerProcess, marks: Marks, graph: str) -> None:
    failed = fail(graph, marks)
    marks.open("mended")
    again = ended(control.retry(failed.id, from_start=True))
    assert again.output["values"] == ["input", *EIGHT]
    assert marks.names() == [*EIGHT[:5], *EIGHT]


@pytest.mark.parametrize("graph", ["eight", "async_eight"])
def test_retry_from_the_start_keeps_what_the_thread_had_before(worker: WorkerProcess, marks: Marks, graph: str) -> None:
    first = ended(control.submit("ten_nodes", {"values": ["a"]}, thread_id="talk"))
    assert first.status == "completed"
    failed = fail(graph, marks, thread_id="talk")
    failed = ended(control.retry(failed.id, from_start=True))  # fails as well: a fork of a fork must not add up
    marks.open("mended")

    again = ended(control.retry(failed.id, from_start=True))

    assert again.output["values"] == [*first.output["values"], "input", *EIGHT]
    later = ended(control.submit("quick", {"values": ["b"]}, thread_id="talk"))
    assert later.output["values"] == [*again.output["values"], "b", "only"]


def test_retry_from_the_start_of_a_functional_graph_repeats_its_tasks(worker: WorkerProcess, marks: Marks) -> None:
    failed = fail("functional_steps", marks)
    marks.open("mended")
    again = ended(control.retry(failed.id, from_start=True))
    assert again.output == {"values": ["n3", "n4", "n5", "n6"]}
    assert marks.names() == ["n3", "n4", "n5", "n3", "n4", "n5", "n6"]


def test_retry_of_a_retry_from_the_start_that_never_began_begins_anew(worker: WorkerProcess, marks: Marks) -> None:
    failed = fail("eight", marks)
    marks.open("mended")
    freeze(worker.process.pid)  # nobody takes it
    try:
        second = control.retry(failed.id, from_start=True)
        control.cancel(second.id)
    finally:
        worker.process.send_signal(18)
    assert ended(second).attempt == 0

    third = ended(control.retry(second.id))

    assert third.output["values"] == ["input", *EIGHT]
    assert marks.names() == [*EIGHT[:5], *EIGHT]


# --- children ---------------------------------------------------------------------------------------------


def cancel_with_two_of_five(graph: str, marks: Marks) -> Run:
    run = submit(graph, marks, numbers=[0, 1, 2, 3, 4])
    marks.open("part.0")
    marks.open("part.2")
    marks.wait_for("part.0.ended")
    marks.wait_for("part.2.ended")
    wait_until(lambda: run.children.filter(status="completed").count() == 2, "two children are complete")
    wait_for_status(run, "waiting")
    control.cancel(run.id)
    control.wait(run.id, timeout_seconds=15, tree=True)
    for number in range(5):
        marks.open(f"part.{number}")
    return control.get(run.id)


@pytest.mark.parametrize("graph", ["parts", "split_parts"])
def test_retry_of_a_cancelled_parent_starts_only_what_is_missing(
    start_worker: Callable[..., WorkerProcess], marks: Marks, graph: str
) -> None:
    start_worker(concurrency=5)
    cancelled = cancel_with_two_of_five(graph, marks)

    again = ended(control.retry(cancelled.id))

    assert again.status == "completed", again.error
    assert again.output["results"] == [0, 1, 2, 3, 4]
    assert keys_of(again) == ["1", "3", "4"]
    assert {str(child.input["number"]) for child in again.adopted.all()} == {"0", "2"}
    assert (again.progress_done, again.progress_total) == (5, 5)
    ends = [name for name in marks.names() if name.endswith(".ended")]
    assert sorted(ends) == [f"part.{number}.ended" for number in range(5)]
    # What a child had finished is not repeated either.
    assert [marks.names().count(f"first.{number}") for number in range(5)] == [1, 1, 1, 1, 1]
    for child in again.children.all():
        assert child.retry_of is not None
        assert (child.retry_of.parent_id, child.thread_id) == (cancelled.id, child.retry_of.thread_id)
        assert child.root_id == again.id


def test_retry_from_the_start_of_a_parent_starts_every_child_anew(
    start_worker: Callable[..., WorkerProcess], marks: Marks
) -> None:
    start_worker(concurrency=5)
    cancelled = cancel_with_two_of_five("parts", marks)

    again = ended(control.retry(cancelled.id, from_start=True))

    assert again.output["results"] == [0, 1, 2, 3, 4]
    assert keys_of(again) == ["0", "1", "2", "3", "4"]
    assert {child.retry_of_id for child in again.children.all()} == {None}
    assert marks.names().count("before") == 2


@pytest.mark.parametrize("graph", ["parts", "split_parts"])
def test_retry_of_a_parent_that_failed_by_its_child_tries_the_child_again(
    worker: WorkerProcess, marks: Marks, graph: str
) -> None:
    for number in range(3):
        marks.open(f"part.{number}")
    marks.open("part.1.broken")
    failed = ended(submit(graph, marks, numbers=[0, 1, 2]))
    assert failed.error is not None
    assert failed.error["type"] == "ChildFailed"
    still = ended(control.retry(failed.id))
    assert still.error is not None
    assert still.error["type"] == "ChildFailed"
    marks.open("mended")

    again = ended(control.retry(still.id))

    assert again.status == "completed", again.error
    assert again.output["results"] == [0, 1, 2]
    assert keys_of(again) == ["1"]
    assert marks.names().count("part.0.begun") == 1
    assert marks.names().count("part.1.begun") == 3


def test_retry_of_a_parent_takes_what_its_child_was_retried_to(worker: WorkerProcess, marks: Marks) -> None:
    for number in range(2):
        marks.open(f"part.{number}")
    marks.open("part.1.broken")
    failed = ended(submit("parts", marks, numbers=[0, 1]))
    marks.open("mended")
    alone = ended(control.retry(failed.children.get(status="failed").id))
    assert (alone.status, alone.parent_id, alone.root_id) == ("completed", None, alone.id)

    again = ended(control.retry(failed.id))

    assert again.output["results"] == [0, 1]
    assert keys_of(again) == []
    assert alone.id in {child.id for child in again.adopted.all()}
    assert marks.names().count("part.1.begun") == 2


def test_retry_of_a_parent_does_not_wait_for_a_child_that_is_retried_alone(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("parts", marks, numbers=[0])
    marks.wait_for("part.0.begun")
    wait_for_status(run, "waiting")
    control.cancel(run.id)
    control.wait(run.id, timeout_seconds=10, tree=True)
    alone = control.retry(run.children.get().id)
    marks.wait_for("part.0.begun", 2)

    again = control.retry(run.id)
    marks.wait_for("part.0.begun", 3)
    marks.open("part.0")

    assert ended(again).output["results"] == [0]
    assert ended(alone).status == "completed"
    (child,) = again.children.all()
    assert (child.retry_of_id, child.thread_id) == (None, str(child.id))


def test_retry_keeps_the_answer_of_a_person(worker: WorkerProcess, marks: Marks) -> None:
    marks.open("part.0")
    marks.open("part.0.broken")
    run = submit("asks_and_has_parts", marks, numbers=[0])
    (question,) = wait_for_status(run, "waiting").questions
    control.answer(run.id, {question: "yes"})
    assert ended(run).status == "failed"
    marks.open("mended")

    again = ended(control.retry(run.id))

    assert again.status == "completed", again.error
    assert again.output["results"] == ["yes", 0]


def test_cancel_of_a_retry_reaches_the_children_that_it_started_again(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("parts", marks, numbers=[0])
    marks.wait_for("part.0.begun")
    wait_for_status(run, "waiting")
    control.cancel(run.id)
    control.wait(run.id, timeout_seconds=10, tree=True)
    again = control.retry(run.id)
    marks.wait_for("part.0.begun", 2)
    wait_for_status(again, "waiting")

    control.cancel(again.id)
    control.wait(again.id, timeout_seconds=10, tree=True)

    assert [child.status for child in again.children.all()] == ["cancelled"]
    assert [run.id for run in control.list_active()] == []


def test_retry_of_a_deep_tree_goes_on_at_its_bottom(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("deep", marks, depth=3, seconds=2)
    marks.wait_for("nap.begun")
    control.cancel(run.id)
    control.wait(run.id, timeout_seconds=10, tree=True)
    assert "nap.ended" not in marks.names()

    again = ended(control.retry(run.id))

    assert again.status == "completed", again.error
    tree = control.list_tree(again.id)
    assert [(member.graph, member.status) for member in tree] == [("deep", "completed")] * 3 + [
        ("napping", "completed")
    ]
    assert [member.retry_of_id for member in tree] == [member.id for member in control.list_tree(run.id)]


def test_retry_renews_a_child_that_no_node_named(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("split_parts", marks, numbers=[0])
    marks.wait_for("part.0.begun")
    wait_for_status(run, "waiting")
    Run.objects.filter(parent=run).update(child_key=None)
    control.cancel(run.id)
    control.wait(run.id, timeout_seconds=10, tree=True)
    again = control.retry(run.id)
    marks.wait_for("part.0.begun", 2)
    wait_for_status(again, "waiting")
    control.cancel(again.id)
    control.wait(again.id, timeout_seconds=10, tree=True)
    marks.open("part.0")

    third = ended(control.retry(again.id))

    assert third.output["results"] == [0]
    assert marks.names().count("first.0") == 1
    (child,) = third.children.all()
    assert child.retry_of_id == again.children.get().id


def test_retry_while_a_child_still_stops_is_refused(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("family", marks, graphs=["before_node"])
    marks.wait_for("call.begun")
    wait_for_status(run, "waiting")
    control.cancel(run.id)

    with pytest.raises(RetryRefused, match="is still cancelling"):
        control.retry(run.id)
    marks.open("call")
    control.wait(run.id, timeout_seconds=10, tree=True)
    assert ended(control.retry(run.id)).status == "completed"


# --- refusals ---------------------------------------------------------------------------------------------


def test_retry_of_what_has_completed_or_still_runs_is_refused(worker: WorkerProcess, marks: Marks) -> None:
    done = ended(submit("quick", marks))
    active = submit("napping", marks, seconds=600)
    with pytest.raises(RetryRefused, match="it has completed"):
        control.retry(done.id)
    with pytest.raises(RetryRefused, match="cancel it first"):
        control.retry(active.id)
    with pytest.raises(RunNotFound):
        control.retry("no-run")


def test_retry_on_a_thread_that_has_gone_on_is_refused(worker: WorkerProcess, marks: Marks) -> None:
    failed = fail("eight", marks, thread_id="talk")
    held = control.submit("napping", {"marks": str(marks), "seconds": 600}, thread_id="talk")
    marks.wait_for("nap.begun")
    with pytest.raises(ThreadBusy):
        control.retry(failed.id)
    control.cancel(held.id)
    ended(held)
    with pytest.raises(RetryRefused, match=f"has gone on with run {held.id}"):
        control.retry(failed.id)


def test_two_retries_at_once_give_one_run(worker: WorkerProcess, marks: Marks) -> None:
    failed = fail("eight", marks)
    start, results = threading.Barrier(4), list[object]()

    def press() -> None:
        from django.db import connections

        start.wait(10)
        try:
            results.append(control.retry(failed.id))
        except (AlreadyRetried, ThreadBusy) as error:
            results.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (made,) = [result for result in results if isinstance(result, Run)]
    assert len(results) == 4
    assert lineage.find_retry(failed.id) == made
    assert Run.objects.count() == 2
