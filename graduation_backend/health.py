"""Two addresses for machines: `healthz`, this process answers; `readyz`, everything a run needs does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import redis
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis.backoff import NoBackoff
from redis.retry import Retry

from runs import control, draining

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 if every part answers within two seconds, else 503. Tells no address and no password."""
    if draining.is_draining():
        return JsonResponse({"status": "unavailable", "parts": {"web": "shutting down"}}, status=503)
    deadline = time.monotonic() + ANSWER_SECONDS
    for probe in PROBES:
        probe.begin()
    parts = {probe.name: probe.answer(deadline) for probe in PROBES}
    is_ready = all(answer == "ok" for answer in parts.values())
    return JsonResponse(
        {"status": "ok" if is_ready else "unavailable", "parts": parts}, status=200 if is_ready else 503
    )


class Probe:
    """One part, asked in an OS thread of its own, at most one at a time.

    So a server that hangs costs one thread and a late answer, not one for each request. Safe to call from any
    thread: the lock guards the only two attributes that change.
    """

    def __init__(self, name: str, ask: Callable[[], str]) -> None:
        self.name = name
        self._ask = ask
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._answer = "ok"

    def begin(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                # A daemon, because it must not hold up the end of the process.
                self._thread = threading.Thread(target=self._run, name=f"readyz {self.name}", daemon=True)
                self._thread.start()

    def answer(self, deadline: float) -> str:
        """ "ok", or why not, by this time of `time.monotonic()`."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                return f"no answer in {ANSWER_SECONDS:g} s"
        return self._answer

    def _run(self) -> None:
        try:
            self._answer = self._ask()
        except Exception as error:
            answer = type(error).__name__
            if answer != self._answer:
                # A driver's message may hold the address with its password: for this machine's log only.
                logger.exception("readyz: %s does not answer", self.name)
            self._answer = answer
        finally:
            connection.close()


def _ask_database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()
    return "ok"


def _ask_redis() -> str:
    with redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
    ) as client:
        client.ping()
    return "ok"


def _ask_worker() -> str:
    return "ok" if control.list_workers() else "none alive"


PROBES = (Probe("database", _ask_database), Probe("redis", _ask_redis), Probe("worker", _ask_worker))
