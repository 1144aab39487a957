"""What wakes a supervisor: stops that are rung for through Redis, and its own process's signal handlers.

A doorbell that is lost costs only the time until the supervisor looks at the database by itself.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Sequence
from uuid import UUID

from runs.connections import RedisError, subscriber

logger = logging.getLogger(__name__)


class Doorbells:
    """`bell` is readable when somebody has rung; `answer` takes what was rung for. The rest may be called from any
    OS thread."""

    def __init__(self) -> None:
        self.bell, self._button = socket.socketpair()
        self._rung: list[tuple[Sequence[UUID], str]] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self._listen, name="runs-doorbells", daemon=True).start()

    def ring(self) -> None:
        """Only wake the supervisor. Takes no lock, so that a signal handler may call it."""
        self._button.send(b"!")

    def ring_for(self, run_ids: Sequence[UUID], reason: str) -> None:
        """These runs have a stop requested, or, if there are none, something else has changed in the database."""
        with self._lock:
            self._rung.append((run_ids, reason))
        self.ring()

    def answer(self) -> list[tuple[Sequence[UUID], str]]:
        self.bell.recv(4_096)
        with self._lock:
            rung, self._rung = self._rung, []
        return rung

    def _listen(self) -> None:
        """For ever; while Redis is away the supervisor polls the database."""
        pause = 0.1
        while True:
            try:
                pubsub = subscriber()
                self.ring()  # what was rung before the subscription is found by looking
                pause = 0.1
                for message in pubsub.listen():  # type: ignore[no-untyped-call]
                    body = json.loads(message["data"])
                    self.ring_for([UUID(run_id) for run_id in body["runs"]], body["reason"])
            except (RedisError, OSError) as error:
                logger.warning("doorbells are away, stops are found by polling: %s", error)
            except (ValueError, KeyError, TypeError):
                logger.exception("a doorbell could not be read")
            time.sleep(pause)
            pause = min(pause * 2, 2.0)
