"""What happens in a run, told while it happens.

A process has one sink. Nodes put events into its buffer, a thread writes them out every 50 ms: to the run's Redis
stream in one pipeline, and to the database (node executions, progress) in one transaction. What the lists of all runs
show goes to one more stream in the same pipeline. When Redis is away the streams have a gap and the run goes on.
`event_types` tells what is in each event.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, close_old_connections, connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from runs import node_stops
from runs.columns import columns_of, insert_into, values_of
from runs.conf import runs_settings
from runs.connections import CHANGES_KEY, RedisError, redis_client, stream_key
from runs.event_types import CHANGES, StopStep
from runs.jsonable import as_json
from runs.models import NodeExecution, Run
from runs.states import NodeStatus, NodeStopOutcome, Status

logger = logging.getLogger(__name__)

BUFFER_LENGTH = 20_000  # events; older ones are dropped while nothing can be written
EVENT_BYTES = 262_144  # of the data of one event; what a node writes beyond that is left out
PLACES_LENGTH = 10_000  # runs of which the sink remembers where they belong
RETRY_SECONDS = 1.0  # after which what the database did not take is written again


@dataclass(eq=False, slots=True)
class Event:
    """One event that waits to be written; `text` are the tokens of a message, which are put together then."""

    run_id: UUID
    kind: str
    at: datetime
    data: dict[str, Any]
    text: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run belongs; none of it ever changes."""

    graph: str
    parent_id: UUID | None
    root_id: UUID
    owner_id: Any


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
        self._hurried = threading.Event()
        self._events: deque[Event] = deque(maxlen=BUFFER_LENGTH)
        self._messages: dict[tuple[UUID, str], dict[str, Event]] = {}  # run and namespace → message → its tokens
        self._progress: dict[UUID, Event] = {}
        self._activities: dict[UUID, Activity] = {}
        self._places: OrderedDict[UUID, Place] = OrderedDict()
        self._thread: threading.Thread | None = None

    def emit(self, run_id: UUID, kind: str, data: dict[str, Any]) -> None:
        """Add one event to the run's stream."""
        entry = Event(run_id, kind, timezone.now(), data)
        with self._lock:
            if self._messages and (namespace := data.get("namespace")) is not None:
                # What the node says after it is another event, behind this one.
                self._messages.pop((run_id, namespace), None)
            elif kind == "progress":
                self._progress[run_id] = entry
            self._events.append(entry)
        self._wake()

    def token(self, run_id: UUID, message_id: str | None, node: str, namespace: str, text: str) -> None:
        """Add to a message that a model is saying: one event for each flush, however many tokens it has."""
        with self._lock:
            messages = self._messages.get((run_id, namespace))
            if messages is None:
                messages = self._messages[run_id, namespace] = {}
            entry = messages.get(message_id or "")
            if entry is not None and entry.text is not None:
                entry.text.append(text)
                return
            data = {"message_id": message_id, "node": node, "namespace": namespace}
            entry = messages[message_id or ""] = Event(run_id, "token", timezone.now(), data, [text])
            self._events.append(entry)
        self._wake()

    def know(self, run: Run) -> None:
        """Remember where a run belongs, so that nobody asks the database for it."""
        with self._lock:
            self._places[run.id] = Place(run.graph, run.parent_id, run.root_id, run.owner_id)
            while len(self._places) > PLACES_LENGTH:
                self._places.popitem(last=False)

    def learn(self, run_ids: Iterable[UUID]) -> None:
        """Ask the database where these runs belong, as far as it is not known, before many events of theirs."""
        with self._lock:
            unknown = [run_id for run_id in run_ids if run_id not in self._places]
        for start in range(0, len(unknown), 500):
            part = unknown[start : start + 500]
            for run in Run.objects.filter(id__in=part).only("id", "graph", "parent_id", "root_id", "owner_id"):
                self.know(run)

    def _change(self, run_id: UUID, kind: str, data: dict[str, Any]) -> None:
        """Add an event that the list of all runs shows as well, if it is known where the run belongs."""
        place = self._places.get(run_id)
        if place is not None:
            where = {"graph": place.graph, "parent_id": place.parent_id, "root_id": place.root_id}
            data = {**where, **data}
        self.emit(run_id, kind, data)

    def node_changed(self, execution: NodeActivity) -> None:
        """Store a node execution, and show it as the run's current node while it is running."""
        with self._lock:
            activity = self._activity(execution.run_id, execution.attempt)
            activity.nodes[execution.id] = execution
            if execution.finished_at is None:
                activity.current_node = execution.node
        data = _node_data(execution, execution.finished_at, execution.error)
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
            waiting = self._progress.get(run_id)
            if waiting is not None:
                waiting.data = {**waiting.data, "done": done, "total": total}
                return
        self._change(run_id, "progress", {"done": done, "total": total})

    def waiting_progress(self, run_id: UUID, done: int, total: int) -> None:
        """Tell how many of the children have ended that a run waits for; the database knows it already."""

        def tell() -> None:
            self.learn([run_id])
            self._change(run_id, "progress", {"done": done, "total": total})

        transaction.on_commit(tell)

    def status(
        self, run_id: UUID, status: Status, *, attempt: int | None = None, displayed: str = "", **data: Any
    ) -> None:
        """Tell of a status, or of another way to show it, once the change is committed."""

        def tell() -> None:
            self.learn([run_id])
            self._change(run_id, "run.status", told)

        told = {"status": status.value, "displayed": displayed or status.value, "attempt": attempt, **data}
        transaction.on_commit(tell)

    def stop(self, run_id: UUID, step: StopStep, **data: Any) -> None:
        """Tell of a step of a stop, without delay. Asks no database, so it may be called anywhere."""
        self._change(run_id, "run.stop", {"step": step, **data})
        self._hurried.set()

    def child(self, run_id: UUID, child_id: UUID, graph: str, key: str) -> None:
        """Tell that a run has started a child."""
        self._change(run_id, "child.spawned", {"run_id": child_id, "graph": graph, "key": key})

    def flush(self) -> None:
        """Write out everything that is buffered; returns when it is written or given up."""
        with self._flushing:
            with self._lock:
                self._filled.clear()
                events = self._take_events()
                activities, self._activities = self._activities, {}
            if activities:
                self._write_activities(activities)
            if events:
                self._write_events(events)

    def flush_events(self) -> None:
        """Write out the events alone, without the database: at the end of a process."""
        with self._flushing:
            with self._lock:
                events = self._take_events()
            if events:
                self._write_events(events)

    def _take_events(self) -> deque[Event]:
        events, self._events = self._events, deque(maxlen=BUFFER_LENGTH)
        self._messages, self._progress = {}, {}
        return events

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
        while True:
            if not self._filled.wait(timeout=RETRY_SECONDS if self._activities else 60):
                connection.close()
            try:
                if self._hurried.wait(runs_settings().event_flush_seconds):
                    self._hurried.clear()
                    self.flush_events()
                    continue
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
        has_changes = False
        for event in events:
            if event.text is not None:
                event.data["text"] = "".join(event.text)
            entry: dict[Any, Any] = {
                "run": str(event.run_id),
                "type": event.kind,
                "at": event.at.isoformat(),
                "data": _as_text(event.data),
            }
            pipeline.xadd(stream_key(event.run_id), entry, maxlen=settings.event_stream_length, approximate=True)
            if event.kind in CHANGES and (place := self._places.get(event.run_id)) is not None:
                has_changes = True
                entry["owner"] = "" if place.owner_id is None else str(place.owner_id)
                pipeline.xadd(CHANGES_KEY, entry, maxlen=settings.changes_stream_length, approximate=True)
        for run_id in {event.run_id for event in events}:
            pipeline.expire(stream_key(run_id), settings.event_stream_seconds)
        if has_changes:
            oldest = int((time.time() - settings.changes_stream_seconds) * 1_000)
            pipeline.xtrim(CHANGES_KEY, minid=str(oldest), approximate=True)
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
    made = EventSink()
    atexit.register(_flush_last, made)
    return made


