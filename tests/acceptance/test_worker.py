"""A worker without Redis, every process's answers, and runs that are Celery tasks of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.conf import settings as django_settings

from graduation_backend import celery as project
from graduation_backend import embedded_redis
from runs import control
from runs.errors import InputRefused
from runs.models import Run
from tests.environment import ROOT
from tests.services import Marks, WorkerProcess, process_environment, wait_for_status, wait_until

StartWorker = Callable[..., WorkerProcess]


def submit(graph: str, marks: Marks, **values: object) -> Run:
    return control.submit(graph, {"marks": str(marks), **values})


# --- Redis away -------------------------------------------------------------------------------------------


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Path]:
    """The data directory of a server for one test; may be stopped by it."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    embedded_redis.ensure_running(data_dir)
    yield data_dir
    embedded_redis.stop(data_dir)


def test_cancel_reaches_a_run_while_redis_is_down(
    start_worker: StartWorker, marks: Marks, own_redis: Path, settings: Any
) -> None:
    # Doorbells and events go through this Redis; messages through the broker, so that the test can submit.
    url = embedded_redis.embedded_redis_url(own_redis)
    settings.RUNS_REDIS_URL = url
    start_worker(REDIS_URL=url, CELERY_BROKER_URL=current_app.conf.broker_url)
    run = submit("held_between", marks)
    marks.wait_for("call.begun")
    embedded_redis.stop(own_redis)

    control.cancel(run.id, grace_seconds=60)
    marks.wait_for("call.told", seconds=3)  # the database is asked each second
    marks.open("call")

    ended = control.wait(run.id, timeout_seconds=30)
    assert (ended.status, ended.stop_rung) == ("cancelled", 0)
    assert [(node.node, node.status) for node in ended.nodes.all()] == [("before", "finished"), ("held", "finished")]


def test_run_ends_while_redis_is_down(start_worker: StartWorker, marks: Marks, own_redis: Path, settings: Any) -> None:
    url = embedded_redis.embedded_redis_url(own_redis)
    settings.RUNS_REDIS_URL = url
    start_worker(REDIS_URL=url, CELERY_BROKER_URL=current_app.conf.broker_url)
    run = submit("held_between", marks)
    marks.wait_for("call.begun")
    embedded_redis.stop(own_redis)
    marks.open("call")
    assert control.wait(run.id, timeout_seconds=30).status == "completed"

    embedded_redis.ensure_running(own_redis)
    again = submit("napping", marks)
    marks.wait_for("nap.begun")
    control.cancel(again.id)
    assert control.wait(again.id, timeout_seconds=30).status == "cancelled"


@pytest.mark.skipif(
    not django_settings.REDIS_IS_EMBEDDED or bool(os.environ.get("CELERY_BROKER_URL")),
    reason="the broker is not a Redis of the test's own",
)
def test_cancel_and_kill_reach_runs_while_redis_and_the_broker_are_down(
    start_worker: StartWorker, marks: Marks, own_redis: Path, tmp_path: Path
) -> None:
    url = embedded_redis.embedded_redis_url(own_redis)
    start_worker(REDIS_URL=url)
    other = Marks(tmp_path / "other.jsonl")
    code = (
        "from runs import control;"
        f"print(control.submit('held_between', {{'marks': {str(marks)!r}}}).id);"
        f"print(control.submit('swallows', {{'marks': {str(other)!r}}}).id)"
    )
    polite, hostile = manage_shell(code, REDIS_URL=url).split()
    marks.wait_for("call.begun")
    other.wait_for("hostile.begun")
    embedded_redis.stop(own_redis)

    control.cancel(polite, grace_seconds=60)
    marks.wait_for("call.told", seconds=4)
    marks.open("call")
    assert control.wait(polite, timeout_seconds=30).status == "cancelled"
    control.cancel(hostile, mode="kill")
    ended = control.wait(hostile, timeout_seconds=30)
    assert (ended.status, ended.stop_rung) == ("cancelled", 2)


# --- every process tells the same -------------------------------------------------------------------------


def plain_python(code: str, **environment: str) -> str:
    return _run([sys.executable, "-c", code], environment)


