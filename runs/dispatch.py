"""The only module that talks to Celery's control and broker, and that rings doorbells.

A message carries a run's id and nothing else. Losing one, or sending it twice, changes nothing but the delay.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any
from uuid import UUID

from celery import current_app
from django.utils import timezone
from kombu.exceptions import OperationalError

from runs.connections import STOP_CHANNEL, RedisError, redis_client
from runs.errors import BrokerAway
from runs.models import PRIORITY_RANGE, Run

logger = logging.getLogger(__name__)

EXECUTE_TASK = "runs.tasks.execute_run"

_RUNG = ("id", "graph", "task", "queue", "priority", "attempt", "not_before")

CLOCK_SECONDS = 0.05  # a doorbell that rings a moment too early is lost

# A stale connection fails once; a broker that is away must not hold the caller.
PUBLISH_RETRY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2}


def ring(run_ids: Iterable[UUID]) -> None:
    """Tell the workers that runs are queued, and note when. A doorbell that is lost is rung again by a supervisor."""
    Run.objects.filter(id__in=list(run_ids)).update(rung_at=timezone.now())
    for run in Run.objects.filter(id__in=list(run_ids)).only(*_RUNG):
        ring_one(run)


def ring_one(run: Run) -> None:
    try:
        current_app.send_task(
            run.task,
            task_id=str(run.id),
            queue=run.queue,
            priority=_broker_priority(run),
            countdown=_seconds_to_wait(run),
            argsrepr=f"({run.graph})",
            ignore_result=True,
            retry=True,
            retry_policy=PUBLISH_RETRY,
        )
    except (OperationalError, OSError) as error:
        logger.warning("the broker did not take run %s, it is rung again later: %s", run.id, error)
        Run.objects.filter(id=run.id).update(rung_at=None)


def _seconds_to_wait(run: Run) -> float | None:
    """How long the worker that takes the message holds it back; None is not at all."""
    seconds = (run.not_before - timezone.now()).total_seconds() if run.not_before else 0.0
    return seconds + CLOCK_SECONDS if seconds > 0 else None


def _broker_priority(run: Run) -> int:
    """Higher is sooner for us and for RabbitMQ; on Redis zero is first.

    What was begun is finished first: a run that goes on overtakes its equals that have not begun.
    """
    priority = min(run.priority + (1 if run.attempt else 0), PRIORITY_RANGE[-1])
    is_amqp = str(current_app.conf.broker_url).startswith("amqp")
    return priority if is_amqp else PRIORITY_RANGE[-1] - priority


def ring_stops(run_ids: Sequence[UUID], reason: str = "") -> None:
    """Tell every supervisor that these runs have a stop requested. Without Redis they find it within a second."""
    if not run_ids:
        return
    try:
        message = {"runs": [str(run_id) for run_id in run_ids], "reason": reason}
        redis_client().publish(STOP_CHANNEL, json.dumps(message))
    except RedisError as error:
        logger.warning("Redis is away, %d stops are found by polling: %s", len(run_ids), error)


def ring_look() -> None:
    """Tell every supervisor to look at the database now."""
    try:
        redis_client().publish(STOP_CHANNEL, json.dumps({"runs": [], "reason": ""}))
    except RedisError as error:
        logger.warning("Redis is away, supervisors look by themselves: %s", error)


# --- plain Celery tasks -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CeleryTask:
    """A task that a worker holds: active, reserved (taken from the broker, not started) or scheduled (has an
    ETA)."""

    id: str
    name: str
    state: str
    worker: str
    args: str
    started_at: float | None  # seconds since the epoch
    eta: str | None = None  # ISO 8601; only of a scheduled task


def list_celery_tasks(workers: Sequence[str], timeout_seconds: float = 1.0) -> list[CeleryTask]:
    """What those workers hold, runs among them; who does not answer in time is left out.

    A revoked task that has not started is left out, too: its worker will drop it.

    Args:
        workers: Celery's node names; without any, nobody is asked, only whether the broker is there.

    Raises:
        BrokerAway.
    """
    ends = time.monotonic() + timeout_seconds
    try:
        with current_app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=ceil(timeout_seconds))
            answers: dict[str, dict[str, Any]] = {}
            asked = list(workers)
            for question in ("active", "reserved", "scheduled", "revoked"):
                if not asked:
                    break
                inspect = current_app.control.inspect(
                    asked,
                    timeout=max(ends - time.monotonic(), 0.1),
                    connection=connection,
                    limit=len(asked),  # so that it ends with the last answer
                )
                answers[question] = getattr(inspect, question)() or {}
                asked = [worker for worker in asked if worker in answers[question]]
    except (OperationalError, OSError, RedisError) as error:
        raise BrokerAway(str(error)) from error
    revoked = {task_id for ids in answers.get("revoked", {}).values() for task_id in ids}
    tasks = [
        _as_task(state, worker, task)
        for state in ("active", "reserved", "scheduled")
        for worker, held in answers.get(state, {}).items()
        for task in held
    ]
    return [task for task in tasks if task.state == "active" or task.id not in revoked]


def _as_task(state: str, worker: str, task: dict[str, Any]) -> CeleryTask:
    request = task.get("request", task)
    arguments = f"{request.get('args') or ''}{request.get('kwargs') or ''}"
    return CeleryTask(
        request["id"],
        request["name"],
        state,
        worker,
        arguments[:200],
        request.get("time_start"),
        task.get("eta"),
    )


def list_pool(worker: str, timeout_seconds: float = 2.0) -> list[int]:
    """The processes of one worker's prefork pool; none if it does not answer in time.

    Raises:
        BrokerAway.
    """
    try:
        answer: dict[str, Any] = current_app.control.inspect([worker], timeout=timeout_seconds, limit=1).stats() or {}
    except (OperationalError, OSError, RedisError) as error:
        raise BrokerAway(str(error)) from error
    pool: dict[str, Any] = answer[worker]["pool"] if worker in answer else {}
    return [int(pid) for pid in pool.get("processes", [])]


def list_versions(workers: Sequence[str], timeout_seconds: float = 2.0) -> dict[str, str]:
    """The versions of Celery and Python that workers have, by node name; who does not answer in time is left out.

    Raises:
        BrokerAway.
    """
    if not workers:
        return {}
    try:
        inspect = current_app.control.inspect(list(workers), timeout=timeout_seconds, limit=len(workers))
        answers: dict[str, Any] = inspect.report() or {}
    except (OperationalError, OSError, RedisError) as error:
        raise BrokerAway(str(error)) from error
    return {worker: _version(str(answer.get("ok", ""))) for worker, answer in answers.items()}


def _version(report: str) -> str:
    # Celery's bug report begins: software -> celery:5.7.0 (…) kombu:5.6.0 py:3.11.2
    found = dict(re.findall(r"\b(celery|py):(\S+)", report))
    return ", ".join(f"{name} {found[key]}" for key, name in (("celery", "Celery"), ("py", "Python")) if key in found)


def revoke(task_ids: Sequence[str], *, kill: bool) -> None:
    """End plain Celery tasks: dropped if they have not started, otherwise their processes are terminated.

    Raises:
        BrokerAway.
    """
    try:
        current_app.control.revoke(list(task_ids), terminate=True, signal="SIGKILL" if kill else "SIGTERM")
    except (OperationalError, OSError, RedisError) as error:
        raise BrokerAway(str(error)) from error
