"""Sign-up, the proof of an address, its change, the second step, sessions and the headless API, each followed to the
mail that really goes out."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.core import mail
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from authentication import outgoing, rates
from authentication.mail import KINDS, compose_asked
from authentication.models import OutgoingMail, User
from authentication.rates import Rate
from authentication.tasks import MailNotSent, send_outgoing_mail, send_password_reset_email, send_welcome_email
from authentication.templatetags.browsers import browser_name
from tests.unit.web.conftest import PASSWORD
from tests.unit.web.queues import take_messages

TASKS = {task.name: task for task in (send_outgoing_mail, send_password_reset_email, send_welcome_email)}
EVE = "eve@example.com"
NEW_PASSWORD = "a new long secret"

Commits = Callable[..., Any]


class Person:
    """Somebody with a browser, and a mailbox that a worker fills."""

    def __init__(self, commits: Commits) -> None:
        self.client = Client()
        self.commits = commits
        self.messages: list[dict[str, Any]] = []

    def post(self, path: str, data: dict[str, Any], **options: Any) -> Any:
        with self.commits(execute=True):
            return self.client.post(path, data, **options)

    def log_in(self, address: str, password: str = PASSWORD) -> Any:
        return self.post("/accounts/login/", {"login": address, "password": password})

    def log_in_and_confirm(self, address: str) -> None:
        """So that what asks for the password once more doesn't for five minutes."""
        self.log_in(address)
        self.post("/accounts/again/", {"password": PASSWORD, "next": "/"})

    def is_in(self) -> bool:
        return bool(self.client.get("/accounts/keys/").status_code == 200)

    def deliver(self) -> list[Any]:
        """Do what a worker does with the queued messages; the mails that went out."""
        mail.outbox.clear()
        self.messages = take_messages("email")
        for message in self.messages:
            with self.commits(execute=True):
                TASKS[message["task"]].apply(args=message["args"], throw=True)
        return list(mail.outbox)


@pytest.fixture
def person(
    db: None, email_queue: None, django_capture_on_commit_callbacks: Commits, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Person]:
    for name in ("ACCOUNT_MAILS", "WRONG_PASSWORDS", "RESETS"):
        # Counted anew, whatever other tests have done.
        rate: Rate = getattr(rates, name)
        monkeypatch.setattr(rates, name, Rate(f"{rate.name}-{uuid.uuid4()}", rate.limit, rate.seconds))
    cache.clear()
    yield Person(django_capture_on_commit_callbacks)
    cache.clear()


def link(sent: Any, prefix: str) -> str:
    found = re.search(rf"https://books\.example({prefix}\S+)", sent.body)
    assert found, sent.body
    return found[1]


def sign_up(person: Person, address: str = EVE) -> Any:
    return person.post("/accounts/signup/", {"email": address, "password1": PASSWORD})


def code_for(secret: str) -> str:
    """What an authenticator app shows now."""
    [counter, *_] = totp.yield_hotp_counters_from_time()
    return totp.format_hotp_value(totp.hotp_value(secret, counter))


# --- Signing up ---------------------------------------------------------------------------------------------


def test_sign_up_confirm_log_in_and_be_welcomed_once(person: Person) -> None:
    answer = sign_up(person)
    assert answer.headers["Location"] == "/accounts/confirm/"
    [sent] = person.deliver()
    assert sent.to == [EVE]
    assert sent.subject == "Confirm your e-mail address for graduation_backend"
    path = link(sent, "/accounts/confirm/")
    [(html, _)] = sent.alternatives
    assert path in html
    assert not person.is_in()

    assert person.log_in(EVE).headers["Location"] == "/accounts/confirm/"
    assert not person.is_in()

    assert "Yes, confirm it" in person.client.get(path).content.decode()
    assert not EmailAddress.objects.get(email=EVE).verified
    assert person.post(path, {}).headers["Location"] == "/accounts/login/"
    [welcome] = person.deliver()
    assert welcome.subject == "Welcome to graduation_backend"
    assert "your account on graduation_backend is ready" in welcome.body
    assert "/accounts/reset/" not in welcome.body

    person.post(path, {})
    assert person.deliver() == []
    assert person.log_in(EVE).headers["Location"] == "/"
    assert person.is_in()


def test_message_of_a_mail_holds_neither_address_nor_token_and_its_row_is_sealed(person: Person) -> None:
    sign_up(person)
    row = OutgoingMail.objects.get()
    assert EVE not in row.sealed
    [sent] = person.deliver()
    [message] = person.messages
    key = link(sent, "/accounts/confirm/").split("/")[-2]
    assert message["args"] == [str(row.pk)]
    assert EVE not in message["whole"]
    assert key not in message["whole"]
    assert not OutgoingMail.objects.exists()


