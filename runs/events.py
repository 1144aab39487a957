"""What happens in a run, told while it happens.

A process has one sink. Nodes put events into its buffer, a thread writes them out every 50 ms: to the run's Redis
stream in one pipeline, and to the database (node executions, progress) in one transaction. When Redis is away the
stream has a gap and the run goes on.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, close_old_connections, connection, transaction
from django.db.models import F
from django.utils import timezone

from runs import node_stops
from runs.columns import columns_of, insert_into, values_of
from runs.conf import runs_settings
from runs.connections import RedisError, redis_client, stream_key
from runs.jsonable import as_json
from runs.models import NodeExecution, Run
from runs.states import NodeStatus, NodeStopOutcome, Status

logger = logging.getLogger(__name__)

# run, type, time, data
Event = tuple[UUID, str, datetime, dict[str, Any]]

BUFFER_LENGTH = 20_000  # events; older ones are dropped while nothing can be written
RETRY_SECONDS = 1.0  # after which what the database did not take is written again


@dataclass(frozen=True, slots=True)
class NodeStopEnd:
    """What became of the stop of one node; written with the node's own end."""

    execution_id: UUID  # for which it was asked
    outcome: NodeStopOutcome
    rung: int


@dataclass(slots=True)
class NodeActivity:
    """One execution of one node, as the runner tells it; a `NodeExecution` row once it is flushed."""

    id: UUID
    run_id: UUID
    attempt: int
    node: str
    namespace: str
    step: int | None
    started_at: datetime
    status: NodeStatus = NodeStatus.RUNNING
    finished_at: datetime | None = None
    error: dict[str, Any] | None = None
    is_stoppable: bool = False
    stop: NodeStopEnd | None = None


@dataclass
class Activity:
    """What a run did since the last flush; the latest of each wins."""

    attempt: int
    current_node: str | None = None
    current_call: str | None = None
    progress: tuple[int, int] | None = None
    nodes: dict[UUID, NodeActivity] = field(default_factory=dict)


class EventSink:
    """Buffers events and writes them out.

    Safe to call from any thread: the buffers are swapped under one lock, and one flush runs at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._filled = threading.Event()
        self._events: deque[Event] = deque(maxlen=BUFFER_LENGTH)
        self._activities: dict[UUID, Activity] = {}
        self._thread: threading.Thread | None = None

    def emit(self, run_id: UUID, kind: str, data: dict[str, Any]) -> None:
        """Add one event to the run's stream."""
        entry = (run_id, kind, timezone.now(), data)
        with self._lock:
            self._events.append(entry)
        self._wake()

    def node_changed(self, execution: NodeActivity) -> None:
        """Store a node execution, and show it as the run's current node while it is running."""
        with self._lock:
            activity = self._activity(execution.run_id, execution.attempt)
            activity.nodes[execution.id] = execution
            if execution.finished_at is None:
                activity.current_node = execution.node
        data = {"node": execution.node, "namespace": execution.namespace, "attempt": execution.attempt}
        if execution.finished_at is not None:
            data["seconds"] = (execution.finished_at - execution.started_at).total_seconds()
        kind = "started" if execution.finished_at is None else execution.status
        self.emit(execution.run_id, f"node.{kind}", data)

    def call_changed(self, run_id: UUID, attempt: int, call: str) -> None:
        """Show which call of a model or a tool is under way; none is the empty string."""
        with self._lock:
            self._activity(run_id, attempt).current_call = call
        self._wake()

    def progress(self, run_id: UUID, attempt: int, done: int, total: int) -> None:
        with self._lock:
            self._activity(run_id, attempt).progress = (done, total)
        self.emit(run_id, "progress", {"done": done, "total": total})

    def status(self, run_id: UUID, status: Status, **data: Any) -> None:
        self.emit(run_id, "run.status", {"status": status.value, **data})

    def flush(self) -> None:
        """Write out everything that is buffered; returns when it is written or given up."""
        with self._flushing:
            with self._lock:
                self._filled.clear()
                events, self._events = self._events, deque(maxlen=BUFFER_LENGTH)
                activities, self._activities = self._activities, {}
            if activities:
                self._write_activities(activities)
            if events:
                self._write_events(events)

    def store_nodes(self, run_id: UUID) -> None:
        """Store what is buffered of one run's nodes; returns when it is written or given up."""
        with self._flushing:
            with self._lock:
                activity = self._activities.pop(run_id, None)
            if activity is not None:
                activity.current_node = activity.current_call = None  # it has none any more
                self._write_activities({run_id: activity})

    def _activity(self, run_id: UUID, attempt: int) -> Activity:
        activity = self._activities.get(run_id)
        if activity is None or activity.attempt != attempt:
            activity = self._activities[run_id] = Activity(attempt, nodes=activity.nodes if activity else {})
        return activity

    def _wake(self) -> None:
        if not self._filled.is_set():
            self._filled.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._flush_for_ever, name="runs-events", daemon=True)
                    self._thread.start()

    def _flush_for_ever(self) -> None:
        pause = threading.Event()
        while True:
            if not self._filled.wait(timeout=RETRY_SECONDS if self._activities else 60):
                connection.close()
            pause.wait(runs_settings().event_flush_seconds)
            try:
                close_old_connections()
                self.flush()
            except Exception:
                logger.exception("events could not be written")

    def _write_activities(self, activities: dict[UUID, Activity]) -> None:
        try:
            with transaction.atomic():
                for run_id, activity in activities.items():
                    self._write_activity(run_id, activity)
        except (OperationalError, InterfaceError) as error:
            logger.warning("node executions of %d runs are stored later: %s", len(activities), error)
            self._keep(activities)
        except DatabaseError:
            logger.exception("node executions of %d runs could not be stored", len(activities))

    def _keep(self, activities: dict[UUID, Activity]) -> None:
        """The database is away: what could not be written comes back, below what has happened since."""
        with self._lock:
            for run_id, kept in activities.items():
                activity = self._activities.setdefault(run_id, Activity(kept.attempt))
                activity.nodes = {**kept.nodes, **activity.nodes}
                if activity.attempt == kept.attempt:
                    activity.current_node = activity.current_node or kept.current_node
                    if activity.current_call is None:
                        activity.current_call = kept.current_call
                    activity.progress = activity.progress or kept.progress
            if sum(len(activity.nodes) for activity in self._activities.values()) > BUFFER_LENGTH:
                logger.error("node executions of %d runs are dropped, the database is away", len(self._activities))
                self._activities.clear()

    def _write_activity(self, run_id: UUID, activity: Activity) -> None:
        node, call, progress = activity.current_node, activity.current_call, activity.progress
        nodes = list(activity.nodes.values())
        if node is not None or call is not None or progress is not None:
            # A stale attempt shows nothing any more; a row of a node that it did execute stays true.
            landed = Run.objects.filter(id=run_id, attempt=activity.attempt, status=Status.RUNNING).update(
                last_activity_at=timezone.now(),
                current_node=F("current_node") if node is None else node[:200],
                current_call=F("current_call") if call is None else call[:200],
                progress_done=F("progress_done") if progress is None else progress[0],
                progress_total=F("progress_total") if progress is None else progress[1],
            )
            if not landed:
                # Nobody would close what it says to have begun: who took the run over has done so before.
                nodes = [one for one in nodes if one.finished_at is not None]
        _upsert_nodes(nodes)
        for end in [execution.stop for execution in nodes if execution.stop is not None]:
            node_stops.settle(end.execution_id, end.outcome, rung=end.rung)

    def _write_events(self, events: deque[Event]) -> None:
        settings = runs_settings()
        pipeline = redis_client().pipeline(transaction=False)
        for run_id, kind, at, data in events:
            entry: dict[Any, Any] = {
                "type": kind,
                "at": at.isoformat(),
                "data": orjson.dumps(data, default=str),
            }
            pipeline.xadd(stream_key(run_id), entry, maxlen=settings.event_stream_length, approximate=True)
        for run_id in {event[0] for event in events}:
            pipeline.expire(stream_key(run_id), settings.event_stream_seconds)
        try:
            pipeline.execute()
        except RedisError as error:
            logger.warning("%d events may be missing from the live streams: %s", len(events), error)


