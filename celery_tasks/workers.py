"""The workers: what they hold, how they are, and what they can be told. Each question has a time limit.

A worker is asked by Celery's remote control; which ones live is known from their heartbeats in the database.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError

from celery_tasks import redaction
from celery_tasks.commands import SHUT_DOWN
from celery_tasks.errors import WorkerRefused, WorkerSilent
from runs import control as runs_control
from runs.connections import RedisError
from runs.errors import BrokerAway

ANSWER_SECONDS = 1.5
CONTROL_SECONDS = 5.0

_AWAY = (OperationalError, OSError, RedisError)
_STATES = {"active": "running", "reserved": "reserved", "scheduled": "scheduled"}


@dataclass(frozen=True)
class HeldTask:
    """A task that a worker has taken: `running`, `reserved` (not started) or `scheduled` (not before a time)."""

    id: str
    name: str
    state: str
    worker: str
    queue: str
    arguments: redaction.Arguments
    started_at: float | None  # seconds since the epoch
    eta: str | None
    pid: int | None


@dataclass(frozen=True)
class WorkerState:
    """A living worker.

    Args:
        answers: whether it answered in time; what follows is then as it says.
        autoscale: its most and least processes, if it was started with `--autoscale`.
    """

    hostname: str
    is_stopping: bool
    concurrency: int
    answers: bool = False
    pool: str = ""
    processes: list[int] = field(default_factory=list)
    queues: list[str] = field(default_factory=list)
    autoscale: tuple[int, int] | None = None


def list_hostnames() -> list[str]:
    """Two workers by mistake of the same name are one for Celery."""
    return sorted({worker.hostname for worker in runs_control.list_workers()})


def list_held() -> tuple[list[HeldTask], list[str]]:
    """What the living workers hold, and which of them did not answer in time.

    A revoked task that has not started is left out: its worker will drop it.

    Raises:
        BrokerAway.
    """
    hostnames = list_hostnames()
    answers = _ask(hostnames, ("active", "reserved", "scheduled", "revoked"))
    revoked = {task_id for ids in answers["revoked"].values() for task_id in ids}
    held: dict[str, HeldTask] = {}
    for question, state in _STATES.items():
        for worker, tasks in answers[question].items():
            for task in tasks:
                found = _as_held(task, state, worker)
                if state == "running" or found.id not in revoked:
                    held.setdefault(found.id, found)
    return list(held.values()), [name for name in hostnames if name not in answers["revoked"]]


def list_workers() -> list[WorkerState]:
    """Every worker that has reported in the last seconds, with what it says of itself.

    Raises:
        BrokerAway.
    """
    known = {worker.hostname: worker for worker in runs_control.list_workers()}
    answers = _ask(sorted(known), ("stats", "active_queues"))
    found = []
    for _, worker in sorted(known.items()):
        stats = answers["stats"].get(worker.hostname)
        queues = answers["active_queues"].get(worker.hostname) or []
        if stats is None:
            found.append(WorkerState(worker.hostname, worker.is_stopping, worker.concurrency))
            continue
        pool, scaler = stats.get("pool") or {}, stats.get("autoscaler")
        found.append(
            WorkerState(
                worker.hostname,
                worker.is_stopping,
                worker.concurrency,
                answers=True,
                pool=str(pool.get("implementation", "")).rpartition(":")[2],
                processes=[int(pid) for pid in pool.get("processes") or []],
                queues=sorted(queue["name"] for queue in queues),
                autoscale=(scaler["max"], scaler["min"]) if scaler else None,
            )
        )
    return found


def tell(hostname: str, command: str, **arguments: Any) -> tuple[str, float]:
    """Send one command to one worker and wait for its answer.

    Returns:
        What it says, and after how many seconds.

    Raises:
        BrokerAway, WorkerSilent, WorkerRefused.
    """
    begun = time.monotonic()
    try:
        replies = current_app.control.broadcast(
            command, arguments=arguments, destination=[hostname], reply=True, timeout=CONTROL_SECONDS, limit=1
        )
    except _AWAY as error:
        raise BrokerAway(str(error)) from error
    answer = next((reply[hostname] for reply in replies or [] if hostname in reply), None)
    if answer is None:
        raise WorkerSilent(hostname, CONTROL_SECONDS)
    if "error" in answer:
        raise WorkerRefused(hostname, str(answer["error"]))
    return str(answer.get("ok", "")), time.monotonic() - begun


def shut_down(hostname: str) -> str:
    """As SIGTERM does: its supervisor stops or hands over its runs, and it ends when they are settled."""
    return tell(hostname, SHUT_DOWN)[0]


def revoke(task_ids: Sequence[str], *, terminate: bool, kill: bool = False) -> None:
    """Tell every worker to drop these tasks; with `terminate`, to end the process of those that run.

    Raises:
        BrokerAway.
    """
    try:
        current_app.control.revoke(list(task_ids), terminate=terminate, signal="SIGKILL" if kill else "SIGTERM")
    except _AWAY as error:
        raise BrokerAway(str(error)) from error


def _ask(hostnames: Sequence[str], questions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The answers to each question by worker. Who leaves one unanswered is not asked the next, so that a silent worker
    costs its time once."""
    answers: dict[str, dict[str, Any]] = {question: {} for question in questions}
    asked = list(hostnames)
    try:
        with current_app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=ceil(ANSWER_SECONDS))
            for question in questions:
                if not asked:
                    break
                inspect = current_app.control.inspect(
                    asked,
                    timeout=ANSWER_SECONDS,
                    connection=connection,
                    limit=len(asked),  # so that it ends with the last answer
                )
                answers[question] = getattr(inspect, question)() or {}
                asked = [worker for worker in asked if worker in answers[question]]
    except _AWAY as error:
        raise BrokerAway(str(error)) from error
    return answers


def _as_held(task: dict[str, Any], state: str, worker: str) -> HeldTask:
    request = task.get("request", task)
    return HeldTask(
        str(request["id"]),
        str(request["name"]),
        state,
        worker,
        str((request.get("delivery_info") or {}).get("routing_key") or ""),
        redaction.redact(str(request["name"]), request.get("args") or [], request.get("kwargs") or {}),
        request.get("time_start"),
        task.get("eta"),
        request.get("worker_pid"),
    )
