"""Runs in the admin: who sees what, who stops what, and that nothing can be edited."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from authentication.models import User
from runs import control, receipts, registry
from runs.models import NodeExecution, Run, StopReceipt, Worker
from runs.states import NodeStatus, Status

LIST = "/admin/runs/run/"
Start = Callable[..., Run]


def page(run: Run, what: str = "change") -> str:
    return reverse(f"admin:runs_run_{what}", args=[run.pk])


def listed(client: Client, **query: str) -> set[str]:
    return {str(run.pk) for run in client.get(LIST, query).context["cl"].result_list}


def queries_of(client: Client, url: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


# --- Who sees what ---


def test_staff_sees_own_runs_and_operator_all(submit: Start, log_in, alice: User, bob: User, charlie: User) -> None:
    own, foreign = submit(alice), submit(bob)

    assert listed(log_in(alice)) == {str(own.pk)}
    assert listed(log_in(bob)) == {str(own.pk), str(foreign.pk)}
    assert listed(log_in(charlie)) == set()


def test_outsider_cannot_open_a_run(submit: Start, log_in, alice: User, charlie: User) -> None:
    run = submit(alice, input={"secret": "the butler"})

    answer = log_in(charlie).get(page(run), follow=True)

    assert "the butler" not in answer.content.decode()
    assert answer.redirect_chain == [("/admin/", 302)]


def test_owner_filter_names_only_owners_of_visible_runs(submit: Start, log_in, alice: User, bob: User) -> None:
    submit(alice)
    submit(bob)

    assert "bob@example.com" not in log_in(alice).get(LIST).content.decode()
    assert "bob@example.com" in log_in(bob).get(LIST).content.decode()


def test_customer_without_staff_is_sent_to_the_login(submit: Start, log_in) -> None:
    customer = User.objects.create_user("dora@example.com")
    run = submit(customer)

    for url in (LIST, page(run), page(run, "cancel"), reverse("admin:runs_run_cancel_all")):
        answer = log_in(customer).post(url, {"confirmed": "yes"})
        assert (answer.status_code, answer.url.split("?")[0]) == (302, "/admin/login/")
    assert control.get(run.id).status == "queued"


# --- The list ---


def test_list_filters_and_search(submit: Start, start: Start, log_in, alice: User, superuser: User) -> None:
    queued, running, stopping = submit(alice), start(graph="napping"), start(graph="napping")
    control.cancel(stopping.id)
    old = submit()
    Run.objects.filter(id=old.id).update(created_at=timezone.now() - timedelta(days=3))
    client = log_in(superuser)

    assert listed(client, status="running") == {str(running.id)}
    assert listed(client, status="cancelling") == {str(stopping.id)}
    assert listed(client, status="active") == {str(run.id) for run in (queued, running, stopping, old)}
    assert listed(client, graph="napping") == {str(running.id), str(stopping.id)}
    assert listed(client, owner__id__exact=str(alice.pk)) == {str(queued.id)}
    assert listed(client, age="over-day") == {str(old.id)}
    assert listed(client, age="under-hour", status="queued") == {str(queued.id)}
    assert listed(client, q=str(running.id)) == {str(running.id)}
    assert listed(client, q="alice@") == {str(queued.id)}
    assert listed(client, q="napping") == {str(running.id), str(stopping.id)}


def test_list_shows_the_button_that_makes_sense(start: Start, submit: Start, log_in, alice: User, bob: User) -> None:
    running, stopping, ended = start(alice), start(alice), submit(alice)
    control.cancel(stopping.id)
    control.cancel(ended.id)

    of_owner, of_operator = (log_in(user).get(LIST).content.decode() for user in (alice, bob))

    assert page(running, "cancel") in of_owner
    for text in (of_owner, of_operator):
        assert page(stopping, "cancel") not in text
        assert page(stopping, "interrupt") in text
    assert page(stopping, "kill") not in of_owner
    assert page(stopping, "kill") in of_operator
    assert page(ended, "cancel") not in of_owner
    assert "cancelling" in of_owner


def test_list_costs_the_same_for_many_runs(submit: Start, log_in, alice: User, superuser: User) -> None:
    client = log_in(superuser)
    parent = submit(alice)
    submit(parent=parent.id)
    few = queries_of(client, LIST)

    for _ in range(20):
        submit(alice, parent=parent.id)

    assert queries_of(client, LIST) == few


# --- The page of one run ---


def test_page_shows_all_and_escapes_it(start: Start, log_in, superuser: User) -> None:
    attack = "<script>alert(1)</script>"
    run = start(graph="quick", input={"text": attack}, thread_id=attack, metadata={"k": attack})
    child = control.submit("napping", {}, parent=run.id)
    moment = timezone.now()
    for status in (NodeStatus.FINISHED, NodeStatus.FAILED):
        NodeExecution.objects.create(
            id=uuid4(),
            run=run,
            attempt=1,
            node=attack,
            status=status,
            started_at=moment - timedelta(seconds=75),
            finished_at=moment,
            error={"type": attack, "message": attack} if status is NodeStatus.FAILED else None,
        )
    Run.objects.filter(id=run.id).update(current_node=attack)
    control.cancel(run.id, reason=attack, actor=attack)
    registry.settle(run.id, 1, Status.FAILED, error={"type": "E", "message": attack}, output={"o": attack})
    client = log_in(superuser)

    for url in (page(run), LIST, page(child)):
        assert attack not in client.get(url).content.decode()
    text = client.get(page(run)).content.decode()
    assert str(child.pk) in text
    assert "1 min 15 s" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "it stopped by itself" in text


def test_page_costs_the_same_for_a_large_tree(start: Start, log_in, superuser: User) -> None:
    client = log_in(superuser)
    run = start()
    control.submit("quick", {}, parent=run.id)
    few = queries_of(client, page(run))

    for _ in range(150):
        control.submit("quick", {}, parent=run.id)

    assert queries_of(client, page(run)) == few
    assert "52 more runs" in client.get(page(run)).content.decode()


def test_nothing_can_be_edited_or_added(submit: Start, log_in, superuser: User) -> None:
    run = submit(superuser)
    client = log_in(superuser)

    assert client.post(page(run), {"graph": "other", "status": "completed"}).status_code == 403
    assert client.get(reverse("admin:runs_run_add")).status_code == 403
    assert control.get(run.id).graph == "quick"


# --- Cancel ---


def test_cancel_asks_for_a_reason_and_keeps_it(start: Start, log_in, alice: User) -> None:
    run = start(alice)
    child = control.submit("quick", {}, parent=run.id)
    client = log_in(alice)

    asked = client.get(page(run, "cancel")).content.decode()
    assert "Cancel 2 runs" in asked
    assert str(child.pk) in asked
    assert control.get(run.id).display_status == "running"
    answer = client.post(page(run, "cancel"), {"confirmed": "yes", "reason": "too dear"}, follow=True)

    stopping = control.get(run.id)
    assert (stopping.display_status, control.get(child.id).status) == ("cancelling", "cancelled")
    assert (stopping.stop_reason, stopping.stop_source, stopping.stop_by) == ("too dear", "admin", alice)
    assert stopping.stop_actor == "alice@example.com"
    assert {(entry.object_id, entry.user) for entry in LogEntry.objects.all()} == {
        (str(run.pk), alice),
        (str(child.pk), alice),
    }
    assert "too dear" in LogEntry.objects.first().change_message
    assert "too dear" in client.get(reverse("admin:runs_run_history", args=[run.pk])).content.decode()
    assert answer.redirect_chain == [(page(run), 302)]


def test_cancel_unconfirmed_post_changes_nothing(submit: Start, log_in, alice: User) -> None:
    run = submit(alice)

    assert log_in(alice).post(page(run, "cancel")).status_code == 200

    assert control.get(run.id).status == "queued"


def test_cancel_ended_run_says_so(submit: Start, log_in, alice: User) -> None:
    run = submit(alice)
    control.cancel(run.id)

    answer = log_in(alice).get(page(run, "cancel"), follow=True)

    assert "it has ended" in answer.content.decode()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("method", ["get", "post"])
def test_outsider_cannot_cancel(submit: Start, log_in, alice: User, charlie: User, method: str) -> None:
    run = submit(alice)

    answer = getattr(log_in(charlie), method)(page(run, "cancel"), {"confirmed": "yes"})

    assert answer.status_code == 403
    assert control.get(run.id).status == "queued"


def test_viewer_without_the_right_to_stop_cannot_cancel(submit: Start, log_in, alice: User, charlie: User) -> None:
    from django.contrib.auth.models import Permission

    charlie.user_permissions.add(Permission.objects.get(codename="view_run"))
    run = submit(alice)
    client = log_in(charlie)

    assert page(run, "cancel") not in client.get(LIST).content.decode()
    assert client.get(page(run)).status_code == 200
    assert client.post(page(run, "cancel"), {"confirmed": "yes"}).status_code == 403
    selection = {"action": "cancel_selected", "_selected_action": [str(run.pk)], "confirmed": "yes"}
    assert client.post(LIST, selection).status_code == 403
    client.post(reverse("admin:runs_run_cancel_all"), {"confirmed": "yes"})
    assert control.get(run.id).status == "queued"


def test_cancel_unknown_run_is_not_found(log_in, superuser: User) -> None:
    assert log_in(superuser).get(f"{LIST}{uuid4()}/cancel/").status_code == 404


def test_cancel_selected_is_confirmed_first(submit: Start, log_in, bob: User) -> None:
    chosen, other = [submit(), submit()], submit()
    client = log_in(bob)
    selection = {"action": "cancel_selected", "_selected_action": [str(run.pk) for run in chosen]}

    asked = client.post(LIST, selection)
    assert "Cancel 2 runs" in asked.content.decode()
    assert control.get(chosen[0].id).status == "queued"
    client.post(LIST, {**dict(asked.context["hidden"]), **selection, "confirmed": "yes", "reason": "tidy"})

    assert [control.get(run.id).status for run in chosen] == ["cancelled", "cancelled"]
    assert control.get(chosen[0].id).stop_reason == "tidy"
    assert control.get(other.id).status == "queued"
    assert LogEntry.objects.count() == 2


def test_cancel_selected_across_pages(submit: Start, log_in, bob: User) -> None:
    runs = [submit() for _ in range(60)]
    other = submit(graph="napping")
    client = log_in(bob)

    asked = client.post(
        f"{LIST}?graph=quick",
        {"action": "cancel_selected", "_selected_action": [str(runs[0].pk)], "select_across": "1"},
    )
    assert "Cancel 60 runs" in asked.content.decode()
    assert len(asked.context["hidden"]) == 3
    client.post(f"{LIST}?graph=quick", {**dict(asked.context["hidden"]), "confirmed": "yes", "reason": ""})

    assert {control.get(run.id).status for run in runs} == {"cancelled"}
    assert control.get(other.id).status == "queued"


def test_cancel_all_of_the_operator_and_of_the_owner(submit: Start, log_in, alice: User, bob: User) -> None:
    own, foreign = submit(alice), submit()
    url = reverse("admin:runs_run_cancel_all")

    assert "Cancel 1 run" in log_in(alice).get(url).content.decode()
    log_in(alice).post(url, {"confirmed": "yes", "reason": "mine"})
    assert (control.get(own.id).status, control.get(foreign.id).status) == ("cancelled", "queued")

    log_in(bob).post(url, {"confirmed": "yes", "reason": "evening"})
    assert control.get(foreign.id).stop_reason == "evening"


# --- Kill ---


def test_kill_is_for_a_run_that_is_stopping(start: Start, log_in, bob: User) -> None:
    run = start()
    client = log_in(bob)

    early = client.post(page(run, "kill"), {"confirmed": "yes"}, follow=True)
    assert "Cancel it first" in early.content.decode()
    assert control.get(run.id).stop_requested_at is None

    control.cancel(run.id, reason="first")
    assert page(run, "kill") in client.get(page(run)).content.decode()
    client.post(page(run, "kill"), {"confirmed": "yes", "reason": "now"})

    stopping = control.get(run.id)
    assert (stopping.stop_mode, stopping.stop_reason) == ("kill", "first")
    assert stopping.stop_deadline <= timezone.now()
    assert "kill" in LogEntry.objects.get().change_message


def test_owner_without_the_permission_cannot_kill(start: Start, log_in, alice: User) -> None:
    run = start(alice)
    control.cancel(run.id, grace_seconds=600)
    client = log_in(alice)

    assert page(run, "kill") not in client.get(page(run)).content.decode()
    assert client.post(page(run, "kill"), {"confirmed": "yes"}).status_code == 403
    assert control.get(run.id).stop_mode == "cancel"


# --- One press after the other climbs the ladder ---


def buttons(client: Client, run: Run, address: str) -> list[str]:
    text = client.get(address).content.decode()
    return [name for name in ("cancel", "interrupt", "kill") if page(run, name) in text]


def test_row_and_page_offer_the_next_rung_and_the_kill_to_who_may(
    start: Start, log_in, alice: User, bob: User, charlie: User, superuser: User
) -> None:
    run = start(alice)
    owner, operator, admin = (log_in(user) for user in (alice, bob, superuser))

    def offered() -> list[tuple[list[str], list[str]]]:
        return [(buttons(client, run, LIST), buttons(client, run, page(run))) for client in (owner, operator, admin)]

    assert offered() == [(["cancel"], ["cancel"])] * 3
    control.cancel(run.id, grace_seconds=600, interrupt_after_seconds=600)
    assert offered() == [
        (["interrupt"], ["interrupt"]),
        (["interrupt", "kill"], ["interrupt", "kill"]),
        (["interrupt", "kill"], ["interrupt", "kill"]),
    ]
    control.cancel(run.id, mode="interrupt", grace_seconds=600)
    assert offered() == [([], []), (["kill"], ["kill"]), (["kill"], ["kill"])]
    control.cancel(run.id, mode="kill")
    assert offered() == [([], [])] * 3
    assert buttons(log_in(charlie), run, LIST) == []


def test_interrupt_is_confirmed_and_keeps_its_reason_in_the_history(start: Start, log_in, alice: User) -> None:
    run = start(alice)
    child = start(parent=run.id)
    control.cancel(run.id, reason="first", grace_seconds=600)
    client = log_in(alice)

    asked = client.get(page(run, "interrupt")).content.decode()
    assert "Interrupt 2 runs" in asked
    assert "raised inside the nodes" in asked
    client.post(page(run, "interrupt"))  # not confirmed
    assert control.get(run.id).stop_mode == "cancel"
    answer = client.post(page(run, "interrupt"), {"confirmed": "yes", "reason": "too slow"}, follow=True)

    stopping = control.get(run.id)
    assert (stopping.stop_mode, stopping.stop_reason) == ("interrupt", "first")
    assert stopping.stop_interrupt_at <= timezone.now() < stopping.stop_deadline
    assert "2 runs: interrupted now." in answer.content.decode()
    assert {entry.object_id for entry in LogEntry.objects.all()} == {str(run.pk), str(child.pk)}
    assert LogEntry.objects.first().change_message == "Asked to stop (interrupt). Reason: too slow"


def test_interrupt_is_for_a_run_that_is_stopping(start: Start, log_in, alice: User) -> None:
    run = start(alice)

    early = log_in(alice).post(page(run, "interrupt"), {"confirmed": "yes"}, follow=True)

    assert "Cancel it first" in early.content.decode()
    assert control.get(run.id).stop_requested_at is None


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("alice", {"interrupt": 302, "kill": 403, "look": 302}),
        ("bob", {"interrupt": 302, "kill": 302, "look": 302}),
        ("charlie", {"interrupt": 403, "kill": 403, "look": 403}),
        ("superuser", {"interrupt": 302, "kill": 302, "look": 302}),
    ],
)
@pytest.mark.parametrize("what", ["interrupt", "kill", "look"])
def test_who_may_interrupt_kill_and_look(
    start: Start, log_in, alice: User, request, quick_look: None, name: str, codes: dict[str, int], what: str
) -> None:
    user = request.getfixturevalue(name)
    run = start(alice)
    control.cancel(run.id, grace_seconds=600)
    before = control.get(run.id).stop_deadline, control.get(run.id).stop_interrupt_at

    answer = log_in(user).post(page(run, what), {"confirmed": "yes"})

    assert answer.status_code == codes[what]
    after = control.get(run.id).stop_deadline, control.get(run.id).stop_interrupt_at
    assert (after != before) is (codes[what] == 302 and what != "look")
    assert StopReceipt.objects.filter(run=run).exists() is (codes[what] == 302 and what == "look")


# --- The receipt of a stop ---


@pytest.fixture
def quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is there to answer, so it is not worth waiting for."""
    monkeypatch.setattr("runs.admin.receipt.LOOK_SECONDS", 0.01)


