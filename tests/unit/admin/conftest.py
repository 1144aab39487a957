"""The cast: alice owns runs, bob operates all of them, charlie is staff and an outsider, the superuser may delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from authentication.models import User
from runs import control, registry
from runs.models import Run
from runs.registry import Claimant

LogIn = Callable[[User], Client]


def make_staff(name: str, *permissions: str) -> User:
    user = User.objects.create_user(f"{name}@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


@pytest.fixture
def alice(db: None) -> User:
    return make_staff("alice")


@pytest.fixture
def bob(db: None) -> User:
    return make_staff("bob", "view_run", "stop_any_run", "kill_run")


@pytest.fixture
def charlie(db: None) -> User:
    return make_staff("charlie")


@pytest.fixture
def superuser(db: None) -> User:
    return User.objects.create_superuser("admin@example.com")


@pytest.fixture
def log_in() -> LogIn:
    def log_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def submit(redis_server: None, db: None) -> Iterator[Callable[..., Run]]:
    """Queue a run; no worker is there to take it."""

    def submit(owner: User | None = None, graph: str = "quick", **options: Any) -> Run:
        return control.submit(graph, options.pop("input", {}), owner=owner, **options)

    return submit


@pytest.fixture
def start(submit: Callable[..., Run]) -> Callable[..., Run]:
    """A run as it is while a worker executes it."""

    def start(owner: User | None = None, **options: Any) -> Run:
        run = submit(owner, **options)
        registry.claim(run.id, Claimant("celery@box#1", 4_321, 1.0), lease_seconds=60)
        return control.get(run.id)

    return start
