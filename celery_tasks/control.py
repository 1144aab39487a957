"""Use cases: see every plain task, end it, send it again; see and change workers. Surfaces call this.

Who may do what is asked of `policy` by the surfaces; what was done is noted here, in the admin's history with the
person's name, and in the log.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from celery import current_app, states
from celery.app.task import Context
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.contenttypes.models import ContentType
from kombu.exceptions import OperationalError

from celery_tasks import broker, workers
from celery_tasks.broker import Message, Queue
from celery_tasks.commands import GROW
from celery_tasks.errors import (
    QueueUnknown,
    TaskAlreadyEnded,
    TaskIsRun,
    TaskIsRunning,
    TaskNotFound,
    TaskNotRetryable,
    TaskNotRunning,
    WorkerSilent,
)
from celery_tasks.models import PlainTask
from celery_tasks.redaction import Arguments
from celery_tasks.workers import HeldTask, WorkerState
from runs.connections import RedisError
from runs.dispatch import PUBLISH_RETRY
from runs.errors import BrokerAway
from runs.inputs import find_uuid
from runs.models import Run

logger = logging.getLogger(__name__)

WAITING, RUNNING = "waiting", "running"
SHOWN_OF_QUEUE = 50  # messages
RETRYABLE = frozenset({states.SUCCESS, states.FAILURE, states.REVOKED})
MOST_PROCESSES = 64  # by which a pool is changed at once


@dataclass(frozen=True)
class LiveTask:
    """A task that has not ended: `waiting` in the broker, or held by a worker.

    Args:
        is_run: its id is a run's; it is looked at and stopped as that.
    """

    id: str
    name: str
    state: str
    queue: str
    worker: str
    arguments: Arguments
    started_at: float | None = None
    eta: str | None = None
    is_run: bool = False
    pid: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """What the broker and the workers hold at one moment; a task may be seen twice while it moves.

    Args:
        silent: the living workers that did not answer in time.
        shows_waiting: whether the broker can show which tasks wait, not only how many.
    """

    tasks: list[LiveTask]
    queues: list[Queue]
    silent: list[str]
    shows_waiting: bool


# --- looking ----------------------------------------------------------------------------------------------


def look() -> Snapshot:
    """Everything that has not ended, what runs first.

    Raises:
        BrokerAway.
    """
    names = broker.list_queue_names()
    held, silent = workers.list_held()
    waiting = broker.list_messages(names, most=SHOWN_OF_QUEUE)
    tasks = _with_runs_marked([*map(_of_held, held), *map(_of_message, waiting)])
    order = {RUNNING: 0, "reserved": 1, "scheduled": 2, WAITING: 3}
    tasks.sort(key=lambda task: order[task.state])
    return Snapshot(tasks, broker.list_queues(names), silent, broker.shows_messages())


def list_queues() -> list[Queue]:
    return broker.list_queues(broker.list_queue_names())


def list_workers() -> list[WorkerState]:
    return workers.list_workers()


def find_live(task_id: str) -> LiveTask | None:
    """A task that waits in Redis or is held by a worker that answers.

    Raises:
        BrokerAway.
    """
    message = broker.find_message(broker.list_queue_names(), task_id)
    if message is not None:
        return _with_runs_marked([_of_message(message)])[0]
    held = next((task for task in workers.list_held()[0] if task.id == task_id), None)
    return _with_runs_marked([_of_held(held)])[0] if held is not None else None


def find_finished(task_id: str) -> PlainTask | None:
    found: PlainTask | None = PlainTask.objects.filter(task_id=task_id).first()  # type: ignore[assignment]
    return found


def get(task_id: str) -> LiveTask | PlainTask:
    """A task wherever it is. One that will be tried again is live, though an earlier try of it has failed.

    Raises:
        TaskNotFound, BrokerAway.
    """
    finished = find_finished(task_id)
    if finished is not None and finished.status in states.READY_STATES:
        return finished
    found = find_live(task_id) or finished or find_finished(task_id)
    if found is None:
        raise TaskNotFound(task_id)
    return found


# --- ending -----------------------------------------------------------------------------------------------


def revoke(task_id: str, *, by: AbstractBaseUser | None, reason: str = "") -> str:
    """See to it that a task that has not started never does; returns in words how.

    Race: a task that a worker starts meanwhile goes on; it is not terminated.

    Raises:
        TaskNotFound, TaskIsRun, TaskIsRunning, TaskAlreadyEnded, BrokerAway.
    """
    _refuse_run(task_id)
    message = broker.find_message(broker.list_queue_names(), task_id)
    if message is not None and broker.remove(message):
        _store_revoked(message)
        said = "It was taken out of its queue."
        _note(by, task_id, message.name, "Revoked", reason)
        return said
    task = _live(task_id)
    if task.state == RUNNING:
        raise TaskIsRunning(task_id)
    workers.revoke([task_id], terminate=False)
    _note(by, task_id, task.name, "Revoked", reason)
    return f"Worker {task.worker} drops it when its turn comes."


def revoke_unseen(task_id: str, *, by: AbstractBaseUser | None, reason: str = "") -> str:
    """Tell every worker to drop a task that can't be seen, because it waits in a broker that shows none.

    Raises:
        TaskNotFound: the broker shows what waits, and it is not there.
        TaskIsRun, BrokerAway.
    """
    _refuse_run(task_id)
    if broker.shows_messages():
        raise TaskNotFound(task_id)
    workers.revoke([task_id], terminate=False)
    _note(by, task_id, "", "Revoked", reason)
    return "Every worker was told to drop it; one that is started later does not know."


def terminate(task_id: str, *, by: AbstractBaseUser | None, reason: str = "", kill: bool = False) -> str:
    """End the process that runs a task; its pool starts another. Returns in words what was done.

    Raises:
        TaskNotFound, TaskIsRun, TaskNotRunning, TaskAlreadyEnded, BrokerAway.
    """
    _refuse_run(task_id)
    task = _live(task_id)
    if task.state != RUNNING:
        raise TaskNotRunning(task_id, task.state)
    workers.revoke([task_id], terminate=True, kill=kill)
    signal = "SIGKILL" if kill else "SIGTERM"
    _note(by, task_id, task.name, f"Terminated ({signal})", reason)
    return f"Its process on {task.worker} got {signal}; the pool starts another."


def end(task_id: str, *, by: AbstractBaseUser | None, also_running: bool, kill: bool = False, reason: str = "") -> str:
    """Revoke a task that has not started, or terminate it if it runs and that is asked for.

    Raises:
        TaskNotFound, TaskIsRun, TaskIsRunning, TaskAlreadyEnded, BrokerAway.
    """
    try:
        return revoke(task_id, by=by, reason=reason)
    except TaskIsRunning:
        if not also_running and not kill:
            raise
        return terminate(task_id, by=by, reason=reason, kill=kill)
    except TaskNotFound:
        return revoke_unseen(task_id, by=by, reason=reason)


def retry_by_id(task_id: str, *, by: AbstractBaseUser | None, reason: str = "") -> str:
    """As `retry`.

    Raises:
        TaskNotFound, TaskNotRetryable, TaskIsRun, BrokerAway.
    """
    _refuse_run(task_id)
    task = find_finished(task_id)
    if task is None:
        live = find_live(task_id)
        if live is None:
            raise TaskNotFound(task_id)
        raise TaskNotRetryable(task_id, f"it has not ended, it is {live.state}")
    return retry(task, by=by, reason=reason)


def retry(task: PlainTask, *, by: AbstractBaseUser | None, reason: str = "") -> str:
    """Send a finished task again with the same arguments, and return the new task's id.

    Raises:
        TaskNotRetryable, TaskIsRun, BrokerAway.
    """
    _refuse_run(task.task_id)
    refusal = why_not_retryable(task)
    if refusal:
        raise TaskNotRetryable(task.task_id, refusal)
    queue = meta_of(task).get("queue")
    known = queue if queue in current_app.amqp.queues else None
    try:
        sent = current_app.send_task(
            task.task_name,
            args=loaded(task.task_args),
            kwargs=loaded(task.task_kwargs),
            **({"queue": known} if known else {}),
            retry=True,
            retry_policy=PUBLISH_RETRY,
        )
    except (OperationalError, OSError, RedisError) as error:
        raise BrokerAway(str(error)) from error
    _note(by, task.task_id, task.task_name or "", f"Sent again as task {sent.id}", reason)
    return str(sent.id)


def why_not_retryable(task: PlainTask) -> str:
    """In words; empty if it can be sent again."""
    if task.status not in RETRYABLE:
        return f"it has not ended, it is {task.status}"
    if not task.task_name or not isinstance(loaded(task.task_args), list):
        return "its arguments were not kept"
    if not meta_of(task).get("is_complete"):
        return "some of its arguments were hidden or cut, and are not known any more"
    return ""


def meta_of(task: PlainTask) -> dict[str, Any]:
    """What our backend keeps beside the result: queue, retries, when it began, how long it took."""
    meta = loaded(task.meta)
    return meta if isinstance(meta, dict) else {}


def arguments_of(task: PlainTask) -> Arguments:
    return Arguments(loaded(task.task_args), loaded(task.task_kwargs), bool(meta_of(task).get("is_complete")))


def loaded(text: str | None) -> Any:
    """The JSON of a column; None for none, and for what is none."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