def test_receipt_of_a_killed_run_tells_all_and_escapes_it(start: Start, log_in, alice: User) -> None:
    attack = "<script>alert(1)</script>"
    run = start(alice)
    child = control.submit("quick", {}, parent=run.id)
    control.cancel(run.id, by=alice, source="page", reason="enough", mode="kill")
    asked = control.get(run.id).stop_requested_at
    registry.settle(run.id, 1, Status.CANCELLED, rung=2)
    Run.objects.filter(id=run.id).update(
        stop_delivered_at=asked + timedelta(seconds=0.5),
        stop_acknowledged_at=None,
        stop_gone_at=asked + timedelta(seconds=2),
    )
    receipts.record_evidence(run.id, pid=77, stacks=f"in {attack}", processes=[{"pid": 78, "name": attack}])
    receipts.record_death(run.id, exit_signal=9, killed=[{"pid": 79, "name": "sleep"}])

    text = log_in(alice).get(page(run)).content.decode()

    for told in ("Stop receipt", "alice@example.com", "web page", "enough", "SIGKILL", "sleep (79)", "pid 77 of"):
        assert told in text, told
    assert "its process was killed" in text
    assert "0.5 s" in text
    assert "2.0 s" in text
    assert "1.5 s" in text
    assert page(child) in text
    assert "in &lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert attack not in text
    assert page(run, "look") not in text


