"""The supervisor's rounds, one by one, with a child's line in this process and no pool."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from runs import control, leases, reaper, registry
from runs.links import ChildLink, Inbox, LocalLink
from runs.models import Run, Worker
from runs.registry import Claimant
from runs.states import Status
from runs.supervisor import Supervisor
from tests.integration.engine import (
    claim,
    expire_lease,
    has_stop,
    make_run,
    make_running,
    make_waiting,
    status_of,
    stop_request,
)
from tests.services import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker")]

OURS = Claimant("ours", 4242, 1.0)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox.open("ours")
    yield inbox
    inbox.receiver.close()
    inbox.sender.close()


@pytest.fixture
def delivered(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The orders that have arrived at a child."""
    orders: list[Any] = []
    monkeypatch.setattr("runs.executions.deliver", lambda order: orders.append(order) or True)
    return orders


@pytest.fixture
def supervisor(inbox: Inbox) -> Iterator[Supervisor]:
    supervisor = Supervisor("ours", "host", inbox)
    supervisor.celery_worker = SimpleNamespace(pool=None, concurrency=2, hub=None)
    supervisor.selector.register(inbox.receiver, 1, supervisor._on_message)
    supervisor.selector.register(supervisor.bells.bell, 1, supervisor._on_bell)
    yield supervisor
    supervisor.selector.close()


def rounds(supervisor: Supervisor, until: Callable[[], Any], what: str) -> None:
    def step() -> Any:
        supervisor._round()
        return until()

    wait_until(step, what, 10)


def test_stop_that_rings_before_the_beginning_is_delivered_at_the_beginning(
    supervisor: Supervisor, inbox: Inbox, delivered: list[Any]
) -> None:
    child = ChildLink(inbox)
    rounds(supervisor, lambda: supervisor.children, "the child has said hello")
    run = claim(make_run(), OURS)
    registry.request_stop([run.id], stop_request())
    supervisor.bells.ring_for([run.id], "enough")
    supervisor._round()
    assert delivered == []

    child.begun(run.id, run.attempt)
    rounds(supervisor, lambda: delivered, "the stop is delivered")

    assert (delivered[0].run_id, delivered[0].attempt, delivered[0].reason) == (run.id, 1, "enough")
    assert Run.objects.get(id=run.id).stop_delivered_at is not None


def test_stop_is_found_without_a_doorbell_and_delivered_once(
    supervisor: Supervisor, inbox: Inbox, delivered: list[Any]
) -> None:
    child = ChildLink(inbox)
    run = claim(make_run(), OURS)
    child.begun(run.id, run.attempt)
    rounds(supervisor, lambda: supervisor._table(), "the run has begun")
    registry.request_stop([run.id], stop_request())

    rounds(supervisor, lambda: delivered, "the stop is delivered")
    for _ in range(3):
        supervisor._next_poll = 0.0
        supervisor._round()
    assert len(delivered) == 1


def test_run_that_begins_after_the_shutdown_was_handled_is_stopped_too(
    supervisor: Supervisor, inbox: Inbox, delivered: list[Any]
) -> None:
    # Its child had looked whether the worker stops before that, and claimed after it.
    child = ChildLink(inbox)
    rounds(supervisor, lambda: supervisor.children, "the child has said hello")
    run = claim(make_run(), OURS)
    supervisor.begin_shutdown()
    supervisor._round()
    assert not has_stop(run)

    child.begun(run.id, run.attempt)
    rounds(supervisor, lambda: delivered, "the stop is delivered")
    assert Run.objects.get(id=run.id).stop_source == "shutdown"


def test_shutdown_of_another_worker_leaves_a_run_alone(supervisor: Supervisor) -> None:
    run = make_running()
    supervisor.begin_shutdown()
    supervisor._round()
    assert not has_stop(run)


def dying_child(inbox: Inbox, *messages: dict[str, Any]) -> int:
    """A process that says hello and more, and is dead before the supervisor looks."""
    pid = os.fork()
    if pid == 0:
        try:
            link = ChildLink(inbox)
            for message in messages:
                link._tell(message)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return pid


