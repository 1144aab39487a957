"""Many runs stopped by one request, and a key that is cancelled before its run: over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from authentication.models import User
from runs import bulk_stops, control, registry
from runs.models import BulkStop, BulkStopRun, Run
from runs.states import Status
from tests.integration.engine import claim, make_ended

pytestmark = pytest.mark.django_db


def start(owner: User, graph: str = "quick", **options: Any) -> Run:
    return control.submit(graph, {}, owner=owner, ring=False, **options)


def test_progress_of_a_bulk_stop(api: Any, alice: User, bob: User) -> None:
    queued, others = start(alice), start(bob)
    parent, interrupted, killed = (claim(start(alice)) for _ in range(3))
    child = claim(start(alice, parent=parent.id, child_key="a"))
    left = start(alice, graph="parent")
    answer = api(alice).post("runs/cancel", {"graph": "quick", "reason": "enough"})
    assert (answer.status_code, answer.json()["matched"]) == (202, 5)
    assert set(answer.json()["reached"]) == {str(run.id) for run in (queued, parent, interrupted, killed, child)}
    now = timezone.now()
    Run.objects.filter(id__in=[interrupted.id, killed.id]).update(stop_interrupt_at=now - timedelta(seconds=1))
    Run.objects.filter(id=killed.id).update(stop_deadline=now - timedelta(seconds=1))

    shown = api(alice).client.get(answer["Location"]).json()
    assert shown["id"] == answer.json()["id"]
    assert (shown["matched"], shown["total"], shown["settled"], shown["not_asked"]) == (5, 5, 1, 0)
    assert shown["stopping"] == {"cancel": 2, "interrupt": 1, "kill": 1}
    assert (shown["graph"], shown["reason"], shown["finished_at"]) == ("quick", "enough", None)
    for run in (child, parent, interrupted, killed):
        registry.settle(run.id, 1, Status.CANCELLED)
    shown = api(alice).client.get(answer["Location"]).json()
    assert (shown["settled"], shown["stopping"]) == (5, {"cancel": 0, "interrupt": 0, "kill": 0})
    last = Run.objects.get(id=killed.id).finished_at
    assert last is not None
    assert shown["finished_at"][:19] == last.isoformat()[:19]
    assert {Run.objects.get(id=run.id).status for run in (others, left)} == {"queued"}


def test_progress_is_only_for_whom_asked(api: Any, alice: User, bob: User, admin: User) -> None:
    start(alice)
    where = api(alice).post("runs/cancel", {})["Location"]
    assert api(alice).client.get(where).status_code == 200
    for other in (bob, admin):
        assert api(other).client.get(where).status_code == 404
    assert api().client.get(where).status_code == 401


def test_what_a_bulk_stop_reaches_below_is_counted(alice: User) -> None:
    parent = claim(start(alice))
    children = [start(alice, parent=parent.id, child_key=str(number)) for number in range(3)]
    bulk, result = control.stop_many([parent.id], stop(alice))
    progress = control.find_progress(bulk)
    assert (bulk.matched, progress.total, progress.settled, progress.cancelling) == (1, 4, 3, 1)
    assert len(result.reached) == 1 + len(children)


def test_what_had_ended_or_was_deleted_is_told(alice: User) -> None:
    done, gone, asked = make_ended(Status.COMPLETED, owner=alice), start(alice), start(alice)
    bulk, _ = control.stop_many([done.id, gone.id, asked.id], stop(alice))
    Run.objects.filter(id=gone.id).delete()
    progress = control.find_progress(bulk)
    assert (bulk.matched, progress.total, progress.settled, progress.ended_otherwise) == (3, 2, 1, 1)
    assert progress.finished_at is not None


def test_stop_of_nothing_is_over_at_once(api: Any, alice: User) -> None:
    answer = api(alice).post("runs/cancel", {"ids": []})
    shown = api(alice).client.get(answer["Location"]).json()
    assert (shown["matched"], shown["finished_at"]) == (0, shown["requested_at"])


def test_process_that_dies_in_the_midst_leaves_the_rest_to_be_seen(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [claim(start(alice)).id for _ in range(4)]
    monkeypatch.setattr(bulk_stops, "CHUNK", 2)
    real, calls = bulk_stops.stop_runs, []

    def die_at_the_second(run_ids: Any, request: Any) -> Any:
        calls.append(run_ids)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(run_ids, request)

    monkeypatch.setattr(bulk_stops, "stop_runs", die_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        control.stop_many(ids, stop(alice))
    progress = control.find_progress(BulkStop.objects.get())
    assert (progress.total, progress.cancelling, progress.not_asked, progress.finished_at) == (4, 2, 2, None)


def test_old_bulk_stops_of_an_account_are_forgotten(
    api: Any, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_stops, "MOST_BULK_STOPS", 2)
    api(bob).post("runs/cancel", {})
    start(alice)
    ids = [api(alice).post("runs/cancel", {}).json()["id"] for _ in range(4)]
    kept = BulkStop.objects.filter(by=alice).values_list("id", flat=True)
    assert [str(bulk_id) for bulk_id in kept] == ids[:-3:-1]
    assert BulkStop.objects.filter(by=bob).count() == 1
    assert not BulkStopRun.objects.exists()


def stop(user: User) -> registry.StopRequest:
    return control.stop_request(user, "", "api", "", "cancel", None, None)


# --- by key -----------------------------------------------------------------------------------------------


def test_key_is_cancelled_before_its_run_has_come(api: Any, alice: User, bob: User) -> None:
    caller = api(alice)
    early = caller.post("runs/cancel-by-key", {"idempotency_key": "k/1", "reason": "changed my mind"})
    assert (early.status_code, early.json()["run"], early.json()["reached"]) == (202, None, [])
    headers = {"Idempotency-Key": "k/1"}
    of_bob = api(bob).post("graphs/quick/runs", {"input": {}}, **headers)
    born = caller.post("graphs/quick/runs", {"input": {}}, **headers)
    assert (of_bob.json()["status"], born.status_code, born.json()["status"]) == ("queued", 201, "cancelled")
    assert (born.json()["stop"]["reason"], born.json()["stop"]["by"]) == ("changed my mind", "alice@example.com")
    again = caller.post("runs/cancel-by-key", {"idempotency_key": "k/1"})
    assert (again.status_code, again.json()["run"]["id"]) == (200, born.json()["id"])
    assert Run.objects.get(owner=bob).status == "queued"


def test_key_of_a_run_that_runs(api: Any, alice: User) -> None:
    run = claim(start(alice, idempotency_key="k"))
    for way in ({"mode": "kill"}, {"grace_seconds": 0}):
        refused = api(alice).post("runs/cancel-by-key", {"idempotency_key": "k", **way})
        assert (refused.status_code, "runs.kill_run" in refused.json()["detail"]) == (403, True)
    answer = api(alice).post("runs/cancel-by-key", {"idempotency_key": "k"})
    assert (answer.status_code, answer.json()["reached"]) == (202, [str(run.id)])
    registry.settle(run.id, 1, Status.CANCELLED)
    done = claim(start(alice, idempotency_key="done"))
    registry.settle(done.id, 1, Status.COMPLETED)
    assert api(alice).post("runs/cancel-by-key", {"idempotency_key": "done"}).status_code == 409


@pytest.mark.parametrize("key", ["", "x" * 201, "a\x00b", None])
def test_key_that_can_be_none_is_refused(api: Any, alice: User, key: Any) -> None:
    refused = api(alice).post("runs/cancel-by-key", {"idempotency_key": key}).status_code
    assert refused == (400 if key and "\x00" in key else 422)


def test_owners_who_may_not_stop_leave_no_tombstone(api: Any, alice: User, settings: Any) -> None:
    settings.RUNS_OWNERS_MAY_STOP = False
    refused = api(alice).post("runs/cancel-by-key", {"idempotency_key": "k"})
    assert (refused.status_code, "runs.stop_own_run" in refused.json()["detail"]) == (403, True)