def test_sign_up_answers_the_same_for_an_address_that_has_an_account(person: Person, alice: User) -> None:
    new = sign_up(person, "new@example.com")
    person.deliver()
    known = sign_up(person, "Alice@Example.com")
    [sent] = person.deliver()
    assert (new.status_code, new.headers["Location"]) == (known.status_code, known.headers["Location"])
    assert sent.to == ["alice@example.com"]
    assert "It has one already" in sent.body
    pages = [person.client.get("/accounts/confirm/").content.decode() for _ in range(2)]
    assert "alice" not in pages[0]
    assert User.objects.filter(email__iexact="alice@example.com").count() == 1
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_sign_up_refuses_a_weak_password(person: Person) -> None:
    page = person.post("/accounts/signup/", {"email": EVE, "password1": "password"}).content.decode()
    assert "too common" in page
    assert not User.objects.filter(email=EVE).exists()


def test_sign_up_can_be_closed(person: Person, settings: Any) -> None:
    settings.SIGN_UP = "closed"
    assert "No new accounts" in sign_up(person).content.decode()
    assert "Make an account" not in person.client.get("/accounts/login/").content.decode()
    answer = person.post(
        "/_allauth/browser/v1/auth/signup", {"email": EVE, "password": PASSWORD}, content_type="application/json"
    )
    assert answer.status_code == 403
    assert not User.objects.exists()


def test_sign_up_while_the_broker_is_away_sends_its_mail_with_the_next_one(person: Person, closed_broker: None) -> None:
    assert sign_up(person).status_code == 302
    waiting = OutgoingMail.objects.get()
    OutgoingMail.objects.update(created_at=timezone.now() - timedelta(hours=1))
    other = outgoing.keep("account/email/password_changed", compose_asked("account/email/password_changed", EVE, {}))
    send_outgoing_mail.apply(args=[str(other.pk)], throw=True)
    assert [sent.subject for sent in mail.outbox] == [
        "Your password was changed",
        "Confirm your e-mail address for graduation_backend",
    ]
    assert not OutgoingMail.objects.filter(pk=waiting.pk).exists()


def test_address_gets_a_limited_number_of_mails_that_it_did_not_ask_for(person: Person, alice: User) -> None:
    for _ in range(rates.ACCOUNT_MAILS.limit + 3):
        cache.clear()
        assert sign_up(person, alice.email).status_code == 302
    assert len(person.deliver()) == rates.ACCOUNT_MAILS.limit


# --- Outgoing mails -----------------------------------------------------------------------------------------


def test_every_mail_of_allauth_has_its_text_in_both_forms(db: None) -> None:
    for kind in KINDS:
        message = compose_asked(kind, EVE, {"key": "abc"})
        [(html, form)] = message.alternatives
        assert form == "text/html"
        assert "{" not in message.subject + message.body
        assert "graduation_backend" in message.body
        assert "<p>" in html


def test_mail_goes_once_even_if_its_message_comes_twice(db: None) -> None:
    row = outgoing.keep("account/email/password_set", compose_asked("account/email/password_set", EVE, {}))
    for _ in range(2):
        send_outgoing_mail.apply(args=[str(row.pk)], throw=True)
    assert len(mail.outbox) == 1


def test_mail_that_another_worker_took_is_left_to_it(db: None) -> None:
    row = outgoing.keep("account/email/password_set", compose_asked("account/email/password_set", EVE, {}))
    OutgoingMail.objects.update(taken_at=timezone.now())
    send_outgoing_mail.apply(args=[str(row.pk)], throw=True)
    assert mail.outbox == []