def test_child_that_dies_right_after_its_beginning_is_missed_at_once(supervisor: Supervisor, inbox: Inbox) -> None:
    run = claim(make_run(), OURS)
    dying_child(inbox, {"begun": str(run.id), "attempt": 1})

    rounds(supervisor, lambda: status_of(run) == "queued", "the run is queued again")
    assert supervisor.children == {}
    assert Run.objects.get(id=run.id).resurrections == 1


def test_child_that_dies_right_after_its_end_loses_nothing(supervisor: Supervisor, inbox: Inbox) -> None:
    run = claim(make_run(), OURS)
    assert registry.settle(run.id, 1, Status.COMPLETED)
    dying_child(inbox, {"begun": str(run.id), "attempt": 1}, {"ended": str(run.id), "attempt": 1})

    supervisor._round()
    rounds(supervisor, lambda: supervisor.children == {}, "the child is forgotten")
    assert Run.objects.get(id=run.id).resurrections == 0


def test_message_of_an_unknown_child_is_ignored(supervisor: Supervisor, inbox: Inbox) -> None:
    inbox.sender.send(b'{"pid": 1, "begun": "00000000-0000-0000-0000-000000000000", "attempt": 1}')
    supervisor._round()
    assert supervisor._table() == {}


def test_heartbeat_renews_only_its_own_leases(supervisor: Supervisor, inbox: Inbox) -> None:
    child = ChildLink(inbox)
    ours, others = claim(make_run(), OURS), make_running()
    child.begun(ours.id, 1)
    rounds(supervisor, lambda: supervisor._table(), "the run has begun")
    before = {run.id: Run.objects.get(id=run.id).lease_expires_at for run in (ours, others)}

    supervisor._beat()

    assert Run.objects.get(id=others.id).lease_expires_at == before[others.id]
    assert Run.objects.get(id=ours.id).lease_expires_at != before[ours.id]
    assert Worker.objects.get().id == "ours"


