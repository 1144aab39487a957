"""Plain tasks over HTTP and on the command line. No worker is alive; the queues are real."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from celery import current_app
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from django_celery_results.models import TaskResult

from authentication import keys
from authentication.keys import Scope
from authentication.models import User
from celery_tasks.worker import delete_expired
from runs import control as runs_control
from tests.unit.celery_tasks.conftest import log_in
from tests.unit.celery_tasks.finished import finish
from tests.unit.web.queues import take_messages

MAIL = "authentication.tasks.send_welcome_email"

pytestmark = pytest.mark.usefixtures("queue", "db")


def call(user: User | None, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    from django.test import Client

    client = log_in(user) if user else Client()
    data = json.dumps(body or {}) if method == "post" else None
    answer = getattr(client, method)(f"/api/{path}", data, content_type="application/json", headers=headers)
    return answer.status_code, answer.json()


def test_each_route_takes_its_permission(alice: User, viola: User, oscar: User) -> None:
    finished = finish("x").task_id
    waiting = current_app.send_task(MAIL, ["x"]).id
    looking = ["tasks", f"tasks/{finished}", "queues", "workers"]
    assert [call(None, "get", path)[0] for path in looking] == [401] * 4
    assert [call(alice, "get", path)[0] for path in looking] == [403] * 4
    assert [call(viola, "get", path)[0] for path in looking] == [200] * 4
    for path in (f"tasks/{waiting}/cancel", f"tasks/{finished}/retry"):
        assert call(alice, "post", path)[0] == 403
        assert call(viola, "post", path)[0] == 403
    assert call(oscar, "post", f"tasks/{waiting}/cancel", {"terminate": True})[0] == 403
    assert call(oscar, "post", f"tasks/{waiting}/cancel", {"reason": "enough"}) == (
        202,
        {"id": waiting, "done": "It was taken out of its queue."},
    )
    assert LogEntry.objects.get(object_id=waiting).user == oscar
    status, sent = call(oscar, "post", f"tasks/{finished}/retry")
    assert (status, sent["retry_of"]) == (201, finished)
    assert [message["args"] for message in take_messages("email")] == [["x"]]


def test_key_needs_the_scope_admin_for_the_permissions_of_its_owner(oscar: User) -> None:
    waiting = current_app.send_task(MAIL, ["x"]).id

    def key(*scopes: Scope) -> dict[str, str]:
        return {"Authorization": f"Bearer {keys.make(oscar, 'a program', scopes, lasts=timedelta(days=1))[1]}"}

    assert call(None, "get", "tasks", **key(Scope.READ))[0] == 403
    assert call(None, "get", "tasks", **key(Scope.READ, Scope.ADMIN))[0] == 200
    assert call(None, "post", f"tasks/{waiting}/cancel", **key(Scope.READ, Scope.ADMIN))[0] == 403
    assert call(None, "post", f"tasks/{waiting}/cancel", **key(Scope.STOP, Scope.ADMIN))[0] == 202


def test_live_and_finished_tasks_are_listed_by_pages(viola: User) -> None:
    for number in range(3):
        finish(number, password="hush")
    waiting = current_app.send_task(MAIL, ["x"], {"token": "hush"}, countdown=60).id

    _, first = call(viola, "get", "tasks?limit=2")
    _, second = call(viola, "get", f"tasks?limit=2&cursor={first['next']}")

    assert [(task["id"], task["state"], task["kwargs"]) for task in first["live"]] == [
        (waiting, "waiting", {"token": "[hidden]"})
    ]
    assert first["live"][0]["eta"]
    assert [task["args"] for task in [*first["finished"], *second["finished"]]] == [[2], [1], [0]]
    assert (second["live"], second["next"]) == ([], None)
    assert "hush" not in str([first, second])
    assert [len(call(viola, "get", f"tasks?state={state}")[1]["finished"]) for state in ("success", "failure")] == [
        3,
        0,
    ]


def test_errors_are_problems_that_say_what_to_do(superuser: User, closed_broker: None) -> None:
    run = runs_control.submit("quick", {}, ring=False)
    finished = finish("x", password="hush").task_id
    for path, code, kind in (
        (f"tasks/{run.id}/cancel", 409, "task-is-run"),
        (f"tasks/{run.id}/retry", 409, "task-is-run"),
        (f"tasks/{finished}/retry", 409, "task-not-retryable"),
        ("tasks/unknown/cancel", 503, "broker-away"),
    ):
        status, body = call(superuser, "post", path)
        assert (status, body["kind"]) == (code, kind), body
    assert call(superuser, "get", "queues")[0] == 503
    assert call(superuser, "get", f"tasks/{finished}")[0] == 200


def test_task_that_is_nowhere_is_404_and_one_that_ended_409(superuser: User) -> None:
    finished = finish("x").task_id
    assert call(superuser, "get", "tasks/unknown")[1]["kind"] == "task-not-found"
    assert call(superuser, "post", "tasks/unknown/cancel")[0] == 404
    assert call(superuser, "post", "tasks/unknown/retry")[0] == 404
    assert call(superuser, "post", f"tasks/{finished}/cancel", {"terminate": True})[1]["kind"] == "task-already-ended"


def command(*words: str) -> Any:
    out = StringIO()
    call_command("control_tasks", *words, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_command_line_shows_the_same(db: None) -> None:
    finished = finish("x", error=ValueError("password=hush"))
    waiting = current_app.send_task(MAIL, ["x"], priority=9).id

    seen = json.loads(command("tasks", "--json"))
    assert ([task["id"] for task in seen["live"]], [task["id"] for task in seen["finished"]]) == (
        [waiting],
        [finished.task_id],
    )
    queues = {queue["name"]: queue for queue in json.loads(command("queues", "--json"))}
    assert (queues["email"]["waiting"], queues["email"]["by_priority"]) == (1, {"9": 1})
    table = command("tasks")
    assert waiting in table
    assert "failure" in table
    one = command("tasks", "--task-id", finished.task_id)
    assert "ValueError" in one
    assert "hush" not in one
    assert "9: 1" in command("queues")
    assert command("retry-task", "--task-id", finished.task_id).strip() in command("tasks")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["tasks", "--task-id", "unknown"], 3, "there is no task unknown"),
        (["retry-task", "--task-id", "unknown"], 3, "there is no task unknown"),
        (["tell-worker", "celery@box", "ping"], 4, "did not answer"),
        (["tell-worker", "celery@box", "autoscale", "--most", "3"], 2, "autoscale needs --least"),
        (["tell-worker", "celery@box", "add-queue", "--queue", "nope"], 2, "there is no queue 'nope'"),
        (["tell-worker", "celery@box", "fly"], 2, "invalid choice"),
    ],
)
def test_command_line_refuses_in_one_line(words: list[str], code: int, said: str) -> None:
    with pytest.raises(CommandError) as error:
        command(*words)
    assert error.value.returncode == code
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_only_old_results_are_deleted(db: None) -> None:
    old, new = finish("old"), finish("new")
    TaskResult.objects.filter(pk=old.pk).update(date_done=timezone.now() - timedelta(days=8))
    # The connection of the test must stay open: what it sees is not committed.
    assert delete_expired(closing=False) == 1
    assert list(TaskResult.objects.values_list("pk", flat=True)) == [new.pk]
