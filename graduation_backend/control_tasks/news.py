"""What is new of one run and everything below it, as lines for a person who follows it.

Statuses, nodes and the steps of a stop come from the database, so that they are true also while Redis is away; the
words of models, custom events and logs come from the event streams.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from graduation_backend.control_tasks.terminal import printable, printable_part, shortened
from runs import control, reading
from runs.models import NodeExecution, Run
from runs.states import CANCELLING, TERMINAL, NodeStatus, Status
from runs.words import duration, error_in_words, how_it_stopped, moment, node_path

LOOK_SECONDS = 0.5  # how often the database is asked at least
# After an event it is asked at once, but no more often than this, and never for most of the time.
LEAST_LOOK_SECONDS = 0.1
LOOKS_SHARE = 5
# An event can come some time after what the database says of the same moment, and a node's row after its end.
LATE_EVENTS_SECONDS = 1.0
LATE_ROWS_SECONDS = 60.0
_ICON_OF_NODE = {
    NodeStatus.RUNNING: Status.RUNNING,
    NodeStatus.FINISHED: Status.COMPLETED,
    NodeStatus.SUSPENDED: Status.WAITING,
    NodeStatus.FAILED: Status.FAILED,
    NodeStatus.CANCELLED: Status.CANCELLED,
}
LONGEST_PART = 1_000  # characters of a message without a line break that are kept back


@dataclass(frozen=True)
class Line:
    """One line of news; `status` gives its icon, of a run or a node."""

    at: datetime
    run: Run | None  # None for the run that is followed itself
    text: str
    status: str = ""


@dataclass
class Speech:
    """One message of a model that is being written; `part` is its last line so far."""

    run_id: UUID
    node: str
    part: str = ""


@dataclass
class News:
    """What one look found."""

    tree: list[Run]
    lines: list[Line] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


class Follower:
    """Looks at a run and everything below it, and tells each thing once.

    Args:
        from_start: tell also what was said before; else only what comes from now on.
    """

    def __init__(self, run: Run, *, from_start: bool) -> None:
        self.root = run
        self.speeches: dict[tuple[UUID, str, str], Speech] = {}
        self._reader = reading.StreamReader()
        self._reader.follow([run.id], from_start=from_start)
        self._tree: list[Run] = []
        self._by_id: dict[UUID, Run] = {}
        self._looked_at = 0.0
        self._look_cost = 0.0  # seconds
        self._is_stale = True
        self._since = run.created_at if from_start else timezone.now()
        self._told_nodes: set[UUID] = set()
        self._told_steps: set[tuple[UUID, str]] = set()
        self._told_status: dict[UUID, str] = {}
        self._known: set[UUID] = {run.id}
        self._ended_at: dict[UUID, float] = {}
        self._has_heard_end = run.is_terminal
        self._is_quiet = not from_start  # of what was there at the first look

    def look(self, timeout_seconds: float) -> News:
        """What is new; waits for the next event for that time at most.

        Raises:
            DatabaseError: at the first look; later it is a problem that is told, and the look before stands.
        """
        events = self._reader.read(timeout_seconds)
        news = News(self._tree, events=events)
        for event in events:
            news.lines += self._hear(event)
        self._is_stale = self._is_stale or any(event["type"] not in ("token", "custom", "log") for event in events)
        if self._is_due():
            began = time.monotonic()
            try:
                self._look_at_database(news)
            except DatabaseError as error:
                if not self._tree:
                    raise
                news.problem = f"the database is away: {error}"
            self._looked_at, self._look_cost = time.monotonic(), time.monotonic() - began
            self._is_stale = False
        if self._reader.is_away:
            news.lines = [*self.end_speeches(), *news.lines]  # nobody knows how they go on
            news.problem = news.problem or "Redis is away: what models say is missing"
        return news

    @property
    def is_over(self) -> bool:
        """The run has ended, and with it everything below it that is stopped with it; its last events have come."""
        if not self.root.is_terminal or any(member.is_stopping for member in self._tree):
            return False
        return self._has_heard_end or self._reader.is_away or self._has_ended_long_ago(self.root)

    def _is_due(self) -> bool:
        since = time.monotonic() - self._looked_at
        pause = max(LEAST_LOOK_SECONDS if self._is_stale else LOOK_SECONDS, self._look_cost * LOOKS_SHARE)
        return not self._tree or since >= pause

    def end_speeches(self) -> list[Line]:
        """What is left of messages when nothing more comes."""
        lines = [line for key in list(self.speeches) for line in self._end_speech(key)]
        self.speeches.clear()
        return lines

    # --- the database ---

    def _look_at_database(self, news: News) -> None:
        if not connection.in_atomic_block:
            close_old_connections()
        tree = control.list_tree(self.root.id)
        news.tree = self._tree = tree
        self.root = tree[0]
        self._by_id = {run.id: run for run in tree}
        self._choose_streams()
        told = [line for run in tree for line in self._tell_changes(run)]
        told += [self._tell_node(node) for node in self._list_new_nodes()]
        if not self._is_quiet:
            news.lines += sorted(told, key=lambda line: line.at)
        self._is_quiet = False

    def _choose_streams(self) -> None:
        new = [run for run in self._tree if run.id not in self._known]
        self._known.update(run.id for run in new)
        for run in new:
            if not (self._is_quiet and run.is_terminal):
                self._reader.follow([run.id], from_start=not self._is_quiet)
        for run in self._tree:
            if run.is_terminal and self._has_ended_long_ago(run) and run.id != self.root.id:
                self._reader.forget(run.id)

    def _has_ended_long_ago(self, run: Run) -> bool:
        """So long after it was first seen to have ended that its last events have come."""
        return time.monotonic() - self._ended_at.setdefault(run.id, time.monotonic()) >= LATE_EVENTS_SECONDS

    def _list_new_nodes(self) -> list[NodeExecution]:
        ended = reading.list_ended_nodes([run.id for run in self._tree], self._since)
        new = [node for node in ended if node.id not in self._told_nodes]
        self._told_nodes.update(node.id for node in new)
        if new and new[-1].finished_at:
            self._since = max(self._since, new[-1].finished_at - timedelta(seconds=LATE_ROWS_SECONDS))
        return new

    def _tell_node(self, node: NodeExecution) -> Line:
        ended_at = node.finished_at or timezone.now()
        path = node_path(node.namespace, node.node)
        parts = [path, node.status, duration((ended_at - node.started_at).total_seconds())]
        if node.status in (NodeStatus.FAILED, NodeStatus.CANCELLED) and node.error:
            parts.append(error_in_words(node.error))
        return Line(ended_at, self._below(node.run_id), "  ".join(parts), _ICON_OF_NODE[NodeStatus(node.status)])

    def _tell_changes(self, run: Run) -> list[Line]:
        """What has changed of a run's status and its stop, in the order in which it happens."""
        now = timezone.now()
        steps = [step for step in _stop_steps(run, now) if (run.id, step[0]) not in self._told_steps]
        self._told_steps.update((run.id, step[0]) for step in steps)
        status = f"{run.display_status} {run.attempt}"
        if self._told_status.get(run.id) != status and run.display_status != CANCELLING:
            self._told_status[run.id] = status
            steps.append(("", *_status_step(run, now), run.display_status))
        return [Line(at, self._below(run.id), text, status) for _, at, text, status in steps]

    def _below(self, run_id: UUID) -> Run | None:
        """The run that a line is about, if it is not the one that is followed."""
        return None if run_id == self.root.id else self._by_id.get(run_id)

    # --- the streams ---

    def _hear(self, event: dict[str, Any]) -> list[Line]:
        run_id, data = UUID(event["run_id"]), event["data"]
        at = parse_datetime(event["at"]) or timezone.now()
        node = printable(str(data.get("node") or ""))
        match event["type"]:
            case "run.status" if run_id == self.root.id:
                self._has_heard_end = data.get("status") in TERMINAL
            case "token":
                return self._hear_token(run_id, node, str(data.get("message_id")), str(data.get("text", "")), at)
            case "custom":
                prefix = f"{node}: " if node else ""
                return [Line(at, self._below(run_id), f"{prefix}{shortened(data.get('data'))}")]
            case "log":
                words = f"{data.get('level', '')} {data.get('logger', '')}: {data.get('message', '')}"
                return [Line(at, self._below(run_id), words)]
            case "node.finished" | "node.failed" | "node.cancelled":
                keys = [key for key, one in self.speeches.items() if (one.run_id, one.node) == (run_id, node)]
                return [line for key in keys for line in self._end_speech(key)]
        return []

    def _hear_token(self, run_id: UUID, node: str, message_id: str, text: str, at: datetime) -> list[Line]:
        key = (run_id, node, message_id)
        speech = self.speeches.setdefault(key, Speech(run_id, node))
        *whole, rest = (speech.part + text.replace("\r\n", "\n")).split("\n")
        if len(rest) > LONGEST_PART:
            head, space, tail = rest.rpartition(" ")
            whole.append(head if space else rest)
            rest = tail if space else ""
        speech.part = printable_part(rest)
        return [self._say(speech, line, at) for line in whole if line.strip()]

    def _end_speech(self, key: tuple[UUID, str, str]) -> Iterator[Line]:
        speech = self.speeches.pop(key)
        if speech.part.strip():
            yield self._say(speech, speech.part, timezone.now())

    def _say(self, speech: Speech, text: str, at: datetime) -> Line:
        return Line(at, self._below(speech.run_id), f"{speech.node}: {printable_part(text).rstrip()}")


