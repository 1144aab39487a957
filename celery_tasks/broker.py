"""What waits in the broker's queues. The only module of this app that talks to the broker itself.

Redis shows the messages; RabbitMQ tells only how many there are, for to look at one is to take it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError

from celery_tasks import redaction
from runs.connections import RedisError
from runs.errors import BrokerAway

CONNECT_SECONDS = 2.0
PAGE = 500  # messages that are read at once
MOST_SEARCHED = 20_000  # messages of one queue in which a task is looked for


@dataclass(frozen=True)
class Queue:
    """One queue.

    Args:
        waiting: messages that no worker has taken; None if the broker does not know the queue (yet).
        by_priority: the same for each of Redis' lists, 0 is delivered first; empty for RabbitMQ.
        consumers: only RabbitMQ knows them.
    """

    name: str
    waiting: int | None
    by_priority: dict[int, int] = field(default_factory=dict)
    consumers: int | None = None


@dataclass(frozen=True)
class Message:
    """A task that waits in Redis."""

    id: str
    name: str
    queue: str
    priority: int
    arguments: redaction.Arguments
    eta: str | None
    key: str
    raw: bytes

    @property
    def raw_arguments(self) -> tuple[Any, Any]:
        return _arguments_in(_decode(self.raw))


def list_queue_names() -> list[str]:
    """Those of the settings; workers may be told to consume from others."""
    return sorted(current_app.amqp.queues)


def list_queues(names: Iterable[str]) -> list[Queue]:
    """How much waits in each.

    Raises:
        BrokerAway.
    """
    with _connected() as connection:
        return [_look_at(connection, name) for name in names]


def shows_messages() -> bool:
    return bool(current_app.connection_for_write().transport.driver_type == "redis")


def list_messages(names: Iterable[str], *, most: int) -> list[Message]:
    """The next messages of each queue in the order of their delivery; none for a broker that can't show them.

    Raises:
        BrokerAway.
    """
    if not shows_messages():
        return []
    found: list[Message] = []
    with _connected() as connection, connection.channel() as channel:
        for name in names:
            of_queue: list[Message] = []
            for priority, key in _lists(channel, name):
                left = most - len(of_queue)
                raws = channel.client.lrange(key, -left, -1) if left > 0 else []
                of_queue += _messages(raws, name, priority, key)
            found += of_queue
    return found


def find_message(names: Iterable[str], task_id: str) -> Message | None:
    """One task that waits.

    Raises:
        BrokerAway.
    """
    if not shows_messages():
        return None
    needle = task_id.encode()
    with _connected() as connection, connection.channel() as channel:
        for name in names:
            for priority, key in _lists(channel, name):
                for begin in range(0, MOST_SEARCHED, PAGE):
                    raws = channel.client.lrange(key, -begin - PAGE, -begin - 1)
                    likely = [raw for raw in raws if needle in raw]
                    for message in _messages(likely, name, priority, key):
                        if message.id == task_id:
                            return message
                    if len(raws) < PAGE:
                        break
    return None


def remove(message: Message) -> bool:
    """Take a waiting task out of its queue, reporting whether that landed: False if a worker has it already.

    Raises:
        BrokerAway.
    """
    with _connected() as connection, connection.channel() as channel:
        return bool(channel.client.lrem(message.key, 1, message.raw))


@contextmanager
def _connected() -> Iterator[Any]:
    with current_app.connection_for_write() as connection:
        known: Any = (*connection.connection_errors, *connection.channel_errors)
        lost: Any = (OperationalError, OSError, RedisError, *known)
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=ceil(CONNECT_SECONDS))
            yield connection
        except lost as error:
            raise BrokerAway(str(error)) from error


def _look_at(connection: Any, name: str) -> Queue:
    # A queue that is not there closes the channel, so each has its own.
    with connection.channel() as channel:
        if connection.transport.driver_type == "redis":
            pipe = channel.client.pipeline(transaction=False)
            lists = _lists(channel, name)
            for _, key in lists:
                pipe.llen(key)
            sizes = {priority: size for (priority, _), size in zip(lists, pipe.execute(), strict=True) if size}
            return Queue(name, sum(sizes.values()), sizes)
        unknown: Any = connection.channel_errors
        try:
            declared = channel.queue_declare(queue=name, passive=True)
        except unknown:
            return Queue(name, None)
        return Queue(name, declared.message_count, consumers=declared.consumer_count)


def _lists(channel: Any, name: str) -> list[tuple[int, str]]:
    """The lists of a queue, the one that is emptied first in front."""
    return [(priority, channel._q_for_pri(name, priority)) for priority in channel.priority_steps]


def _messages(raws: list[bytes], queue: str, priority: int, key: str) -> list[Message]:
    """The right end of a list is delivered first. What is no Celery task is left out."""
    found = []
    for raw in reversed(raws):
        whole = _decode(raw)
        headers = whole.get("headers") or {}
        if not isinstance(headers, dict) or not headers.get("id") or not headers.get("task"):
            continue
        arguments = redaction.redact(str(headers["task"]), *_arguments_in(whole))
        eta = headers.get("eta")
        found.append(Message(str(headers["id"]), str(headers["task"]), queue, priority, arguments, eta, key, raw))
    return found


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        whole = json.loads(raw)
    except ValueError:
        return {}
    return whole if isinstance(whole, dict) else {}


def _arguments_in(whole: dict[str, Any]) -> tuple[Any, Any]:
    """The body is [args, kwargs, embedded]; of one that is no JSON there is the sender's description."""
    headers = whole.get("headers") or {}
    try:
        body = whole["body"]
        if (whole.get("properties") or {}).get("body_encoding") == "base64":
            body = base64.b64decode(body)
        args, kwargs, _ = json.loads(body)
    except (KeyError, TypeError, ValueError, binascii.Error):
        return headers.get("argsrepr") or [], headers.get("kwargsrepr") or {}
    return args, kwargs
