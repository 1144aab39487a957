"""Daphne's end: with `cancel` every run ends with it, with `leave` none does, and it is never late."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.test import Client

from authentication.models import User
from books import workflow
from graduation_backend.web_shutdown import WebShutdown
from runs import control, draining
from runs.models import Run
from tests.acceptance.library import small_text, upload
from tests.environment import ROOT
from tests.services import Marks, WorkerProcess, marked_processes, process_environment, wait_until

pytestmark = pytest.mark.slow
MARK = "WEB_SHUTDOWN_TEST"
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
# Longer than any test takes: what ends sooner was not ended by time.
LONG_GRACE = "60"


class WebProcess:
    """A real Daphne, as it is started by hand."""

    def __init__(self, log: Path, **environment: str) -> None:
        self.log = log
        self.mark = uuid.uuid4().hex
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        address = ["-b", "127.0.0.1", "-p", str(self.port)]
        self.command = [sys.executable, "-m", "daphne", *address, "graduation_backend.asgi:application"]
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env={**process_environment(), MARK: self.mark, "DJANGO_ALLOW_ASYNC_UNSAFE": "", **environment},
            stdout=log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until(self._answers, "Daphne answers", 60)
        except BaseException:
            self.destroy()
            raise

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return self.get("/healthz") == 200

    def get(self, path: str) -> int | None:
        return self.ask("GET", path)[0]

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int | None, str]:
        """The status and the body of the answer; None if nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return None, ""
        finally:
            connection.close()

    def post_as(self, user: User, path: str, body: str = "") -> tuple[int | None, str]:
        client = Client()
        client.force_login(user)
        token = "a" * 32
        cookies = f"sessionid={client.cookies['sessionid'].value}; csrftoken={token}"
        kind = "application/x-www-form-urlencoded"
        return self.ask("POST", path, body, **{"Cookie": cookies, "X-CSRFToken": token, "Content-Type": kind})

    def readiness(self) -> tuple[int | None, Any]:
        status, body = self.ask("GET", "/readyz")
        return status, json.loads(body) if body else None

    def signal(self, number: int) -> float:
        self.process.send_signal(number)
        return time.monotonic()

    def assert_ended(self) -> None:
        assert self.process.wait(60) == 0, self.log.read_text()
        assert marked_processes(MARK, self.mark) == []
        assert "Traceback" not in self.log.read_text()

    def destroy(self) -> None:
        for process in marked_processes(MARK, self.mark):
            process.kill()
        self.process.wait(10)


@pytest.fixture
def start_web(transactional_db: None, redis_server: None, tmp_path: Path) -> Iterator[Callable[..., WebProcess]]:
    started: list[WebProcess] = []

    def start(**environment: str) -> WebProcess:
        started.append(WebProcess(tmp_path / f"web-{len(started)}.log", **environment))
        return started[-1]

    yield start
    for web in started:
        web.destroy()


StartWeb = Callable[..., WebProcess]
StartWorker = Callable[..., WorkerProcess]


def submit(graph: str, marks: Marks, **values: object) -> Run:
    return control.submit(graph, {"marks": str(marks), **values})


def assert_cancelled(run: Run) -> Run:
    ended = control.get(run.id)
    assert (ended.status, ended.stop_source) == ("cancelled", "shutdown")
    assert ended.stop_actor == f"daphne@{socket.gethostname()}"
    assert ended.stop_gone_at is not None
    return ended


# --- cancel -----------------------------------------------------------------------------------------------


@BOTH
def test_first_signal_cancels_every_run_and_daphne_ends_when_they_have(
    start_worker: StartWorker, start_web: StartWeb, marks: Marks, number: int
) -> None:
    start_worker(concurrency=1)
    web = start_web()
    held = submit("before_node", marks)
    marks.wait_for("call.begun")
    queued = submit("quick", marks)

    web.signal(number)
    marks.wait_for("call.told")

    # The node is still in its call, so nothing has ended but the run that had not begun.
    assert control.get(held.id).display_status == "cancelling"
    assert_cancelled(queued)
    assert web.process.poll() is None
    assert web.get("/healthz") == 200
    marks.open("call")
    begun = time.monotonic()
    web.assert_ended()
    assert time.monotonic() - begun < 10
    assert_cancelled(held)
    assert "beyond" not in marks.names()
    assert control.list_active() == []


def test_daphne_without_a_run_ends_at_once(start_web: StartWeb) -> None:
    web = start_web()
    begun = web.signal(signal.SIGTERM)
    web.assert_ended()
    assert time.monotonic() - begun < 10


def test_draining_server_refuses_new_runs_and_still_stops_and_shows_them(
    start_worker: StartWorker, start_web: StartWeb, marks: Marks
) -> None:
    start_worker(concurrency=1)
    web = start_web()
    owner = User.objects.create_superuser("owner@example.com")
    book = upload(owner, small_text(1))
    left = workflow.start_processing(upload(owner, small_text(1)), by=owner)
    control.cancel(left.id)
    held = submit("before_node", marks)
    marks.wait_for("call.begun")
    assert web.readiness()[0] == 200

    web.signal(signal.SIGTERM)
    marks.wait_for("call.told")

    assert web.readiness() == (503, {"status": "unavailable", "parts": {"web": "shutting down"}})
    process, go_on = f"/books/{book.pk}/process", f"/books/{left.input['book_id']}/continue"
    for path in (process, go_on, f"/admin/runs/run/{left.id}/retry/"):
        status, text = web.post_as(owner, path, "confirmed=yes")
        assert (path, status, "shutting down" in text) == (path, 503, True)
    assert web.get("/accounts/login/") == 200
    assert Run.objects.count() == 2
    assert web.post_as(owner, f"/admin/runs/run/{held.id}/interrupt/", "confirmed=yes")[0] == 302
    marks.open("call")
    web.assert_ended()
    assert_cancelled(held)


