"""Plain tasks, queues and workers over HTTP: a router for the project's API. Each route asks `policy`."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse
from ninja import Field, NinjaAPI, Router, Schema, Status
from ninja.errors import HttpError
from ninja.params.functions import Query
from pydantic import ConfigDict

from celery_tasks import control, errors, policy, representation
from celery_tasks.models import PlainTask
from celery_tasks.policy import Right
from runs.api.problems import problem

router = Router(tags=["tasks"])

PAGE_SIZE, MAX_PAGE_SIZE = 50, 200


class Task(Schema):
    """A Celery task, live or finished. Secrets in its arguments are hidden, and long ones cut."""

    id: str
    name: str
    state: str = Field(description="waiting, reserved, scheduled, running; or success, failure, revoked, retry")
    is_run: bool = Field(description="Its id is a run's: stop and retry the run")
    queue: str
    worker: str
    args: Any
    kwargs: Any
    started_at: datetime | None
    finished_at: datetime | None
    eta: str | None = Field(description="It is not started before")
    seconds: float | None = Field(description="How long it took")
    retries: int | None
    result: Any
    traceback: str | None
    is_retryable: bool


class Tasks(Schema):
    live: list[Task] = Field(description="What waits in the queues and what workers hold")
    silent_workers: list[str] = Field(description="Those that did not answer in time: what they hold is not known")
    shows_waiting: bool = Field(description="False: the broker tells how many wait (`/api/queues`), not which")
    finished: list[Task] = Field(description="The newest first")
    next: int | None = Field(description="`cursor` of the next page of finished tasks")


class Queue(Schema):
    name: str
    waiting: int | None = Field(description="null: the broker does not know the queue yet")
    by_priority: dict[str, int] = Field(description="On Redis; 0 is delivered first")
    consumers: int | None = Field(description="On RabbitMQ")


class Scale(Schema):
    max: int
    min: int


class Worker(Schema):
    hostname: str
    is_stopping: bool
    concurrency: int
    answers: bool = Field(description="False: it lives, but did not answer in time")
    pool: str
    processes: list[int]
    queues: list[str]
    autoscale: Scale | None


class Strict(Schema):
    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, Field(max_length=2_000)] = ""


class CancelTask(Strict):
    terminate: Annotated[bool, Field(description="Also if it runs: end its process")] = False
    kill: Annotated[bool, Field(description="As `terminate`, by SIGKILL")] = False


class RetryTask(Strict):
    pass


class Done(Schema):
    id: str
    done: str = Field(description="What happens now, in words")


class SentAgain(Schema):
    id: str = Field(description="Of the new task")
    retry_of: str


def install(api: NinjaAPI) -> None:
    """The codes of the errors that are not 409, as every other error of the engine."""
    for kind, code, error in (
        ("task-not-found", HTTPStatus.NOT_FOUND, errors.TaskNotFound),
        ("worker-silent", HTTPStatus.SERVICE_UNAVAILABLE, errors.WorkerSilent),
    ):
        api.add_exception_handler(error, _teller(kind, code))


def _teller(kind: str, code: HTTPStatus) -> Any:
    def tell(request: HttpRequest, error: Any) -> HttpResponse:
        return problem(code, kind, str(error))

    return tell


@router.get("/tasks", response=Tasks)
def list_tasks(
    request: HttpRequest,
    name: str | None = None,
    state: str | None = None,
    cursor: Annotated[int | None, Query(description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)] = PAGE_SIZE,
) -> Any:
    """Every Celery task: those that wait or are held by a worker, and those that have finished, by pages.

    With `cursor` only the finished ones. 503 if the broker is away; what has finished is then still at
    `/api/tasks/{id}`.
    """
    _require(request, Right.VIEW)
    finished = PlainTask.objects.order_by("-id")
    if name is not None:
        finished = finished.filter(task_name=name)
    if state is not None:
        finished = finished.filter(status=state.upper())
    if cursor is not None:
        finished = finished.filter(pk__lt=cursor)
    page = cast(list[PlainTask], list(finished[: limit + 1]))
    seen = control.look() if cursor is None else None
    live = [
        task
        for task in (seen.tasks if seen else [])
        if (name is None or task.name == name) and (state is None or task.state == state.lower())
    ]
    return {
        "live": [representation.live_as_json(task) for task in live],
        "silent_workers": seen.silent if seen else [],
        "shows_waiting": seen.shows_waiting if seen else True,
        "finished": [representation.finished_as_json(task) for task in page[:limit]],
        "next": page[limit - 1].pk if len(page) > limit else None,
    }


@router.get("/tasks/{task_id}", response=Task)
def get_task(request: HttpRequest, task_id: str) -> Any:
    """One task, wherever it is."""
    _require(request, Right.VIEW)
    return representation.as_json(control.get(task_id))


@router.post("/tasks/{task_id}/cancel", response={202: Done})
def cancel_task(request: HttpRequest, task_id: str, body: CancelTask | None = None) -> Any:
    """Revoke a task that has not started; with `terminate`, end the process of one that runs.

    409 if it has ended, if it is a run, or if it runs and `terminate` is not set.
    """
    body = body or CancelTask()
    _require(request, Right.REVOKE)
    if body.terminate or body.kill:
        _require(request, Right.TERMINATE)
    user = cast(AbstractBaseUser, request.user)
    done = control.end(task_id, by=user, also_running=body.terminate, kill=body.kill, reason=body.reason)
    return Status(202, {"id": task_id, "done": done})


@router.post("/tasks/{task_id}/retry", response={201: SentAgain})
def retry_task(request: HttpRequest, task_id: str, body: RetryTask | None = None) -> Any:
    """Send a finished plain task again with the same arguments, as a new task.

    409 if it has not finished, is a run, or if some of its arguments were hidden or cut.
    """
    _require(request, Right.RETRY)
    sent = control.retry_by_id(task_id, by=cast(AbstractBaseUser, request.user), reason=(body or RetryTask()).reason)
    return Status(201, {"id": sent, "retry_of": task_id})


@router.get("/queues", response=list[Queue])
def list_queues(request: HttpRequest) -> Any:
    """How many tasks wait in each queue. 503 if the broker is away."""
    _require(request, Right.VIEW)
    return [representation.queue_as_json(queue) for queue in control.list_queues()]


@router.get("/workers", response=list[Worker])
def list_workers(request: HttpRequest) -> Any:
    """The workers that have reported in the last 15 seconds. 503 if the broker is away."""
    _require(request, Right.VIEW)
    return [representation.worker_as_json(worker) for worker in control.list_workers()]


def _require(request: HttpRequest, right: Right) -> None:
    if not policy.may(request.user, right):
        raise HttpError(403, f"This takes the permission {right}; a key also needs the scope admin for it.")
