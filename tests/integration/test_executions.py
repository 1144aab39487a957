"""Whole executions in this process, and the barrier between a stop and the children that a node starts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from runs import control, events, executions, registry
from runs.links import LocalLink
from runs.models import Run
from runs.tokens import StopOrder
from tests.integration.engine import Elsewhere, claim, make_run, status_of
from tests.services import Marks, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker", "own_checkpoints")]


@pytest.fixture
def link() -> LocalLink:
    return LocalLink("tester", alone=False)


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    yield
    events.sink().flush()
    assert executions.running_here() == []


def execute(run: Run, link: LocalLink) -> Elsewhere:
    return Elsewhere(executions.execute, run.id, link)


def test_execute_tells_its_supervisor_of_beginning_and_end(link: LocalLink, marks: Marks) -> None:
    run = make_run(graph="before_node", input={"marks": str(marks)})
    executing = execute(run, link)
    marks.wait_for("call.begun")
    assert link.table == {run.id: 1}
    assert executions.running_here() == [run.id]
    marks.open("call")

    assert executing.result().status == "completed"
    assert link.table == {}


def test_execute_of_a_worker_that_stops_leaves_the_run_queued(link: LocalLink, marks: Marks) -> None:
    run = make_run(input={"marks": str(marks)})
    link.stopping.set()
    assert executions.execute(run.id, link) is None
    assert (status_of(run), marks.names()) == ("queued", [])


def test_execute_of_an_unknown_run_does_nothing(link: LocalLink) -> None:
    run = make_run()
    Run.objects.all().delete()
    assert executions.execute(run.id, link) is None


def test_stop_of_another_attempt_is_not_delivered(link: LocalLink, marks: Marks) -> None:
    run = make_run(graph="before_node", input={"marks": str(marks)})
    executing = execute(run, link)
    marks.wait_for("call.begun")

    assert not executions.deliver(StopOrder(run.id, 2, "for another attempt"))
    assert not executions.deliver(StopOrder(make_run().id, 1, "for another run"))
    marks.open("call")

    assert executing.result().status == "completed"


def take_over(run: Run) -> None:
    assert registry.requeue(run.id, 1, resurrect=True)
    claim(run)


@pytest.mark.parametrize("graph", ["before_node", "asking_human_late", "stops_itself"])
def test_outcome_of_a_stale_attempt_changes_nothing(link: LocalLink, marks: Marks, graph: str) -> None:
    run = make_run(graph=graph, input={"marks": str(marks)})
    executing = execute(run, link)
    marks.wait_for("call.begun")
    take_over(run)
    marks.open("call")

    assert executing.result() is None
    after = Run.objects.get(id=run.id)
    assert (after.display_status, after.attempt, after.output) == ("running", 2, None)


def test_graph_that_stops_itself_is_cancelled_by_itself(link: LocalLink, marks: Marks) -> None:
    run = make_run(graph="stops_itself", input={"marks": str(marks)})
    marks.open("call")
    settled = executions.execute(run.id, link)

    assert settled is not None
    ended = Run.objects.get(id=run.id)
    assert (ended.status, ended.stop_source, ended.stop_reason) == ("cancelled", "node", "the graph stopped itself")


@pytest.mark.parametrize("message", ["nul", "surrogate", "long"])
def test_failure_with_any_message_is_settled(link: LocalLink, message: str) -> None:
    run = make_run(graph="raises", input={"marks": "", "values": [message]})
    settled = executions.execute(run.id, link)
    assert settled is not None
    assert settled.status == "failed"


@pytest.mark.parametrize("graph", ["returns_nan", "returns_surrogate"])
def test_output_that_json_does_not_know_is_settled(link: LocalLink, graph: str) -> None:
    run = make_run(graph=graph, input={"marks": ""})
    settled = executions.execute(run.id, link)
    assert settled is not None
    assert settled.status == "completed"
    assert Run.objects.get(id=run.id).output["values"] in (["NaN", "Infinity"], ["a?"])


def test_failure_of_a_parent_stops_the_children_that_a_stop_would(link: LocalLink, marks: Marks) -> None:
    run = make_run(graph="failing_parent", input={"marks": str(marks), "graphs": ["quick", "quick"]})
    marks.open("call")
    settled = executions.execute(run.id, link)
    assert settled is not None
    assert settled.status == "failed"
    assert {child.status for child in run.children.all()} == {"cancelled"}


# --- the barrier ------------------------------------------------------------------------------------------


def test_node_that_spawns_in_a_loop_is_stopped_with_all_its_children(link: LocalLink, marks: Marks) -> None:
    run = make_run(graph="spawning", input={"marks": str(marks)})
    executing = execute(run, link)
    marks.wait_for("spawned", 5)
    # Children begin elsewhere meanwhile.
    quitting = threading.Event()

    def work() -> set[Any]:
        mine = LocalLink("other", alone=False)
        done = set()
        while not quitting.is_set():
            for child_id in run.children.filter(status="queued").values_list("id", flat=True)[:3]:
                if executions.execute(child_id, mine) is not None:
                    done.add(child_id)
        return done

    working = Elsewhere(work)
    marks.wait_for("only", 2)
    control.cancel(run.id)
    assert executions.deliver(StopOrder(run.id, 1, ""))
    assert executing.result().status == "cancelled"
    stopped_at = marks.names().count("only")
    for _ in range(3):
        assert not run.children.filter(status="queued").exists()
    quitting.set()
    working.result()

    wait_until(lambda: not run.children.exclude(status__in=["completed", "cancelled"]).exists(), "all have ended")
    assert marks.names().count("only") <= stopped_at + 1  # one may have been executing
