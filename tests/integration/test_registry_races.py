"""Two writers at once, with real connections; the order of each race is forced by holding one in mid-statement."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs import control, registry
from runs.errors import ParentIsStopping, RunAlreadyEnded, RunNotWaiting
from runs.models import Run, new_run_id
from runs.registry import Claimant
from runs.states import OnParentStop, Status, StopMode
from tests.integration.engine import (
    CLAIMANT,
    Elsewhere,
    claim,
    has_stop,
    make_ended,
    make_paused,
    make_run,
    make_running,
    make_waiting,
    status_of,
    stop_request,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker")]

PROCESSES = 8


# --- claims -----------------------------------------------------------------------------------------------


def claim_all(number: int, run_ids: list[UUID], barrier: Any, results: Any) -> None:
    claimant = Claimant(f"worker-{number}", os.getpid(), 1.0)
    barrier.wait()
    # Each begins elsewhere, so that they meet all along the list.
    start = number * len(run_ids) // PROCESSES
    rotated = run_ids[start:] + run_ids[:start]
    won = [run_id for run_id in rotated if registry.claim(run_id, claimant, lease_seconds=60)]
    connections.close_all()
    results.put(won)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_claim_by_many_processes_gives_each_run_to_one() -> None:
    run_ids = [make_run().id for _ in range(150)]
    connections.close_all()
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=claim_all, args=(number, run_ids, barrier, results)) for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    won = [run_id for _ in processes for run_id in results.get(timeout=60)]
    for process in processes:
        process.join(10)

    assert Counter(won) == Counter(run_ids)
    assert set(Run.objects.values_list("status", "attempt")) == {("running", 1)}


def test_claim_twice_lands_once() -> None:
    run = make_run()
    first = Elsewhere(registry.claim, run.id, CLAIMANT, lease_seconds=60, hold_before="runs_statuschange").until_held()
    second = Elsewhere(registry.claim, run.id, CLAIMANT, lease_seconds=60).until_blocked()
    first.let_go()

    assert first.result().attempt == 1
    assert second.result() is None


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.QUEUED}))
def test_claim_of_a_run_that_is_not_queued_does_not_land(status: Status) -> None:
    run = make_run()
    if status is not Status.QUEUED:
        claim(run)
    if status is Status.WAITING:
        make_waiting(run=Run.objects.get(id=run.id))
    elif status is Status.PAUSED:
        run = make_paused()
    elif status is not Status.RUNNING:
        run = make_ended(status)
    assert registry.claim(run.id, CLAIMANT, lease_seconds=60) is None


def test_claim_below_a_stopping_ancestor_does_not_land() -> None:
    grandparent = make_running()
    child = make_run(parent=make_running(parent=grandparent))
    # What a stop that reached the ancestor alone leaves behind.
    registry.request_stop([grandparent.id], stop_request(), cascade=False)

    assert registry.has_stopping_ancestor(child.id)
    assert registry.claim(child.id, CLAIMANT, lease_seconds=60) is None
    assert status_of(child) == "queued"


def test_claim_of_an_abandoned_child_below_a_stopping_parent_lands() -> None:
    parent = make_running()
    abandoned = make_run(parent=parent, on_parent_stop=OnParentStop.ABANDON)
    below = make_run(parent=abandoned)
    registry.request_stop([parent.id], stop_request())

    claim(abandoned)
    claim(below)


def test_claim_against_stop_of_the_parent_never_leaves_the_child_running_unasked() -> None:
    parent = make_running()
    child = make_run(parent=parent)
    # Held after the look at the ancestors and before the write.
    claiming = Elsewhere(registry.claim, child.id, CLAIMANT, lease_seconds=60, hold_before="UPDATE").until_held()
    stopping = Elsewhere(registry.request_stop, [parent.id], stop_request())
    on_postgresql = connection.vendor == "postgresql"
    if on_postgresql:
        stopping.result()
    else:
        stopping.until_blocked()
    claimed = claiming.let_go().result()
    reached = {stopped.run_id for stopped in stopping.result()}

    assert reached == {parent.id, child.id}
    assert has_stop(child)
    assert status_of(child) == ("running" if claimed else "cancelled")
    assert (claimed is None) == on_postgresql


# --- stale attempts ---------------------------------------------------------------------------------------


def take_over(run: Run) -> Run:
    """A second attempt, after the worker of the first was given up."""
    assert registry.requeue(run.id, run.attempt, resurrect=True)
    return claim(run, Claimant("worker-2", 1, 1.0))


@pytest.mark.parametrize("target", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_settle_by_a_stale_attempt_does_not_land(target: Status) -> None:
    stale = make_running()
    current = take_over(stale)

    assert registry.settle(stale.id, stale.attempt, target, output="stale") is None

    run = Run.objects.get(id=stale.id)
    assert (run.status, run.attempt, run.output) == ("running", 2, None)
    assert registry.settle(current.id, current.attempt, Status.COMPLETED, output="fresh")


def test_suspend_and_requeue_by_a_stale_attempt_do_not_land() -> None:
    stale = make_running()
    take_over(stale)

    assert not registry.suspend(stale.id, stale.attempt, awaited=[], questions={})
    assert not registry.requeue(stale.id, stale.attempt, resurrect=True)
    assert Run.objects.get(id=stale.id).resurrections == 1


def test_settle_twice_lands_once() -> None:
    run = make_running()
    first = Elsewhere(
        registry.settle, run.id, 1, Status.COMPLETED, output="first", hold_before="runs_statuschange"
    ).until_held()
    second = Elsewhere(registry.settle, run.id, 1, Status.FAILED).until_blocked()
    first.let_go()

    assert (first.result().status, second.result()) == ("completed", None)
    assert Run.objects.get(id=run.id).output == "first"


# --- settle against stop ----------------------------------------------------------------------------------


def test_settle_before_stop_keeps_the_outcome_and_the_stop_is_told() -> None:
    run = make_running()
    settling = Elsewhere(registry.settle, run.id, 1, Status.COMPLETED, hold_before="runs_statuschange").until_held()
    stopping = Elsewhere(control.cancel, run.id).until_blocked()
    settling.let_go()

    assert settling.result().status == "completed"
    with pytest.raises(RunAlreadyEnded) as refused:
        stopping.result()
    assert refused.value.status == "completed"
    assert not has_stop(run)


def test_stop_before_settle_ends_as_cancelled_with_its_output() -> None:
    run = make_running()
    # The recursive statement is held before its second round: the first has been written.
    stopping = Elsewhere(
        registry.request_stop, [run.id], stop_request(), hold_before="WITH RECURSIVE", occurrence=2
    ).until_held()
    settling = Elsewhere(registry.settle, run.id, 1, Status.COMPLETED, output={"answer": 42}).until_blocked()
    stopping.let_go()

    assert settling.result().status == "cancelled"
    ended = Run.objects.get(id=run.id)
    assert (ended.status, ended.output, ended.stop_reason) == ("cancelled", {"answer": 42}, "enough")
    assert ended.stop_gone_at is not None


def test_suspend_after_a_stop_does_not_land() -> None:
    run = make_running()
    stopping = Elsewhere(
        registry.request_stop, [run.id], stop_request(), hold_before="WITH RECURSIVE", occurrence=2
    ).until_held()
    suspending = Elsewhere(registry.suspend, run.id, 1, awaited=[], questions={}).until_blocked()
    stopping.let_go()

    assert suspending.result() is None
    assert Run.objects.get(id=run.id).display_status == "cancelling"


def test_stop_of_a_suspending_run_cancels_it_at_once() -> None:
    run = make_running()
    suspending = Elsewhere(
        registry.suspend, run.id, 1, awaited=[], questions={}, hold_before="runs_statuschange"
    ).until_held()
    stopping = Elsewhere(registry.request_stop, [run.id], stop_request()).until_blocked()
    suspending.let_go()

    assert suspending.result() == "waiting"
    assert [stopped.status for stopped in stopping.result()] == ["cancelled"]


def test_requeue_of_a_stopped_run_does_not_land() -> None:
    run = make_running()
    registry.request_stop([run.id], stop_request())
    assert not registry.requeue(run.id, run.attempt, resurrect=True)


# --- wake against the last child ---------------------------------------------------------------------------


def test_wake_that_counted_before_the_last_child_ended_shows_all_of_them() -> None:
    parent = make_running()
    children = [make_running(parent=parent) for _ in range(2)]
    make_waiting(*children, run=parent)
    registry.settle(children[0].id, 1, Status.COMPLETED)
    # Held when it has counted, and before it writes.
    waking = Elsewhere(registry.wake, parent.id, hold_before="UPDATE").until_held()
    ending = Elsewhere(registry.settle, children[1].id, 1, Status.COMPLETED)
    if connection.vendor == "postgresql":
        ending.result()
    else:
        ending.until_blocked()
    waking.let_go()

    woken = [waking.result(), ending.result() and registry.wake(parent.id)]
    after = Run.objects.get(id=parent.id)
    assert woken.count(True) == 1
    assert (after.status, after.progress_done, after.progress_total) == ("queued", 2, 2)


# --- create against stop ----------------------------------------------------------------------------------


def test_create_before_the_stop_of_its_parent_is_cancelled_with_it() -> None:
    parent = make_running()
    creating = Elsewhere(make_run, parent=parent, hold_before="runs_statuschange").until_held()
    stopping = Elsewhere(registry.request_stop, [parent.id], stop_request()).until_blocked()
    creating.let_go()
    child = creating.result()

    assert {stopped.run_id for stopped in stopping.result()} == {parent.id, child.id}
    assert status_of(child) == "cancelled"


def test_create_after_the_stop_of_its_parent_is_refused() -> None:
    parent = make_running()
    stopping = Elsewhere(
        registry.request_stop, [parent.id], stop_request(), hold_before="WITH RECURSIVE", occurrence=2
    ).until_held()
    creating = Elsewhere(make_run, parent=parent).until_blocked()
    stopping.let_go()
    stopping.result()

    with pytest.raises(ParentIsStopping) as refused:
        creating.result()
    assert (refused.value.parent_id, refused.value.status) == (parent.id, "cancelling")
    assert not parent.children.exists()


def test_create_of_a_grandchild_before_the_stop_of_the_root_is_cancelled_with_it() -> None:
    root = make_running()
    parent = make_running(parent=root)
    creating = Elsewhere(make_run, parent=parent, hold_before="runs_statuschange").until_held()
    stopping = Elsewhere(registry.request_stop, [root.id], stop_request()).until_blocked()
    creating.let_go()

    assert {stopped.run_id for stopped in stopping.result()} == {root.id, parent.id, creating.result().id}


def test_create_below_an_ended_parent_is_refused() -> None:
    for status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED):
        with pytest.raises(ParentIsStopping):
            make_run(parent=make_ended(status))


def test_create_below_a_settling_parent_is_refused() -> None:
    parent = make_running()
    settling = Elsewhere(registry.settle, parent.id, 1, Status.COMPLETED, hold_before="runs_statuschange").until_held()
    creating = Elsewhere(make_run, parent=parent).until_blocked()
    settling.let_go()

    assert settling.result()
    with pytest.raises(ParentIsStopping):
        creating.result()


# --- trees ------------------------------------------------------------------------------------------------


def test_stop_spares_abandoned_children_with_their_subtrees() -> None:
    root = make_running()
    taken = make_running(parent=root)
    abandoned = make_running(parent=root, on_parent_stop=OnParentStop.ABANDON)
    below = make_run(parent=abandoned)

    reached = {stopped.run_id for stopped in registry.request_stop([root.id], stop_request())}

    assert reached == {root.id, taken.id}
    assert not has_stop(abandoned)
    assert status_of(below) == "queued"


def test_stop_goes_through_ended_children_to_those_that_live() -> None:
    root = make_running()
    middle = make_running(parent=root)
    leaf = make_run(parent=middle)
    registry.settle(middle.id, middle.attempt, Status.COMPLETED)

    reached = {stopped.run_id for stopped in registry.request_stop([root.id], stop_request())}

    assert reached == {root.id, leaf.id}
    assert status_of(middle) == "completed"


def test_stop_of_an_ended_run_leaves_its_children_alone() -> None:
    parent = make_running()
    child = make_run(parent=parent)
    registry.settle(parent.id, parent.attempt, Status.COMPLETED)

    assert registry.request_stop([parent.id], stop_request()) == []
    assert status_of(child) == "queued"


def test_stop_that_meets_a_suspending_parent_halfway_reaches_all() -> None:
    # The child is older in the table than the parent's row as it is now: a stop that locks it first and then waits
    # for the parent, while the parent's suspend waits for the child, would be a deadlock.
    parent = make_run()
    claim(parent)
    child = make_running(parent=parent)
    Run.objects.filter(id=parent.id).update(current_node="family")
    suspending = Elsewhere(
        registry.suspend, parent.id, 1, awaited=[child.id], questions={}, hold_before="is_awaited"
    ).until_held()
    stopping = Elsewhere(registry.request_stop, [parent.id], stop_request()).until_blocked()
    suspending.let_go()

    assert suspending.result() == "waiting"
    assert {stopped.run_id for stopped in stopping.result()} == {parent.id, child.id}


def test_two_stops_that_meet_in_one_tree_reach_all_of_it() -> None:
    root = make_running()
    children = [make_running(parent=root) for _ in range(3)]
    for run in (children[1], root, children[0], children[2]):
        Run.objects.filter(id=run.id).update(current_node="moved")
    held = Elsewhere(
        registry.request_stop, [children[0].id], stop_request(), hold_before="WITH RECURSIVE", occurrence=2
    ).until_held()
    both = Elsewhere(
        registry.request_stop, [child.id for child in children] + [root.id], stop_request()
    ).until_blocked()
    held.let_go()

    assert [stopped.run_id for stopped in held.result()] == [children[0].id]
    assert {stopped.run_id for stopped in both.result()} == {root.id, children[1].id, children[2].id}


def test_stop_without_cascade_reaches_one() -> None:
    parent = make_running()
    child = make_run(parent=parent)
    reached = registry.request_stop([parent.id], stop_request(), cascade=False)
    assert [stopped.run_id for stopped in reached] == [parent.id]
    assert status_of(child) == "queued"


def make_tree(width: int, depth: int, status: Status = Status.QUEUED) -> list[UUID]:
    """A root with `width` chains of `depth` runs below it, inserted at once."""
    root_id = new_run_id()
    rows = [_row(root_id, None, root_id, status)]
    for _ in range(width):
        parent_id = root_id
        for _ in range(depth):
            rows.append(_row(new_run_id(), parent_id, root_id, status))
            parent_id = rows[-1].id
    Run.objects.bulk_create(rows, batch_size=100)
    return [row.id for row in rows]


def _row(run_id: UUID, parent_id: UUID | None, root_id: UUID, status: Status) -> Run:
    running = {"attempt": 1, "pid": 1, "lease_expires_at": timezone.now()} if status is Status.RUNNING else {}
    return Run(
        id=run_id,
        parent_id=parent_id,
        root_id=root_id,
        thread_id=str(run_id),
        graph="quick",
        queue="q",
        input={},
        status=status,
        **running,
    )


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
@pytest.mark.parametrize(("width", "depth"), [(999, 1), (1, 999), (111, 9)])
def test_stop_of_a_thousand_runs_takes_few_statements(width: int, depth: int, status: Status) -> None:
    tree = make_tree(width, depth, status)

    with CaptureQueriesContext(connection) as statements:
        result = control.cancel(tree[0], reason="enough")

    assert set(result.reached) == set(tree)
    assert set(result.settled) == (set(tree) if status is Status.QUEUED else set())
    assert Run.objects.filter(stop_requested_at__isnull=True).count() == 0
    # The run, the two rounds, the transaction; and the 1,000 status changes in batches (SQLite: 200 rows each).
    assert len(statements) <= 16


def test_cancel_of_a_tree_that_is_stopping_escalates_all_of_it() -> None:
    tree = make_tree(10, 3, Status.RUNNING)
    control.cancel(tree[0], grace_seconds=60)

    result = control.cancel(tree[0], mode="kill")

    assert result.reached == []
    assert set(result.escalated) == set(tree)
    assert set(Run.objects.values_list("stop_mode", flat=True)) == {"kill"}


# --- asked twice ------------------------------------------------------------------------------------------


def test_cancel_twice_keeps_the_first_reason() -> None:
    run = make_running()
    control.cancel(run.id, reason="first", actor="alice", source="cli")
    asked_at = Run.objects.get(id=run.id).stop_requested_at
    result = control.cancel(run.id, reason="second", actor="bob", source="page")

    again = Run.objects.get(id=run.id)
    assert result.reached == []
    assert (again.stop_reason, again.stop_actor, again.stop_source) == ("first", "alice", "cli")
    assert again.stop_requested_at == asked_at


def test_cancel_from_two_processes_at_once_has_one_author() -> None:
    run = make_running()
    first = Elsewhere(
        registry.request_stop, [run.id], stop_request("first"), hold_before="WITH RECURSIVE", occurrence=2
    ).until_held()
    second = Elsewhere(registry.request_stop, [run.id], stop_request("second")).until_blocked()
    first.let_go()

    assert len(first.result()) == 1
    assert second.result() == []
    assert Run.objects.get(id=run.id).stop_reason == "first"


@pytest.mark.parametrize(("asked", "asked_again", "expected"), [(30, 5, 5), (5, 30, 5), (5, 5.0, 5)])
def test_cancel_again_only_brings_the_kill_forward(asked: float, asked_again: float, expected: float) -> None:
    run = make_running()
    control.cancel(run.id, grace_seconds=asked)
    control.cancel(run.id, grace_seconds=asked_again)

    after = Run.objects.get(id=run.id)
    assert after.stop_requested_at is not None
    assert after.stop_deadline is not None
    left = (after.stop_deadline - after.stop_requested_at).total_seconds()
    assert left == pytest.approx(expected, abs=2)


def test_escalate_of_a_run_that_was_not_asked_does_nothing() -> None:
    run = make_running()
    assert registry.escalate([run.id], stop_request(mode=StopMode.KILL)) == []
    assert not has_stop(run)


def test_escalate_of_an_ended_run_does_nothing() -> None:
    run = make_ended(Status.CANCELLED)
    before = run.stop_deadline
    assert registry.escalate([run.id], stop_request(mode=StopMode.KILL)) == []
    assert Run.objects.get(id=run.id).stop_deadline == before


def test_cancel_of_a_cancelled_run_is_no_error() -> None:
    result = control.cancel(make_ended(Status.CANCELLED).id)
    assert (result.reached, result.settled, result.escalated) == ([], [], [])


# --- waiting and waking -----------------------------------------------------------------------------------


def end(run: Run, status: Status = Status.COMPLETED) -> None:
    assert registry.settle(run.id, run.attempt, status)


def test_wake_waits_for_the_last_child() -> None:
    parent = make_running()
    first, last = (make_running(parent=parent) for _ in range(2))
    make_waiting(first, last, run=parent)

    end(first)
    assert not registry.wake(parent.id)
    assert (status_of(parent), Run.objects.get(id=parent.id).progress_done) == ("waiting", 1)
    end(last, Status.FAILED)
    assert registry.wake(parent.id)
    assert status_of(parent) == "queued"


def test_child_that_ends_before_the_suspend_wakes_the_parent_after_it() -> None:
    parent = make_running()
    child = make_running(parent=parent)
    end(child)
    assert not registry.wake(parent.id)

    make_waiting(child, run=parent)
    assert registry.wake(parent.id)


def test_child_that_ends_while_the_parent_suspends_wakes_it_once() -> None:
    parent = make_running()
    child = make_running(parent=parent)

    def suspend() -> bool:
        assert registry.suspend(parent.id, 1, awaited=[child.id], questions={})
        return registry.wake(parent.id)

    def end_child() -> bool:
        end(child)
        return registry.wake(parent.id)

    suspending = Elsewhere(suspend, hold_before="runs_statuschange").until_held()
    ending = Elsewhere(end_child).until_blocked()
    woken = [suspending.let_go().result(), ending.result()]

    assert sorted(woken) == [False, True]
    assert status_of(parent) == "queued"


def test_parent_that_suspends_while_its_child_ends_is_woken_once() -> None:
    parent = make_running()
    child = make_running(parent=parent)

    def end_child() -> bool:
        end(child)
        return registry.wake(parent.id)

    ending = Elsewhere(end_child, hold_before="runs_statuschange").until_held()

    def suspend() -> bool:
        assert registry.suspend(parent.id, 1, awaited=[child.id], questions={})
        return registry.wake(parent.id)

    suspending = Elsewhere(suspend).until_blocked()
    woken = [ending.let_go().result(), suspending.result()]

    assert sorted(woken) == [False, True]
    assert status_of(parent) == "queued"


def test_two_last_children_that_end_at_once_wake_the_parent_once() -> None:
    parent = make_running()
    children = [make_running(parent=parent) for _ in range(2)]
    make_waiting(*children, run=parent)
    for child in children:
        end(child)

    first = Elsewhere(registry.wake, parent.id, hold_before="runs_statuschange").until_held()
    second = Elsewhere(registry.wake, parent.id).until_blocked()
    first.let_go()

    assert [first.result(), second.result()] == [True, False]


def test_wake_against_stop_of_a_waiting_run_never_queues_a_stopped_one() -> None:
    parent = make_waiting()
    stopping = Elsewhere(
        registry.request_stop, [parent.id], stop_request(), hold_before="runs_statuschange"
    ).until_held()
    waking = Elsewhere(registry.wake, parent.id).until_blocked()
    stopping.let_go()

    assert waking.result() is False
    assert status_of(parent) == "cancelled"


def test_wake_of_a_run_that_asked_waits_for_the_answer() -> None:
    run = make_waiting(questions={"q": "why?"})
    assert not registry.wake(run.id)
    assert registry.answer(run.id, {"q": "because"})
    assert registry.wake(run.id)


def test_wake_of_a_run_that_asked_and_joined_waits_for_both() -> None:
    parent = make_running()
    child = make_running(parent=parent)
    make_waiting(child, run=parent, questions={"q": "why?"})

    control.answer(parent.id, {"q": "because"})
    assert status_of(parent) == "waiting"
    end(child)
    assert registry.wake(parent.id)


def test_answer_twice_lands_once() -> None:
    run = make_waiting(questions={"q": "why?"})
    with transaction.atomic():
        assert registry.answer(run.id, {"q": 1})
    assert not registry.answer(run.id, {"q": 2})
    with pytest.raises(RunNotWaiting):
        control.answer(run.id, {"q": 2})
    assert Run.objects.get(id=run.id).answers == {"q": 1}


def test_answer_to_a_run_that_did_not_ask_does_not_land() -> None:
    assert not registry.answer(make_waiting().id, {"q": 1})
    assert not registry.answer(make_running().id, {"q": 1})


def test_forgotten_waiter_is_found() -> None:
    parent = make_running()
    child = make_running(parent=parent)
    make_waiting(child, run=parent)
    assert registry.list_forgotten_waiters() == []
    end(child)
    assert registry.list_forgotten_waiters() == [parent.id]
    assert make_waiting(questions={"q": ""}).id not in registry.list_forgotten_waiters()