# --- workers ----------------------------------------------------------------------------------------------


def ping(hostname: str, *, by: AbstractBaseUser | None, reason: str = "") -> str:
    _, seconds = _tell(hostname, "ping")
    return f"{hostname} answered after {seconds * 1_000:.0f} ms."


def grow(hostname: str, number: int, *, by: AbstractBaseUser | None, reason: str = "") -> str:
    return _change(hostname, GROW, by, reason, f"Grew the pool by {number}", n=_few(number))


def shrink(hostname: str, number: int, *, by: AbstractBaseUser | None, reason: str = "") -> str:
    """Processes that are busy stay."""
    return _change(hostname, "pool_shrink", by, reason, f"Shrank the pool by {number}", n=_few(number))


def autoscale(hostname: str, most: int, least: int, *, by: AbstractBaseUser | None, reason: str = "") -> str:
    """Only for a worker that was started with `--autoscale`."""
    what = f"Set autoscale to {least}–{most}"
    return _change(hostname, "autoscale", by, reason, what, max=_few(most), min=min(max(least, 0), most))


def add_queue(hostname: str, queue: str, *, by: AbstractBaseUser | None, reason: str = "") -> str:
    """Let a worker consume from one more of the project's queues."""
    _refuse_unknown_queue(queue)
    return _change(hostname, "add_consumer", by, reason, f"Consumes from {queue}", queue=queue)


