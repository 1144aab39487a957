"""The page on which a person makes and revokes API keys."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from authentication import keys
from authentication.keys import Scope
from authentication.models import ApiKey, User
from tests.unit.web.conftest import log_in

pytestmark = pytest.mark.django_db

PAGE = "/accounts/keys/"


def test_key_is_shown_once_and_works(alice: User) -> None:
    client = log_in(alice)
    made = client.post(PAGE, {"name": "my script", "scopes": ["read", "stop"], "days": "30"})
    shown = re.search(r'value="(gbk_[^"]+)"', made.content.decode())
    assert shown is not None
    assert "no-store" in made["Cache-Control"]
    key = alice.api_keys.get()
    assert (key.name, key.scopes, keys.find(shown[1])) == ("my script", ["read", "stop"], key)
    again = client.get(PAGE).content.decode()
    assert "my script" in again
    assert shown[1] not in again


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "", "scopes": ["read"]}, "This field is required."),
        ({"name": "x", "scopes": []}, "Choose at least one."),
        ({"name": "x", "scopes": ["everything"]}, "Select a valid choice."),
        ({"name": "x", "scopes": ["read"], "days": "9999"}, "Select a valid choice."),
    ],
)
def test_wrong_key_is_not_made(alice: User, fields: dict[str, object], said: str) -> None:
    answer = log_in(alice).post(PAGE, fields)
    assert answer.status_code == 400
    assert said in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_only_its_owner_revokes_a_key(alice: User, bob: User) -> None:
    key, secret = keys.make(alice, "night shift", [Scope.READ])
    assert log_in(bob).post(f"{PAGE}{key.pk}/revoke").status_code == 404
    assert keys.find(secret) == key
    assert log_in(alice).post(f"{PAGE}{key.pk}/revoke", follow=True).status_code == 200
    assert keys.find(secret) is None
    assert "night shift" not in log_in(bob).get(PAGE).content.decode()


def test_stranger_is_sent_to_the_log_in_page(alice: User) -> None:
    key, _ = keys.make(alice, "a program", [Scope.READ])
    assert Client().get(PAGE).status_code == 302
    assert Client().post(f"{PAGE}{key.pk}/revoke").status_code == 302
    key.refresh_from_db()
    assert key.is_valid


def test_admin_lists_and_revokes_and_never_shows_a_digest(admin: User, alice: User) -> None:
    key, _ = keys.make(alice, "a program", [Scope.READ])
    client = log_in(admin)
    changes = "/admin/authentication/apikey/"
    listed = client.get(changes).content.decode() + client.get(f"{changes}{key.pk}/change/").content.decode()
    assert "a program" in listed
    assert key.digest not in listed
    client.post(changes, {"action": "revoke", "_selected_action": [str(key.pk)]})
    key.refresh_from_db()
    assert not key.is_valid