def test_mail_that_the_server_refuses_waits_again_and_is_tried_seven_times(
    db: None, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    row = outgoing.keep("account/email/password_set", compose_asked("account/email/password_set", EVE, {}))
    result = send_outgoing_mail.apply(args=[str(row.pk)])
    assert isinstance(result.result, MailNotSent)
    assert result.result.args == ("ConnectionRefusedError",)
    assert OutgoingMail.objects.get().taken_at is None
    assert EVE not in caplog.text
    OutgoingMail.objects.update(created_at=timezone.now() - timedelta(days=4))
    assert outgoing.overdue() == []
    assert not OutgoingMail.objects.exists()


# --- Accounts that others made ------------------------------------------------------------------------------


def test_account_that_was_made_for_somebody_logs_in_without_a_proof(person: Person, alice: User, admin: User) -> None:
    for user in (alice, admin):
        assert EmailAddress.objects.get(user=user).verified
    assert person.log_in(admin.email).headers["Location"] == "/"
    new = {
        "email": "Dora@Example.com",
        "full_name": "Dora",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    assert person.post("/admin/authentication/user/add/", new).status_code == 302
    assert Person(person.commits).log_in("dora@example.com").headers["Location"] == "/"


def test_address_that_an_admin_changes_is_the_one_that_logs_in(person: Person, alice: User, admin: User) -> None:
    person.log_in(admin.email)
    form = {"email": "liddell@example.com", "full_name": "", "is_active": "on"}
    assert person.post(f"/admin/authentication/user/{alice.pk}/change/", form).status_code == 302
    assert Person(person.commits).log_in("liddell@example.com").headers["Location"] == "/"
    other = Person(person.commits)
    other.log_in("alice@example.com")
    assert not other.is_in()


def test_log_in_of_the_admin_is_the_same_page(person: Person, admin: User) -> None:
    answer = person.client.get("/admin/login/?next=/admin/")
    assert answer.headers["Location"] == "/accounts/login/?next=%2Fadmin%2F"
    credentials = {"username": admin.email, "password": PASSWORD}
    assert person.post("/admin/login/", credentials).status_code == 302
    assert person.client.get("/admin/").status_code == 302


# --- Changing -----------------------------------------------------------------------------------------------


def test_address_changes_when_the_new_one_is_confirmed(person: Person, alice: User) -> None:
    person.log_in(alice.email)
    answer = person.post("/accounts/email/", {"email": "Liddell@example.com", "action_add": ""})
    assert answer.headers["Location"].startswith("/accounts/again/?next=")
    again = {"password": PASSWORD, "next": "/accounts/email/"}
    assert person.post("/accounts/again/", again).headers["Location"] == "/accounts/email/"
    [sent] = person.deliver()
    assert sent.to == ["liddell@example.com"]
    assert "liddell@example.com" in person.client.get("/accounts/email/").content.decode()
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"
    person.post(link(sent, "/accounts/confirm/"), {})
    alice.refresh_from_db()
    assert alice.email == "liddell@example.com"
    [notice] = person.deliver()
    assert notice.to == ["alice@example.com"]
    assert "address of your account was changed" in notice.body


def test_address_that_somebody_took_meanwhile_is_not_confirmed(person: Person, alice: User) -> None:
    person.log_in_and_confirm(alice.email)
    person.post("/accounts/email/", {"email": EVE, "action_add": ""})
    [sent] = person.deliver()
    User.objects.create(email=EVE)
    page = person.post(link(sent, "/accounts/confirm/"), {}, follow=True).content.decode()
    assert f"{EVE} belongs to another account" in page
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


def test_address_of_another_account_is_refused_with_the_same_words(person: Person, alice: User, bob: User) -> None:
    person.log_in_and_confirm(alice.email)
    answers = [
        person.post("/accounts/email/", {"email": address, "action_add": ""}, follow=True)
        for address in (EVE, bob.email)
    ]
    texts = [answer.content.decode() for answer in answers]
    for text in texts:
        assert "A mail with a link is on its way" in text


def test_password_that_was_changed_or_reset_is_told_by_mail(person: Person, alice: User) -> None:
    person.log_in(alice.email)
    new = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    assert person.post("/accounts/password/", new).headers["Location"] == "/"
    [sent] = person.deliver()
    assert sent.subject == "Your password was changed"
    person.post("/accounts/logout/", {})
    person.post("/accounts/reset/", {"email": alice.email})
    [reset] = person.deliver()
    form = person.client.get(link(reset, "/accounts/reset/"), follow=True)
    person.post(form.redirect_chain[-1][0], {"password1": PASSWORD, "password2": PASSWORD})
    [sent] = person.deliver()
    assert sent.subject == "Your password was changed"
    assert person.log_in(alice.email).headers["Location"] == "/"


# --- The second step ----------------------------------------------------------------------------------------


@pytest.fixture
def with_app(person: Person, alice: User, monkeypatch: pytest.MonkeyPatch) -> str:
    """Alice has turned the second step on; the key that her app holds. The clock of codes stands still."""
    now = int(time.time()) // 30
    monkeypatch.setattr(totp, "yield_hotp_counters_from_time", lambda: iter([now]))
    person.log_in(alice.email)
    assert person.client.get("/accounts/two-step/totp/activate/").headers["Location"].startswith("/accounts/again/")
    person.log_in_and_confirm(alice.email)
    page = person.client.get("/accounts/two-step/totp/activate/").content.decode()
    assert 'src="data:image/svg+xml;base64,' in page
    found = re.search(r'id="totp-key"[^>]* value="(\w+)"', page)
    assert found
    answer = person.post("/accounts/two-step/totp/activate/", {"code": code_for(found[1])}, follow=True)
    assert answer.redirect_chain[-1][0] == "/accounts/two-step/recovery-codes/"
    [notice] = person.deliver()
    assert notice.subject == "Logging in now takes two steps"
    cache.clear()  # the app's code counts once, and the test does not wait for the next
    person.client = Client()
    return found[1]


def test_log_in_takes_a_code_of_the_app(person: Person, alice: User, with_app: str) -> None:
    assert person.log_in(alice.email).headers["Location"].startswith("/accounts/two-step/authenticate/")
    assert not person.is_in()
    wrong = person.post("/accounts/two-step/authenticate/", {"code": "000000"})
    assert "wrong or was used" in wrong.content.decode()
    assert person.post("/accounts/two-step/authenticate/", {"code": code_for(with_app)}).status_code == 302
    assert person.is_in()
    again = Person(person.commits)
    again.log_in(alice.email)
    again.post("/accounts/two-step/authenticate/", {"code": code_for(with_app)})
    assert not again.is_in()


def test_secret_of_the_app_is_sealed(alice: User, with_app: str) -> None:
    kept = Authenticator.objects.get(user=alice, type="totp").data["secret"]
    assert with_app not in kept


def test_recovery_code_logs_in_once(person: Person, alice: User, with_app: str) -> None:
    codes = Authenticator.objects.get(user=alice, type="recovery_codes").wrap().get_unused_codes()
    person.log_in(alice.email)
    assert person.post("/accounts/two-step/authenticate/", {"code": codes[0]}).status_code == 302
    assert person.is_in()
    page = person.client.get("/accounts/two-step/").content.decode()
    assert f"{len(codes) - 1} are left" in page
    again = Person(person.commits)
    again.log_in(alice.email)
    again.post("/accounts/two-step/authenticate/", {"code": codes[0]})
    assert not again.is_in()


def test_codes_are_not_guessed_for_ever(person: Person, alice: User, with_app: str) -> None:
    person.log_in(alice.email)
    pages = [person.post("/accounts/two-step/authenticate/", {"code": "000000"}).content.decode() for _ in range(6)]
    assert "Too many tries" not in pages[4]
    assert "Too many tries" in pages[5]
    person.post("/accounts/two-step/authenticate/", {"code": code_for(with_app)})
    assert not person.is_in()


def test_admin_has_the_second_step_too_and_can_end_it_for_somebody(
    person: Person, alice: User, admin: User, with_app: str
) -> None:
    person.log_in(admin.email)
    chosen = {"action": "end_second_step", "_selected_action": [str(alice.pk)]}
    assert person.post("/admin/authentication/user/", chosen).status_code == 302
    other = Person(person.commits)
    assert other.log_in(alice.email).headers["Location"] == "/"


# --- Sessions -----------------------------------------------------------------------------------------------


def test_sessions_are_listed_and_ended_by_their_owner_alone(person: Person, alice: User, bob: User) -> None:
    elsewhere, foreign = Person(person.commits), Person(person.commits)
    for somebody, user in ((person, alice), (elsewhere, alice), (foreign, bob)):
        somebody.log_in(user.email)
    page = person.client.get("/accounts/sessions/").content.decode()
    assert page.count("/end") == 1
    assert "this one" in page
    [other] = re.findall(r'action="(/accounts/sessions/\d+/end)"', page)
    assert foreign.post(other, {}).status_code == 404
    assert elsewhere.is_in()
    assert person.post(other, {}).status_code == 302
    assert not elsewhere.is_in()
    assert person.is_in()
    elsewhere.log_in(alice.email)
    person.post("/accounts/sessions/", {})
    assert not elsewhere.is_in()
    assert person.is_in()
    assert foreign.is_in()


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0", "Firefox 150 on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 "
            "Safari/537.36 Edg/143.0.0.0",
            "Edge 143 on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.0 Mobile/15E148 Safari/604.1",
            "Safari 18 on iPhone",
        ),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "unknown"),
    ],
)
def test_session_names_its_browser_in_words(user_agent: str, name: str) -> None:
    assert browser_name(user_agent) == name


