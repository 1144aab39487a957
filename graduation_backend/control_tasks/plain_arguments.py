"""The words for plain Celery tasks, queues and workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandParser

ACTIONS = ("tasks", "queues", "retry-task", "tell-worker")
# What can be told to a worker, and what that needs.
ORDERS = {
    "ping": (),
    "grow": ("number",),
    "shrink": ("number",),
    "autoscale": ("most", "least"),
    "add-queue": ("queue",),
    "cancel-queue": ("queue",),
    "shut-down": (),
}


def add_arguments(actions: Any, add: Callable[[Any, str, str], CommandParser]) -> None:
    tasks = add(actions, "tasks", "List every Celery task: waiting, held by workers, and finished ones.")
    tasks.add_argument("--task-id", metavar="ID", help="only this one, with its result and traceback")
    tasks.add_argument("--limit", type=int, default=20, metavar="N", help="the newest N finished ones (default: 20)")

    add(actions, "queues", "Show how many tasks wait in each queue.")

    retry = add(actions, "retry-task", "Send a finished plain task again with its arguments, and print the new id.")
    retry.add_argument("--task-id", required=True, metavar="ID", help="of the finished task")
    retry.add_argument("--reason", default="", metavar="TEXT", help="kept in the log")

    tell = add(actions, "tell-worker", "Ping a worker, change its pool or its queues, or shut it down gracefully.")
    tell.add_argument("hostname", metavar="WORKER", help="its name, such as celery@box")
    tell.add_argument("order", choices=ORDERS, metavar="ORDER", help="one of: %(choices)s")
    tell.add_argument("--number", type=int, default=1, metavar="N", help="processes, for grow and shrink (default: 1)")
    tell.add_argument("--most", type=int, metavar="N", help="processes, for autoscale")
    tell.add_argument("--least", type=int, metavar="N", help="processes, for autoscale")
    tell.add_argument("--queue", metavar="Q", help="for add-queue and cancel-queue")
    tell.add_argument("--reason", default="", metavar="TEXT", help="kept in the log")
