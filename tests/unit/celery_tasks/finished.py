"""Finished tasks as a worker leaves them, through the real backend."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from celery import current_app
from celery.app.task import Context

from celery_tasks.models import PlainTask


def finish(
    *args: Any,
    name: str = "authentication.tasks.send_welcome_email",
    error: Exception | None = None,
    result: Any = None,
    **kwargs: Any,
) -> PlainTask:
    task_id = str(uuid4())
    request = Context(
        id=task_id,
        task=name,
        args=list(args),
        kwargs=kwargs,
        hostname="celery@box",
        delivery_info={"routing_key": "email"},
    )
    if error is None:
        current_app.backend.store_result(task_id, result, "SUCCESS", request=request)
    else:
        current_app.backend.store_result(task_id, error, "FAILURE", traceback=f"Boom\n{error}", request=request)
    return PlainTask.objects.get(task_id=task_id)  # type: ignore[return-value]