# Its name, when it happened, in words, the status of which it has the icon.
Step = tuple[str, datetime, str, str]


def _stop_steps(run: Run, now: datetime) -> Iterator[Step]:
    if run.stop_requested_at is None:
        return
    who = run.stop_actor or run.get_stop_source_display()
    because = f": {run.stop_reason}" if run.stop_reason else ""
    yield "asked", run.stop_requested_at, f"stop asked by {who}{because}", CANCELLING
    if run.stop_delivered_at:
        yield "delivered", run.stop_delivered_at, "stop delivered to its process", CANCELLING
    if run.stop_acknowledged_at:
        yield "acknowledged", run.stop_acknowledged_at, "stop seen by its graph", CANCELLING
    if run.stop_plan is not None and run.stop_plan.kill_at <= now:
        yield "kill", run.stop_plan.kill_at, "its process is being killed", CANCELLING
    elif run.stop_plan is not None and run.stop_plan.interrupt_at <= now:
        yield "interrupt", run.stop_plan.interrupt_at, "it is being interrupted", CANCELLING


def _status_step(run: Run, now: datetime) -> tuple[datetime, str]:
    """Since when it has its status, and that status in words."""
    match run.status:
        case Status.QUEUED if run.not_before and run.not_before > now:
            return now, f"queued, not before {moment(run.not_before)}"
        case Status.QUEUED:
            return run.queued_at, "queued"
        case Status.RUNNING if run.is_pausing:
            return run.pause_requested_at or now, "pausing"
        case Status.RUNNING if run.attempt > 1:
            return now, f"running again on {run.worker}, attempt {run.attempt}"
        case Status.RUNNING:
            return run.started_at or now, f"running on {run.worker}"
        case Status.FAILED:
            return run.finished_at or now, f"failed: {error_in_words(run.error)}"
        case Status.CANCELLED:
            return run.finished_at or now, f"cancelled: {how_it_stopped(run.stop_rung)}"
        case Status.WAITING if "questions" not in run.get_deferred_fields() and run.questions:
            return now, f"asks: {shortened(run.questions)}"
    return run.finished_at or now, run.status
