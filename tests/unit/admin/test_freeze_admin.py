"""The emergency brake in the admin and its banner; what the list asks for, the dashboard, and the filters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from authentication.models import User
from runs import brake, control, listing
from runs.models import Freeze, Run, Worker
from tests.unit.admin.conftest import make_staff

PULL = "/admin/runs/freeze/pull"
LIST = "/admin/runs/run/"
Start = Callable[..., Run]


@pytest.fixture
def operator(db: None) -> User:
    return make_staff("olga", "view_run", "stop_any_run", "use_brake")


def pull(client: Client, **asked: str) -> Freeze:
    answer = client.post(reverse("admin:runs_freeze_pull"), {"confirmed": "yes", "reason": "too dear", **asked})
    assert answer.status_code == 302, answer.context["form"].errors
    return Freeze.objects.latest("pk")


def page(freeze: Freeze, what: str = "change") -> str:
    return reverse(f"admin:runs_freeze_{what}", args=[freeze.pk])


def live(client: Client, *runs: Run) -> dict:
    answer = client.get(reverse("admin:runs_run_live"), {"ids": ",".join(str(run.pk) for run in runs)})
    assert answer.status_code == 200
    return answer.json()


# --- the brake ---


def test_brake_freezes_cancels_what_matches_and_is_lifted_again(
    start: Start, submit: Start, log_in, operator: User
) -> None:
    running, queued, other = start(graph="napping"), submit(graph="napping"), submit(graph="quick")
    client = log_in(operator)

    freeze = pull(client, graph="napping", cancels="on")

    assert control.get(running.id).display_status == "cancelling"
    assert (control.get(queued.id).status, control.get(other.id).status) == ("cancelled", "queued")
    assert control.get(running.id).stop_reason == "too dear"
    assert client.get(page(freeze, "live")).json() == {"queued": "0", "stopping": "1", "executing": "0"}
    assert "Lift the brake" in client.get(page(freeze)).content.decode()
    client.post(page(freeze, "lift"), {"confirmed": "yes", "reason": "all is well"})
    assert not brake.is_frozen(graph="napping")
    assert "/lift" not in client.get(page(freeze)).content.decode()
    told = list(
        LogEntry.objects.filter(object_id=str(freeze.pk)).order_by("pk").values_list("change_message", flat=True)
    )
    assert told == [
        "Froze graph napping. Reason: too dear",
        "Lifted the freeze of graph napping. Reason: all is well",
    ]
    assert LogEntry.objects.filter(object_id=str(running.pk), change_message__contains="emergency brake").exists()


def test_brake_without_cancel_leaves_what_executes_alone(start: Start, log_in, operator: User, alice: User) -> None:
    running = start(alice)
    freeze = pull(log_in(operator), owner="Alice@Example.com")

    assert (freeze.scope, freeze.owner) == ("owner", alice)
    assert control.get(running.id).display_status == "running"


@pytest.mark.parametrize(
    "asked",
    [
        {"reason": ""},
        {"owner": "nobody@example.com"},
        {"graph": "quick", "owner": "alice@example.com"},
        {"graph": "nowhere"},
    ],
)
def test_brake_with_wrong_words_freezes_nothing(log_in, operator: User, alice: User, asked: dict[str, str]) -> None:
    answer = log_in(operator).post(
        reverse("admin:runs_freeze_pull"), {"confirmed": "yes", "reason": "too dear", **asked}
    )

    assert answer.status_code == 200
    assert not Freeze.objects.exists()


def test_brake_takes_its_permission(log_in, bob: User, operator: User) -> None:
    freeze = pull(log_in(operator))
    client = log_in(bob)  # who may stop and kill every run

    for url in (reverse("admin:runs_freeze_pull"), page(freeze, "lift"), page(freeze, "live"), page(freeze)):
        assert client.post(url, {"confirmed": "yes", "reason": "x"}).status_code in (302, 403)
    assert client.get(page(freeze, "live")).status_code == 403
    assert client.get("/admin/runs/freeze/").status_code == 403
    assert [row.pk for row in brake.list_standing()] == [freeze.pk]


def test_brake_alone_does_not_cancel_what_its_user_may_not_stop(start: Start, log_in, alice: User) -> None:
    running = start(alice)
    pull(log_in(make_staff("frieda", "use_brake")), cancels="on")

    assert control.get(running.id).display_status == "running"


def test_banner_is_on_every_page_for_whom_it_concerns(log_in, operator: User, alice: User, charlie: User) -> None:
    customer = User.objects.create_user("dora@example.com")
    freeze = brake.freeze(reason="<b>the model is down</b>", by=operator)

    for client, urls in (
        (log_in(operator), ("/admin/", LIST, "/admin/authentication/user/", page(freeze), "/")),
        (log_in(customer), ("/",)),
    ):
        for url in urls:
            text = client.get(url, follow=True).content.decode()
            assert "&lt;b&gt;the model is down&lt;/b&gt;" in text, url
    assert "the model is down" not in Client().get("/admin/login/").content.decode()
    brake.unfreeze([freeze.pk])
    brake.freeze(owner=alice, reason="only alice")
    assert "only alice" in log_in(alice).get("/admin/").content.decode()
    assert "only alice" not in log_in(charlie).get("/admin/").content.decode()
    assert "only alice" in log_in(operator).get("/admin/").content.decode()


def test_run_that_is_held_back_says_so(submit: Start, log_in, superuser: User) -> None:
    brake.freeze(graph="quick", actor="olga", reason="the model is down")
    client = log_in(superuser)

    started = client.post("/api/graphs/quick/runs", {"input": {}}, content_type="application/json").json()

    assert (started["status"], started["frozen"]) == ("queued", "graph quick: the model is down")
    assert client.get(f"/api/runs/{started['id']}").json()["frozen"] == started["frozen"]
    assert client.get(f"/api/runs/{submit(graph='napping').pk}").json()["frozen"] is None
    shown = client.get(reverse("admin:runs_run_change", args=[started["id"]])).content.decode()
    assert "graph quick: frozen by olga: the model is down" in shown


# --- what the list asks for ---


def test_live_cells_are_those_of_visible_runs(start: Start, submit: Start, log_in, alice: User, bob: User) -> None:
    own, foreign = start(alice), submit(bob)
    client = log_in(alice)

    found = live(client, own, foreign)["runs"]

    assert list(found) == [str(own.pk)]
    assert (found[str(own.pk)]["status"], found[str(own.pk)]["host"]) == ("running", "celery@box")
    assert [button["text"] for button in found[str(own.pk)]["buttons"]] == ["Cancel", "Pause"]
    control.cancel(own.id)
    found = live(client, own)["runs"][str(own.pk)]
    assert (found["status"], [button["text"] for button in found["buttons"]]) == ("cancelling", ["Interrupt"])


def test_live_tells_of_the_brake_and_refuses_nonsense(submit: Start, log_in, superuser: User) -> None:
    client = log_in(superuser)
    freeze = brake.freeze(graph="quick", actor="alice")

    assert live(client)["freezes"] == [
        {"id": freeze.pk, "text": "Emergency brake: frozen is graph quick, by alice", "url": page(freeze)}
    ]
    for ids in ("x", ",".join([str(submit().pk)] * 201)):
        assert client.get(reverse("admin:runs_run_live"), {"ids": ids}).status_code == 400
    assert Client().get(reverse("admin:runs_run_live")).status_code == 302


def test_list_filters_by_worker_and_rung(start: Start, submit: Start, log_in, superuser: User) -> None:
    running, cancelled = start(), submit(superuser)
    control.cancel(cancelled.id)
    killed = submit()
    control.cancel(killed.id)
    Run.objects.filter(id=killed.id).update(stop_rung=2)
    now = running.started_at
    Worker.objects.create(
        id="celery@box#1", hostname="box", pid=1, pool="prefork", concurrency=1, started_at=now, heartbeat_at=now
    )
    client = log_in(superuser)

    def listed(**query: str) -> set[str]:
        return {str(run.pk) for run in client.get(LIST, query).context["cl"].result_list}

    assert listed(worker="celery@box#1") == {str(running.id)}
    assert listed(rung="kill") == {str(killed.id)}
    assert listed(rung="none") == {str(cancelled.id)}
    assert listed(owner__id__exact="nonsense") == set()
    assert listed(q="nowhere") == set()


def test_bulk_interrupt_and_kill_need_their_rights_and_a_reason(start: Start, log_in, alice: User, bob: User) -> None:
    first, second = start(alice), start(alice)
    chosen = {"action": "kill_selected", "_selected_action": [str(first.pk), str(second.pk)]}

    assert "kill_selected" not in log_in(alice).get(LIST).content.decode()
    log_in(alice).post(LIST, {**chosen, "confirmed": "yes"})
    assert control.get(first.id).display_status == "running"
    client = log_in(bob)
    assert "Kill 2 runs" in client.post(LIST, chosen).content.decode()
    client.post(LIST, {**chosen, "action": "interrupt_selected", "confirmed": "yes", "reason": "slow"})
    assert control.get(first.id).stop_mode == "interrupt"
    client.post(LIST, {**chosen, "confirmed": "yes", "reason": "now"})
    assert {control.get(run.id).stop_mode for run in (first, second)} == {"kill"}
    assert LogEntry.objects.filter(change_message="Asked to stop (kill). Reason: now").count() == 2


def test_list_of_very_many_is_estimated_and_never_counted(
    submit: Start, log_in, superuser: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        submit()
    monkeypatch.setattr(listing, "COUNTED", 2)
    monkeypatch.setattr(listing, "estimated_rows", lambda model: 1_234_567)
    monkeypatch.setattr(listing, "REACHED", 3)
    client = log_in(superuser)

    assert "about 1,234,567 runs" in client.get(LIST).content.decode()
    filtered = client.get(LIST, {"status": "queued"}).content.decode()
    assert "the first" in filtered
    assert "3 runs" in filtered
    assert client.get(LIST, {"p": "24000"}).status_code == 200


# --- the dashboard ---


def test_dashboard_takes_the_permission_to_view_all_runs(start: Start, log_in, alice: User, bob: User) -> None:
    running = start(alice, graph="napping")
    url = reverse("admin:runs_run_dashboard")

    assert log_in(alice).get(url).status_code == 403
    assert "runs-dashboard" not in log_in(alice).get("/admin/").content.decode()
    for where in (url, f"{url}?hours=168", f"{url}?hours=nonsense", "/admin/"):
        text = log_in(bob).get(where).content.decode()
        assert "runs-dashboard" in text
        assert "style=" not in text.partition('<section class="runs-dashboard"')[2].partition("</section>")[0]
    assert running.status == "running"


def test_stats_of_the_api_take_the_permission_to_view_all_runs(submit: Start, log_in, alice: User, bob: User) -> None:
    submit(alice)

    assert log_in(alice).get("/api/stats").status_code == 403
    answer = log_in(bob).get("/api/stats", {"hours": "168"}).json()
    assert (answer["hours"], answer["queue"]["queued"], len(answer["over_time"])) == (168, 1, 28)
    assert log_in(bob).get("/api/stats", {"hours": "5"}).status_code == 422