def test_receipt_while_stopping_tells_what_follows_and_offers_a_look(
    start: Start, log_in, alice: User, settings: Any
) -> None:
    settings.RUNS_INTERRUPT_AFTER_SECONDS = 300
    run = start(alice)
    client = log_in(alice)
    assert "Stop receipt" not in client.get(page(run)).content.decode()
    control.cancel(run.id, grace_seconds=600)

    text = client.get(page(run)).content.decode()

    assert re.search(r"interrupted in (5 min|4 min 5\d s), killed in (10 min|9 min 5\d s)", text)
    assert "it has not been told yet" in text
    assert "Nobody has looked yet" in text
    assert f'formaction="{page(run, "look")}"' in text


def test_look_that_nobody_answers_says_so(start: Start, log_in, alice: User, quick_look: None) -> None:
    run = start(alice)
    control.cancel(run.id, grace_seconds=600)

    answer = log_in(alice).post(page(run, "look"), follow=True)

    assert "Nobody could look" in answer.content.decode()
    assert answer.redirect_chain == [(page(run), 302)]


def test_look_is_never_done_by_opening_its_address(start: Start, log_in, alice: User) -> None:
    run = start(alice)

    assert log_in(alice).get(page(run, "look")).status_code == 405
    assert not StopReceipt.objects.exists()


