"""The mails, read from the message that really goes out, and the links in them, really followed."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from email.message import Message

import pytest
from celery.app.task import Task
from django.core import mail
from django.test import Client

from authentication.mail import MailNotQueued, queue
from authentication.models import User
from authentication.tasks import MailNotSent, send_password_reset_email, send_welcome_email
from tests.unit.web.conftest import PASSWORD, log_in
from tests.unit.web.queues import take_messages

NEW_PASSWORD = "a new long secret"


def read_mail() -> tuple[Message, str, str]:
    """The one mail that was sent, as it goes over the wire: message, text, HTML."""
    assert len(mail.outbox) == 1
    message = mail.outbox[0].message()
    text, html = [part.get_payload(decode=True).decode() for part in message.get_payload()]
    return message, text, html


def find_link(text: str) -> str:
    found = re.search(r"https://books\.example(/accounts/reset/\S+?/\S+?/)", text)
    assert found, text
    return found[1]


def choose_password(client: Client, path: str) -> int:
    form = client.get(path, follow=True)
    if not form.redirect_chain:
        return form.status_code
    address = form.redirect_chain[-1][0]
    return client.post(address, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}).status_code


def test_password_reset_mail_lets_the_person_choose_a_password_once(alice: User) -> None:
    send_password_reset_email.apply(args=[str(alice.pk)], throw=True)
    message, text, html = read_mail()
    assert message["To"] == "alice@example.com"
    assert message["Subject"] == "Choose a new password for graduation_backend"
    path = find_link(text)
    assert f"https://books.example{path}" in html
    client = Client()
    assert choose_password(client, path) == 302
    assert client.login(username=alice.email, password=NEW_PASSWORD)
    assert "does not work any more" in Client().get(path).content.decode()


def test_password_reset_link_keeps_its_token_out_of_the_address_of_the_page(alice: User) -> None:
    send_password_reset_email.apply(args=[str(alice.pk)], throw=True)
    path = find_link(read_mail()[1])
    page = Client().get(path, follow=True)
    assert path.split("/")[-2] not in page.redirect_chain[-1][0]


def test_welcome_mail_lets_the_person_choose_a_password(alice: User) -> None:
    send_welcome_email.apply(args=[str(alice.pk)], throw=True)
    message, text, html = read_mail()
    assert message["Subject"] == "Welcome to graduation_backend"
    assert "Hello Alice Liddell" in text
    assert "https://books.example/accounts/login/" in text
    assert choose_password(Client(), find_link(html)) == 302


def test_welcome_mail_of_account_without_password_has_no_link_to_choose_one(db: None) -> None:
    user = User.objects.create_user("dora@example.com")
    send_welcome_email.apply(args=[str(user.pk)], throw=True)
    assert "/accounts/reset/" not in read_mail()[1]


def test_mail_escapes_a_hostile_name(alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(full_name="<a href=//evil.example>x</a>")
    send_welcome_email.apply(args=[str(alice.pk)], throw=True)
    _, text, html = read_mail()
    assert "<a href=//evil" not in html
    assert "&lt;a href" in html
    assert "<a href=//evil" in text


@pytest.mark.parametrize("task", [send_welcome_email, send_password_reset_email])
@pytest.mark.parametrize("user_id", [str(uuid.uuid4()), "no-uuid"])
def test_mail_to_unknown_user_is_logged_and_not_tried_again(
    db: None, caplog: pytest.LogCaptureFixture, task: Task, user_id: str
) -> None:
    with caplog.at_level(logging.WARNING):
        result = task.apply(args=[user_id])
    assert result.successful()
    assert mail.outbox == []
    assert user_id in caplog.text


@pytest.mark.parametrize("change", [{"is_active": False}, {"password": "!"}])
def test_password_reset_mail_is_only_for_active_accounts_with_a_password(alice: User, change: dict) -> None:
    User.objects.filter(pk=alice.pk).update(**change)
    send_password_reset_email.apply(args=[str(alice.pk)], throw=True)
    assert mail.outbox == []


# --- When the mail server is not well -----------------------------------------------------------------------


class MailServer:
    """An SMTP server that refuses the first mails with "try again later"; `received` are the others."""

    def __init__(self, refuse: int) -> None:
        self.refuse = refuse
        self.tries = 0
        self.received: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                self._talk(stream)

    def _talk(self, stream) -> None:
        def say(line: str) -> None:
            stream.write(line.encode() + b"\r\n")
            stream.flush()

        say("220 test")
        for line in stream:
            word = line[:4].upper()
            if word == b"RCPT" and self.tries < self.refuse:
                self.tries += 1
                say("450 4.2.0 <alice@example.com> greylisted")
            elif word == b"DATA":
                self.tries += 1
                say("354 go on")
                lines = iter(stream.readline, b".\r\n")
                self.received.append(b"".join(lines).decode())
                say("250 taken")
            elif word == b"QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")


@pytest.fixture
def mail_server(settings) -> Iterator[MailServer]:
    server = MailServer(refuse=2)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    yield server
    server.listener.close()


def test_mail_is_tried_again_until_the_server_takes_it(
    alice: User, mail_server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        send_password_reset_email.apply(args=[str(alice.pk)])
    assert mail_server.tries == 3
    assert len(mail_server.received) == 1
    token = find_link(mail_server.received[0].replace("=\r\n", "")).split("/")[-2]
    assert "alice@example.com" not in caplog.text
    assert token not in caplog.text


def test_mail_gives_up_after_six_more_tries(alice: User, mail_server: MailServer) -> None:
    mail_server.refuse = 100
    result = send_password_reset_email.apply(args=[str(alice.pk)])
    assert isinstance(result.result, MailNotSent)
    assert "alice" not in str(result.result)
    assert mail_server.tries == 7


def test_mail_to_server_that_is_away_is_tried_again(alice: User, settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    result = send_welcome_email.apply(args=[str(alice.pk)])
    assert isinstance(result.result, MailNotSent)
    assert result.result.args == ("ConnectionRefusedError",)


def test_mail_with_a_wrong_setting_is_not_tried_again(alice: User, settings) -> None:
    settings.EMAIL_BACKEND = "no.such.Backend"
    result = send_welcome_email.apply(args=[str(alice.pk)])
    assert isinstance(result.result, ImportError)


def test_mail_tasks_have_the_names_limits_and_early_acknowledgement_of_the_design() -> None:
    for task, name in [
        (send_welcome_email, "send_welcome_email"),
        (send_password_reset_email, "send_password_reset_email"),
    ]:
        assert task.name == f"authentication.tasks.{name}"
        assert task.max_retries == 6
        assert task.acks_late is False
        assert task.retry_backoff
        assert task.retry_jitter


# --- Asking for a mail --------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["ALICE@example.com", "nobody@example.com"])
def test_password_reset_page_answers_the_same_for_every_address(alice: User, email_queue: None, address: str) -> None:
    answer = Client().post("/accounts/reset/", {"email": address}, follow=True)
    assert answer.redirect_chain == [("/accounts/reset/done/", 302)]
    assert "If there is an account" in answer.content.decode()
    assert address not in answer.content.decode()
    [message] = take_messages("email")
    assert message["task"] == "authentication.tasks.send_password_reset_email"
    assert "@" not in message["whole"].replace(socket.gethostname(), "").split("origin")[0]
    assert (message["args"] == [str(alice.pk)]) == (address == "ALICE@example.com")


def test_password_reset_queued_for_an_unknown_address_sends_nothing(db: None, email_queue: None) -> None:
    Client().post("/accounts/reset/", {"email": "nobody@example.com"})
    [message] = take_messages("email")
    send_password_reset_email.apply(args=message["args"], throw=True)
    assert mail.outbox == []


def test_password_reset_page_refuses_what_is_no_address(db: None) -> None:
    assert "valid email" in Client().post("/accounts/reset/", {"email": "nobody"}).content.decode()


@pytest.mark.parametrize("address", ["alice@example.com", "nobody@example.com"])
def test_password_reset_page_without_broker_answers_soon_and_clearly(
    alice: User, closed_broker: None, address: str
) -> None:
    started = time.monotonic()
    answer = Client().post("/accounts/reset/", {"email": address})
    assert time.monotonic() - started < 5
    assert answer.status_code == 503
    assert "try again in a few minutes" in answer.content.decode()


def test_queue_gives_up_on_a_broker_that_never_answers(alice: User) -> None:
    from celery import current_app

    before = current_app.conf.broker_url
    with socket.create_server(("127.0.0.1", 0)) as silent:
        current_app.conf.broker_url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        started = time.monotonic()
        try:
            with pytest.raises(MailNotQueued):
                queue(send_welcome_email, alice.pk)
        finally:
            current_app.conf.broker_url = before
    assert time.monotonic() - started < 10


# --- The admin's form that makes an account -----------------------------------------------------------------

NEW_USER = {
    "email": "Dora@Example.com",
    "full_name": "Dora",
    "usable_password": "true",
    "password1": PASSWORD,
    "password2": PASSWORD,
}


@pytest.mark.django_db(transaction=True)
def test_admin_adding_an_account_queues_its_welcome_mail(email_queue: None) -> None:
    admin = User.objects.create_superuser("admin@example.com", PASSWORD)
    assert log_in(admin).post("/admin/authentication/user/add/", NEW_USER).status_code == 302
    dora = User.objects.get(email__iexact="dora@example.com")
    [message] = take_messages("email")
    assert message["task"] == "authentication.tasks.send_welcome_email"
    assert message["args"] == [str(dora.pk)]


@pytest.mark.django_db(transaction=True)
def test_admin_adding_an_account_without_broker_is_told(closed_broker: None) -> None:
    admin = User.objects.create_superuser("admin@example.com", PASSWORD)
    page = log_in(admin).post("/admin/authentication/user/add/", NEW_USER, follow=True)
    assert "its welcome mail could not be queued" in page.content.decode()
    assert User.objects.filter(email__iexact="dora@example.com").exists()


def test_admin_changing_an_account_queues_no_mail(admin: User, alice: User, closed_broker: None) -> None:
    page = log_in(admin).get(f"/admin/authentication/user/{alice.pk}/change/")
    assert page.status_code == 200
    answer = log_in(admin).post(
        f"/admin/authentication/user/{alice.pk}/change/",
        {"email": alice.email, "full_name": "A. L.", "is_active": "on"},
    )
    assert answer.status_code == 302
    alice.refresh_from_db()
    assert alice.full_name == "A. L."


def test_admin_form_refuses_an_address_that_exists_with_other_capitals(admin: User, alice: User) -> None:
    page = log_in(admin).post("/admin/authentication/user/add/", {**NEW_USER, "email": "ALICE@example.com"})
    assert "An account with this e-mail address exists." in page.content.decode()


def test_staff_who_may_change_accounts_can_not_give_themselves_every_right(charlie: User, admin: User) -> None:
    from django.contrib.auth.models import Permission

    charlie.user_permissions.add(*Permission.objects.filter(content_type__app_label="authentication"))
    client = log_in(charlie)
    form = {
        "email": charlie.email,
        "full_name": "",
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
    }
    client.post(f"/admin/authentication/user/{charlie.pk}/change/", form)
    charlie.refresh_from_db()
    assert not charlie.is_superuser
    assert client.post(f"/admin/authentication/user/{admin.pk}/change/", form).status_code == 403
    assert client.get(f"/admin/authentication/user/{admin.pk}/password/").status_code == 403
