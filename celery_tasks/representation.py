"""Tasks, queues and workers as JSON, the same for the API and the command line."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from celery_tasks import control, redaction
from celery_tasks.broker import Queue
from celery_tasks.control import LiveTask
from celery_tasks.models import PlainTask
from celery_tasks.workers import WorkerState

SHOWN_CHARACTERS = 20_000  # of a result or a traceback


def as_json(task: LiveTask | PlainTask) -> dict[str, Any]:
    return live_as_json(task) if isinstance(task, LiveTask) else finished_as_json(task)


def live_as_json(task: LiveTask) -> dict[str, Any]:
    return {
        "id": task.id,
        "name": task.name,
        "state": task.state,
        "is_run": task.is_run,
        "queue": task.queue,
        "worker": task.worker,
        "args": task.arguments.args,
        "kwargs": task.arguments.kwargs,
        "started_at": moment(task.started_at),
        "finished_at": None,
        "eta": task.eta,
        "seconds": None,
        "retries": None,
        "result": None,
        "traceback": None,
        "is_retryable": False,
    }


def finished_as_json(task: PlainTask) -> dict[str, Any]:
    kept, meta = control.arguments_of(task), control.meta_of(task)
    return {
        "id": task.task_id,
        "name": task.task_name or "",
        "state": task.status.lower(),
        "is_run": False,
        "queue": meta.get("queue") or "",
        "worker": getattr(task, "worker", None) or "",
        "args": kept.args,
        "kwargs": kept.kwargs,
        "started_at": moment(meta.get("began_at")),
        "finished_at": task.date_done.isoformat() if task.date_done else None,
        "eta": None,
        "seconds": meta.get("seconds"),
        "retries": meta.get("retries"),
        "result": result_of(task),
        "traceback": task.traceback[-SHOWN_CHARACTERS:] if task.traceback else None,
        "is_retryable": not control.why_not_retryable(task),
    }


def queue_as_json(queue: Queue) -> dict[str, Any]:
    return {**asdict(queue), "by_priority": {str(priority): size for priority, size in queue.by_priority.items()}}


def worker_as_json(worker: WorkerState) -> dict[str, Any]:
    scale = worker.autoscale
    return {**asdict(worker), "autoscale": {"max": scale[0], "min": scale[1]} if scale else None}


def result_of(task: PlainTask) -> Any:
    """What the task returned or raised, without secrets, and cut if it is long."""
    value = control.loaded(task.result)
    shown = redaction.redact_value(value)
    return redaction.cut(shown, SHOWN_CHARACTERS)[0]


def moment(seconds: float | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None
