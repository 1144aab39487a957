"""The Celery app, and the three functions that tell and control what graphs run.

The functions ask the database through `runs.control`, so they give the same answer in every process: a worker,
Daphne, a shell. A process-wide dictionary, which each process would see differently, is what they replace.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from celery.signals import celeryd_init

from celery_tasks import worker as tasks_worker
from graduation_backend import startup
from runs import worker as runs_worker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "graduation_backend.settings")
startup.show_wrong_environment_in_one_line()

app = Celery("graduation_backend")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
runs_worker.install(app)
tasks_worker.install(app)


@celeryd_init.connect
def _prepare_worker(**_signal: Any) -> None:
    _ensure_django()
    startup.refuse_wrong_limits()
    startup.refuse_unmigrated_database()
    startup.start_embedded_redis()


def get_active_graphs() -> dict[str, dict[str, Any]]:
    """Every run that has not ended, by its id (also its Celery task id), as the JSON form of a run."""
    _ensure_django()
    from runs import control, representation

    return {str(run.id): representation.as_json(run) for run in control.list_active()}


def cancel_graph_execution(execution_id: str, reason: str = "") -> bool:
    """Ask one run and its children to stop.

    Returns:
        True if the run will end as cancelled (now or from an earlier call), False if it had already ended or
        there is no such run.
    """
    _ensure_django()
    from runs import control, errors

    try:
        control.cancel(execution_id, source="api", reason=reason)
    except (errors.RunAlreadyEnded, errors.RunNotFound):
        return False
    return True


def cancel_all_graphs(reason: str = "") -> list[str]:
    """Ask every active run to stop, and return the ids of those that this call reached."""
    _ensure_django()
    from runs import control

    return [str(run_id) for run_id in control.cancel_all(source="api", reason=reason).reached]


def _ensure_django() -> None:
    """Let the functions work in a plain script too, before `django.setup()`."""
    import django
    from django.apps import apps

    if not apps.ready:
        django.setup()
