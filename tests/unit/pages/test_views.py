"""The pages of runs: who sees and does what, and that nothing of a run is taken for HTML."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from authentication.models import User
from runs import control, events
from runs.models import Run
from tests.unit.admin.conftest import LogIn, make_staff

HOSTILE = "<script>alert('x')</script>"
HTMX = {"HX-Request": "true"}


def shown(client: Client, path: str = "/runs/") -> list[str]:
    """The ids in the list, in their order."""
    return [str(row.run.id) for row in client.get(path).context["rows"]]


# --- the list ----------------------------------------------------------------------------------------------


def test_stranger_is_sent_to_the_log_in_page(client: Client, submit: Any, alice: User) -> None:
    run = submit(alice)

    for path in ("/runs/", "/runs/start/", f"/runs/{run.id}/", f"/runs/{run.id}/stop"):
        assert client.get(path).url == f"/accounts/login/?next={path}"
    assert client.get(f"/runs/{run.id}/live", headers=HTMX)["HX-Redirect"] == "/accounts/login/"
    assert client.post(f"/runs/{run.id}/stop").url.startswith("/accounts/login/")
    assert control.get(run.id).stop_requested_at is None


def test_list_has_ones_own_runs_and_with_the_permission_all(
    log_in: LogIn, submit: Any, alice: User, bob: User, charlie: User
) -> None:
    hers, his = submit(alice), submit(bob)

    assert shown(log_in(alice)) == [str(hers.id)]
    assert shown(log_in(bob)) == [str(his.id), str(hers.id)]
    assert shown(log_in(bob), "/runs/?mine=1") == [str(his.id)]
    assert shown(log_in(charlie)) == []


def test_roots_are_listed_and_children_folded_below_them(log_in: LogIn, submit: Any, start: Any, alice: User) -> None:
    root = start(alice)
    child = submit(alice, parent=root.id, child_key="node:1:first")

    page = log_in(alice).get("/runs/")
    folded = log_in(alice).get(f"/runs/{root.id}/children")

    (row,) = page.context["rows"]
    assert (row.run.id, row.below, row.active_below) == (root.id, 1, 1)
    assert "1 run below, 1 active" in " ".join(page.text.split())
    assert [one.run.id for one in folded.context["rows"]] == [child.id]
    assert shown(log_in(alice), f"/runs/?q={str(child.id)[:18]}") == [str(child.id)]


def test_filters_and_search(log_in: LogIn, submit: Any, start: Any, alice: User, bob: User) -> None:
    queued = submit(alice, graph="quick", idempotency_key="order-7")
    stopping = start(bob, graph="napping")
    control.cancel(stopping.id)
    client = log_in(bob)

    assert shown(client, "/runs/?status=cancelling") == [str(stopping.id)]
    assert shown(client, "/runs/?status=running") == []
    assert shown(client, "/runs/?status=active") == [str(stopping.id), str(queued.id)]
    assert shown(client, "/runs/?graph=quick") == [str(queued.id)]
    for search in ("order-7", "QUI", "alice@", str(queued.id)):
        assert shown(client, f"/runs/?q={search}") == [str(queued.id)], search
    assert shown(client, "/runs/?q=%00&status=nonsense&before=nonsense")


def test_pages_go_by_key(log_in: LogIn, submit: Any, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.pages.lists.RUNS_A_PAGE", 2)
    ids = [str(submit(alice).id) for _ in range(5)][::-1]
    client = log_in(alice)

    first = client.get("/runs/")
    assert (first.context["newer"], str(first.context["older"])) == (None, ids[1])
    assert shown(client, f"/runs/?before={ids[1]}") == ids[2:4]
    assert shown(client, f"/runs/?before={ids[3]}") == ids[4:]
    assert shown(client, f"/runs/?after={ids[2]}") == ids[:2]


def test_rows_are_told_anew_and_new_ones_come_with_them(log_in: LogIn, submit: Any, alice: User, bob: User) -> None:
    old, foreign = submit(alice), submit(bob)
    new = submit(alice)
    client = log_in(alice)

    answer = client.get(f"/runs/rows?shown={old.id}&shown={foreign.id}&since={old.id}", headers=HTMX)

    assert [row.run.id for row in answer.context["changed"]] == [old.id]
    assert [row.run.id for row in answer.context["new"]] == [new.id]
    assert f'id="live-{old.id}"' in answer.text
    assert 'hx-swap-oob="afterbegin:#run-rows"' in answer.text
    assert client.get(f"/runs/rows?since={new.id}").status_code == 204


# --- one run -----------------------------------------------------------------------------------------------


def test_run_of_somebody_else_is_not_there(log_in: LogIn, submit: Any, alice: User, charlie: User) -> None:
    run = submit(alice)
    client = log_in(charlie)

    for path in ("", "live", "children", "input.json", "output.json", "stop"):
        assert client.get(f"/runs/{run.id}/{path}").status_code == 404, path
    for path in ("stop", "pause", "resume", "retry", "look"):
        assert client.post(f"/runs/{run.id}/{path}").status_code == 404, path
    client.post("/runs/stop", {"run": str(run.id), "mode": "cancel"})
    assert control.get(run.id).stop_requested_at is None


def test_who_may_see_may_not_yet_stop(log_in: LogIn, submit: Any, alice: User) -> None:
    run = submit(alice)
    client = log_in(make_staff("dora", "view_run"))

    page = client.get(f"/runs/{run.id}/")

    assert page.status_code == 200
    assert 'id="stop"' not in page.text
    assert client.post(f"/runs/{run.id}/stop").status_code == 403
    assert client.post("/runs/stop", {"run": str(run.id), "mode": "cancel"}).status_code == 403
    assert client.post(f"/runs/{run.id}/pause").status_code == 403


def test_kill_takes_its_permission(log_in: LogIn, start: Any, alice: User, bob: User) -> None:
    run = start(alice)

    assert log_in(alice).post(f"/runs/{run.id}/stop", {"mode": "kill"}).status_code == 403
    assert control.get(run.id).stop_requested_at is None
    assert log_in(bob).post(f"/runs/{run.id}/stop", {"mode": "kill"}).status_code == 302
    assert control.get(run.id).stop_mode == "kill"


def test_press_is_answered_with_the_parts_that_it_changed(log_in: LogIn, start: Any, alice: User) -> None:
    run = start(alice)
    client = log_in(alice)
    states = {part["name"]: part["state"] for part in client.get(f"/runs/{run.id}/").context["parts"]}
    assert client.get(f"/runs/{run.id}/live", states, headers=HTMX).status_code == 204

    answer = client.post(f"/runs/{run.id}/stop", {"mode": "cancel", "reason": "late", **states}, headers=HTMX)

    assert [part["name"] for part in answer.context["parts"]] == ["head", "tree", "outcome"]
    assert "Stopping… after the current step" in answer.text
    assert 'name="mode" value="interrupt"' not in answer.text  # not to the second half of a double click
    stopped = control.get(run.id)
    assert (stopped.stop_reason, stopped.stop_source, stopped.stop_actor) == ("late", "page", "alice@example.com")


def test_stop_preview_changes_nothing(log_in: LogIn, start: Any, submit: Any, alice: User) -> None:
    run = start(alice)
    submit(alice, parent=run.id, child_key="one")

    page = log_in(alice).get(f"/runs/{run.id}/stop")

    assert "Stop 2 runs?" in page.text
    assert "Kill: " not in page.text
    assert control.get(run.id).stop_requested_at is None


def test_many_runs_are_stopped_after_a_look(log_in: LogIn, submit: Any, alice: User) -> None:
    runs = [submit(alice) for _ in range(3)]
    client = log_in(alice)
    chosen = {"run": [str(run.id) for run in runs[:2]]}

    assert "Stop 2 runs?" in client.get("/runs/stop", chosen).text
    assert client.post("/runs/stop", {**chosen, "mode": "cancel", "reason": "x"}).url == "/runs/"
    assert [control.get(run.id).status for run in runs] == ["cancelled", "cancelled", "queued"]
    assert client.get("/runs/stop", {"run": ["nonsense"]}).url == "/runs/"


def test_pause_resume_and_retry(log_in: LogIn, submit: Any, alice: User) -> None:
    run = submit(alice)
    client = log_in(alice)

    client.post(f"/runs/{run.id}/pause")
    assert control.get(run.id).status == "paused"
    assert "Resume" in client.get(f"/runs/{run.id}/").text
    client.post(f"/runs/{run.id}/resume")
    assert control.get(run.id).status == "queued"
    client.post(f"/runs/{run.id}/stop")
    answer = client.post(f"/runs/{run.id}/retry", {"from_start": "1"})
    new = Run.objects.get(retry_of=run)
    assert answer.url == f"/runs/{new.id}/"
    assert new.retry_from_start
    assert "To the newer try" in client.get(f"/runs/{run.id}/").text
    assert client.post(f"/runs/{run.id}/retry").url == f"/runs/{run.id}/"  # refused, and said


def test_what_a_run_says_is_text_and_large_values_are_cut(log_in: LogIn, start: Any, alice: User) -> None:
    run = start(alice, input={"text": HOSTILE, "large": "y" * 10_000_000})
    events.sink().emit(run.id, "token", {"message_id": "1", "node": HOSTILE, "text": HOSTILE})
    events.sink().emit(run.id, "custom", {"node": "n", "namespace": "", "data": HOSTILE})
    events.sink().flush()
    client = log_in(alice)

    page = client.get(f"/runs/{run.id}/")

    assert HOSTILE not in page.text
    assert "&lt;script&gt;" in page.text
    assert len(page.text) < 200_000
    assert json.loads(client.get(f"/runs/{run.id}/input.json").content)["text"] == HOSTILE


# --- starting ----------------------------------------------------------------------------------------------


def test_form_starts_a_run_and_a_form_sent_twice_starts_one(log_in: LogIn, submit: Any, alice: User) -> None:
    client = log_in(alice)
    page = client.get("/runs/start/quick")
    labels = {field.label: field.html_name for field in page.context["form"]}
    given = {"key": page.context["key"], labels["marks"]: "m", labels["seconds"]: "2.5", labels["values"]: '["a"]'}

    first = client.post("/runs/start/quick", given)
    second = client.post("/runs/start/quick", given)

    run = Run.objects.get()
    assert first.url == second.url == f"/runs/{run.id}/"
    assert run.input == {"marks": "m", "seconds": 2.5, "values": ["a"]}
    assert run.owner == alice


def test_wrong_input_starts_nothing_and_is_kept(log_in: LogIn, db: None, alice: User) -> None:
    client = log_in(alice)
    labels = {field.label: field.html_name for field in client.get("/runs/start/quick").context["form"]}

    answer = client.post("/runs/start/quick", {labels["marks"]: HOSTILE, labels["values"]: "[a"})

    assert answer.status_code == 400
    assert "This is not JSON" in answer.text
    assert "&lt;script&gt;" in answer.text
    assert not Run.objects.exists()


def test_graphs_that_are_not_there_or_broken(log_in: LogIn, alice: User) -> None:
    client = log_in(alice)

    assert client.get("/runs/start/absent").status_code == 404
    assert "A run of it would fail" in client.get("/runs/start/broken").text
    assert "node_conditional" in client.get("/runs/start/").text