# --- Delete ---


def test_superuser_deletes_only_what_has_ended(submit: Start, log_in, superuser: User, bob: User) -> None:
    ended, active = submit(), submit()
    child = control.submit("quick", {}, parent=ended.id, on_parent_stop="cancel")
    control.cancel(ended.id)
    client = log_in(superuser)

    assert log_in(bob).post(page(ended, "delete"), {"post": "yes"}).status_code == 403
    assert client.post(page(active, "delete"), {"post": "yes"}).status_code == 403
    selection = {"action": "delete_selected", "_selected_action": [str(active.pk)], "post": "yes"}
    client.post(LIST, selection)
    assert Run.objects.filter(pk=active.pk).exists()

    client.post(page(ended, "delete"), {"post": "yes"})
    assert not Run.objects.filter(pk__in=[ended.pk, child.pk]).exists()


def test_run_with_a_child_that_goes_on_is_not_deleted(submit: Start, start: Start, log_in, superuser: User) -> None:
    parent = start()
    child = control.submit("quick", {}, parent=parent.id, on_parent_stop="abandon")
    control.cancel(parent.id)
    registry.settle(parent.id, 1, Status.CANCELLED)

    answer = log_in(superuser).post(page(parent, "delete"), {"post": "yes"})

    assert "cancel it first" in answer.content.decode()
    assert control.get(child.id).status == "queued"


# --- Workers ---


def test_workers_are_listed_with_what_they_run(start: Start, log_in, superuser: User, charlie: User) -> None:
    now = timezone.now()
    common = {"pid": 7, "pool": "prefork", "concurrency": 2, "started_at": now}
    Worker.objects.create(id="celery@box#1", hostname="celery@box", heartbeat_at=now, **common)
    Worker.objects.create(id="celery@old#1", hostname="celery@old", heartbeat_at=now - timedelta(minutes=5), **common)
    start()

    answer = log_in(superuser).get("/admin/runs/worker/")
    text = answer.content.decode()

    assert {worker.running_runs for worker in answer.context["cl"].result_list} == {0, 1}
    assert "alive" in text
    assert "silent" in text
    assert log_in(superuser).get(reverse("admin:runs_worker_change", args=["celery@box#1"])).status_code == 200
    assert log_in(charlie).get("/admin/runs/worker/").status_code == 403
