"""The only module that talks to Celery's control and broker, and that rings doorbells.

A message carries a run's id and nothing else. Losing one, or sending it twice, changes nothing but the delay.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from celery import current_app
from django.utils import timezone
from kombu.exceptions import OperationalError

from runs.connections import STOP_CHANNEL, RedisError, redis_client
from runs.models import PRIORITY_RANGE, Run

logger = logging.getLogger(__name__)

EXECUTE_TASK = "runs.tasks.execute_run"

# A stale connection fails once; a broker that is away must not hold the caller.
PUBLISH_RETRY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2}


def ring(run_ids: Iterable[UUID]) -> None:
    """Tell the workers that runs are queued. A doorbell that is lost is rung again by a supervisor."""
    for run in Run.objects.filter(id__in=list(run_ids)).only("id", "graph", "task", "queue", "priority"):
        ring_one(run)


def ring_one(run: Run) -> None:
    try:
        current_app.send_task(
            run.task,
            task_id=str(run.id),
            queue=run.queue,
            priority=_broker_priority(run.priority),
            argsrepr=f"({run.graph})",
            ignore_result=True,
            retry=True,
            retry_policy=PUBLISH_RETRY,
        )
    except (OperationalError, OSError) as error:
        logger.warning("the broker did not take run %s, it is rung again later: %s", run.id, error)
        return
    Run.objects.filter(id=run.id).update(rung_at=timezone.now())


def _broker_priority(priority: int) -> int:
    """Higher is sooner for us and for RabbitMQ; on Redis zero is first."""
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


# --- plain Celery tasks -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CeleryTask:
    """A task that a worker holds: active, reserved (taken from the broker, not started) or scheduled (has an ETA)."""

    id: str
    name: str
    state: str
    worker: str
    args: str
    started_at: float | None  # seconds since the epoch


def list_celery_tasks(timeout_seconds: float = 1.0) -> list[CeleryTask]:
    """What the workers that answer in time say they hold; empty when the broker is away."""
    inspect = current_app.control.inspect(timeout=timeout_seconds)
    found: list[CeleryTask] = []
    for state in ("active", "reserved", "scheduled"):
        try:
            answers = getattr(inspect, state)() or {}
        except (OperationalError, OSError) as error:
            logger.warning("the broker is away, Celery's tasks are not listed: %s", error)
            return found
        for worker, tasks in answers.items():
            found.extend(_as_task(state, worker, task) for task in tasks)
    return found


def _as_task(state: str, worker: str, task: dict[str, Any]) -> CeleryTask:
    request = task.get("request", task)
    arguments = f"{request.get('args') or ''}{request.get('kwargs') or ''}"
    return CeleryTask(
        request["id"], request["name"], state, worker, arguments[:200], request.get("time_start")
    )


def find_celery_task(task_id: str) -> CeleryTask | None:
    return next((task for task in list_celery_tasks() if task.id == task_id), None)


def revoke(task_id: str, *, kill: bool) -> None:
    """End a plain Celery task: dropped if it has not started, otherwise its process is terminated."""
    current_app.control.revoke(task_id, terminate=True, signal="SIGKILL" if kill else "SIGTERM")
