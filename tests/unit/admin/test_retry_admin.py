"""Retrying runs in the admin: who sees the button, who may press it, and what it starts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry

from authentication.models import User
from runs import control, lineage, registry
from runs.models import Run
from runs.states import Status
from tests.integration.engine import make_ended
from tests.unit.admin.test_run_admin import LIST, page, queries_of

Start = Callable[..., Run]


@pytest.fixture
def cancelled(submit: Start) -> Start:
    def cancelled(owner: User | None = None, **options: object) -> Run:
        run = submit(owner, **options)
        control.cancel(run.id)
        return control.get(run.id)

    return cancelled


def test_button_is_shown_for_what_can_be_retried(
    submit: Start, cancelled: Start, log_in, alice: User, bob: User, charlie: User
) -> None:
    queued, ended, retried = submit(alice), cancelled(alice), cancelled(alice)
    failed, done = make_ended(Status.FAILED, owner=alice), make_ended(Status.COMPLETED, owner=alice)
    control.retry(retried.id)

    for user in (alice, bob):
        text = log_in(user).get(LIST).content.decode()
        assert [page(run, "retry") in text for run in (ended, failed, queued, done, retried)] == [
            True,
            True,
            False,
            False,
            False,
        ]
        assert page(ended, "retry") in log_in(user).get(page(ended)).content.decode()
        assert page(retried, "retry") not in log_in(user).get(page(retried)).content.decode()
    assert log_in(charlie).post(page(ended, "retry"), {"confirmed": "yes"}).status_code == 403
    assert lineage.find_retry(ended.id) is None


def test_retry_is_asked_first_and_leads_to_the_new_run(cancelled: Start, log_in, alice: User) -> None:
    old = cancelled(alice)
    client = log_in(alice)

    asked = client.get(page(old, "retry")).content.decode()
    assert "Retry 1 run?" in asked
    assert "From the start" in asked
    assert lineage.find_retry(old.id) is None
    answer = client.post(page(old, "retry"), {"confirmed": "yes", "from_start": "on", "reason": "mended"})

    new = lineage.find_retry(old.id)
    assert new is not None
    assert answer.url == page(new)
    assert (new.retry_from_start, new.retry_actor, new.retry_reason) == (True, str(alice), "mended")
    assert new.owner == alice
    text = client.get(page(new)).content.decode()
    assert page(old) in text
    assert "from the start" in text
    assert page(new) in client.get(page(old)).content.decode()
    assert LogEntry.objects.get().change_message == "Retried from the start. Reason: mended"


def test_retry_selected_leaves_the_children_to_their_parent(
    start: Start, submit: Start, cancelled: Start, log_in, bob: User
) -> None:
    parent, other, active = start(), cancelled(), submit()
    middle = submit(parent=parent.id, child_key="one")
    control.cancel(middle.id, cascade=False)
    client = log_in(bob)
    control.cancel(parent.id)
    registry.settle(parent.id, 1, Status.CANCELLED)
    selection = {
        "action": "retry_selected",
        "_selected_action": [str(run.pk) for run in (parent, middle, other, active)],
    }

    asked = client.post(LIST, selection)
    assert "Retry 2 runs" in asked.content.decode()
    answer = client.post(LIST, {**dict(asked.context["hidden"]), **selection, "confirmed": "yes"}, follow=True)

    assert "2 runs queued as a retry." in answer.content.decode()
    assert [lineage.find_retry(run.id) is not None for run in (parent, middle, other, active)] == [
        True,
        False,
        True,
        False,
    ]


def test_retry_that_is_refused_is_told(start: Start, submit: Start, log_in, bob: User) -> None:
    parent = start()
    child = submit(parent=parent.id)
    control.cancel(parent.id, cascade=False)
    registry.settle(parent.id, 1, Status.CANCELLED)

    answer = log_in(bob).post(page(parent, "retry"), {"confirmed": "yes"}, follow=True)

    assert f"run {child.id} below it is still queued" in answer.content.decode()


def test_run_whose_retry_is_active_can_not_be_deleted(cancelled: Start, log_in, superuser: User) -> None:
    old = cancelled()
    control.retry(old.id)
    client = log_in(superuser)
    assert "goes on where one of these was left" in client.get(page(old, "delete")).content.decode()
    client.post(page(old, "delete"), {"post": "yes"})
    assert Run.objects.filter(id=old.id).exists()


def test_list_costs_the_same_for_many_cancelled_runs(cancelled: Start, log_in, superuser: User) -> None:
    client = log_in(superuser)
    cancelled()
    few = queries_of(client, LIST)
    for _ in range(10):
        control.retry(cancelled().id)
    assert queries_of(client, LIST) == few