def test_run_that_was_given_to_another_is_ended_at_the_second_heartbeat(
    supervisor: Supervisor, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    monkeypatch.setattr("runs.killing.kill_child", lambda _worker, pid, **_: killed.append(pid) or True)
    child = ChildLink(inbox)
    run = claim(make_run(), OURS)
    child.begun(run.id, 1)
    rounds(supervisor, lambda: supervisor._table(), "the run has begun")
    registry.requeue(run.id, 1, resurrect=True)
    claim(run)

    supervisor._beat()
    assert killed == []
    supervisor._beat()

    assert killed == [os.getpid()]
    assert Run.objects.get(id=run.id).display_status == "running"


def test_line_is_closed_with_its_child(supervisor: Supervisor, inbox: Inbox) -> None:
    for _ in range(20):
        dying_child(inbox)
        rounds(supervisor, lambda: True, "a round")
    rounds(supervisor, lambda: not supervisor.children, "all are forgotten")
    assert len(supervisor.selector.get_map()) == 2


# --- the reaper -------------------------------------------------------------------------------------------


def test_reaper_gives_an_expired_run_back() -> None:
    run = make_running()
    expire_lease(run)
    reaper.reap(has_free_slot=False)
    after = Run.objects.get(id=run.id)
    assert (after.status, after.resurrections, after.lease_expires_at) == ("queued", 1, None)


def test_reaper_ends_a_run_that_was_lost_too_often(settings: Any) -> None:
    settings.RUNS_MAX_RESURRECTIONS = 1
    settings.RUNS_RESURRECTION_PAUSE_SECONDS = 0
    run = make_running()
    for _ in range(2):
        expire_lease(run)
        reaper.reap(has_free_slot=False)
        if status_of(run) == "queued":
            claim(run)
    after = Run.objects.get(id=run.id)
    assert after.status == "failed"
    assert after.error == {"type": "WorkerLost", "message": "the process that ran it was lost 2 times"}


def test_reaper_ends_a_stopping_run_as_cancelled() -> None:
    run = make_running()
    registry.request_stop([run.id], stop_request())
    expire_lease(run)
    reaper.reap(has_free_slot=False)
    after = Run.objects.get(id=run.id)
    assert (after.status, after.error, after.stop_rung) == ("cancelled", None, 2)


def test_reaper_leaves_a_live_lease_alone() -> None:
    run = make_running()
    assert leases.list_expired() == []
    reaper.reap(has_free_slot=False)
    assert status_of(run) == "running"


def test_lease_that_is_renewed_in_the_last_moment_is_not_given_up() -> None:
    run = make_running()
    expire_lease(run)
    (seen,) = leases.list_expired()
    assert leases.renew(run.worker, [run.id], 60) == {(run.id, 1)}
    assert not leases.give_up(seen)


def test_lease_that_was_given_up_is_not_renewed() -> None:
    run = make_running()
    expire_lease(run)
    (seen,) = leases.list_expired()
    assert leases.give_up(seen)
    assert leases.renew(run.worker, [run.id], 60) == set()
    assert [expired.id for expired in leases.list_expired()] == [run.id]  # its reaper may have died


def test_lease_of_a_later_attempt_is_not_given_up() -> None:
    run = make_running()
    registry.requeue(run.id, 1, resurrect=True)
    expire_lease(claim(run))
    assert not leases.give_up(run)


def test_reapers_that_find_the_same_run_requeue_it_once() -> None:
    run = make_running()
    expire_lease(run)
    found = [leases.list_expired(), leases.list_expired()]
    for (seen,) in found:
        reaper.recover(seen)
    after = Run.objects.get(id=run.id)
    assert (after.status, after.resurrections) == ("queued", 1)


def test_reaper_wakes_a_forgotten_waiter() -> None:
    parent = make_running()
    child = make_running(parent=parent)
    make_waiting(child, run=parent)
    registry.settle(child.id, 1, Status.COMPLETED)
    reaper.reap(has_free_slot=False)
    assert status_of(parent) == "queued"


@pytest.mark.parametrize(("has_free_slot", "expected"), [(True, 1), (False, 0)])
def test_reaper_rings_again_only_with_a_free_slot(
    monkeypatch: pytest.MonkeyPatch, has_free_slot: bool, expected: int
) -> None:
    rung: list[Run] = []
    monkeypatch.setattr("runs.dispatch.ring_one", rung.append)
    lost, fresh = make_run(), make_run()
    Run.objects.filter(id=lost.id).update(queued_at="2026-01-01T00:00:00Z")
    reaper.reap(has_free_slot=has_free_slot)
    assert [run.id for run in rung] == [lost.id][:expected]
    assert fresh not in rung


# --- a pool of threads ------------------------------------------------------------------------------------


def test_supervisor_of_a_thread_pool_delivers_in_its_own_process(delivered: list[Any]) -> None:
    link = LocalLink("ours", alone=False)
    supervisor = Supervisor("ours", "host", link)
    supervisor.celery_worker = SimpleNamespace(pool=None, concurrency=2)
    run = claim(make_run(), OURS)
    link.begun(run.id, 1)
    control.cancel(run.id, grace_seconds=0)

    supervisor._next_heartbeat = float("inf")
    supervisor._look_at_stops()

    assert [order.run_id for order in delivered] == [run.id]
    supervisor._climb()  # there is no process to kill: an interrupt is the most that can be done
    assert [order.rung for order in delivered] == [0, 1]
    assert status_of(run) == "running"


# --- drains -----------------------------------------------------------------------------------------------


def test_pause_is_found_without_a_doorbell_and_delivered_once_as_a_drain(
    supervisor: Supervisor, inbox: Inbox, delivered: list[Any]
) -> None:
    child = ChildLink(inbox)
    run = claim(make_run(), OURS)
    child.begun(run.id, run.attempt)
    rounds(supervisor, lambda: supervisor._table(), "the run has begun")
    control.pause(run.id, reason="later")

    rounds(supervisor, lambda: delivered, "the drain is delivered")
    for _ in range(3):
        supervisor._next_poll = 0.0
        supervisor._round()
    assert [(order.run_id, order.drain, order.rung, order.reason) for order in delivered] == [
        (run.id, True, 0, "later")
    ]

    control.cancel(run.id)
    rounds(supervisor, lambda: len(delivered) > 1, "the stop is delivered too")
    assert not delivered[1].drain


@pytest.mark.parametrize(("how", "orders"), [("requeue", [True]), ("leave", [])])
def test_shutdown_that_keeps_the_runs_drains_them_or_lets_them_be(
    supervisor: Supervisor, inbox: Inbox, delivered: list[Any], settings: Any, how: str, orders: list[bool]
) -> None:
    settings.RUNS_ON_SHUTDOWN = how
    child = ChildLink(inbox)
    rounds(supervisor, lambda: supervisor.children, "the child has said hello")
    # Its child had looked whether the worker stops before that, and claimed after it.
    supervisor.begin_shutdown()
    supervisor._round()
    run = claim(make_run(), OURS)
    child.begun(run.id, run.attempt)
    rounds(supervisor, lambda: supervisor._table(), "the run has begun")
    supervisor._round()
    wait_until(lambda: len(delivered) == len(orders), "the order is delivered")

    assert [order.drain for order in delivered] == orders
    assert not has_stop(run)


def test_handover_that_is_overdue_kills_and_gives_back_without_counting_a_loss(
    supervisor: Supervisor, inbox: Inbox, delivered: list[Any], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    monkeypatch.setattr("runs.killing.kill_child", lambda _worker, pid, **_: killed.append(pid) or [])
    settings.RUNS_ON_SHUTDOWN = "requeue"
    settings.RUNS_GRACE_SECONDS = 0.2
    child = ChildLink(inbox)
    kept = claim(make_run(), OURS)
    child.begun(kept.id, 1)
    rounds(supervisor, lambda: supervisor._table(), "it has begun")
    supervisor.begin_shutdown()
    rounds(supervisor, lambda: killed, "it is killed")

    after = Run.objects.get(id=kept.id)
    assert (after.status, after.resurrections, after.stop_requested_at) == ("queued", 0, None)
    # Celery reports the killed process as revoked; that is no stop.
    assert supervisor.has_killed(kept.id)
    assert not supervisor.has_killed(kept.id)


def test_handover_of_a_stopping_run_ends_it_as_cancelled(
    supervisor: Supervisor, inbox: Inbox, delivered: list[Any], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.killing.kill_child", lambda _worker, pid, **_: [])
    settings.RUNS_ON_SHUTDOWN = "requeue"
    child = ChildLink(inbox)
    run = claim(make_run(), OURS)
    child.begun(run.id, 1)
    rounds(supervisor, lambda: supervisor._table(), "it has begun")
    supervisor.begin_shutdown()
    supervisor._round()
    control.cancel(run.id, grace_seconds=600)
    supervisor.begin_shutdown(by_hand=True)
    rounds(supervisor, lambda: status_of(run) == "cancelled", "it is cancelled")


def test_handover_of_a_thread_pool_interrupts_what_is_overdue_and_stops_nothing(
    delivered: list[Any], settings: Any
) -> None:
    settings.RUNS_ON_SHUTDOWN = "requeue"
    settings.RUNS_GRACE_SECONDS = 0.01
    link = LocalLink("ours", alone=False)
    supervisor = Supervisor("ours", "host", link)
    supervisor.celery_worker = SimpleNamespace(pool=None, concurrency=2)
    supervisor.selector.register(supervisor.bells.bell, 1, supervisor._on_bell)
    run = claim(make_run(), OURS)
    link.begun(run.id, 1)
    supervisor.begin_shutdown()
    supervisor._next_heartbeat = float("inf")
    rounds(supervisor, lambda: len(delivered) == 2, "it is interrupted")
    supervisor._round()

    assert [(order.drain, order.rung) for order in delivered] == [(True, 0), (True, 1)]
    assert not has_stop(run)
