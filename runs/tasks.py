"""Celery's side of a run: the task that carries its doorbell, and the base for tasks that are runs themselves."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery import Task, shared_task
from celery.result import AsyncResult

from runs import control, dispatch, executions
from runs.errors import InputRefused
from runs.models import Run
from runs.worker import TerminationHeld, current_link


def _execute(run_id: UUID) -> None:
    with TerminationHeld(run_id):
        executions.execute(run_id, current_link())


@shared_task(name=dispatch.EXECUTE_TASK, bind=True, acks_late=False, ignore_result=True)
def execute_run(self: Task[Any, Any]) -> None:
    """Execute the run whose id is this task's id; does nothing if it is not queued (any more)."""
    _execute(UUID(self.request.id))


# What Celery's beat and canvas hand over to send a message with: a run has its own way.
PLUMBING = frozenset({"connection", "ignore_result", "publisher", "shadow"})


class GraphTask(Task):  # type: ignore[type-arg]
    """A Celery task that is a run of a graph: its body makes the graph's input from its arguments.

    `delay` and `apply_async` submit the run, so that it is listed and can be cancelled before a worker has seen
    it; the task's id is the run's. Sent by name (`send_task`), the run begins to exist when a worker takes it.
    """

    abstract = True
    acks_late = False
    ignore_result = True
    graph: str = ""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        run_id = _as_run_id(str(self.request.id))
        if control.find(run_id) is None:
            self.submit(*args, run_id=run_id, ring=False, **kwargs)
        _execute(run_id)

    def apply_async(  # type: ignore[override]
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        asked = {**options, "link": link, "link_error": link_error}
        asked = {name: value for name, value in asked.items() if value is not None and name not in PLUMBING}
        known = {name: asked.pop(name) for name in ("priority", "queue") if name in asked}
        if asked:
            raise InputRefused(f"{', '.join(asked)}: a run has no such option, allowed are task_id, priority and queue")
        run_id = _as_run_id(task_id) if task_id else None
        run = self.submit(*(args or ()), run_id=run_id, **known, **(kwargs or {}))
        result: AsyncResult[Any] = self.AsyncResult(str(run.id))
        return result

    def submit(self, *args: Any, run_id: UUID | None = None, ring: bool = True, **kwargs: Any) -> Run:
        """Submit the run of these arguments and return it. Override it for an owner, metadata and the like."""
        options = {name: kwargs.pop(name) for name in ("priority", "queue") if name in kwargs}
        return control.submit(
            self.graph, self.run(*args, **kwargs), run_id=run_id, task=self.name, ring=ring, **options
        )


def _as_run_id(task_id: str) -> UUID:
    try:
        return UUID(task_id)
    except ValueError:
        raise InputRefused(f"task_id is {task_id!r}, allowed is a UUID: a run's id is its task's id") from None
