"""What Daphne does when it is asked to end: `WEB_ON_SHUTDOWN` says whether the runs end with it.

At the first SIGINT or SIGTERM no new run is accepted any more; with `cancel` every active run is asked to stop, and
the pages are served until all have, for the grace at most; then what is left is killed. The second signal kills at
once. In every case the process ends in time, with exit code 0: a watchdog sees to that.

The engine's supervisors do the stopping; this asks them and waits. `asgi` installs it, in Daphne alone.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from types import FrameType
from typing import Any, Literal
from uuid import UUID

from django.conf import settings
from django.db import connections

from runs import control, draining, events
from runs.models import Run
from runs.states import ACTIVE, StopMode, StopSource

logger = logging.getLogger(__name__)

OnShutdown = Literal["cancel", "leave"]

POLL_SECONDS = 0.1
KILL_SECONDS = 5.0  # for the supervisors to kill what the grace has left
FORCED_SECONDS = 2.0  # the same after a second signal
EXIT_SECONDS = 3.0  # for requests that are still being answered when all is done
REASON = "the web server is shutting down"


def install(on_shutdown: OnShutdown) -> None:
    """Have Twisted's reactor, in which Daphne runs, ask us before it stops."""
    from twisted.internet import reactor as installed

    reactor: Any = installed  # Twisted's types know only its interface
    shutdown = WebShutdown(reactor, on_shutdown, settings.RUNS_GRACE_SECONDS)
    reactor.callWhenRunning(shutdown.listen)
    reactor.addSystemEventTrigger("before", "shutdown", shutdown.begin)


class WebShutdown:
    """The end of this process. `begin` and the signal handlers run in the main thread, the rest in OS threads of its
    own, because the main thread goes on serving; they share three events."""

    def __init__(self, reactor: Any, on_shutdown: OnShutdown, grace_seconds: float) -> None:
        self._reactor = reactor
        self._on_shutdown = on_shutdown
        self._grace_seconds = grace_seconds
        self._actor = f"daphne@{socket.gethostname()}"
        self._twisted: dict[int, Any] = {}
        self._asked = threading.Event()
        self._forced = threading.Event()
        self._done = threading.Event()

    def listen(self) -> None:
        """Hear the signals before Twisted does, which has set its own handlers by now."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._twisted[number] = signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set():
            self._forced.set()
        else:
            self._asked.set()
            self._twisted[number](number, frame)

    def begin(self) -> Any:
        """The trigger: what it returns holds the reactor until the runs have ended."""
        if not self._asked.is_set():
            return None  # it ends by itself, because of an error: that is no reason to end what others run
        from twisted.internet.defer import Deferred

        draining.begin()
        threading.Thread(target=self._watch, name="web-shutdown-watchdog", daemon=True).start()
        if self._on_shutdown == "leave":
            self._done.set()
            return None
        may_stop: Deferred[None] = Deferred()
        threading.Thread(target=self._end_runs, args=(may_stop,), name="web-shutdown", daemon=True).start()
        return may_stop

    def _end_runs(self, may_stop: Any) -> None:
        try:
            self._cancel_and_wait()
            events.sink().flush()
        except Exception:
            logger.exception("the runs could not be stopped at the end of the web server")
        finally:
            connections.close_all()
            self._done.set()
            self._reactor.callFromThread(may_stop.callback, None)

    def _cancel_and_wait(self) -> None:
        kill_at = time.monotonic() + self._grace_seconds
        while self._cancel_new() and not self._forced.is_set() and time.monotonic() < kill_at:
            self._forced.wait(POLL_SECONDS)
        left = _list_executing()
        if not left:
            return
        logger.warning("%d runs are killed at the end of the web server", len(left))
        self._stop(left, StopMode.KILL)
        ends = time.monotonic() + (FORCED_SECONDS if self._forced.is_set() else KILL_SECONDS)
        while (left := _list_executing()) and time.monotonic() < ends:
            time.sleep(POLL_SECONDS)
        if left:
            logger.error("%d runs are not gone yet: their workers go on killing them", len(left))

    def _cancel_new(self) -> bool:
        """Ask every run to stop that was not asked before; False if there is nothing left to wait for.

        Again and again: another process may have started one meanwhile.
        """
        fresh = Run.objects.filter(status__in=ACTIVE, stop_requested_at__isnull=True)
        self._stop(list(fresh.values_list("id", flat=True)), StopMode.CANCEL)
        return bool(_list_executing())

    def _stop(self, run_ids: list[UUID], mode: StopMode) -> None:
        if run_ids:
            control.cancel_runs(run_ids, actor=self._actor, source=StopSource.SHUTDOWN, reason=REASON, mode=mode)

    def _watch(self) -> None:
        """End the process in time, whatever holds it: a request that takes for ever, or a database that hangs."""
        ends = time.monotonic() + self._grace_seconds + KILL_SECONDS + EXIT_SECONDS
        is_hurried = False
        while (now := time.monotonic()) < ends:
            if not is_hurried and (self._forced.is_set() or (self._done.is_set() and self._on_shutdown == "cancel")):
                is_hurried = True
                ends = min(ends, now + EXIT_SECONDS)
            time.sleep(POLL_SECONDS)
        os._exit(0)


def _list_executing() -> list[UUID]:
    """The runs that a living worker executes now. One whose worker is gone is for the next worker to end."""
    workers = [worker.id for worker in control.list_workers()]
    return list(Run.objects.filter(status__in=ACTIVE, worker__in=workers).values_list("id", flat=True))
