"""Pause, resume and drain against everything that may happen at the same moment, with the order of each race forced."""

from __future__ import annotations

import os
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from runs import control, events, executions, pauses, reaper, registry
from runs.errors import RunAlreadyEnded, RunIsStopping, RunNotFound, RunNotPaused
from runs.links import LocalLink
from runs.models import Run, new_run_id
from runs.states import OnParentStop, Status
from runs.tokens import StopOrder
from tests.integration.engine import (
    CLAIMANT,
    PAUSE,
    Elsewhere,
    claim,
    expire_lease,
    has_stop,
    make_ended,
    make_paused,
    make_run,
    make_running,
    make_waiting,
    pausing,
    status_of,
    stop_request,
)
from tests.services import Marks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker", "own_checkpoints")]

ON_POSTGRESQL = "postgres" in os.environ.get("DATABASE_URL", "")


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The runs for which a doorbell was rung; nobody is there to hear it."""
    runs: list[Any] = []
    monkeypatch.setattr("runs.dispatch.ring_one", lambda run: runs.append(run.id))
    return runs


def shown(run: Run) -> str:
    return Run.objects.get(id=run.id).display_status


# --- pause and resume, one after the other ----------------------------------------------------------------


@pytest.mark.parametrize("make", [make_run, make_waiting])
def test_pause_of_what_does_not_execute_happens_at_once(make: Any) -> None:
    run = make()
    result = control.pause(run.id, actor="ann", source="cli", reason="the disk is full")

    assert (result.reached, result.settled) == ([run.id], [run.id])
    paused = Run.objects.get(id=run.id)
    assert (paused.status, paused.pause_actor, paused.pause_source, paused.pause_reason) == (
        "paused",
        "ann",
        "cli",
        "the disk is full",
    )
    assert list(paused.status_changes.values_list("status", flat=True))[-1] == "paused"


def test_pause_of_a_running_run_is_only_asked() -> None:
    run = make_running()
    result = control.pause(run.id)
    assert (result.reached, result.settled) == ([run.id], [])
    assert (status_of(run), shown(run)) == ("running", "pausing")
    assert [found.id for found in control.list_runs(statuses=["pausing"])] == [run.id]
    assert control.list_runs(statuses=["running"]) == []


def test_pause_twice_keeps_the_first() -> None:
    for run in (make_run(), make_running()):
        control.pause(run.id, actor="first")
        assert control.pause(run.id, actor="second").reached == []
        assert Run.objects.get(id=run.id).pause_actor == "first"


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_pause_and_resume_of_what_has_ended_are_refused(status: Status) -> None:
    run = make_ended(status)
    with pytest.raises(RunAlreadyEnded, match=f"had already ended: {status}"):
        control.pause(run.id)
    with pytest.raises(RunNotPaused, match=f"is {status}: only a run that is paused or pausing can be resumed"):
        control.resume(run.id)
    assert Run.objects.get(id=run.id).pause_requested_at is None


def test_pause_of_a_stopping_run_is_refused() -> None:
    run = make_running()
    control.cancel(run.id)
    with pytest.raises(RunIsStopping):
        control.pause(run.id)
    assert shown(run) == "cancelling"


def test_pause_and_resume_of_an_unknown_run_are_refused() -> None:
    for ask in (control.pause, control.resume):
        with pytest.raises(RunNotFound):
            ask(new_run_id())


def test_resume_of_what_is_not_paused_changes_nothing_below_it_either() -> None:
    parent = make_running()
    child = make_run(parent=parent)
    control.pause(child.id)
    with pytest.raises(RunNotPaused):
        control.resume(parent.id)
    assert status_of(child) == "paused"


def test_cancel_of_a_paused_run_cancels_it_on_the_spot() -> None:
    run = make_paused()
    assert control.cancel(run.id).settled == [run.id]
    assert status_of(run) == "cancelled"
    with pytest.raises(RunNotPaused):
        control.resume(run.id)


def test_resume_queues_a_paused_run_and_rings(rung: list[Any]) -> None:
    run = make_paused()
    assert control.resume(run.id).resumed == [run.id]
    assert rung == [run.id]
    resumed = Run.objects.get(id=run.id)
    assert (resumed.status, resumed.pause_requested_at, resumed.pause_actor, resumed.pause_reason) == (
        "queued",
        None,
        "",
        "",
    )
    assert claim(run).attempt == 2
    assert resumed.resurrections == 0


def test_resume_of_a_run_that_asks_a_person_lets_it_wait_on(rung: list[Any]) -> None:
    run = make_waiting(questions={"i": "go on?"})
    control.pause(run.id)
    control.resume(run.id)
    assert (status_of(run), rung) == ("waiting", [])
    control.answer(run.id, {"i": "yes"})
    assert (status_of(run), rung) == ("queued", [run.id])


def test_resume_of_a_run_that_was_answered_before_does_not_wait_for_the_old_question(rung: list[Any]) -> None:
    run = make_waiting(questions={"i": "go on?"})
    control.answer(run.id, {"i": "yes"})
    attempt = claim(run)
    control.pause(run.id)
    assert pauses.give_back(run.id, attempt.attempt) is Status.PAUSED
    control.resume(run.id)
    assert status_of(run) == "queued"


def test_resume_of_a_parent_waits_for_its_children_and_takes_them_along(rung: list[Any]) -> None:
    parent = make_running()
    children = [make_run(parent=parent), make_running(parent=parent)]
    make_waiting(*children, run=parent)
    assert set(control.pause(parent.id).settled) == {parent.id, children[0].id}
    assert pauses.give_back(children[1].id, 1) is Status.PAUSED

    assert set(control.resume(parent.id).resumed) == {parent.id, children[0].id, children[1].id}
    assert [status_of(run) for run in (parent, *children)] == ["waiting", "queued", "queued"]
    assert set(rung) == {child.id for child in children}


def test_paused_child_keeps_its_parent_waiting_and_the_pause_of_the_parent_survives_its_children() -> None:
    parent = make_running()
    child = make_running(parent=parent)
    make_waiting(child, run=parent)
    control.pause(child.id)
    assert pauses.give_back(child.id, 1) is Status.PAUSED
    assert not registry.wake(parent.id)

    control.pause(parent.id)
    control.resume(child.id)
    registry.settle(child.id, claim(child).attempt, Status.COMPLETED)
    control.wake_parents({parent.id})
    assert status_of(parent) == "paused"
    control.resume(parent.id)
    assert status_of(parent) == "queued"


def test_pause_without_cascade_leaves_the_children_alone() -> None:
    parent = make_running()
    child = make_run(parent=parent)
    assert control.pause(parent.id, cascade=False).reached == [parent.id]
    later = make_run(parent=parent)
    assert [status_of(run) for run in (child, later)] == ["queued", "queued"]


def test_pause_spares_what_was_told_to_outlive_its_parent() -> None:
    parent = make_running()
    control.pause(parent.id)
    abandoned = make_run(parent=parent, on_parent_stop=OnParentStop.ABANDON)
    assert status_of(abandoned) == "queued"


def test_child_of_a_pausing_parent_is_born_paused_and_not_rung_for(rung: list[Any]) -> None:
    parent = pausing()
    child = control.submit("quick", {}, parent=parent.id, child_key="k")
    grandchild = make_run(parent=child)
    born = Run.objects.get(id=child.id)
    assert (born.status, born.pause_actor, born.pause_reason) == ("paused", "tester", "a break")
    assert rung == []
    assert status_of(grandchild) == "queued"  # nobody but a test starts a child of what does not run

    assert set(control.resume(parent.id).resumed) == {child.id}
    assert (status_of(child), shown(parent)) == ("queued", "running")


def test_pause_of_what_is_lost_leaves_it_paused(rung: list[Any]) -> None:
    run = pausing()
    expire_lease(run)
    reaper.reap(has_free_slot=False)
    paused = Run.objects.get(id=run.id)
    assert (paused.status, paused.resurrections, paused.lease_expires_at) == ("paused", 1, None)
    assert rung == []


def test_paused_without_a_request_can_not_be_stored() -> None:
    run = make_run()
    with pytest.raises(IntegrityError, match="run_paused_was_asked"), transaction.atomic():
        Run.objects.filter(id=run.id).update(status=Status.PAUSED)


def test_worker_that_knows_no_pause_can_insert_runs() -> None:
    run = make_run()
    ended = make_ended(Status.COMPLETED)
    ended_id = ended.id
    known = [field.column for field in Run._meta.concrete_fields if not field.name.startswith("pause_")]
    with connection.cursor() as cursor:
        columns = ", ".join(known)
        cursor.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM runs_run WHERE graph = 'quick'")
        ended.delete()
        cursor.execute(f"INSERT INTO runs_run ({columns}) SELECT {columns} FROM kept WHERE status = 'completed'")  # noqa: S608
    inserted = Run.objects.get(id=ended_id)
    assert (inserted.pause_requested_at, inserted.pause_actor, inserted.pause_cascades) == (None, "", False)
    assert status_of(run) == "queued"


# --- pause against claim ----------------------------------------------------------------------------------


def test_pause_before_claim_keeps_the_run_from_starting() -> None:
    run = make_run()
    asking = Elsewhere(registry.request_pause, [run.id], PAUSE, hold_before="runs_statuschange").until_held()
    claiming = Elsewhere(registry.claim, run.id, CLAIMANT, lease_seconds=60).until_blocked()
    asking.let_go()

    assert [item.status for item in asking.result()] == ["paused"]
    assert claiming.result() is None
    assert (status_of(run), Run.objects.get(id=run.id).attempt) == ("paused", 0)


def test_claim_before_pause_makes_it_a_request() -> None:
    run = make_run()
    claiming = Elsewhere(
        registry.claim, run.id, CLAIMANT, lease_seconds=60, hold_before="runs_statuschange"
    ).until_held()
    asking = Elsewhere(registry.request_pause, [run.id], PAUSE).until_blocked()
    claiming.let_go()

    assert claiming.result().attempt == 1
    assert [item.status for item in asking.result()] == ["running"]
    assert shown(run) == "pausing"


# --- pause against stop -----------------------------------------------------------------------------------


def test_pause_before_stop_is_cancelled() -> None:
    queued, running = make_run(), make_running()
    asking = Elsewhere(
        registry.request_pause, [queued.id, running.id], PAUSE, hold_before="runs_statuschange"
    ).until_held()
    stopping = Elsewhere(registry.request_stop, [queued.id, running.id], stop_request()).until_blocked()
    asking.let_go()
    asking.result()

    assert {item.run_id: str(item.status) for item in stopping.result()} == {
        queued.id: "cancelled",
        running.id: "running",
    }
    assert (status_of(queued), shown(running)) == ("cancelled", "cancelling")


def test_stop_before_pause_wins() -> None:
    queued, running = make_run(), make_running()
    stopping = Elsewhere(
        registry.request_stop,
        [queued.id, running.id],
        stop_request(),
        hold_before="WITH RECURSIVE",
        occurrence=2,
    ).until_held()
    asking = Elsewhere(registry.request_pause, [queued.id, running.id], PAUSE).until_blocked()
    stopping.let_go()
    stopping.result()

    assert asking.result() == []
    assert not Run.objects.filter(pause_requested_at__isnull=False).exists()


def test_drain_before_stop_is_cancelled_on_the_spot() -> None:
    run = pausing()
    draining = Elsewhere(registry.requeue, run.id, 1, resurrect=False, hold_before="runs_statuschange").until_held()
    stopping = Elsewhere(registry.request_stop, [run.id], stop_request()).until_blocked()
    draining.let_go()

    assert draining.result() == "paused"
    assert [item.status for item in stopping.result()] == ["cancelled"]


def test_stop_before_drain_keeps_it_from_being_paused() -> None:
    run = pausing()
    stopping = Elsewhere(
        registry.request_stop, [run.id], stop_request(), hold_before="WITH RECURSIVE", occurrence=2
    ).until_held()
    draining = Elsewhere(registry.requeue, run.id, 1, resurrect=False).until_blocked()
    stopping.let_go()

    assert draining.result() is None
    assert shown(run) == "cancelling"
    settled = registry.settle(run.id, 1, Status.CANCELLED)
    assert settled is not None
    assert settled.status == "cancelled"


# --- pause against settle and suspend ---------------------------------------------------------------------


def test_settle_before_pause_keeps_its_outcome() -> None:
    run = make_running()
    settling = Elsewhere(registry.settle, run.id, 1, Status.COMPLETED, hold_before="runs_statuschange").until_held()
    asking = Elsewhere(control.pause, run.id).until_blocked()
    settling.let_go()

    assert settling.result().status == "completed"
    with pytest.raises(RunAlreadyEnded):
        asking.result()


def test_pause_before_settle_lets_it_end() -> None:
    run = make_running()
    asking = Elsewhere(registry.request_pause, [run.id], PAUSE, hold_before='SET "pause_requested_at"').until_held()
    settling = Elsewhere(registry.settle, run.id, 1, Status.COMPLETED).until_blocked()
    asking.let_go()

    assert [item.status for item in asking.result()] == ["running"]
    assert settling.result().status == "completed"
    assert status_of(run) == "completed"


def test_pause_before_suspend_suspends_as_paused() -> None:
    run = make_running()
    child = make_running(parent=run)
    registry.request_pause([run.id], PAUSE)

    assert registry.suspend(run.id, 1, awaited=[child.id], questions={}) == "paused"
    assert not registry.wake(run.id)
    registry.settle(child.id, 1, Status.COMPLETED)
    assert not registry.wake(run.id)
    assert status_of(run) == "paused"
    control.resume(run.id)
    assert status_of(run) == "queued"


def test_suspend_before_pause_is_paused_on_the_spot() -> None:
    run = make_running()
    suspending = Elsewhere(
        registry.suspend, run.id, 1, awaited=[], questions={"i": "?"}, hold_before="runs_statuschange"
    ).until_held()
    asking = Elsewhere(registry.request_pause, [run.id], PAUSE).until_blocked()
    suspending.let_go()

    assert suspending.result() == "waiting"
    assert [item.status for item in asking.result()] == ["paused"]


# --- resume against drain, settle and stop ----------------------------------------------------------------


def test_resume_before_drain_withdraws_the_pause() -> None:
    run = pausing()
    resuming = Elsewhere(registry.resume, [run.id], hold_before='SET "pause_requested_at"').until_held()
    draining = Elsewhere(registry.requeue, run.id, 1, resurrect=False).until_blocked()
    resuming.let_go()

    assert [item.status for item in resuming.result()] == ["running"]
    # It has left its process all the same; nothing keeps it from going on.
    assert draining.result() == "queued"
    assert claim(run).attempt == 2
    assert Run.objects.get(id=run.id).resurrections == 0


def test_drain_before_resume_is_resumed() -> None:
    run = pausing()
    draining = Elsewhere(registry.requeue, run.id, 1, resurrect=False, hold_before="runs_statuschange").until_held()
    resuming = Elsewhere(registry.resume, [run.id]).until_blocked()
    draining.let_go()

    assert draining.result() == "paused"
    assert [item.status for item in resuming.result()] == ["queued"]


def test_resume_twice_queues_once(rung: list[Any]) -> None:
    run = make_paused()
    first = Elsewhere(registry.resume, [run.id], hold_before="runs_statuschange").until_held()
    second = Elsewhere(registry.resume, [run.id]).until_blocked()
    first.let_go()
    assert [item.status for item in first.result()] == ["queued"]
    assert second.result() == []


def test_stop_before_resume_wins() -> None:
    run = make_paused()
    stopping = Elsewhere(
        registry.request_stop, [run.id], stop_request(), hold_before="WITH RECURSIVE", occurrence=2
    ).until_held()
    resuming = Elsewhere(registry.resume, [run.id]).until_blocked()
    stopping.let_go()
    assert [item.status for item in stopping.result()] == ["cancelled"]
    assert resuming.result() == []


def test_resume_before_stop_is_cancelled() -> None:
    run = make_paused()
    resuming = Elsewhere(registry.resume, [run.id], hold_before="runs_statuschange").until_held()
    stopping = Elsewhere(registry.request_stop, [run.id], stop_request()).until_blocked()
    resuming.let_go()
    assert [item.status for item in resuming.result()] == ["queued"]
    assert [item.status for item in stopping.result()] == ["cancelled"]


def test_last_child_that_settles_while_its_parent_is_resumed_wakes_it(rung: list[Any]) -> None:
    parent = make_running()
    child = make_running(parent=parent)
    make_waiting(child, run=parent)
    control.pause(parent.id, cascade=False)
    resuming = Elsewhere(control.resume, parent.id, hold_before="runs_statuschange").until_held()
    settling = Elsewhere(registry.settle, child.id, 1, Status.COMPLETED)
    if ON_POSTGRESQL:
        settling.result()
        control.wake_parents({parent.id})  # finds it paused still
    resuming.let_go()
    resuming.result()
    settling.result()
    control.wake_parents({parent.id})
    assert (status_of(parent), rung) == ("queued", [parent.id])


# --- create against pause ---------------------------------------------------------------------------------


def test_create_before_the_pause_of_its_parent_is_paused_with_it() -> None:
    parent = make_running()
    creating = Elsewhere(make_run, parent=parent, hold_before="runs_statuschange").until_held()
    asking = Elsewhere(registry.request_pause, [parent.id], PAUSE).until_blocked()
    creating.let_go()
    child = creating.result()

    assert {item.run_id for item in asking.result()} == {parent.id, child.id}
    assert status_of(child) == "paused"


def test_create_after_the_pause_of_its_parent_is_born_paused() -> None:
    parent, other = make_running(), make_run()
    asking = Elsewhere(
        registry.request_pause, [parent.id, other.id], PAUSE, hold_before="runs_statuschange"
    ).until_held()
    creating = Elsewhere(make_run, parent=parent).until_blocked()
    asking.let_go()
    asking.result()
    assert status_of(creating.result()) == "paused"


def test_create_before_the_resume_of_its_pausing_parent_is_resumed_with_it() -> None:
    parent = pausing()
    creating = Elsewhere(make_run, parent=parent, hold_before="runs_statuschange").until_held()
    resuming = Elsewhere(registry.resume, [parent.id]).until_blocked()
    creating.let_go()
    child = creating.result()

    assert {item.run_id: str(item.status) for item in resuming.result()} == {parent.id: "running", child.id: "queued"}


# --- drained executions -----------------------------------------------------------------------------------


@pytest.fixture
def link() -> LocalLink:
    return LocalLink("tester", alone=False)


def execute(run: Run, link: LocalLink) -> Elsewhere:
    return Elsewhere(executions.execute, run.id, link)


def drain(run: Run) -> None:
    assert executions.deliver(StopOrder(run.id, Run.objects.get(id=run.id).attempt, "drained", drain=True))


@pytest.mark.parametrize("graph", ["before_node", "nested", "nested_in_a_call", "async_nodes", "static_branches"])
@pytest.mark.parametrize("is_paused", [True, False])
def test_drained_graph_goes_on_and_repeats_nothing(
    link: LocalLink, marks: Marks, rung: list[Any], graph: str, is_paused: bool
) -> None:
    run = make_run(graph=graph, input={"marks": str(marks)})
    executing = execute(run, link)
    marks.wait_for("call.begun")
    if is_paused:
        control.pause(run.id)
    drain(run)
    marks.open("call")

    assert executing.result() is None
    assert "beyond" not in marks.names()
    assert "call.told" not in marks.names()  # node code sees nothing of it
    left = Run.objects.get(id=run.id)
    assert (left.status, left.lease_expires_at) == ("paused" if is_paused else "queued", None)
    assert rung == ([] if is_paused else [run.id])
    assert link.table == {}
    events.sink().flush()
    assert "cancelled" not in left.nodes.values_list("status", flat=True)
    if is_paused:
        control.resume(run.id)

    settled = executions.execute(run.id, link)
    assert settled is not None
    assert settled.status == "completed"
    assert marks.names().count("call.ended") == 1
    assert Run.objects.get(id=run.id).attempt == 2


@pytest.mark.parametrize("graph", ["ends_by_itself", "failing_parent", "asking_human_late"])
def test_drained_graph_that_ends_by_itself_has_its_own_outcome(link: LocalLink, marks: Marks, graph: str) -> None:
    run = make_run(graph=graph, input={"marks": str(marks), "graphs": []})
    executing = execute(run, link)
    marks.wait_for("call.begun")
    drain(run)
    marks.open("call")
    executing.result()
    assert status_of(run) == {"ends_by_itself": "completed", "asking_human_late": "waiting"}.get(graph, "failed")


def test_pausing_graph_that_asks_a_person_is_paused_with_its_question(link: LocalLink, marks: Marks) -> None:
    run = make_run(graph="asking_human_late", input={"marks": str(marks)})
    executing = execute(run, link)
    marks.wait_for("call.begun")
    control.pause(run.id)
    drain(run)
    marks.open("call")
    executing.result()
    assert status_of(run) == "paused"
    control.resume(run.id)
    assert status_of(run) == "waiting"
    (question,) = Run.objects.get(id=run.id).questions
    control.answer(run.id, {question: "yes"})
    assert status_of(run) == "queued"


@pytest.mark.parametrize("first", ["drain", "stop"])
def test_stop_beats_a_drain_in_either_order(link: LocalLink, marks: Marks, first: str) -> None:
    run = make_run(graph="before_node", input={"marks": str(marks)})
    executing = execute(run, link)
    marks.wait_for("call.begun")
    if first == "drain":
        drain(run)
    control.cancel(run.id)
    assert executions.deliver(StopOrder(run.id, 1, "enough"))
    if first == "stop":
        drain(run)
    marks.open("call")
    assert executing.result().status == "cancelled"
    assert "beyond" not in marks.names()


def test_stop_that_the_graph_has_not_heard_of_beats_its_drain(link: LocalLink, marks: Marks) -> None:
    run = make_run(graph="before_node", input={"marks": str(marks)})
    executing = execute(run, link)
    marks.wait_for("call.begun")
    drain(run)
    control.cancel(run.id)  # in the database alone
    marks.open("call")
    assert executing.result().status == "cancelled"
    assert has_stop(run)


def test_resume_of_a_draining_run_sends_it_on(link: LocalLink, marks: Marks, rung: list[Any]) -> None:
    run = make_run(graph="before_node", input={"marks": str(marks)})
    executing = execute(run, link)
    marks.wait_for("call.begun")
    control.pause(run.id)
    drain(run)
    assert control.resume(run.id).withdrawn == [run.id]
    marks.open("call")
    assert executing.result() is None
    assert (status_of(run), rung) == ("queued", [run.id])


def test_drain_of_a_stale_attempt_changes_nothing(link: LocalLink, marks: Marks) -> None:
    run = make_run(graph="before_node", input={"marks": str(marks)})
    executing = execute(run, link)
    marks.wait_for("call.begun")
    drain(run)
    assert registry.requeue(run.id, 1, resurrect=True)
    claim(run)
    marks.open("call")
    assert executing.result() is None
    assert Run.objects.get(id=run.id).attempt == 2
    assert status_of(run) == "running"


def test_graph_that_drains_itself_is_no_pause(link: LocalLink, marks: Marks) -> None:
    marks.open("call")
    run = make_run(graph="stops_itself", input={"marks": str(marks)})
    settled = executions.execute(run.id, link)
    assert settled is not None
    assert settled.status == "cancelled"


def test_drained_graph_that_is_interrupted_goes_on_from_its_checkpoint(
    link: LocalLink, marks: Marks, rung: list[Any]
) -> None:
    # What a pool of threads does with a node that does not end within the grace of a handover.
    run = make_run(graph="held_between", input={"marks": str(marks)})
    executing = execute(run, link)
    marks.wait_for("call.begun")
    assert executions.deliver(StopOrder(run.id, 1, "overdue", rung=1, drain=True))

    assert executing.result() is None
    assert (status_of(run), has_stop(run), rung) == ("queued", False, [run.id])
    marks.open("call")
    settled = executions.execute(run.id, link)
    assert settled is not None
    assert settled.status == "completed"
    assert marks.names() == ["before", "call.begun", "call.begun", "call.ended", "after"]
