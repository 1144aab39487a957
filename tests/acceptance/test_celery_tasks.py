"""Plain tasks on their way, with a real worker and a real broker: seen, ended, sent again; queues; workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from celery import current_app
from django_celery_results.models import TaskResult

from celery_tasks import control, representation, workers
from celery_tasks.control import LiveTask
from celery_tasks.errors import (
    TaskAlreadyEnded,
    TaskIsRun,
    TaskIsRunning,
    TaskNotFound,
    TaskNotRetryable,
    TaskNotRunning,
    WorkerRefused,
)
from celery_tasks.models import PlainTask
from runs import control as runs_control
from tests.graphs.plain_tasks import fail, sleep_and_tell
from tests.services import WorkerProcess, freeze, wait_until

ON_REDIS = not os.environ.get("TEST_BROKER_URL", "").startswith("amqp")
needs_redis = pytest.mark.skipif(not ON_REDIS, reason="RabbitMQ shows no messages")


@pytest.fixture(autouse=True)
def _own_results(transactional_db: None) -> None:
    """Nothing of the test before."""


@pytest.fixture
def ended() -> Iterator[list[str]]:
    """Ids of tasks that a test sends; whatever of them is left is ended after it."""
    ids: list[str] = []
    yield ids
    workers.revoke(ids, terminate=True, kill=True)
    wait_until(lambda: not {task.id for task in workers.list_held()[0]} & set(ids), "the tasks are gone")


def send(ids: list[str], seconds: float = 300, **options: Any) -> str:
    ids.append(sleep_and_tell.apply_async((seconds,), **options).id)
    return ids[-1]


def states() -> dict[str, str]:
    return {task.id: task.state for task in control.look().tasks}


def finished(task_id: str) -> PlainTask:
    return wait_until(lambda: _ready(task_id), f"{task_id} is finished")


def _ready(task_id: str) -> PlainTask | None:
    task = control.find_finished(task_id)
    return task if task is not None and task.status in ("SUCCESS", "FAILURE", "REVOKED") else None


def test_task_that_fails_is_kept_with_arguments_worker_and_traceback(worker: WorkerProcess) -> None:
    sent = fail.apply_async(("redis://me:hush@box/0",))

    task = finished(sent.id)
    shown = representation.finished_as_json(task)

    assert (task.status, task.task_name) == ("FAILURE", "tests.graphs.plain_tasks.fail")
    assert shown["args"] == ["redis://me:[hidden]@box/0"]
    assert shown["worker"].startswith(worker.mark)
    assert (shown["queue"], shown["retries"]) == ("celery", 0)
    assert shown["seconds"] >= 0
    assert "ValueError: nothing answers at redis://me:[hidden]@box/0" in task.traceback
    assert "hush" not in str(shown)
    with pytest.raises(TaskNotRetryable, match="hidden or cut"):
        control.retry(task, by=None)


def test_task_is_running_then_finished_then_sent_again(worker: WorkerProcess, ended: list[str]) -> None:
    first = send(ended, 0.5, kwargs={"note": "résumé"})
    wait_until(lambda: states().get(first) == "running" or _ready(first), "it runs")

    task = finished(first)
    assert representation.finished_as_json(task)["result"] == "slept 0.5 s"
    second = control.retry(task, by=None)

    again = finished(second)
    assert second != first
    assert (control.arguments_of(again).args, control.arguments_of(again).kwargs) == ([0.5], {"note": "résumé"})
    with pytest.raises(TaskAlreadyEnded):
        control.terminate(first, by=None)


def test_running_task_is_terminated_and_the_pool_replaces_its_process(worker: WorkerProcess, ended: list[str]) -> None:
    task_id = send(ended)
    live = wait_until(lambda: _live(task_id, "running"), "it runs")
    with pytest.raises(TaskIsRunning):
        control.revoke(task_id, by=None)

    control.terminate(task_id, by=None)

    assert finished(task_id).status == "REVOKED"
    assert control.why_not_retryable(finished(task_id)) == ""
    wait_until(lambda: not psutil.pid_exists(live.pid), "its process is gone")
    wait_until(lambda: len(worker.children()) == 2, "the pool is whole again")


def test_reserved_and_scheduled_tasks_are_revoked_and_never_start(worker: WorkerProcess, ended: list[str]) -> None:
    later = send(ended, 0, countdown=300)
    live = wait_until(lambda: _live(later, "scheduled"), "it is scheduled")
    assert live.eta
    with pytest.raises(TaskNotRunning):
        control.terminate(later, by=None)

    control.revoke(later, by=None)

    wait_until(lambda: later not in states(), "it is dropped")


@needs_redis
def test_waiting_task_is_seen_by_priority_and_taken_out_of_its_queue(no_worker: None) -> None:
    current_app.control.purge()
    ids = [sleep_and_tell.apply_async((0,), {"password": "hush"}, priority=priority).id for priority in (9, 0)]

    seen = [task for task in control.look().tasks if task.state == "waiting"]
    assert [task.id for task in seen] == [ids[1], ids[0]]
    assert seen[0].arguments.kwargs == {"password": "[hidden]"}
    depth = next(queue for queue in control.list_queues() if queue.name == "celery")
    assert (depth.waiting, depth.by_priority) == (2, {0: 1, 9: 1})

    assert control.revoke(ids[0], by=None) == "It was taken out of its queue."

    assert states() == {ids[1]: "waiting"}
    kept = finished(ids[0])
    assert (kept.status, kept.task_name) == ("REVOKED", "tests.graphs.plain_tasks.sleep_and_tell")
    with pytest.raises(TaskNotFound):
        control.revoke("nobody-knows-it", by=None)
    current_app.control.purge()


@pytest.mark.skipif(ON_REDIS, reason="for RabbitMQ")
def test_rabbitmq_tells_how_many_wait(no_worker: None) -> None:
    current_app.control.purge()
    task_id = sleep_and_tell.apply_async((0,)).id

    depth = wait_until(
        lambda: next((q for q in control.list_queues() if q.name == "celery" and q.waiting == 1), None), "one waits"
    )

    assert depth.consumers == 0
    snapshot = control.look()
    assert (snapshot.tasks, snapshot.shows_waiting) == ([], False)
    assert "Every worker was told" in control.revoke_unseen(task_id, by=None)
    current_app.control.purge()


def test_run_is_shown_as_a_run_and_leaves_no_result(worker: WorkerProcess, marks: Any) -> None:
    run = runs_control.submit("polling", {"marks": str(marks)})
    marks.wait_for("tick", seconds=30)

    live = wait_until(lambda: _live(str(run.id), "running"), "its task runs")
    assert live.is_run
    for act in (control.revoke, control.terminate):
        with pytest.raises(TaskIsRun):
            act(str(run.id), by=None)

    runs_control.cancel(run.id)
    runs_control.wait(run.id, timeout_seconds=30)
    done = runs_control.submit("quick", {})
    runs_control.wait(done.id, timeout_seconds=30)
    finished(fail.apply_async(("x",)).id)
    assert list(TaskResult.objects.values_list("task_name", flat=True)) == ["tests.graphs.plain_tasks.fail"]


def test_worker_is_told_to_change_and_to_end(start_worker: Callable[..., WorkerProcess], marks: Any) -> None:
    worker = start_worker(concurrency=1)
    (hostname,) = workers.list_hostnames()
    run = runs_control.submit("polling", {"marks": str(marks)})
    marks.wait_for("tick", seconds=30)

    assert "answered after" in control.ping(hostname, by=None)
    control.grow(hostname, 1, by=None)
    wait_until(lambda: len(_worker(hostname).processes) == 2, "the pool has grown")
    quick = runs_control.submit("quick", {})
    assert runs_control.wait(quick.id, timeout_seconds=30).status == "completed"  # in the new process
    control.shrink(hostname, 1, by=None)
    wait_until(lambda: len(_worker(hostname).processes) == 1, "the pool has shrunk")
    control.cancel_queue(hostname, "email", by=None)
    wait_until(lambda: "email" not in _worker(hostname).queues, "it left the queue")
    control.add_queue(hostname, "email", by=None)
    wait_until(lambda: "email" in _worker(hostname).queues, "it is back")
    with pytest.raises(WorkerRefused, match="Autoscale not enabled"):
        control.autoscale(hostname, 2, 1, by=None)

    control.shut_down(hostname, by=None)

    assert worker.process.wait(60) == 0
    assert runs_control.get(run.id).status in ("cancelled", "queued")  # settled, not lost
    assert "Warm shutdown" in worker.log.read_text()


def _live(task_id: str, state: str) -> LiveTask | None:
    return next((task for task in control.look().tasks if (task.id, task.state) == (task_id, state)), None)


def _worker(hostname: str) -> workers.WorkerState:
    return next(worker for worker in control.list_workers() if worker.hostname == hostname)


def test_silent_worker_is_named_and_holds_nobody_up(worker: WorkerProcess) -> None:
    (hostname,) = wait_until(workers.list_hostnames, "the worker is known again")
    freeze(worker.process.pid)
    try:
        assert control.look().silent == [hostname]
        assert [known.answers for known in control.list_workers()] == [False]
    finally:
        os.kill(worker.process.pid, signal.SIGCONT)
    wait_until(lambda: _worker(hostname).answers, "it answers again")
