"""Runs followed over real sockets: Daphne, a worker and Redis, and what happens when one of them goes away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from websockets.sync.client import ClientConnection, connect

from authentication.models import User
from runs import control
from tests.acceptance.test_web_shutdown import WebProcess
from tests.services import WorkerProcess


@pytest.fixture
def alice(transactional_db: None) -> User:
    return User.objects.create_user("alice@example.com", "correct horse battery")


@pytest.fixture
def daphne(redis_server: None, transactional_db: None, tmp_path: Path) -> Iterator[WebProcess]:
    process = WebProcess(tmp_path / "daphne.log", WEB_ON_SHUTDOWN="leave")
    yield process
    process.destroy()


def cookie_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}"


def open_socket(daphne: WebProcess, user: User, path: str, origin: str = "") -> ClientConnection:
    address = f"127.0.0.1:{daphne.port}"
    headers = {"Cookie": cookie_of(user)}
    return connect(
        f"ws://{address}{path}", origin=origin or f"http://{address}", additional_headers=headers, max_size=None
    )


def receive(socket: ClientConnection) -> dict[str, Any]:
    """The next message that is no heartbeat."""
    while True:
        message: dict[str, Any] = json.loads(socket.recv(timeout=20))
        if message["type"] != "heartbeat":
            return message
        socket.send('{"action": "alive"}')


def receive_until(socket: ClientConnection, **data: Any) -> list[dict[str, Any]]:
    """Messages up to the first whose data have these values."""
    messages = [receive(socket)]
    while not data.items() <= messages[-1]["data"].items():
        messages.append(receive(socket))
    return messages


def test_run_is_followed_from_its_first_event_to_its_end(
    daphne: WebProcess, worker: WorkerProcess, alice: User
) -> None:
    run = control.submit("quick", {"text": "x"}, owner=alice)
    with open_socket(daphne, alice, f"/ws/runs/{run.id}/?after=0") as socket:
        messages = receive_until(socket, status="completed")
    kinds = [message["type"] for message in messages]
    print(json.dumps(messages, indent=1))
    assert kinds[0] == "run.status"