def _as_text(data: dict[str, Any]) -> bytes:
    try:
        text = orjson.dumps(data, default=str)
    except TypeError:  # an integer of more than 64 bits, for one
        text = json.dumps(data, default=str).encode()
    if len(text) > EVENT_BYTES and "data" in data:
        text = orjson.dumps({**data, "data": f"left out: {len(text)} bytes, at most {EVENT_BYTES} are told"})
    return text


def _flush_last(made: EventSink) -> None:
    """A command may end right after what it tells; a forked child has no part in what its parent tells."""
    if made is sink():
        made.flush_events()


def end_nodes_of_lost_process(run_id: UUID, attempt: int, status: NodeStatus) -> None:
    """Close the node executions of an attempt whose process is gone and can't do it itself."""
    error = None if status is NodeStatus.CANCELLED else {"type": "WorkerLost", "message": "its process was lost"}
    end_nodes(NodeExecution.objects.filter(run_id=run_id, attempt=attempt), status, error)


def end_nodes(nodes: QuerySet[NodeExecution], status: NodeStatus, error: dict[str, Any] | None) -> None:
    """Close those that are running, for a process that can't, and tell it."""
    found = list(nodes.filter(status=NodeStatus.RUNNING))
    if not found:
        return
    now = timezone.now()
    NodeExecution.objects.filter(id__in=[node.id for node in found], status=NodeStatus.RUNNING).update(
        status=status, finished_at=now, error=error
    )
    for node in found:
        sink().emit(node.run_id, f"node.{status.value}", _node_data(node, now, error))


def _node_data(
    node: NodeActivity | NodeExecution, finished_at: datetime | None, error: dict[str, Any] | None
) -> dict[str, Any]:
    data: dict[str, Any] = {
        "execution_id": node.id,
        "node": node.node,
        "namespace": node.namespace,
        "attempt": node.attempt,
        "step": node.step,
        "started_at": node.started_at,
    }
    if finished_at is not None:
        data["seconds"] = (finished_at - node.started_at).total_seconds()
    if error is not None:
        data["error"] = error
    return data


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
