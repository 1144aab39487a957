"""What a run says while it is executed, told to its watchers: tokens of models, what nodes write themselves, and log
records from inside its nodes.

One `Voice` belongs to one attempt. Safe to call from any thread: it keeps nothing but the calls under way, and the sink
has locks of its own.
"""

from __future__ import annotations

import logging
import os
import re
from contextvars import ContextVar
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings

from runs import node_tokens, tokens
from runs.events import EventSink
from runs.jsonable import as_json

NOT_STREAMED = "nostream"  # LangGraph's tag for models whose tokens are nobody's business
LOG_LENGTH = 2_000  # characters of a message
SECRET_LENGTH = 6  # characters; what is shorter would be found in many words
LOG_RECORDS = 1_000  # of one attempt; the log itself has the rest
# The loggers of what stands around a run; what they say is not said by the run.
SILENT = ("runs", "django", "celery", "kombu", "amqp", "redis", "asyncio", "urllib3", "httpx", "httpcore", "psycopg")

_is_telling: ContextVar[bool] = ContextVar("runs_is_telling", default=False)


class Voice:
    """Tells the watchers of one attempt what it says."""

    def __init__(self, run_id: UUID, told: EventSink) -> None:
        self._run_id = run_id
        self._sink = told
        self._speaking: dict[UUID, tuple[str, str]] = {}  # call of a model → node and namespace
        self.tells_tokens = True  # False while LangGraph's mode `messages` does
        self._records = 0

    def begin_call(self, call_id: UUID, metadata: dict[str, Any], tags: list[str] | None) -> None:
        """A model is called, which may stream."""
        if NOT_STREAMED not in (tags or ()):
            node, namespace = metadata.get("langgraph_node", ""), metadata.get("langgraph_checkpoint_ns", "")
            self._speaking[call_id] = str(node), str(namespace)

    def end_call(self, call_id: UUID) -> None:
        self._speaking.pop(call_id, None)

    def say(self, call_id: UUID, token: Any, chunk: Any) -> None:
        """A model has streamed a token."""
        place = self._speaking.get(call_id)
        if not self.tells_tokens or place is None:
            return
        message = getattr(chunk, "message", None)
        text = token if isinstance(token, str) else str(getattr(message, "text", ""))
        if text:
            self._sink.token(self._run_id, getattr(message, "id", None) or str(call_id), *place, text)

    def token(self, message_id: str | None, node: str, namespace: str, text: str) -> None:
        self._sink.token(self._run_id, message_id, node, namespace, text)

    def part(self, mode: str, namespace: str, data: Any) -> None:
        self._sink.emit(self._run_id, mode, {"namespace": namespace, "data": data})

    def custom(self, namespace: str, value: Any) -> None:
        """A node has given something to LangGraph's stream writer."""
        node = namespace.rpartition("|")[2].partition(":")[0]
        self._sink.emit(self._run_id, "custom", {"node": node, "namespace": namespace, "data": as_json(value)})

    def log(self, level: str, logger: str, message: str) -> None:
        """A log record was made inside the run."""
        self._records += 1
        if self._records > LOG_RECORDS:
            return
        if self._records == LOG_RECORDS:
            level, logger, message = "WARNING", __name__, "further records of this attempt are in the log alone"
        data = {"level": level, "logger": logger, "message": message}
        node = node_tokens.current.get()
        if node is not None:
            data["node"] = node.namespace.rpartition("|")[2].partition(":")[0]
        self._sink.emit(self._run_id, "log", data)


class RunLogHandler(logging.Handler):
    """Takes the records of level INFO and above that are made where a run is executed."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        token = tokens.find_own_token()
        if token is None or token.voice is None or record.name.partition(".")[0] in SILENT or _is_telling.get():
            return
        mark = _is_telling.set(True)  # what the telling itself logs is not told
        try:
            message = as_json(without_secrets(record.getMessage())[:LOG_LENGTH])
            token.voice.log(record.levelname, record.name[:200], message)
        except Exception:  # as every handler of the standard library
            self.handleError(record)
        finally:
            _is_telling.reset(mark)


def without_secrets(text: str) -> str:
    """A text in which no password or key of the settings and of the environment stands."""
    pattern = _secrets()
    return text if pattern is None else pattern.sub("[secret]", text)


@cache
def _secrets() -> re.Pattern[str] | None:
    """The secrets of this process, which are read once."""
    found = {str(settings.SECRET_KEY), str(getattr(settings, "EMAIL_HOST_PASSWORD", "") or "")}
    found.update(str(database.get("PASSWORD") or "") for database in settings.DATABASES.values())
    for value in [*os.environ.values(), *(getattr(settings, name, None) for name in dir(settings))]:
        if isinstance(value, str) and "://" in value and "@" in value:
            try:
                found.add(urlsplit(value).password or "")
            except ValueError:
                continue
    secret_name = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
    found.update(value for name, value in os.environ.items() if secret_name.search(name))
    found = {value for value in found if len(value) >= SECRET_LENGTH}
    return re.compile("|".join(map(re.escape, sorted(found, key=len, reverse=True)))) if found else None


def install_log_handler() -> None:
    """Have what nodes log told to the watchers of their runs; once in a process that executes runs."""
    root = logging.getLogger()
    if not any(isinstance(handler, RunLogHandler) for handler in root.handlers):
        root.addHandler(RunLogHandler())
