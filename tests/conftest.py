"""Fixtures that need real services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from graduation_backend import embedded_redis
from tests.environment import DATA_DIR
from tests.services import Marks, WorkerProcess


@pytest.fixture(scope="session")
def redis_server() -> Iterator[None]:
    """The embedded Valkey of this test run, or the server that TEST_REDIS_URL names."""
    if not settings.REDIS_IS_EMBEDDED:
        yield
        return
    embedded_redis.ensure_running(DATA_DIR)
    yield
    embedded_redis.stop(DATA_DIR)


@pytest.fixture(scope="session")
def shared_worker(redis_server: None, django_db_setup: None, django_db_blocker) -> Iterator[WorkerProcess]:
    """One worker with two slots for every test that does not break it."""
    with django_db_blocker.unblock():
        worker = WorkerProcess(DATA_DIR / "worker.log").wait_ready()
    yield worker
    worker.destroy()


@pytest.fixture
def worker(shared_worker: WorkerProcess, transactional_db: None) -> Iterator[WorkerProcess]:
    """The shared worker, with an empty database; what a test leaves running is stopped after it."""
    from runs import control

    yield shared_worker
    control.cancel_all(mode="kill", reason="the test is over")
    for run in control.list_active():
        control.wait(run.id, timeout_seconds=15)


@pytest.fixture
def start_worker(redis_server: None, transactional_db: None, tmp_path: Path) -> Iterator[object]:
    """Start workers of the test's own, to be signalled and killed."""
    started: list[WorkerProcess] = []

    def start(**options: object) -> WorkerProcess:
        worker = WorkerProcess(tmp_path / f"worker-{len(started)}.log", **options)  # type: ignore[arg-type]
        started.append(worker)
        return worker.wait_ready()

    yield start
    for worker in started:
        worker.destroy()


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path / "marks.jsonl")
