from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from graduation_backend import health
from runs import control
from tests.services import wait_until


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"redis://:hunter2@127.0.0.1:{server.getsockname()[1]}/0"


def test_healthz_needs_no_service(client: Client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "no-cache" in answer["Cache-Control"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_only_get_and_head_are_allowed(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405


@pytest.mark.django_db(transaction=True)
def test_readyz_without_a_worker_names_it(client: Client, redis_server: None) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "parts": {"database": "ok", "redis": "ok", "worker": "none alive"},
    }
    assert client.head("/readyz").status_code == 503


def test_readyz_with_everything_is_ok(client: Client, worker: object) -> None:
    # The database was emptied since the worker reported; it does so again at its next heartbeat.
    wait_until(control.list_workers, "the worker reports")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok"), answer.json()


@pytest.mark.django_db(transaction=True)
def test_readyz_with_a_silent_redis_answers_in_time_and_tells_no_secret(
    client: Client, settings: Any, silent_server: str
) -> None:
    settings.REDIS_URL = silent_server
    begun = time.monotonic()
    answer = client.get("/readyz")
    assert time.monotonic() - begun < health.ANSWER_SECONDS + 1
    assert answer.status_code == 503
    assert answer.json()["parts"]["redis"] != "ok"
    assert "hunter2" not in json.dumps(answer.json())


def test_probe_that_hangs_costs_one_thread() -> None:
    release = threading.Event()

    def hang() -> str:
        release.wait(30)
        return "ok"

    probe = health.Probe("test", hang)
    before = threading.active_count()
    for _ in range(5):
        probe.begin()
        assert probe.answer(time.monotonic() + 0.05) == "no answer in 2 s"
    assert threading.active_count() == before + 1
    release.set()
    assert probe.answer(time.monotonic() + 5) == "ok"
