"""What a worker does for plain tasks: it can be told to end, notes when tasks begin, and deletes old results."""

from __future__ import annotations

import logging
import threading
from contextlib import nullcontext
from typing import Any

from celery import Celery, signals

logger = logging.getLogger(__name__)

CLEAN_EVERY_SECONDS = 3_600.0
BATCH = 500  # rows that are deleted at once, so that nobody waits long


def install(app: Celery) -> None:
    """Called where the Celery app is made; Django need not be ready yet."""
    signals.worker_init.connect(_prepare, weak=False)
    signals.worker_ready.connect(_begin_cleaning, weak=False)


def _prepare(**_: Any) -> None:
    from celery_tasks import backend, commands  # noqa: F401

    backend.note_forking_process()
    signals.task_prerun.connect(backend.note_begin, weak=False)


def _begin_cleaning(**_: Any) -> None:
    threading.Thread(target=_clean_for_ever, name="celery-tasks-cleaning", daemon=True).start()


def _clean_for_ever() -> None:
    pause = threading.Event()
    while True:
        try:
            delete_expired()
        except Exception:
            logger.exception("Old results of Celery tasks could not be deleted; tried again in an hour.")
        pause.wait(CLEAN_EVERY_SECONDS)


def delete_expired(*, closing: bool = True) -> int:
    """Delete the results that are older than `TASKS_KEEP_DAYS`, in small steps; returns how many.

    Args:
        closing: this process forks, so it leaves no database connection open.
    """
    from django.utils import timezone
    from django_celery_results.models import TaskResult

    from celery_tasks import conf
    from runs.forking import database

    before = timezone.now() - conf.keep_results()
    total = 0
    while True:
        with database() if closing else nullcontext():
            old = list(TaskResult.objects.filter(date_done__lt=before).values_list("pk", flat=True)[:BATCH])
            TaskResult.objects.filter(pk__in=old).delete()
        total += len(old)
        if len(old) < BATCH:
            return total
