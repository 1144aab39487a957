"""The cast: alice owns, bob is another user, charlie is staff without permission, admin may everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import current_app
from django.contrib.auth.models import Permission
from django.test import Client

from authentication.models import User
from tests.unit.web.queues import empty_queue

PASSWORD = "correct horse battery"
CLOSED_BROKER = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def _quick_and_private(settings, tmp_path: Path) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.PUBLIC_URL = "https://books.example"


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice@example.com", PASSWORD, full_name="Alice Liddell")


@pytest.fixture
def bob(db: None) -> User:
    return User.objects.create_user("bob@example.com", PASSWORD)


@pytest.fixture
def charlie(db: None) -> User:
    return User.objects.create_user("charlie@example.com", PASSWORD, is_staff=True)


@pytest.fixture
def viewer(db: None) -> User:
    """Staff who may look at every book and change none."""
    user = User.objects.create_user("viewer@example.com", PASSWORD, is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_book"))
    return user


@pytest.fixture
def admin(db: None) -> User:
    return User.objects.create_superuser("admin@example.com", PASSWORD)


def log_in(user: User | None) -> Client:
    client = Client(enforce_csrf_checks=False)
    if user is not None:
        client.force_login(user)
    return client


@pytest.fixture
def email_queue(redis_server: None) -> Iterator[None]:
    """The real queue of mails, empty."""
    empty_queue("email")
    yield
    empty_queue("email")


@pytest.fixture
def closed_broker() -> Iterator[None]:
    """Nobody listens where the broker should be."""
    before = current_app.conf.broker_url
    current_app.conf.broker_url = CLOSED_BROKER
    yield
    current_app.conf.broker_url = before
