"""Pause and Resume in the admin: who may, what is asked first, and what is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse

from authentication.models import User
from runs import control, registry
from runs.models import Run

LIST = "/admin/runs/run/"
Start = Callable[..., Run]


def page(run: Run, what: str = "change") -> str:
    return reverse(f"admin:runs_run_{what}", args=[run.pk])


def test_pause_asks_for_a_reason_and_keeps_it(start: Start, log_in, alice: User) -> None:
    run = start(alice)
    child = control.submit("quick", {}, parent=run.id)
    client = log_in(alice)

    asked = client.get(page(run, "pause")).content.decode()
    assert "Pause 2 runs" in asked
    assert str(child.pk) in asked
    client.post(page(run, "pause"))
    assert control.get(run.id).display_status == "running"
    answer = client.post(page(run, "pause"), {"confirmed": "yes", "reason": "the disk is full"}, follow=True)

    pausing = control.get(run.id)
    assert (pausing.display_status, control.get(child.id).status) == ("pausing", "paused")
    assert (pausing.pause_reason, pausing.pause_source, pausing.pause_by) == ("the disk is full", "admin", alice)
    shown = answer.content.decode()
    assert "2 runs asked to pause" in shown
    assert "the disk is full" in shown
    assert LogEntry.objects.count() == 2


def test_resume_lets_it_go_on(submit: Start, log_in, alice: User) -> None:
    run = submit(alice)
    control.pause(run.id)
    client = log_in(alice)

    assert "Resume 1 run" in client.get(page(run, "resume")).content.decode()
    answer = client.post(page(run, "resume"), {"confirmed": "yes"}, follow=True)

    assert control.get(run.id).status == "queued"
    assert "1 run resumed" in answer.content.decode()


def test_list_and_page_show_the_button_that_makes_sense(submit: Start, start: Start, log_in, alice: User) -> None:
    queued, pausing, paused, stopping, ended = submit(alice), start(alice), submit(alice), start(alice), submit(alice)
    control.pause(pausing.id)
    control.pause(paused.id)
    control.cancel(stopping.id)
    control.cancel(ended.id)
    client = log_in(alice)
    listed = client.get(LIST).content.decode()

    for run, expected in ((queued, "pause"), (pausing, "resume"), (paused, "resume"), (stopping, ""), (ended, "")):
        for text in (listed, client.get(page(run)).content.decode()):
            assert [what for what in ("pause", "resume") if page(run, what) in text] == [expected][: bool(expected)]
    assert page(queued, "cancel") in listed
    assert page(paused, "cancel") in listed
    assert {str(run.pk) for run in client.get(LIST, {"status": "pausing"}).context["cl"].result_list} == {
        str(pausing.pk)
    }


@pytest.mark.parametrize("what", ["pause", "resume"])
def test_what_has_ended_is_told(submit: Start, log_in, alice: User, what: str) -> None:
    run = submit(alice)
    control.cancel(run.id)
    client = log_in(alice)

    assert f"There is nothing to {what}" in client.get(page(run, what), follow=True).content.decode()
    answer = client.post(page(run, what), {"confirmed": "yes"}, follow=True)

    assert "Nothing was changed: run" in answer.content.decode()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("what", ["pause", "resume"])
@pytest.mark.parametrize("permission", [None, "view_run"])
def test_outsider_and_viewer_can_neither_pause_nor_resume(
    submit: Start, log_in, alice: User, charlie: User, what: str, permission: str | None
) -> None:
    if permission:
        charlie.user_permissions.add(Permission.objects.get(codename=permission))
    run = submit(alice)
    if what == "resume":
        control.pause(run.id)
    before = control.get(run.id).status
    client = log_in(charlie)

    assert client.post(page(run, what), {"confirmed": "yes"}).status_code == 403
    assert page(run, what) not in client.get(LIST).content.decode()
    client.post(LIST, {"action": f"{what}_selected", "_selected_action": [str(run.pk)], "confirmed": "yes"})
    assert control.get(run.id).status == before


def test_operator_pauses_and_resumes_the_selected(submit: Start, start: Start, log_in, alice: User, bob: User) -> None:
    chosen, other = [submit(alice), start(alice)], submit(alice)
    client = log_in(bob)
    ids = [str(run.pk) for run in chosen]

    client.post(LIST, {"action": "pause_selected", "_selected_action": ids, "confirmed": "yes", "reason": "lunch"})
    assert [control.get(run.id).display_status for run in (*chosen, other)] == ["paused", "pausing", "queued"]
    registry.requeue(chosen[1].id, 1, resurrect=False)
    client.post(LIST, {"action": "resume_selected", "_selected_action": ids, "confirmed": "yes"})
    assert [control.get(run.id).display_status for run in (*chosen, other)] == ["queued"] * 3
    assert LogEntry.objects.count() == 4