def manage_shell(code: str, **environment: str) -> str:
    return _run([sys.executable, "manage.py", "shell", "--no-imports", "-c", code], environment)


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env={**process_environment(), **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CALL = "import json; from graduation_backend.celery import {name}; print(json.dumps({name}({arguments})))"


@pytest.mark.parametrize("ask", [plain_python, manage_shell])
def test_active_graphs_are_the_same_in_every_process(
    worker: WorkerProcess, marks: Marks, ask: Callable[..., str]
) -> None:
    running = submit("before_node", marks)
    marks.wait_for("call.begun")
    waiting = submit("asking_human", marks)
    wait_for_status(waiting, "waiting")
    ended = control.wait(submit("quick", marks).id, timeout_seconds=30)

    told = json.loads(ask(CALL.format(name="get_active_graphs", arguments="")))
    here = project.get_active_graphs()

    assert set(told) == set(here) == {str(running.id), str(waiting.id)}
    assert str(ended.id) not in told
    for shown in (*told.values(), *here.values()):
        shown.pop("idle_seconds")
        shown.pop("last_activity_at")
    assert told == here
    assert (told[str(running.id)]["graph"], told[str(running.id)]["status"]) == ("before_node", "running")


@pytest.mark.parametrize("ask", [plain_python, manage_shell])
def test_cancel_graph_execution_works_from_every_process(
    worker: WorkerProcess, marks: Marks, ask: Callable[..., str]
) -> None:
    run = submit("napping", marks)
    marks.wait_for("nap.begun")

    told = ask(CALL.format(name="cancel_graph_execution", arguments=repr(str(run.id))))

    assert told.strip() == "true"
    ended = control.wait(run.id, timeout_seconds=30)
    assert (ended.status, ended.stop_rung) == ("cancelled", 0)


@pytest.mark.parametrize("ask", [plain_python, manage_shell])
def test_cancel_all_graphs_works_from_every_process(
    worker: WorkerProcess, marks: Marks, ask: Callable[..., str]
) -> None:
    runs = [submit("napping", marks) for _ in range(3)]
    marks.wait_for("nap.begun", 2)

    told = json.loads(ask(CALL.format(name="cancel_all_graphs", arguments="'everything'")))

    assert set(told) == {str(run.id) for run in runs}
    for run in runs:
        ended = control.wait(run.id, timeout_seconds=30)
        assert (ended.status, ended.stop_reason) == ("cancelled", "everything")


def test_active_graphs_are_the_same_within_a_worker(worker: WorkerProcess, marks: Marks) -> None:
    other = submit("asking_human", marks)
    wait_for_status(other, "waiting")
    ended = control.wait(submit("asks_the_project", marks).id, timeout_seconds=30)

    seen, cancelled = ended.output["values"]
    assert set(json.loads(seen)) == {str(other.id), str(ended.id)}
    assert json.loads(cancelled) == [str(other.id)]
    assert control.get(other.id).status == "cancelled"


def test_cancel_graph_execution_of_an_ended_or_unknown_run_is_false(worker: WorkerProcess, marks: Marks) -> None:
    run = control.wait(submit("quick", marks).id, timeout_seconds=30)
    assert project.cancel_graph_execution(str(run.id)) is False
    assert project.cancel_graph_execution("no-such-run") is False


# --- tasks that are runs ----------------------------------------------------------------------------------

GRAPH_TASK = "tests.graphs.tasks.toy"


@pytest.fixture
def graph_worker(start_worker: StartWorker) -> WorkerProcess:
    return start_worker(include="tests.graphs.tasks", concurrency=1)


def toy() -> Any:
    from tests.graphs import tasks

    return tasks.toy


def test_delay_of_a_graph_task_is_a_run(graph_worker: WorkerProcess, marks: Marks) -> None:
    result = toy().delay(str(marks))

    run = control.get(result.id)
    assert (run.graph, run.task) == ("quick", GRAPH_TASK)
    assert control.wait(run.id, timeout_seconds=30).output["values"] == ["only"]
    assert marks.names() == ["only"]


def test_graph_task_is_listed_and_cancelled_before_a_worker_sees_it(no_worker: None, db: None, marks: Marks) -> None:
    result = toy().delay(str(marks))
    assert result.id in project.get_active_graphs()
    assert project.cancel_graph_execution(result.id)
    assert control.get(result.id).status == "cancelled"


def test_apply_async_takes_an_id_a_priority_and_a_queue(no_worker: None, db: None, marks: Marks) -> None:
    task_id = "0f0e0d0c-0b0a-4908-8706-050403020100"
    result = toy().apply_async((str(marks),), task_id=task_id, priority=8, queue="celery")
    run = control.get(task_id)
    assert (result.id, str(run.id), run.priority, run.queue) == (task_id, task_id, 8, "celery")


def test_apply_async_twice_with_one_id_is_one_run(no_worker: None, db: None, marks: Marks) -> None:
    task_id = "0f0e0d0c-0b0a-4908-8706-050403020101"
    for _ in range(2):
        toy().apply_async(kwargs={"marks": str(marks)}, task_id=task_id)
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    "options",
    [{"countdown": 5}, {"eta": "2030-01-01T00:00:00"}, {"expires": 10}, {"link": "x"}, {"task_id": "not-a-uuid"}],
)
def test_apply_async_refuses_what_a_run_does_not_know(db: None, marks: Marks, options: dict[str, Any]) -> None:
    with pytest.raises(InputRefused) as refused:
        toy().apply_async((str(marks),), **options)
    assert next(iter(options)) in str(refused.value)
    assert not Run.objects.exists()


def test_send_task_by_name_begins_a_run_when_a_worker_takes_it(graph_worker: WorkerProcess, marks: Marks) -> None:
    sent = current_app.send_task(GRAPH_TASK, args=[str(marks)], queue="ai_processing")

    wait_until(lambda: control.find(sent.id), "the run exists")
    ended = control.wait(sent.id, timeout_seconds=30)
    assert (ended.status, ended.task, marks.names()) == ("completed", GRAPH_TASK, ["only"])


def test_send_task_by_name_with_a_wrong_id_starts_nothing(graph_worker: WorkerProcess, marks: Marks) -> None:
    current_app.send_task(GRAPH_TASK, args=[str(marks)], queue="ai_processing", task_id="not-a-uuid")
    following = toy().delay(str(marks))
    control.wait(following.id, timeout_seconds=30)
    assert Run.objects.count() == 1


def test_graph_task_is_cancelled_like_any_run(graph_worker: WorkerProcess, marks: Marks) -> None:
    from tests.graphs import tasks

    result = tasks.nap.delay(str(marks))
    marks.wait_for("nap.begun")
    assert project.cancel_graph_execution(result.id)
    assert control.wait(result.id, timeout_seconds=30).status == "cancelled"


def test_worker_with_one_slot_ends_clean_when_idle(start_worker: StartWorker) -> None:
    worker = start_worker(concurrency=1)
    assert worker.stop(signal.SIGTERM, 15) == 0
    assert worker.survivors() == []
