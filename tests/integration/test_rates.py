"""How often a person or a program may come, with a real Redis."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django.test import Client

from authentication import keys, rates, views
from authentication.keys import Scope
from authentication.models import User
from authentication.rates import Rate
from graduation_backend.api import Requests
from runs import control

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_server")]

PASSWORD = "correct horse battery"


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice@example.com", PASSWORD)


def narrow(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, limit: int) -> Rate:
    """A long window of its own, so that no test meets its end or another's count."""
    rate = Rate(f"test-{owner.__name__}-{name}-{id(monkeypatch)}", limit, 10**6)
    monkeypatch.setattr(owner, name, rate)
    return rate


def test_rate_allows_its_limit_for_each_and_looks_without_counting() -> None:
    rate = Rate("test-each", 2, 10**6)
    who = f"somebody {id(rate)}"
    assert [rate.look(who), rate.take(who), rate.take(who)] == [0, 0, 0]
    assert rate.look(who) > 0
    assert 0 < rate.take(who) <= 10**6
    assert rate.take(f"{who} else") == 0


def test_everything_is_allowed_while_redis_is_away(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    rates._client.cache_clear()
    try:
        assert Rate("test-away", 0, 60).take("somebody") == 0
        assert Rate("test-away", 0, 60).look("somebody") == 0
    finally:
        rates._client.cache_clear()


def test_program_that_asks_too_often_is_told_when_it_may_and_stops_all_the_same(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch, Requests, "rate", 2)
    run = control.submit("quick", {}, owner=alice, ring=False)
    headers = {"Authorization": f"Bearer {keys.make(alice, 'a program', list(Scope))[1]}"}
    client = Client(headers=headers)
    assert [client.get("/api/runs").status_code for _ in range(3)] == [200, 200, 429]
    refused = client.get(f"/api/runs/{run.id}")
    assert (refused.status_code, refused["Content-Type"]) == (429, "application/problem+json")
    assert int(refused["Retry-After"]) > 0
    assert client.post(f"/api/runs/{run.id}/cancel", content_type="application/json").status_code == 200


@pytest.mark.parametrize("address", ["alice@example.com", "Nobody@example.com"])
def test_passwords_are_not_guessed_for_ever(alice: User, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    narrow(monkeypatch, views, "WRONG_PASSWORDS", 2)

    def log_in(username: str, password: str) -> tuple[int, str]:
        answer = Client().post("/accounts/login/", {"username": username, "password": password})
        return answer.status_code, answer.content.decode()

    assert [log_in(address, "wrong")[0] for _ in range(3)] == [200, 200, 429]
    status, page = log_in(address.upper(), PASSWORD)
    assert status == 429
    assert "Too many wrong passwords" in page
    assert log_in("bob@example.com", "wrong")[0] == 200


def test_address_gets_a_limited_number_of_mails_and_the_page_tells_nothing(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(monkeypatch, views, "RESETS", 1)
    queued: list[Any] = []
    monkeypatch.setattr("authentication.mail.queue", lambda task, user: queued.append(user))
    answers = [Client().post("/accounts/reset/", {"email": "alice@example.com"}) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {302}
    assert queued == [alice.pk]
    assert mail.outbox == []
