"""All the project needs, started with one command and stopped with one Ctrl+C: `manage.py start_services`.

Owns the order of things: checks, database, Redis, worker and web, ready, stop. What Celery and Daphne do when
they are asked to end is theirs. Exit codes: 0 asked to stop, and all ended in time; 1 it could not start, or
a service died or had to be killed; 130 a second Ctrl+C cut the stop short.
"""

from __future__ import annotations

import http.client
import json
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connections

from graduation_backend import embedded_redis, preflight
from graduation_backend.environment import WrongEnvironment
from graduation_backend.file_lock import Locked, exclusive
from graduation_backend.preflight import NotPossible
from graduation_backend.processes import ChildProcess, Console

if TYPE_CHECKING:
    from authentication.models import User

COLOURS = {"web": "\x1b[32m", "worker": "\x1b[36m", "redis": "\x1b[33m"}
BOLD, RED = "\x1b[1m", "\x1b[31m"

# Celery warns of root because of pickled messages; ours are JSON, and in a container everything is root.
ROOT_WARNING = "ignore:You're running the worker with superuser privileges"

POLL_SECONDS = 0.1
AFTER_GRACE_SECONDS = 15.0  # a worker needs a while for itself once its last run is gone, and so does the web
SECOND_SIGNAL_SECONDS = 3.0
PROGRESS_SECONDS = 5.0
STILL_WAITING_SECONDS = 30.0


