"""Celery's result backend: django-celery-results, with arguments that are fit to be kept.

Only tasks whose results are not ignored come here, so no run does: its state is in its own table.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django_celery_results.backends import DatabaseBackend

from celery_tasks import redaction
from runs.forking import database

MOST_OF_TRACEBACK = 100_000  # characters, the last ones

_forking_process: int | None = None


def note_forking_process(**_: Any) -> None:
    """In a worker's MainProcess, which stores what its children can't: a revoked task, a lost process."""
    global _forking_process
    _forking_process = os.getpid()


def note_begin(task: Any = None, **_: Any) -> None:
    """Celery tells when a task begins; only a row that `track_started` writes would keep it."""
    if task is not None:
        task.request.begun_at = time.time()


class PlainTaskBackend(DatabaseBackend):  # type: ignore[misc]
    def _store_result(self, *args: Any, **kwargs: Any) -> Any:
        with _connection_kept_out_of_forks():
            return super()._store_result(*args, **kwargs)

    def _get_extended_properties(self, request: Any, traceback: Any) -> dict[str, Any]:
        found: dict[str, Any] = super()._get_extended_properties(request, traceback)
        if found["task_name"] is not None:
            kept = _arguments_of(request)
            found["task_args"], found["task_kwargs"] = json.dumps(kept.args), json.dumps(kept.kwargs)
        elif request is not None:  # what a worker keeps of a task that it does not know
            found["task_name"] = getattr(request, "name", None)
        if found["traceback"]:
            found["traceback"] = redaction.redact_text(str(found["traceback"])[-MOST_OF_TRACEBACK:])
        return found

    def _get_meta_from_request(self, request: Any = None) -> dict[str, Any]:
        own: dict[str, Any] = super()._get_meta_from_request(request) or {}
        if request is None or getattr(request, "task", None) is None:
            return own
        begun_at = getattr(request, "begun_at", None)
        return {
            **own,
            "is_complete": _arguments_of(request).is_complete,
            "queue": (getattr(request, "delivery_info", None) or {}).get("routing_key"),
            "retries": getattr(request, "retries", 0),
            "began_at": begun_at,
            "seconds": round(time.time() - begun_at, 3) if begun_at else None,
        }


def _arguments_of(request: Any) -> redaction.Arguments:
    return redaction.redact(request.task, getattr(request, "args", None) or [], getattr(request, "kwargs", None) or {})


def _connection_kept_out_of_forks() -> AbstractContextManager[None]:
    return database() if os.getpid() == _forking_process else nullcontext()
