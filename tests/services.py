"""Real processes for tests: a prefork worker, and marks that graphs leave in files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import connection, transaction

from graduation_backend.processes import ending_with_this_process
from runs import control
from runs.models import Run
from tests.environment import ROOT

PATIENCE = 3  # every limit is one of an idle machine; a busy one gets so many times that


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
    """Wait until the condition is true and return its value; fail with `what` after `PATIENCE` times `seconds`."""
    seconds *= PATIENCE
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"after {seconds:g} s still not: {what}")


def process_environment() -> dict[str, str]:
    """The environment in which a process of the project sees the same services as this test."""
    environment = dict(os.environ)
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        environment["DATABASE_URL"] = f"sqlite:///{database['NAME']}"
    else:
        login = f"{database['USER']}:{database['PASSWORD']}".rstrip(":")
        host = f"{database['HOST']}:{database['PORT'] or 5432}"
        environment["DATABASE_URL"] = f"postgresql://{login}@{host}/{database['NAME']}"
    if not settings.REDIS_IS_EMBEDDED:
        environment["REDIS_URL"] = settings.REDIS_URL
    return environment


class WorkerProcess:
    """A real Celery worker. `mark` is in the environment of everything that it starts, and found by `survivors`."""

    def __init__(self, log: Path, *, concurrency: int = 2, include: str = "", **environment: str) -> None:
        self.log = log
        self.mark = uuid.uuid4().hex
        command = [sys.executable, "-m", "celery", "-A", "graduation_backend", "worker"]
        options = ["--loglevel=info", "--pool=prefork", f"--concurrency={concurrency}", "-n", f"{self.mark}@%h"]
        options.append(f"--include=tests.graphs.plain_tasks,{include}".rstrip(","))
        self.process = subprocess.Popen(
            ending_with_this_process([*command, *options]),
            cwd=ROOT,
            env={**process_environment(), "TEST_MARK": self.mark, **environment},
            stdout=log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_ready(self) -> WorkerProcess:
        def is_ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the worker ended at its start:\n{self.log.read_text()}")
            return any(worker.id.startswith(self.mark) for worker in control.list_workers())

        wait_until(is_ready, "the worker is alive", 60)
        return self

    def children(self) -> list[int]:
        """The processes of its pool."""
        below = psutil.Process(self.process.pid).children()
        return [child.pid for child in below if "runs.guard" not in command_of(child)]

    def guards(self) -> list[int]:
        """The process that sees to its leases; two while one replaces another."""
        below = psutil.Process(self.process.pid).children()
        return [child.pid for child in below if "runs.guard" in command_of(child)]

    def survivors(self) -> list[psutil.Process]:
        """Every living process that this worker, or anything below it, has started."""
        return marked_processes("TEST_MARK", self.mark)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 40.0) -> int:
        """Signal the worker and wait for its end; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def destroy(self) -> None:
        for process in self.survivors():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(10)


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def marked_processes(name: str, value: str) -> list[psutil.Process]:
    """The living processes with this variable in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def freeze(*pids: int) -> None:
    """Stop processes, none of them in the middle of a write: on SQLite that would hold up everybody else's."""
    with transaction.atomic():
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            wait_until(lambda pid=pid: psutil.Process(pid).status() == psutil.STATUS_STOPPED, f"{pid} is frozen")


class Marks:
    """What a graph of `tests/graphs` left behind: one JSON line for each thing that it did."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def open(self, gate: str) -> None:
        """Let a node go on that waits at this gate, now or later."""
        Path(f"{self.path}.{gate}").touch()

    def all(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines() if line.endswith("}")]

    def names(self) -> list[str]:
        return [mark["what"] for mark in self.all()]

    def wait_for(self, name: str, count: int = 1, seconds: float = 15.0) -> None:
        wait_until(lambda: self.names().count(name) >= count, f"{count} × {name!r} in {self.names()}", seconds)


def wait_for_status(run: Run, *statuses: str, seconds: float = 15.0) -> Run:
    wait_until(lambda: control.get(run.id).display_status in statuses, f"{run} is {' or '.join(statuses)}", seconds)
    return control.get(run.id)