@dataclass(frozen=True)
class Options:
    host: str
    port: int
    concurrency: int
    add_sample: bool

    @property
    def address(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"[{host}]" if ":" in host else host


class StopRequests:
    """Counts Ctrl+C and SIGTERM instead of dying of them."""

    def __init__(self) -> None:
        self.asked = False
        self.forced = False
        self._interrupts = 0

    def __enter__(self) -> StopRequests:
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
        self._previous = {
            number: signal.signal(number, self._handle)
            for name in names
            if (number := getattr(signal, name, None)) is not None
        }
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        # Only a person presses twice; a supervisor may repeat its SIGTERM, and a closed terminal its SIGHUP.
        self.forced = self.forced or (self.asked and number == signal.SIGINT)
        self.asked = True


class Launcher:
    def __init__(self, options: Options, console: Console, environment: Mapping[str, str]) -> None:
        self._options = options
        self._console = console
        self._environment = {
            **environment,
            "PORT": str(options.port),
            "WORKER_CONCURRENCY": str(options.concurrency),
            "PYTHONUNBUFFERED": "1",
        }
        self._environment.pop("DJANGO_SUPERUSER_PASSWORD", None)
        self._redis: subprocess.Popen[bytes] | None = None
        self._children: list[ChildProcess] = []
        self._ended = threading.Event()

    def run(self) -> int:
        """Start everything, wait for the end, and return the exit code."""
        with StopRequests() as stop:
            try:
                with exclusive(settings.DATA_DIR / "start_services.lock", wait=False):
                    return self._run(stop)
            except Locked as lock:
                owner = f" (pid {lock.owner})" if lock.owner else ""
                self._fail(f"start_services runs already{owner} on {settings.DATA_DIR}. Stop it first.")
                return 1

    def _run(self, stop: StopRequests) -> int:
        died = False
        try:
            for step in (
                self._check,
                self._prepare_database,
                self._start_redis,
                self._first_start,
                self._start_children,
            ):
                step()
                if stop.asked:
                    break
            died = self._watch(stop)
        except (NotPossible, WrongEnvironment) as error:
            self._fail(str(error))
            died = True
        finally:
            in_time = self._stop(stop)
        if stop.forced:
            return 130
        return 0 if in_time and not died else 1

    # --- Start ------------------------------------------------------------------------------------------

    def _check(self) -> None:
        preflight.check_port_is_free(self._options.host, self._options.port)
        if not settings.REDIS_IS_EMBEDDED:
            preflight.check_redis_answers(settings.REDIS_URL)
        if settings.ENVIRONMENT.celery_broker_url:
            preflight.check_broker_answers(settings.CELERY_BROKER_URL)

    def _prepare_database(self) -> None:
        missing = preflight.count_missing_migrations()
        if missing:
            call_command("migrate", interactive=False, verbosity=0)
        kind = connections["default"].vendor
        self._tell("database", f"{kind}, {f'{missing} migrations applied' if missing else 'up to date'}")

    def _start_redis(self) -> None:
        if not settings.REDIS_IS_EMBEDDED:
            self._tell("redis", preflight.without_password(settings.REDIS_URL))
            return
        self._redis = embedded_redis.start_as_child(settings.DATA_DIR)
        if self._redis is not None:
            self._tell("redis", f"embedded, {settings.DATA_DIR / 'redis'}")
        else:
            pid = embedded_redis.server_pid(settings.DATA_DIR)
            self._tell("redis", f"embedded, ran already (pid {pid}) and will go on; {embedded_redis.STOP_COMMAND}")

    def _first_start(self) -> None:
        users = get_user_model().objects
        if users.filter(is_superuser=True).exists():
            return
        email = settings.ENVIRONMENT.django_superuser_email
        password = settings.ENVIRONMENT.django_superuser_password
        owner = users.create_superuser(email=email, password=password or (made := secrets.token_urlsafe(12)))
        shown = "the one in DJANGO_SUPERUSER_PASSWORD" if password else f"{made} (shown only this once)"
        self._tell("admin", f"{email}, password {shown}")
        if self._options.add_sample:
            self._tell("sample", _start_sample(owner))
        connections.close_all()

    def _start_children(self) -> None:
        options = self._options
        pool = "threads" if sys.platform == "win32" else "prefork"
        if pool == "threads":
            self._console.say(
                "On Windows a run stops at its next boundary; one whose node never returns can't be killed."
            )
        worker = [
            "celery",
            "--quiet",
            "-A",
            "graduation_backend",
            "worker",
            "--loglevel=info",
            f"--pool={pool}",
        ]
        web = ["daphne", "-b", options.host, "-p", str(options.port), "-v", "0"]
        self._console.say()
        self._start("worker", [*worker, f"--concurrency={options.concurrency}"])
        self._start("web", [*web, "graduation_backend.asgi:application"])
        threading.Thread(target=self._say_when_ready, name="ready", daemon=True).start()

    def _start(self, name: str, command: list[str]) -> None:
        python = [sys.executable, "-W", ROOT_WARNING, "-m"]
        self._children.append(ChildProcess(name, [*python, *command], self._console, self._environment))

    # --- Run --------------------------------------------------------------------------------------------

    def _watch(self, stop: StopRequests) -> bool:
        """Wait until somebody asks to stop, or report that a service died by itself."""
        while not stop.asked:
            for child in self._children:
                if (code := child.exit_code()) is not None:
                    child.drain_output()
                    self._fail(f"{child.name} ended by itself with {_describe(code)}: stopping the others.")
                    return True
            if self._redis is not None and (code := self._redis.poll()) is not None:
                log = settings.DATA_DIR / "redis" / "redis.log"
                self._fail(f"redis ended by itself with {_describe(code)}: stopping the others. See {log}")
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _say_when_ready(self) -> None:
        next_note = time.monotonic() + STILL_WAITING_SECONDS
        while not self._ended.wait(0.25):
            missing = self._ask_what_is_missing()
            if not missing:
                url = settings.ENVIRONMENT.public_url or f"http://{self._options.address}:{self._options.port}"
                self._console.say()
                self._console.say(f"Ready: {url.rstrip('/')}/   (Ctrl+C stops everything)", colour=BOLD)
                self._console.say()
                return
            if time.monotonic() >= next_note:
                next_note += STILL_WAITING_SECONDS
                self._console.say(f"Still waiting for {', '.join(missing)}")

    def _ask_what_is_missing(self) -> list[str]:
        connection = http.client.HTTPConnection(self._options.address.strip("[]"), self._options.port, timeout=5)
        try:
            connection.request("GET", "/readyz", headers={"Host": "127.0.0.1"})
            parts: dict[str, Any] = json.loads(connection.getresponse().read())["parts"]
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return ["web"]
        finally:
            connection.close()
        return [name for name, answer in parts.items() if answer != "ok"]

    # --- Stop -------------------------------------------------------------------------------------------

    def _stop(self, stop: StopRequests) -> bool:
        """End the children, then Redis, which they need to the last. True if nothing had to be killed."""
        self._ended.set()
        in_time = self._stop_children(stop)
        if self._redis is not None:
            embedded_redis.stop(settings.DATA_DIR)
            self._redis.wait()
        if self._children:
            self._console.say("Stopped.")
        return in_time

    def _stop_children(self, stop: StopRequests) -> bool:
        for child in self._children:
            child.interrupt()
        started = time.monotonic()
        deadline = started + settings.RUNS_GRACE_SECONDS + AFTER_GRACE_SECONDS
        next_note = started
        was_forced = False
        while alive := [child for child in self._children if child.exit_code() is None]:
            now = time.monotonic()
            if stop.forced and not was_forced:
                was_forced = True
                deadline = now + SECOND_SIGNAL_SECONDS
                self._force(alive)
            if now >= deadline:
                break
            if now >= next_note:
                next_note = now + PROGRESS_SECONDS
                names = ", ".join(child.name for child in alive)
                self._console.say(f"Stopping: waiting for {names}   (Ctrl+C again: at once)")
            time.sleep(POLL_SECONDS)
        for child in self._children:
            child.kill()
            child.drain_output()
        if alive and not was_forced:
            self._fail(f"{', '.join(child.name for child in alive)} did not end in time and was killed.")
        return not alive

    def _force(self, alive: list[ChildProcess]) -> None:
        for child in alive:
            child.interrupt()

    # --- Words ------------------------------------------------------------------------------------------

    def _tell(self, subject: str, text: str) -> None:
        self._console.say(f"{subject:<9} {text}")

    def _fail(self, text: str) -> None:
        self._console.say(text, colour=RED)


def _describe(code: int) -> str:
    """An exit code for people: "exit code 1", or "signal 9"."""
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _start_sample(owner: User) -> str:
    """Queue the sample book, and say so."""
    from books import workflow

    if not workflow.is_offered():
        return "none, because LANGGRAPH_JSON names no graph 'book'"
    book = workflow.add_sample_book(owner)
    workflow.start_processing(book, by=owner)
    return f"“{book.title}” is queued"