_NODE_COLUMNS = columns_of(
    NodeExecution,
    [
        "id",
        "run",
        "attempt",
        "node",
        "namespace",
        "step",
        "status",
        "started_at",
        "finished_at",
        "error",
        "is_stoppable",
    ],
)


def _upsert_nodes(nodes: Sequence[NodeActivity]) -> None:
    # By hand, because it is the hot path: one statement, without making model instances.
    if not nodes:
        return
    sql = f"""
        {insert_into(NodeExecution, _NODE_COLUMNS, len(nodes))}
        ON CONFLICT (id) DO UPDATE SET
            status = excluded.status, finished_at = excluded.finished_at, error = excluded.error
    """
    values = [value for node in nodes for value in values_of(_NODE_COLUMNS, node)]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def sink() -> EventSink:
    """This process's sink; a forked child gets its own."""
    return _sink(os.getpid())


@cache
def _sink(_pid: int) -> EventSink:
    return EventSink()


def end_nodes_of_lost_process(run_id: UUID, attempt: int, status: NodeStatus) -> None:
    """Close the node executions of an attempt whose process is gone and can't do it itself."""
    error = None if status is NodeStatus.CANCELLED else {"type": "WorkerLost", "message": "its process was lost"}
    NodeExecution.objects.filter(run_id=run_id, attempt=attempt, status=NodeStatus.RUNNING).update(
        status=status, finished_at=timezone.now(), error=error
    )


def read_events(run_id: UUID, after: str = "0", count: int = 1_000) -> list[dict[str, Any]]:
    """The events of a run's stream after a cursor, oldest first.

    Returns:
        Dicts of `cursor`, `run_id`, `type`, `at` and `data`; empty if the stream is gone.
    """
    first = f"({after}" if after != "0" else "-"
    entries: Any = redis_client().xrange(stream_key(run_id), min=first, count=count)
    return [
        {
            "cursor": cursor.decode(),
            "run_id": str(run_id),
            "type": fields[b"type"].decode(),
            "at": fields[b"at"].decode(),
            "data": json.loads(fields[b"data"]),
        }
        for cursor, fields in entries
    ]


def as_error(error: BaseException) -> dict[str, Any]:
    """An exception as the run and the API show it: its type and its message, never its traceback."""
    return {"type": type(error).__name__, "message": as_json(str(error)[:10_000])}