def cancel_queue(hostname: str, queue: str, *, by: AbstractBaseUser | None, reason: str = "") -> str:
    _refuse_unknown_queue(queue)
    return _change(hostname, "cancel_consumer", by, reason, f"Consumes no more from {queue}", queue=queue)


def shut_down(hostname: str, *, by: AbstractBaseUser | None, reason: str = "") -> str:
    """End a worker as SIGTERM does: its runs are stopped or handed over first.

    Raises:
        BrokerAway, WorkerSilent.
    """
    _refuse_unknown_worker(hostname)
    said = workers.shut_down(hostname)
    _note(by, hostname, hostname, "Told the worker to shut down", reason)
    return f"{hostname}: {said}."


def _change(hostname: str, command: str, by: AbstractBaseUser | None, reason: str, what: str, **arguments: Any) -> str:
    said, _ = _tell(hostname, command, **arguments)
    _note(by, hostname, hostname, what, reason)
    return f"{hostname}: {said}."


def _tell(hostname: str, command: str, **arguments: Any) -> tuple[str, float]:
    _refuse_unknown_worker(hostname)
    return workers.tell(hostname, command, **arguments)


def _refuse_unknown_worker(hostname: str) -> None:
    if hostname not in workers.list_hostnames():
        raise WorkerSilent(hostname, 15)


def _refuse_unknown_queue(queue: str) -> None:
    known = broker.list_queue_names()
    if queue not in known:
        raise QueueUnknown(queue, known)


def _few(number: int) -> int:
    return min(max(number, 1), MOST_PROCESSES)


# --- parts ------------------------------------------------------------------------------------------------


def _live(task_id: str) -> LiveTask:
    finished = find_finished(task_id)
    if finished is not None and finished.status in states.READY_STATES:
        raise TaskAlreadyEnded(task_id, finished.status)
    task = find_live(task_id)
    if task is None:
        raise TaskNotFound(task_id)
    return task


def _store_revoked(message: Message) -> None:
    """What its worker would have stored, had it got the task and dropped it."""
    args, kwargs = message.raw_arguments
    request = Context(
        id=message.id,
        task=message.name,
        args=args,
        kwargs=kwargs,
        delivery_info={"routing_key": message.queue},
    )
    current_app.backend.mark_as_revoked(message.id, "revoked before a worker took it", request=request)


def _refuse_run(task_id: str) -> None:
    key = find_uuid(task_id)
    if key is not None and Run.objects.filter(pk=key).exists():
        raise TaskIsRun(task_id)


def _with_runs_marked(tasks: Iterable[LiveTask]) -> list[LiveTask]:
    found = list(tasks)
    keys = {task.id: key for task in found if (key := find_uuid(task.id)) is not None}
    runs = set(Run.objects.filter(id__in=keys.values()).values_list("id", flat=True))
    return [task if keys.get(task.id) not in runs else LiveTask(**{**vars(task), "is_run": True}) for task in found]


def _of_held(task: HeldTask) -> LiveTask:
    return LiveTask(
        task.id,
        task.name,
        task.state,
        task.queue,
        task.worker,
        task.arguments,
        started_at=task.started_at,
        eta=task.eta,
        pid=task.pid,
    )


def _of_message(message: Message) -> LiveTask:
    return LiveTask(message.id, message.name, WAITING, message.queue, "", message.arguments, eta=message.eta)


def _note(by: AbstractBaseUser | None, object_id: str, name: str, what: str, reason: str) -> None:
    of_what = object_id if name in ("", object_id) else f"{name} {object_id}"
    logger.info("%s: %s by %s, reason: %s", of_what, what, by or "the command line", reason or "none given")
    if by is None:
        return
    LogEntry.objects.create(
        user_id=by.pk,
        content_type_id=ContentType.objects.get_for_model(PlainTask, for_concrete_model=False).pk,
        object_id=object_id,
        object_repr=of_what[:200],
        action_flag=CHANGE,
        change_message=f"{what}. Reason: {reason or 'none given'}",
    )
