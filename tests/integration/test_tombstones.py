"""A key that is cancelled before its run has come: the run is born cancelled, in whichever order the two meet."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from authentication.models import User
from runs import control, registry
from runs.errors import InputRefused, RunAlreadyEnded, TooManyTombstones
from runs.models import Run, StatusChange, Tombstone
from runs.registry import tombstones
from runs.states import Status, StopMode
from tests.integration.engine import Elsewhere, claim, make_running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker", "redis_server")]

KEY = "order-4711"


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice@example.com")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob@example.com")


def submit(owner: User | None, key: str = KEY, **options: Any) -> Run:
    return control.submit("quick", {}, owner=owner, idempotency_key=key, ring=False, **options)


def test_run_is_born_cancelled_and_only_this_one(alice: User, bob: User) -> None:
    assert control.cancel_key(alice, KEY, by=alice, reason="wrong book", mode="interrupt") == (
        None,
        control.StopResult(),
    )
    assert control.cancel_key(alice, KEY, by=bob, reason="later") == (None, control.StopResult())
    for other in (submit(alice, "another"), submit(bob), submit(None)):
        assert control.get(other.id).status == Status.QUEUED

    run = control.get(control.submit("quick", {}, owner=alice, idempotency_key=KEY).id)  # and no bell is rung
    assert (run.status, run.stop_reason, run.stop_by, run.stop_mode) == ("cancelled", "wrong book", alice, "interrupt")
    assert (run.rung_at, run.attempt) == (None, 0)
    assert run.stop_gone_at == run.finished_at is not None
    assert list(StatusChange.objects.filter(run=run).values_list("status", flat=True)) == ["cancelled"]
    assert registry.claim(run.id, registry.Claimant("w", 1, 1.0), lease_seconds=5) is None
    assert submit(alice).id == run.id
    assert not Tombstone.objects.exists()


def test_run_that_is_there_is_cancelled_as_ever(alice: User) -> None:
    run = claim(submit(alice))
    run_id, result = control.cancel_key(alice, KEY)
    assert (run_id, result.reached) == (run.id, [run.id])
    assert control.get(run.id).display_status == "cancelling"
    registry.settle(run.id, 1, Status.CANCELLED)
    assert control.cancel_key(alice, KEY) == (run.id, control.StopResult())
    done = claim(submit(alice, "done"))
    registry.settle(done.id, 1, Status.COMPLETED)
    with pytest.raises(RunAlreadyEnded):
        control.cancel_key(alice, "done")
    assert not Tombstone.objects.exists()


def test_key_of_nobody_s_run(alice: User) -> None:
    control.cancel_key(None, KEY)
    control.cancel_key(None, KEY)
    assert control.get(submit(alice).id).status == Status.QUEUED
    assert control.get(submit(None).id).status == Status.CANCELLED


def test_child_with_a_cancelled_key_is_born_cancelled(alice: User) -> None:
    parent = make_running(owner=alice)
    control.cancel_key(alice, KEY)
    child = submit(None, parent=parent.id, child_key="a")
    assert control.get(child.id).status == Status.CANCELLED
    assert control.get(parent.id).display_status == "running"


@pytest.mark.parametrize("key", ["", "x" * 201, "a\x00b"])
def test_key_that_can_be_none_is_refused(alice: User, key: str) -> None:
    with pytest.raises(InputRefused):
        control.cancel_key(alice, key)


def test_account_has_a_limit_of_tombstones(alice: User, bob: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tombstones, "MOST_TOMBSTONES", 2)
    for number in range(2):
        control.cancel_key(alice, str(number))
    with pytest.raises(TooManyTombstones, match="submit some"):
        control.cancel_key(alice, "one more")
    control.cancel_key(bob, "one more")
    submit(alice, "0")
    control.cancel_key(alice, "one more")


# --- both at once -----------------------------------------------------------------------------------------


def test_submit_first_and_the_stop_comes_in_its_midst(alice: User) -> None:
    """Held after it has found no tombstone, before it inserts: the stop waits, and finds the run."""
    submitting = Elsewhere(submit, alice, hold_before="INSERT INTO runs_run ").until_held()
    stopping = Elsewhere(control.cancel_key, alice, KEY).until_blocked()
    submitting.let_go()
    run = submitting.result()
    run_id, result = stopping.result()
    assert (run_id, result.settled) == (run.id, [run.id])
    assert control.get(run.id).status == Status.CANCELLED
    assert not Tombstone.objects.exists()


def test_submit_first_and_the_stop_comes_before_its_commit(alice: User) -> None:
    submitting = Elsewhere(submit, alice, hold_before="INSERT INTO runs_statuschange").until_held()
    stopping = Elsewhere(control.cancel_key, alice, KEY).until_blocked()
    run = submitting.let_go().result()
    assert stopping.result()[0] == run.id
    assert control.get(run.id).status == Status.CANCELLED


def test_stop_first_and_the_run_comes_in_its_midst(alice: User) -> None:
    """Held after it has found no run, before it leaves the tombstone: the run waits, and finds it."""
    stopping = Elsewhere(control.cancel_key, alice, KEY, hold_before='INSERT INTO "runs_tombstone"').until_held()
    submitting = Elsewhere(submit, alice).until_blocked()
    assert stopping.let_go().result() == (None, control.StopResult())
    assert control.get(submitting.result().id).status == Status.CANCELLED
    assert not Tombstone.objects.exists()


def test_key_is_held_for_its_owner_alone(alice: User, bob: User) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    stopping = Elsewhere(control.cancel_key, alice, KEY, hold_before='INSERT INTO "runs_tombstone"').until_held()
    assert control.get(submit(bob).id).status == Status.QUEUED
    assert control.get(submit(alice, "another").id).status == Status.QUEUED
    stopping.let_go().result()


def test_two_stops_of_one_key_leave_one_tombstone(alice: User) -> None:
    first = Elsewhere(
        control.cancel_key, alice, KEY, reason="first", hold_before='INSERT INTO "runs_tombstone"'
    ).until_held()
    second = Elsewhere(control.cancel_key, alice, KEY, reason="second", mode=StopMode.KILL).until_blocked()
    first.let_go().result()
    second.result()
    assert [left.reason for left in Tombstone.objects.all()] == ["first"]
