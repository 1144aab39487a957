"""Reading what really is in a Celery queue, without a worker."""

from __future__ import annotations

from typing import Any

from celery import current_app


def take_messages(queue: str) -> list[dict[str, Any]]:
    """Take every message: task name, arguments and the whole message as text."""
    taken = []
    with current_app.connection_for_read() as connection:
        simple = connection.SimpleQueue(current_app.amqp.queues[queue])
        while True:
            try:
                message = simple.get(block=False)
            except simple.Empty:
                break
            message.ack()
            taken.append(
                {
                    "task": message.headers["task"],
                    "args": message.payload[0],
                    "whole": f"{message.headers} {message.payload}",
                }
            )
        simple.close()
    return taken


def empty_queue(queue: str) -> None:
    take_messages(queue)
