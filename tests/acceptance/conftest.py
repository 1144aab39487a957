"""A worker that asks a language model, and the model's server; a web server and a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.acceptance.library import end_all_runs, model_environment
from tests.browser import Site, open_browser
from tests.conftest import SharedWorker
from tests.environment import DATA_DIR
from tests.openai_server import OpenAIServer, Reply, openai_server
from tests.services import WorkerProcess


class ModelWorker:
    """One worker with two slots for all tests of a module that ask the same server, and alone meanwhile."""

    def __init__(self, shared_worker: SharedWorker) -> None:
        self.shared_worker = shared_worker
        self.process: WorkerProcess | None = None
        self.url = ""

    def ensure(self, url: str) -> WorkerProcess:
        self.shared_worker.remove()
        if self.process is None or self.process.process.poll() is not None or self.url != url:
            self.remove()
            self.url = url
            self.process = WorkerProcess(DATA_DIR / "model-worker.log", **model_environment(url)).wait_ready()
        return self.process

    def remove(self) -> None:
        if self.process is not None:
            self.process.destroy()
            self.process = None


@pytest.fixture(scope="module")
def shared_model_worker(shared_worker: SharedWorker) -> Iterator[ModelWorker]:
    worker = ModelWorker(shared_worker)
    yield worker
    worker.remove()


@pytest.fixture(scope="module")
def model_server() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server


@pytest.fixture
def server(model_server: OpenAIServer) -> OpenAIServer:
    """The model's server, as if nobody had asked it yet."""
    model_server.default = Reply()
    model_server.requests.clear()
    return model_server


@pytest.fixture
def model_worker(
    shared_model_worker: ModelWorker, server: OpenAIServer, transactional_db: None
) -> Iterator[WorkerProcess]:
    """The worker that asks the server, with an empty database; what a test leaves running is stopped after it."""
    yield shared_model_worker.ensure(server.url)
    end_all_runs()


@pytest.fixture
def lost_model_worker(shared_model_worker: ModelWorker, transactional_db: None) -> Iterator[WorkerProcess]:
    """A worker whose model's server is gone."""
    with openai_server() as gone:
        url = gone.url
    yield shared_model_worker.ensure(url)
    end_all_runs()


@pytest.fixture(scope="module")
def site(redis_server: None, django_db_setup: None) -> Iterator[Site]:
    """A real Daphne."""
    # Long enough for a person to see each rung of a stop, also on a machine that is busy.
    site = Site(RUNS_INTERRUPT_AFTER_SECONDS="60", RUNS_GRACE_SECONDS="90").start()
    yield site
    site.stop()


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser
