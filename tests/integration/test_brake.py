"""The emergency brake against claims, with real connections; the order of each race is forced."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from authentication.models import User
from runs import brake, control, freezes, reaper, registry
from runs.errors import FreezeNotFound, InputRefused
from runs.models import Freeze, Run
from runs.states import Status
from tests.integration.engine import CLAIMANT, Elsewhere, claim, make_run, make_running, status_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker")]


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice@example.com")


def is_claimed(run: Run) -> bool:
    return registry.claim(run.id, CLAIMANT, lease_seconds=60) is not None


# --- what is held back ---


def test_freeze_of_all_holds_back_every_run_and_stops_none() -> None:
    running, queued = make_running(), make_run(graph="napping")
    brake.freeze(reason="the model is down")

    assert not is_claimed(queued)
    assert (status_of(running), status_of(queued)) == ("running", "queued")


def test_freeze_of_a_graph_holds_back_that_graph_alone() -> None:
    brake.freeze(graph="napping")

    assert not is_claimed(make_run(graph="napping"))
    assert is_claimed(make_run(graph="quick"))


def test_freeze_of_an_owner_holds_back_their_runs_alone(alice: User) -> None:
    brake.freeze(owner=alice)

    assert not is_claimed(make_run(owner=alice))
    assert is_claimed(make_run(owner=User.objects.create_user("bob@example.com")))
    assert is_claimed(make_run())


def test_unfreeze_lets_the_queued_runs_go_unless_another_freeze_holds_them(alice: User) -> None:
    run = make_run(owner=alice)
    of_all, of_owner = brake.freeze(), brake.freeze(owner=alice)

    assert [row.pk for row in brake.unfreeze([of_all.pk])] == [of_all.pk]
    assert not is_claimed(run)
    assert brake.find_hold(run) == of_owner
    brake.unfreeze([of_owner.pk])
    assert is_claimed(run)


def test_freeze_twice_is_one_and_keeps_the_first_reason() -> None:
    first = brake.freeze(reason="first", actor="alice")
    again = brake.freeze(reason="second", actor="bob")

    assert again.pk == first.pk
    assert (again.reason, again.actor) == ("first", "alice")
    brake.unfreeze([first.pk], actor="bob")
    assert brake.unfreeze([first.pk]) == []
    lifted = brake.get(first.pk)
    assert (lifted.is_standing, lifted.lifted_actor) == (False, "bob")
    assert brake.freeze().pk != first.pk


def test_freeze_of_a_graph_and_an_owner_at_once_is_refused(alice: User) -> None:
    with pytest.raises(InputRefused):
        brake.freeze(graph="quick", owner=alice)
    with pytest.raises(FreezeNotFound):
        brake.get(4_711)


def test_two_freezes_of_the_same_at_once_are_one() -> None:
    first = Elsewhere(brake.freeze, graph="quick", hold_before="INSERT INTO").until_held()
    second = Elsewhere(brake.freeze, graph="quick").until_blocked()
    first.let_go()

    assert first.result().pk == second.result().pk
    assert Freeze.objects.count() == 1


# --- against a claim ---


def test_claim_that_was_first_lands_and_freeze_waits_for_it() -> None:
    run = make_run()
    claiming = Elsewhere(registry.claim, run.id, CLAIMANT, lease_seconds=60, hold_before="runs_statuschange")
    claiming.until_held()
    freezing = Elsewhere(brake.freeze).until_blocked()
    assert not freezing.is_done
    claiming.let_go()

    assert claiming.result().attempt == 1
    assert freezing.result().is_standing
    # Nobody has been claimed behind the back of who has frozen: a stop reaches it.
    assert control.cancel_all().reached == [run.id]


def test_claim_during_a_freeze_waits_and_does_not_land() -> None:
    run = make_run()
    freezing = Elsewhere(brake.freeze, hold_before="INSERT INTO").until_held()
    claiming = Elsewhere(registry.claim, run.id, CLAIMANT, lease_seconds=60).until_blocked()
    freezing.let_go()

    assert freezing.result().is_standing
    assert claiming.result() is None
    assert status_of(run) == "queued"


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer at a time")
def test_freeze_does_not_wait_for_ever_for_who_reads_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezes, "LOCK_MILLISECONDS", 50)
    run = make_run()
    claiming = Elsewhere(registry.claim, run.id, CLAIMANT, lease_seconds=60, hold_before="runs_statuschange")
    claiming.until_held()

    assert brake.freeze().is_standing
    claiming.let_go()
    assert claiming.result()


def test_claim_costs_no_more_statements_than_without_a_brake() -> None:
    brake.freeze(graph="napping")
    run = make_run()
    with CaptureQueriesContext(connection) as captured:
        claim(run)

    assert len([query for query in captured if "runs_" in query["sql"]]) == 2  # the claim and its record


# --- doorbells ---


def test_submit_while_frozen_queues_and_is_rung_again_at_once_when_it_is_lifted() -> None:
    frozen = brake.freeze()
    run = control.submit("quick", {})
    assert not is_claimed(run)
    long_ago = timezone.now() - timedelta(hours=1)
    Run.objects.filter(id=run.id).update(queued_at=long_ago, rung_at=long_ago)

    reaper.ring_again()  # nobody could take it
    assert Run.objects.get(id=run.id).rung_at == long_ago
    brake.unfreeze([frozen.pk])

    rung_at = Run.objects.get(id=run.id).rung_at
    assert rung_at is not None
    assert rung_at > long_ago


def test_look_counts_what_is_held_back_what_stops_and_what_goes_on() -> None:
    frozen = brake.freeze(graph="napping")
    make_run(graph="napping")
    Run.objects.filter(~Q(graph="napping")).delete()
    brake.unfreeze([frozen.pk])
    stopping, _ = make_running(graph="napping"), make_running(graph="napping")
    make_running(graph="quick")
    control.cancel(stopping.id)
    frozen = brake.freeze(graph="napping")

    assert brake.look(frozen) == brake.Hold(queued=1, stopping=1, executing=1)
    assert Run.objects.filter(status=Status.QUEUED).count() == 1