def test_run_that_never_ends_is_killed_after_the_grace(
    start_worker: StartWorker, start_web: StartWeb, marks: Marks
) -> None:
    # The worker would wait for longer than the web server does.
    worker = start_worker(concurrency=1, RUNS_GRACE_SECONDS=LONG_GRACE, RUNS_INTERRUPT_AFTER_SECONDS=LONG_GRACE)
    web = start_web(RUNS_GRACE_SECONDS="3", RUNS_INTERRUPT_AFTER_SECONDS="3")
    deaf = submit("with_processes", marks)
    marks.wait_for("hostile.begun")
    pids = [mark["pid"] for mark in marks.all()]
    assert all(psutil.pid_exists(pid) for pid in pids)

    begun = web.signal(signal.SIGTERM)
    web.assert_ended()

    assert 2.5 < time.monotonic() - begun < 15
    assert assert_cancelled(deaf).stop_rung == 2
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert worker.process.poll() is None


@BOTH
def test_second_signal_kills_at_once(start_worker: StartWorker, start_web: StartWeb, marks: Marks, number: int) -> None:
    start_worker(concurrency=1)
    web = start_web(RUNS_GRACE_SECONDS=LONG_GRACE, RUNS_INTERRUPT_AFTER_SECONDS=LONG_GRACE)
    deaf = submit("deaf", marks)
    marks.wait_for("deaf.begun")
    web.signal(number)
    wait_until(lambda: control.get(deaf.id).is_stopping, "it is asked to stop")
    time.sleep(1)
    assert web.process.poll() is None

    begun = web.signal(number)
    web.assert_ended()

    assert time.monotonic() - begun < 10
    ended = assert_cancelled(deaf)
    assert (ended.stop_mode, ended.stop_rung) == ("kill", 2)


def test_run_whose_worker_is_gone_does_not_hold_daphne_for_the_grace(
    start_worker: StartWorker, start_web: StartWeb, marks: Marks
) -> None:
    worker = start_worker(concurrency=1)
    web = start_web(RUNS_GRACE_SECONDS=LONG_GRACE, RUNS_INTERRUPT_AFTER_SECONDS=LONG_GRACE)
    run = submit("deaf", marks)
    marks.wait_for("deaf.begun")
    worker.destroy()

    begun = web.signal(signal.SIGTERM)
    web.assert_ended()

    assert time.monotonic() - begun < 30  # a worker counts as alive for 15 seconds
    # Nobody has seen its end: that is for the next worker to settle.
    assert control.get(run.id).display_status == "cancelling"
    start_worker()
    assert control.wait(run.id, timeout_seconds=40).status == "cancelled"


# --- leave ------------------------------------------------------------------------------------------------


@BOTH
def test_leave_leaves_the_runs_running(
    start_worker: StartWorker, start_web: StartWeb, marks: Marks, number: int
) -> None:
    start_worker(concurrency=1)
    web = start_web(WEB_ON_SHUTDOWN="leave")
    held = submit("before_node", marks)
    marks.wait_for("call.begun")
    queued = submit("quick", marks)

    begun = web.signal(number)
    web.assert_ended()

    assert time.monotonic() - begun < 10
    assert control.get(held.id).display_status == "running"
    marks.open("call")
    assert control.wait(held.id, timeout_seconds=30).status == "completed"
    assert control.wait(queued.id, timeout_seconds=30).status == "completed"


@pytest.mark.parametrize("on_shutdown", ["cancel", "leave"])
def test_page_that_never_answers_holds_daphne_no_longer_than_it_may(
    start_web: StartWeb, no_worker: None, on_shutdown: str
) -> None:
    web = start_web(
        DJANGO_SETTINGS_MODULE="tests.acceptance.slow_settings",
        WEB_ON_SHUTDOWN=on_shutdown,
        RUNS_GRACE_SECONDS="1",
        RUNS_INTERRUPT_AFTER_SECONDS="1",
    )
    threading.Thread(target=web.get, args=("/slow",), daemon=True).start()
    wait_until(lambda: "slow page begun" in web.log.read_text(), "the page is asked for")

    begun = web.signal(signal.SIGTERM)
    web.assert_ended()

    assert time.monotonic() - begun < 20


# --- who it is for ----------------------------------------------------------------------------------------


def test_daphne_that_finds_its_port_taken_leaves_the_runs_alone(
    start_worker: StartWorker, start_web: StartWeb, marks: Marks, tmp_path: Path
) -> None:
    start_worker(concurrency=1)
    web = start_web()
    held = submit("before_node", marks)
    marks.wait_for("call.begun")

    second = subprocess.run(
        web.command, cwd=ROOT, env=process_environment(), capture_output=True, text=True, timeout=60
    )

    assert "Address already in use" in second.stderr + second.stdout
    assert not control.get(held.id).is_stopping
    assert web.get("/healthz") == 200


def test_daphne_that_ends_by_itself_leaves_the_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "_draining", threading.Event())
    assert WebShutdown(None, "cancel", 30.0).begin() is None
    assert not draining.is_draining()


def test_other_processes_that_load_the_application_cancel_nothing(marks: Marks, no_worker: None, db: None) -> None:
    code = "import graduation_backend.asgi as a, sys; print('graduation_backend.web_shutdown' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
