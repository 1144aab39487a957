"""The admin's pages of plain tasks: who sees and may press what. No worker is alive; the queues are real."""

from __future__ import annotations

from typing import Any

import pytest
from celery import current_app
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from authentication.models import User
from celery_tasks import control
from celery_tasks.models import PlainTask
from runs import control as runs_control
from runs import dispatch
from runs.models import Worker
from tests.unit.celery_tasks.conftest import log_in
from tests.unit.celery_tasks.finished import finish
from tests.unit.web.queues import take_messages

LIVE = "/admin/celery_tasks/livetask/"
FINISHED = "/admin/celery_tasks/plaintask/"
MAIL = "authentication.tasks.send_welcome_email"
XSS = "<script>alert(1)</script>"

pytestmark = pytest.mark.usefixtures("queue", "db")


def send(*args: Any, **options: Any) -> str:
    return str(current_app.send_task(MAIL, args, **options).id)


def test_without_the_permission_there_is_nothing(alice: User) -> None:
    task = finish("x")
    client = log_in(alice)
    for path in (LIVE, FINISHED, f"{FINISHED}{task.pk}/change/", f"{LIVE}task/x/revoke/", f"{LIVE}worker/w/ping/"):
        assert client.get(path).status_code == 403, path
    assert "Live tasks" not in client.get("/admin/").content.decode()


@pytest.mark.parametrize(
    ("path", "codes"),
    [
        ("task/ID/revoke/", {"viola": 403, "oscar": 302}),
        ("task/ID/terminate/", {"viola": 403, "oscar": 403}),
        ("task/ID/kill/", {"viola": 403, "oscar": 403}),
        ("worker/celery@box/grow/", {"viola": 403, "oscar": 302}),
        ("worker/celery@box/shut-down/", {"viola": 403, "oscar": 403}),
        ("task/ID/bless/", {"viola": 404, "oscar": 404}),
        ("worker/celery@box/bless/", {"viola": 404, "oscar": 404}),
    ],
)
def test_each_button_takes_its_permission(path: str, codes: dict[str, int], viola: User, oscar: User) -> None:
    address = LIVE + path.replace("ID", send("x"))
    found = {
        name: log_in(user).post(address, {"confirmed": "yes", "number": 1}).status_code
        for name, user in (("viola", viola), ("oscar", oscar))
    }
    assert found == codes


def test_page_shows_what_waits_escaped_and_without_secrets(superuser: User) -> None:
    task_id = send(XSS, kwargs={"password": "hush"}, task_id=f"a/strange {XSS} id")
    page = log_in(superuser).get(LIVE).content.decode()
    assert "No worker has reported" in page
    assert MAIL in page
    assert "&lt;script&gt;alert(1)" in page
    assert XSS not in page
    assert "hush" not in page
    assert task_id == f"a/strange {XSS} id"


def test_viewer_gets_no_buttons(viola: User) -> None:
    send("x")
    page = log_in(viola).get(LIVE).content.decode()
    assert MAIL in page
    assert "Revoke" not in page
    assert "Shut down" not in page


def test_waiting_task_is_revoked_after_a_question_and_that_is_noted(oscar: User) -> None:
    task_id = send("x")
    client = log_in(oscar)
    asked = client.get(f"{LIVE}task/{task_id}/revoke/").content.decode()
    assert "Revoke authentication.tasks.send_welcome_email?" in asked
    assert control.find_live(task_id) is not None

    answer = client.post(f"{LIVE}task/{task_id}/revoke/", {"confirmed": "yes", "reason": "not needed"}, follow=True)

    assert "taken out of its queue" in answer.content.decode()
    assert take_messages("email") == []
    entry = LogEntry.objects.get(object_id=task_id)
    assert (entry.user, entry.change_message) == (oscar, "Revoked. Reason: not needed")
    assert PlainTask.objects.get(task_id=task_id).status == "REVOKED"


def test_run_is_linked_as_a_run(superuser: User) -> None:
    run = runs_control.submit("quick", {}, owner=superuser)
    dispatch.ring([run.id])  # the test is a transaction that never ends
    page = log_in(superuser).get(LIVE).content.decode()
    assert f'href="/admin/runs/run/{run.id}/change/"' in page
    assert f"{LIVE}task/{run.id}/" not in page


def test_broker_that_is_away_is_said(superuser: User, closed_broker: None) -> None:
    answer = log_in(superuser).get(LIVE)
    assert answer.status_code == 200
    assert "The broker is away" in answer.content.decode()


def test_worker_that_does_not_answer_is_said(superuser: User, monkeypatch: pytest.MonkeyPatch) -> None:
    Worker.objects.create(
        id="celery@box#1",
        hostname="celery@box",
        pid=1,
        concurrency=2,
        pool="prefork",
        started_at=timezone.now(),
        heartbeat_at=timezone.now(),
    )
    monkeypatch.setattr(control.workers, "CONTROL_SECONDS", 0.1)
    monkeypatch.setattr(control.workers, "ANSWER_SECONDS", 0.1)
    page = log_in(superuser).get(LIVE).content.decode()
    assert "Without an answer in time" in page
    assert "silent" in page
    answer = log_in(superuser).post(f"{LIVE}worker/celery@box/ping/", {"confirmed": "yes"}, follow=True)
    assert "did not answer within" in answer.content.decode()


def test_finished_task_shows_arguments_result_and_traceback(viola: User) -> None:
    task = finish(XSS, password="hush", error=ValueError(f"password=hush {XSS}"))
    for path in (FINISHED, f"{FINISHED}{task.pk}/change/"):
        page = log_in(viola).get(path).content.decode()
        assert MAIL in page
        assert "hush" not in page
        assert XSS not in page
    assert "ValueError" in page
    assert "Boom" in page
    assert "/retry" not in page


def test_finished_task_is_sent_again_to_its_queue_and_that_is_noted(oscar: User) -> None:
    task = finish("one", two="zwei")
    client = log_in(oscar)
    assert f"{FINISHED}{task.pk}/retry" in client.get(f"{FINISHED}{task.pk}/change/").content.decode()
    assert take_messages("email") == []

    client.post(f"{FINISHED}{task.pk}/retry/", {"confirmed": "yes", "reason": "the server was away"})

    (sent,) = take_messages("email")
    assert (sent["task"], sent["args"]) == (MAIL, ["one"])
    assert "'two': 'zwei'" in sent["whole"]
    assert "the server was away" in LogEntry.objects.get(object_id=task.task_id).change_message


def test_task_whose_arguments_were_hidden_is_not_offered_again(superuser: User) -> None:
    task = finish(password="hush")
    client = log_in(superuser)
    assert "/retry" not in client.get(f"{FINISHED}{task.pk}/change/").content.decode()
    answer = client.post(f"{FINISHED}{task.pk}/retry/", {"confirmed": "yes"}, follow=True)
    assert "hidden or cut" in answer.content.decode()
    assert take_messages("email") == []


def test_nothing_can_be_added_changed_or_deleted(superuser: User) -> None:
    task = finish("x")
    client = log_in(superuser)
    assert client.get(f"{FINISHED}add/").status_code == 403
    assert client.post(f"{FINISHED}{task.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.get("/admin/django_celery_results/taskresult/").status_code == 404
