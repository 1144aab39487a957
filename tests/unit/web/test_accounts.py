from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client

from authentication.models import User
from tests.unit.web.conftest import PASSWORD, log_in


def test_log_in_whatever_the_capitals_of_the_address(alice: User) -> None:
    client = Client()
    answer = client.post("/accounts/login/", {"login": "ALICE@Example.COM", "password": PASSWORD})
    assert answer.status_code == 302
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("address", ["alice@example.com", "nobody@example.com"])
def test_log_in_with_wrong_password_says_the_same_for_every_address(alice: User, address: str) -> None:
    page = Client().post("/accounts/login/", {"login": address, "password": "wrong"})
    assert page.status_code == 200
    assert "match" in page.content.decode()


def test_log_in_of_inactive_account_is_refused(alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)
    client = Client()
    client.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    assert client.get("/").status_code == 302


def test_log_in_goes_on_to_where_the_person_wanted(alice: User) -> None:
    client = Client()
    asked = client.get("/accounts/password/")
    assert asked.headers["Location"] == "/accounts/login/?next=/accounts/password/"
    page = client.get(asked.headers["Location"]).content.decode()
    assert 'name="next" value="/accounts/password/"' in page
    credentials = {"login": alice.email, "password": PASSWORD, "next": "/accounts/password/"}
    assert client.post("/accounts/login/", credentials).headers["Location"] == "/accounts/password/"


def test_log_in_never_goes_on_to_another_site(alice: User) -> None:
    credentials = {"login": alice.email, "password": PASSWORD, "next": "https://evil.example/"}
    assert Client().post("/accounts/login/", credentials).headers["Location"] == "/"


def test_log_out_needs_a_post(alice: User) -> None:
    client = log_in(alice)
    assert client.get("/accounts/logout/").status_code == 405
    assert client.post("/accounts/logout/").headers["Location"] == "/accounts/login/"
    assert client.get("/").status_code == 302


def test_change_password_keeps_this_session_and_ends_the_others(alice: User) -> None:
    here, elsewhere = log_in(alice), log_in(alice)
    new = {
        "oldpassword": PASSWORD,
        "password1": "a new long secret",
        "password2": "a new long secret",
    }
    assert here.post("/accounts/password/", new).headers["Location"] == "/"
    assert here.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 302
    assert Client().login(username=alice.email, password="a new long secret")


def test_change_password_with_wrong_old_one_changes_nothing(alice: User) -> None:
    new = {
        "oldpassword": "wrong",
        "password1": "a new long secret",
        "password2": "a new long secret",
    }
    assert log_in(alice).post("/accounts/password/", new).status_code == 200
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_second_account_with_other_capitals_is_refused(alice: User) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user("Alice@EXAMPLE.com", PASSWORD)
    with pytest.raises(ValidationError, match="exists"):
        User(email="Alice@EXAMPLE.com").full_clean(exclude=["password"])


def test_create_user_without_address_is_refused(db: None) -> None:
    with pytest.raises(ValueError, match="e-mail"):
        User.objects.create_user("")


def test_create_user_without_password_can_not_log_in(db: None) -> None:
    assert not User.objects.create_user("dora@example.com").has_usable_password()
