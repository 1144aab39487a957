"""What a live view reads, in a process that waits for it: new events from the streams, ended nodes from the database.

Events are for the eye: while Redis is away there are none, and what the database tells stays true.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from runs import events
from runs.connections import RedisError, redis_client, stream_key
from runs.models import NodeExecution, Run, Worker
from runs.states import Status

LONGEST_BLOCK_SECONDS = 0.5  # well below the time after which the client gives Redis up
_OF_RUNNING = ("worker", "graph", "status", "lease_expires_at", "stop_requested_at", "pause_requested_at")


class StreamReader:
    """The events of some runs, each once and in the order of its stream. For one OS thread.

    `is_away` says that Redis did not answer the last time; each `read` tries again, and goes on from where it was.
    """

    def __init__(self) -> None:
        self._cursors: dict[UUID, str] = {}
        self.is_away = False

    def follow(self, run_ids: Iterable[UUID], *, from_start: bool) -> None:
        """Read these runs, too: all that is kept of their streams, or only what comes from now on."""
        for run_id in run_ids:
            if run_id not in self._cursors:
                self._cursors[run_id] = "0" if from_start else self._find_newest(run_id)

    def forget(self, run_id: UUID) -> None:
        """Its stream gets no more events, or nobody wants them."""
        self._cursors.pop(run_id, None)

    def read(self, timeout_seconds: float) -> list[dict[str, Any]]:
        """What is new, as `events.read_events` gives it; waits for it if there is nothing."""
        ends = time.monotonic() + timeout_seconds
        try:
            found = [event for run_id in self._wait(timeout_seconds) for event in self._read(run_id)]
        except RedisError:
            self.is_away = True
            found = []
        else:
            self.is_away = False
        if not found:
            # Without Redis, and without a run to read, nothing has waited yet.
            time.sleep(max(ends - time.monotonic(), 0))
        return sorted(found, key=lambda event: str(event["at"]))

    def _wait(self, timeout_seconds: float) -> list[UUID]:
        """The runs with new events, once there is one."""
        keys = {stream_key(run_id): run_id for run_id in self._cursors}
        if not keys:
            return []
        block = int(min(timeout_seconds, LONGEST_BLOCK_SECONDS) * 1_000)
        streams: Any = {key: self._cursors[run_id] for key, run_id in keys.items()}
        ready: Any = redis_client().xread(streams, count=1, block=max(block, 1)) or []
        return [keys[key.decode()] for key, _ in (ready.items() if isinstance(ready, dict) else ready)]

    def _read(self, run_id: UUID) -> list[dict[str, Any]]:
        found = events.read_events(run_id, self._cursors[run_id])
        if found:
            self._cursors[run_id] = str(found[-1]["cursor"])
        return found

    def _find_newest(self, run_id: UUID) -> str:
        try:
            newest: Any = redis_client().xrevrange(stream_key(run_id), count=1)
        except RedisError:
            self.is_away = True
            return "0"
        return newest[0][0].decode() if newest else "0"


def list_ended_nodes(run_ids: Collection[UUID], since: datetime) -> list[NodeExecution]:
    """The node executions of these runs that have ended after a moment, in the order in which they ended."""
    ended = NodeExecution.objects.filter(run_id__in=run_ids, finished_at__gt=since)
    return list(ended.order_by("finished_at", "id"))


def list_running_nodes(run_ids: Collection[UUID]) -> list[NodeExecution]:
    """The node executions of these runs that have not ended, in the order in which they began."""
    return list(NodeExecution.objects.filter(run_id__in=run_ids, finished_at__isnull=True).order_by("started_at"))


def list_workers() -> list[Worker]:
    """Every worker that has reported, also those that have been silent since."""
    return list(Worker.objects.order_by("hostname", "started_at"))


def list_running() -> dict[str, list[Run]]:
    """The runs that each worker executes, by its id; workers without any are left out."""
    held: dict[str, list[Run]] = {}
    for run in Run.objects.filter(status=Status.RUNNING).only(*_OF_RUNNING):
        held.setdefault(run.worker, []).append(run)
    return held
