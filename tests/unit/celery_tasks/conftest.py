"""The cast: alice is staff without permission, viola may only look, oscar operates, the superuser may all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import current_app
from django.contrib.auth.models import Permission
from django.test import Client

from authentication.models import User


def make_staff(name: str, *permissions: str) -> User:
    user = User.objects.create_user(f"{name}@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


@pytest.fixture
def alice(db: None) -> User:
    return make_staff("alice")


@pytest.fixture
def viola(db: None) -> User:
    return make_staff("viola", "view_plaintask")


@pytest.fixture
def oscar(db: None) -> User:
    return make_staff("oscar", "view_plaintask", "revoke_task", "retry_task", "control_worker")


@pytest.fixture
def superuser(db: None) -> User:
    return User.objects.create_superuser("root@example.com")


def log_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def queue(redis_server: None) -> Iterator[None]:
    """The real queues, empty."""
    current_app.control.purge()
    yield
    current_app.control.purge()


@pytest.fixture
def closed_broker() -> Iterator[None]:
    """Nobody listens where the broker should be."""
    before = current_app.conf.broker_url
    current_app.conf.broker_url = "redis://127.0.0.1:1/0"
    yield
    current_app.conf.broker_url = before
