"""The same cast as on the pages, and clients that speak JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from authentication.models import User
from tests.unit.web.conftest import (  # noqa: F401 - fixtures
    _quick_and_private,
    admin,
    alice,
    bob,
    charlie,
    log_in,
)


class Api:
    def __init__(self, client: Client) -> None:
        self.client = client

    def get(self, path: str, **headers: str) -> HttpResponse:
        return self.client.get(f"/api/{path}", headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        data = "" if body is None else json.dumps(body)
        return self.client.post(f"/api/{path}", data, content_type="application/json", headers=headers)


@pytest.fixture
def api() -> Any:
    """Makes a client for a user; None is somebody who is not logged in."""
    return lambda user=None: Api(log_in(user))


@pytest.fixture
def viewing(db: None) -> User:
    """Somebody who may see every run and stop none but his own."""
    from django.contrib.auth.models import Permission

    user = User.objects.create_user("viewing@example.com", "correct horse battery")
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    return user