# --- The headless API ---------------------------------------------------------------------------------------


class App:
    """A program that keeps its session in a header."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.token = ""

    def ask(self, method: str, path: str, data: dict[str, Any] | None = None) -> Any:
        headers = {"X-Session-Token": self.token} if self.token else {}
        with self.person.commits(execute=True):
            answer = Client().generic(
                method,
                f"/_allauth/app/v1/{path}",
                data=json.dumps(data or {}),
                content_type="application/json",
                headers=headers,
            )
        body = answer.json()
        self.token = body.get("meta", {}).get("session_token", self.token)
        return answer.status_code, body


def test_app_signs_up_confirms_logs_in_and_resets(person: Person) -> None:
    app = App(person)
    status, body = app.ask("POST", "auth/signup", {"email": EVE, "password": PASSWORD})
    assert status == 401
    assert {"id": "verify_email", "is_pending": True} in body["data"]["flows"]
    [sent] = person.deliver()
    key = link(sent, "/accounts/confirm/").split("/")[-2]
    assert app.ask("POST", "auth/email/verify", {"key": key})[0] in {200, 401}
    assert [sent.subject for sent in person.deliver()] == ["Welcome to graduation_backend"]
    status, body = App(person).ask("POST", "auth/login", {"email": EVE, "password": "wrong"})
    assert (status, body["errors"][0]["code"]) == (400, "email_password_mismatch")
    app = App(person)
    assert app.ask("POST", "auth/login", {"email": EVE, "password": PASSWORD})[0] == 200
    assert app.ask("GET", "auth/session")[1]["data"]["user"]["email"] == EVE
    assert len(app.ask("GET", "auth/sessions")[1]["data"]) == 1

    assert App(person).ask("POST", "auth/password/request", {"email": EVE})[0] == 200
    [sent] = person.deliver()
    uid, token = link(sent, "/accounts/reset/").split("/")[-3:-1]
    reset = {"key": f"{uid}-{token}", "password": NEW_PASSWORD}
    assert App(person).ask("POST", "auth/password/reset", reset)[0] in {200, 401}
    assert App(person).ask("POST", "auth/login", {"email": EVE, "password": NEW_PASSWORD})[0] == 200


def test_app_is_told_the_same_for_an_address_without_account(person: Person, alice: User) -> None:
    answers = [
        App(person).ask("POST", "auth/password/request", {"email": address})
        for address in (alice.email, "nobody@example.com")
    ]
    assert answers[0] == answers[1]
    person.deliver()
    assert [message["task"] for message in person.messages] == [send_password_reset_email.name] * 2
    refused = [
        App(person).ask("POST", "auth/login", {"email": address, "password": "wrong"})
        for address in (alice.email, "nobody@example.com")
    ]
    assert refused[0] == refused[1]


def test_app_without_broker_is_told_that_no_mail_goes(person: Person, alice: User, closed_broker: None) -> None:
    for address in (alice.email, "nobody@example.com"):
        assert App(person).ask("POST", "auth/password/request", {"email": address})[0] == 503


def test_app_does_not_guess_passwords_for_ever(person: Person, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "WRONG_PASSWORDS", Rate(f"test-{uuid.uuid4()}", 2, 900))
    for _ in range(2):
        App(person).ask("POST", "auth/login", {"email": alice.email, "password": "wrong"})
    status, body = App(person).ask("POST", "auth/login", {"email": alice.email, "password": PASSWORD})
    assert (status, body["errors"][0]["code"]) == (400, "too_many_login_attempts")


def test_browser_without_csrf_token_is_refused_by_the_headless_api(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    login = {"email": alice.email, "password": PASSWORD}
    answer = client.post("/_allauth/browser/v1/auth/login", login, content_type="application/json")
    assert answer.status_code == 403


@pytest.mark.parametrize("body", ["[" * 20_000, '{"email":' * 20_000, "nope", "[]", "\0"])
def test_hostile_json_is_refused_by_the_headless_api(db: None, body: str) -> None:
    answer = Client().post("/_allauth/app/v1/auth/login", data=body, content_type="application/json")
    assert answer.status_code == 400


# --- What allauth counts in ---------------------------------------------------------------------------------


def test_cache_clears_its_own_keys_only(redis_server: None) -> None:
    client = rates._client()
    client.set("not-of-the-cache", 1)
    try:
        cache.set("a", [1.5, "x"])
        assert cache.get("a") == [1.5, "x"]
        assert cache.add("a", 2) is False
        cache.clear()
        assert cache.get("a") is None
        assert client.get("not-of-the-cache") == b"1"
    finally:
        client.delete("not-of-the-cache")
