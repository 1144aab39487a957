"""The newest events of a run as its page shows them: as lines, and as what was said."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from runs.connections import CHANGES_KEY, RedisError, redis_client, stream_key
from runs.words import duration, node_path

logger = logging.getLogger(__name__)

SHOWN_EVENTS = 100
READ_EVENTS = 1_000
BEGINNING = "0"
LONGEST_WORDS = 300  # characters


@dataclass(frozen=True)
class Line:
    at: str
    type: str
    words: str


@dataclass
class Speech:
    """What one message of a model has said so far."""

    message_id: str
    node: str
    text: str


@dataclass(frozen=True)
class Newest:
    """`cursor` is where a live page goes on: `0` is before all, also of a run that has told nothing yet."""

    cursor: str
    lines: list[Line]  # the newest first
    speeches: list[Speech]  # in the order in which they began


def read_newest(run_id: UUID) -> Newest:
    try:
        entries: Any = redis_client().xrevrange(stream_key(run_id), count=READ_EVENTS)
    except RedisError as error:
        logger.warning("the events of run %s can't be read: %s", run_id, error)
        return Newest(BEGINNING, [], [])
    events = [(fields[b"at"].decode(), fields[b"type"].decode(), json.loads(fields[b"data"])) for _, fields in entries]
    lines = [Line(at, kind, in_words(kind, data)) for at, kind, data in events if kind != "token"]
    cursor = entries[0][0].decode() if entries else BEGINNING
    return Newest(
        cursor, lines[:SHOWN_EVENTS], _gather([data for _, kind, data in reversed(events) if kind == "token"])
    )


def read_cursor() -> str:
    """Where the stream of all runs' changes ends now; empty if nothing is kept, or Redis is away."""
    try:
        entries: Any = redis_client().xrevrange(CHANGES_KEY, count=1)
    except RedisError as error:
        logger.warning("the changes of all runs can't be read: %s", error)
        return ""
    return entries[0][0].decode() if entries else ""


def _gather(tokens: Sequence[Mapping[str, Any]]) -> list[Speech]:
    speeches: dict[str, Speech] = {}
    for token in tokens:
        key = str(token.get("message_id") or "")
        speech = speeches.setdefault(key, Speech(key, str(token.get("node") or ""), ""))
        speech.text += str(token.get("text") or "")
    return list(speeches.values())


def in_words(kind: str, data: Mapping[str, Any]) -> str:
    """One event in one line; `live.js` says the same of those that come later."""
    if kind.startswith("node."):
        where = node_path(str(data.get("namespace") or ""), str(data.get("node") or ""))
        seconds = data.get("seconds")
        return where if seconds is None else f"{where}, {duration(float(seconds))}"
    if kind == "run.status":
        return str(data.get("displayed") or data.get("status") or "")
    if kind == "progress":
        return f"{data.get('done')} of {data.get('total') or '?'}"
    if kind == "run.stop":
        return ", ".join(str(data[key]) for key in ("step", "mode", "by", "reason") if data.get(key))
    if kind == "log":
        return f"{data.get('level', '')} {data.get('message', '')}".strip()[:LONGEST_WORDS]
    if kind == "child.spawned":
        return f"{data.get('graph', '')} {data.get('run_id', '')}".strip()
    shown = data.get("data", data) if kind == "custom" else data
    return json.dumps(shown, ensure_ascii=False, default=str)[:LONGEST_WORDS]
