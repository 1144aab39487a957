"""The Stop button of a running node: who sees it, who may press it, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from authentication.models import User
from runs import control
from runs.models import NodeExecution, NodeStop, Run

Start = Callable[..., Run]


def execute(run: Run, **columns: Any) -> NodeExecution:
    """A node as it is stored while it is executed."""
    usual = {"node": "review", "namespace": "review:1", "status": "running", "is_stoppable": True, "attempt": 1}
    return NodeExecution.objects.create(id=uuid4(), run=run, started_at=timezone.now(), **{**usual, **columns})


def button(execution: NodeExecution) -> str:
    return reverse("admin:runs_run_cancel_node", args=[execution.run_id, execution.pk])


def page(run: Run) -> str:
    return reverse("admin:runs_run_change", args=[run.pk])


def test_running_node_has_a_button_and_others_have_none(start: Start, log_in, alice: User, bob: User) -> None:
    run = start(alice)
    running = execute(run)
    others = [
        execute(run, status="finished", finished_at=timezone.now()),
        execute(run, is_stoppable=False),
    ]

    for user in (alice, bob):
        shown = log_in(user).get(page(run)).content.decode()

        assert button(running) in shown
        assert not any(button(other) in shown for other in others)


def test_stopping_run_has_no_button(start: Start, log_in, alice: User) -> None:
    run = start(alice)
    running = execute(run)
    control.cancel(run.id)

    assert button(running) not in log_in(alice).get(page(run)).content.decode()


def test_stop_is_confirmed_first_and_keeps_who_and_why(start: Start, log_in, alice: User, settings: Any) -> None:
    settings.RUNS_INTERRUPT_AFTER_SECONDS, settings.RUNS_GRACE_SECONDS = 300, 600
    run = start(alice)
    running = execute(run)
    client = log_in(alice)

    asked = client.get(button(running)).content.decode()
    assert "Stop node review?" in asked
    client.post(button(running))
    assert not NodeStop.objects.exists()
    answer = client.post(button(running), {"confirmed": "yes", "reason": "too dear"}, follow=True)

    stop = NodeStop.objects.get()
    assert (stop.execution, stop.by, stop.actor, stop.source, stop.reason) == (
        running,
        alice,
        "alice@example.com",
        "admin",
        "too dear",
    )
    assert control.get(run.id).display_status == "running"
    shown = client.get(page(run)).content.decode()
    assert "stopping: interrupted in" in shown
    assert button(running) not in shown
    assert "was asked to stop" in answer.content.decode()
    assert "too dear" in LogEntry.objects.get().change_message


def test_node_that_has_ended_is_not_stopped(start: Start, log_in, alice: User) -> None:
    ended = execute(start(alice), status="finished", finished_at=timezone.now())

    answer = log_in(alice).post(button(ended), {"confirmed": "yes"}, follow=True)

    assert "Nothing was stopped: node" in answer.content.decode()
    assert not NodeStop.objects.exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("method", ["get", "post"])
def test_outsider_cannot_stop_a_node(start: Start, log_in, alice: User, charlie: User, method: str) -> None:
    running = execute(start(alice))

    answer = getattr(log_in(charlie), method)(button(running), {"confirmed": "yes"})

    assert answer.status_code == 403
    assert not NodeStop.objects.exists()


def test_node_of_another_run_is_not_found(start: Start, log_in, alice: User, bob: User) -> None:
    foreign, own = execute(start(bob)), start(alice)

    url = reverse("admin:runs_run_cancel_node", args=[own.pk, foreign.pk])

    assert log_in(alice).post(url, {"confirmed": "yes"}).status_code == 404
    assert not NodeStop.objects.exists()


def test_customer_without_staff_is_sent_to_the_login(start: Start, log_in) -> None:
    customer = User.objects.create_user("dora@example.com")
    running = execute(start(customer))

    answer = log_in(customer).post(button(running), {"confirmed": "yes"})

    assert (answer.status_code, answer.url.split("?")[0]) == (302, "/admin/login/")
    assert not NodeStop.objects.exists()
