"""Fixtures that need real services."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from graduation_backend import embedded_redis
from graduation_backend.celery import app
from runs import checkpoints
from tests.environment import DATA_DIR
from tests.services import Marks, WorkerProcess, process_environment


def pytest_addoption(parser: pytest.Parser) -> None:
    """For tests/integration/test_stop_trials.py, and for tests/chaos: see its README.md."""
    parser.addoption("--stop-trials", type=int, default=48, help="forced orders of a stop against each other move")
    parser.addoption("--chaos-seconds", type=float, default=25.0, help="how long chaos lasts at least")
    parser.addoption("--chaos-runs", type=int, default=0, help="how many runs chaos submits at least")
    parser.addoption("--chaos-database", choices=["sqlite", "postgres"], default="sqlite", help="of chaos")
    parser.addoption("--seed", type=int, default=None, help="of chaos; any if not given")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests without the shared worker come first, for it would take what they queue, and those with workers of their
    own last: so it is started once."""

    def place(item: pytest.Item) -> int:
        names = getattr(item, "fixturenames", ())
        if "no_worker" in names or not {"shared_worker", "start_worker"} & set(names):
            return 0
        return 2 if {"start_worker", "postgres", "cluster"} & set(names) else 1

    items.sort(key=place)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[None]:
    """The embedded Valkey of this test run, or the server that TEST_REDIS_URL names."""
    if not settings.REDIS_IS_EMBEDDED:
        yield
        return
    embedded_redis.ensure_running(DATA_DIR)
    yield
    embedded_redis.stop(DATA_DIR)


@pytest.fixture(scope="session", autouse=True)
def _empty_broker() -> None:
    """A broker that outlives a test run may still hold what an earlier one has queued."""
    if os.environ.get("TEST_BROKER_URL") or os.environ.get("TEST_REDIS_URL"):
        app.control.purge()


@pytest.fixture(scope="session")
def _checkpoint_pool(django_db_setup: None) -> Iterator[None]:
    """An open connection would keep the database of the test run from being dropped."""
    yield
    if connection.vendor == "postgresql":
        checkpoints._postgres_pool(os.getpid(), process_environment()["DATABASE_URL"]).close()


@pytest.fixture
def own_checkpoints(_checkpoint_pool: None, settings: Any) -> None:
    """For graphs that run in this process: checkpoints in the database of the test run, not in the project's."""
    if connection.vendor == "postgresql":
        settings.RUNS_CHECKPOINT_URL = process_environment()["DATABASE_URL"]


class SharedWorker:
    """One worker with two slots for all tests that break none; away while a test has workers of its own."""

    def __init__(self) -> None:
        self.process: WorkerProcess | None = None

    def ensure(self) -> WorkerProcess:
        if self.process is None or self.process.process.poll() is not None:
            self.process = WorkerProcess(DATA_DIR / "worker.log").wait_ready()
        return self.process

    def remove(self) -> None:
        if self.process is not None:
            self.process.destroy()
            self.process = None


@pytest.fixture(scope="session")
def shared_worker(redis_server: None) -> Iterator[SharedWorker]:
    shared = SharedWorker()
    yield shared
    shared.remove()


@pytest.fixture
def no_worker(shared_worker: SharedWorker) -> None:
    """Nobody takes what this test queues."""
    shared_worker.remove()


@pytest.fixture
def worker(shared_worker: SharedWorker, transactional_db: None) -> Iterator[WorkerProcess]:
    """The shared worker, with an empty database; what a test leaves running is stopped after it."""
    from runs import control

    yield shared_worker.ensure()
    control.cancel_all(mode="kill", reason="the test is over")
    for run in control.list_active():
        control.wait(run.id, timeout_seconds=15)


@pytest.fixture
def start_worker(
    shared_worker: SharedWorker, transactional_db: None, tmp_path: Path
) -> Iterator[Callable[..., WorkerProcess]]:
    """Start workers of the test's own, to be signalled and killed."""
    shared_worker.remove()
    started: list[WorkerProcess] = []

    def start(**options: Any) -> WorkerProcess:
        started.append(WorkerProcess(tmp_path / f"worker-{len(started)}.log", **options))
        return started[-1].wait_ready()

    yield start
    for worker in started:
        worker.destroy()


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path / "marks.jsonl")
