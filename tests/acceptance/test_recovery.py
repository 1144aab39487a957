"""Recovery drills: what dies, freezes or is emptied, and what becomes of the runs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings as django_settings
from django.db import Error as DatabaseError
from django.db import connection

from graduation_backend import embedded_redis
from runs import control
from runs.models import Run, StatusChange
from tests.acceptance.test_start_services import SUBMIT, Services
from tests.databases import WITHOUT_POSTGRES, PostgresCluster, find_postgres, using_database
from tests.environment import DATA_DIR, ROOT
from tests.services import Marks, WorkerProcess, freeze, wait_for_status, wait_until

StartWorker = Callable[..., WorkerProcess]

LEASE_SECONDS = 3.0
SHORT_LEASE = {"RUNS_LEASE_SECONDS": str(LEASE_SECONDS)}


def submit(graph: str, marks: Marks, **values: object) -> Run:
    return control.submit(graph, {"marks": str(marks), **values})


def history(run: Run) -> list[tuple[str, int]]:
    return list(StatusChange.objects.filter(run=run).order_by("id").values_list("status", "attempt"))


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, timeout=10)


# --- processes that die -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_processes_of_two_workers_die_at_once_and_a_new_worker_goes_on(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    workers = [start_worker(concurrency=2, **SHORT_LEASE) for _ in range(2)]
    held = [Marks(tmp_path / f"held-{number}.jsonl") for number in range(2)]
    starting = [Marks(tmp_path / f"starting-{number}.jsonl") for number in range(2)]
    runs = [submit("held_between", marks) for marks in held]
    runs += [submit("starting_process", marks, seconds=8) for marks in starting]
    for marks in held:
        marks.wait_for("call.begun")
    for marks in starting:
        marks.wait_for("started")
    started = [psutil.Process(marks.all()[0]["pid"]) for marks in starting]

    ours = [process for worker in workers for process in worker.survivors() if process not in started]
    kill_all(ours + [psutil.Process(pid) for worker in workers for pid in worker.guards()])
    assert all(process.is_running() for process in started)
    for marks in held:
        marks.open("call")
    start_worker(concurrency=4)

    ended = [control.wait(run.id, timeout_seconds=45) for run in runs]
    assert [(run.status, run.attempt, run.resurrections) for run in ended] == [("completed", 2, 1)] * 4
    assert [marks.names().count("before") for marks in held] == [1, 1]
    assert all(is_gone(process.pid) for process in started)


def test_pause_before_each_resurrection_doubles(worker: WorkerProcess, marks: Marks) -> None:
    run = control.wait(submit("poison", marks).id, timeout_seconds=60)

    changes = list(StatusChange.objects.filter(run=run).order_by("id"))
    assert [(change.status, change.attempt) for change in changes] == [
        ("queued", 0),
        *[(status, attempt) for attempt in (1, 2, 3) for status in ("running", "queued")],
        ("running", 4),
        ("failed", 4),
    ]
    pauses = [after.at - before.at for before, after in zip(changes[2:-1:2], changes[3:-1:2], strict=True)]
    for pause, expected in zip(pauses, (1, 2, 4), strict=True):
        assert timedelta(seconds=expected) <= pause < timedelta(seconds=expected + 15)


def test_doorbell_that_rings_during_the_pause_starts_nothing(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("dying_once", marks)
    wait_for_status(run, "queued")
    marks.wait_for("dying")
    wait_until(lambda: Run.objects.filter(id=run.id, not_before__isnull=False).exists(), "the run pauses")
    Run.objects.filter(id=run.id).update(not_before="2100-01-01T00:00:00Z")
    from celery import current_app

    current_app.send_task(run.task, task_id=str(run.id), queue=run.queue)
    assert control.wait(control.submit("quick", {}, priority=0).id, timeout_seconds=30).status == "completed"
    time.sleep(2)  # beyond the pause of the first doorbell
    assert history(run)[-1] == ("queued", 1)

    control.cancel(run.id)
    assert control.get(run.id).status == "cancelled"


def test_power_loss_of_everything(tmp_path: Path) -> None:
    services = Services(tmp_path)
    services.environment |= {
        "LANGGRAPH_JSON": str(ROOT / "tests" / "graphs" / "langgraph.json"),
        "WORKER_CONCURRENCY": "2",
        # The ladder would climb while a command of a busy machine is still ending.
        "RUNS_INTERRUPT_AFTER_SECONDS": "600",
        "RUNS_GRACE_SECONDS": "600",
        **SHORT_LEASE,
    }
    held, stopping, waiting = (Marks(tmp_path / f"{name}.jsonl") for name in ("held", "stopping", "waiting"))
    try:
        services.start_and_wait_ready("--no-sample")
        ids = {"waiting": _submit(services, "asking_human", waiting)}
        waiting.wait_for("asking")
        ids |= {"held": _submit(services, "held_between", held), "stopping": _submit(services, "before_node", stopping)}
        held.wait_for("call.begun")
        stopping.wait_for("call.begun")
        ids["queued"] = _submit(services, "quick", Marks(tmp_path / "queued.jsonl"))
        told = services.manage("control_tasks", "cancel", "--task-id", ids["stopping"])
        assert told.returncode == 0, told.stderr

        kill_all(services.processes())
        assert services.processes() == []
        # Every row tells what was true when the power went.
        expected = {"held": "running", "stopping": "running", "waiting": "waiting", "queued": "queued"}
        assert _statuses(services, ids) == expected

        for marks in (held, stopping):
            marks.open("call")
        services.start_and_wait_ready("--no-sample")
        expected |= {"held": "completed", "stopping": "cancelled", "queued": "completed"}
        wait_until(lambda: _statuses(services, ids) == expected, "all went on or ended", 40)
        assert held.names().count("before") == 1
        assert "after" in held.names()
        assert stopping.names().count("call.begun") == 1
        assert services.query("SELECT status FROM runs_nodeexecution WHERE finished_at IS NULL") == []
    finally:
        services.destroy()


def _submit(services: Services, graph: str, marks: Marks) -> str:
    done = services.run_python("-c", SUBMIT, graph, str(marks))
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def _statuses(services: Services, ids: dict[str, str]) -> dict[str, str]:
    found = {run_id.replace("-", ""): status for run_id, status in services.query("SELECT id, status FROM runs_run")}
    return {name: found[run_id.replace("-", "")] for name, run_id in ids.items()}


# --- Redis ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not django_settings.REDIS_IS_EMBEDDED, reason="that Redis is not the test run's own")
def test_redis_that_comes_back_empty_loses_no_run(start_worker: StartWorker, tmp_path: Path) -> None:
    start_worker(concurrency=2, RUNS_GRACE_SECONDS="600")
    held, stopped = Marks(tmp_path / "held.jsonl"), Marks(tmp_path / "stopped.jsonl")
    running, polite = submit("held_between", held), submit("before_node", stopped)
    held.wait_for("call.begun")
    stopped.wait_for("call.begun")
    queued = [control.submit("quick", {}) for _ in range(5)]

    embedded_redis.stop(DATA_DIR)
    shutil.rmtree(DATA_DIR / "redis" / "appendonlydir")
    control.cancel(polite.id)
    control.cancel(queued[0].id)
    stopped.wait_for("call.told", seconds=5)  # by the database: there is no doorbell
    embedded_redis.ensure_running(DATA_DIR)
    held.open("call")
    stopped.open("call")

    statuses = [control.wait(run.id, timeout_seconds=40).status for run in (running, polite, *queued)]
    assert statuses == ["completed", "cancelled", "cancelled", *["completed"] * 4]
    assert [control.get(run.id).attempt for run in queued] == [0, 1, 1, 1, 1]


# --- PostgreSQL -------------------------------------------------------------------------------------------


@pytest.fixture
def postgres(shared_worker: Any, django_db_blocker: Any) -> Iterator[PostgresCluster]:
    """A cluster for one test, used by this process and its workers."""
    binaries = find_postgres()
    if binaries is None:
        pytest.skip(WITHOUT_POSTGRES)
    shared_worker.remove()
    cluster = PostgresCluster(binaries)
    try:
        with django_db_blocker.unblock(), using_database(cluster.url):
            yield cluster
    finally:
        cluster.destroy()


@pytest.fixture
def postgres_worker(postgres: PostgresCluster, tmp_path: Path) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(tmp_path / "worker.log", concurrency=2, **SHORT_LEASE)
    yield worker.wait_ready()
    worker.destroy()


def wait_for_end(run: Run, seconds: float = 40.0) -> Run:
    """Like `control.wait`, through restarts of the database."""

    def ended() -> Run | None:
        try:
            found = control.get(run.id)
        except DatabaseError:
            connection.close()
            return None
        return found if found.is_terminal else None

    found: Run = wait_until(ended, f"{run} has ended", seconds)
    return found


@pytest.mark.slow
def test_postgresql_restarted_under_load(
    postgres: PostgresCluster, postgres_worker: WorkerProcess, tmp_path: Path
) -> None:
    files = [Marks(tmp_path / f"{number}.jsonl") for number in range(12)]
    runs = [submit("polling" if number % 3 else "ten_nodes", marks, seconds=1) for number, marks in enumerate(files)]
    stopped = submit("napping", Marks(tmp_path / "stopped.jsonl"))
    for mode in ("immediate", "fast"):
        wait_until(lambda: any(marks.names() for marks in files), "some have begun")
        postgres.stop(mode=mode)
        connection.close()
        time.sleep(1)
        postgres.start()
    control.cancel(stopped.id)

    assert wait_for_end(stopped).status == "cancelled"
    ended = [wait_for_end(run) for run in runs]
    for run, marks in zip(ended, files, strict=True):
        # A write of its own may have met the closed connection: then it failed, and says so.
        assert run.status == "completed" or (run.status == "failed" and run.error), (run.status, run.error)
        assert_one_process_at_a_time(marks)
    after = submit("quick", Marks(tmp_path / "after.jsonl"))
    assert wait_for_end(after).status == "completed"


@pytest.mark.slow
def test_postgresql_that_hangs_for_a_lease_takes_the_run_from_its_process(
    postgres: PostgresCluster, postgres_worker: WorkerProcess, marks: Marks
) -> None:
    # The supervisor waits in the database as well: only the guard can end the child in time.
    run = submit("polling", marks, seconds=6)
    marks.wait_for("tick")
    pid = marks.all()[-1]["pid"]
    postgres.signal(signal.SIGSTOP)
    # Nobody can take the run over before the database goes on: the margin is for a busy machine.
    wait_until(lambda: is_gone(pid), "its process is killed", LEASE_SECONDS * 1.8)
    postgres.signal(signal.SIGCONT)

    ended = wait_for_end(run)
    assert (ended.status, ended.attempt) == ("completed", 2)
    assert_one_process_at_a_time(marks)


def assert_one_process_at_a_time(marks: Marks) -> None:
    """No process of a run does anything after another has begun."""
    order: list[int] = []
    for mark in sorted(marks.all(), key=lambda mark: mark["at"]):
        if not order or order[-1] != mark["pid"]:
            assert mark["pid"] not in order, f"{marks.path} interleaves {order} and {mark['pid']}"
            order.append(mark["pid"])


# --- what freezes -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_child_of_a_frozen_main_process_ends_before_another_attempt_begins(
    start_worker: StartWorker, marks: Marks
) -> None:
    first = start_worker(concurrency=1, **SHORT_LEASE)
    run = submit("polling", marks, seconds=9)
    marks.wait_for("tick")
    freeze(first.process.pid)
    second = start_worker(concurrency=1, **SHORT_LEASE)

    marks.wait_for("poll.begun", 2, seconds=20)
    first.process.send_signal(signal.SIGCONT)
    ended = control.wait(run.id, timeout_seconds=30)

    assert_one_process_at_a_time(marks)
    assert (ended.status, ended.attempt, ended.worker.startswith(second.mark)) == ("completed", 2, True)
    # Woken, it has written nothing of what it missed, and works again.
    assert history(run) == [("queued", 0), ("running", 1), ("queued", 1), ("running", 2), ("completed", 2)]
    second.stop(signal.SIGKILL)
    again = control.wait(control.submit("quick", {}).id, timeout_seconds=30)
    assert (again.status, again.worker.startswith(first.mark)) == ("completed", True)


@pytest.mark.slow
def test_child_that_holds_its_interpreter_ends_before_another_attempt_begins(
    start_worker: StartWorker, marks: Marks
) -> None:
    first = start_worker(concurrency=1, **SHORT_LEASE)
    run = submit("holds_gil", marks)
    marks.wait_for("hostile.begun")
    pid = marks.all()[0]["pid"]
    # While its supervisor lives, it is nothing but busy.
    time.sleep(LEASE_SECONDS * 1.5)
    assert (control.get(run.id).attempt, is_gone(pid)) == (1, False)
    freeze(first.process.pid)
    start_worker(concurrency=1, **SHORT_LEASE)

    wait_until(lambda: control.get(run.id).status == "queued", "its lease has ended")
    assert is_gone(pid)
    marks.wait_for("hostile.begun", 2)
    control.cancel(run.id, mode="kill")
    assert control.wait(run.id, timeout_seconds=30).status == "cancelled"


@pytest.mark.slow
def test_machine_that_was_frozen_for_a_lease_goes_on_with_nothing(start_worker: StartWorker, marks: Marks) -> None:
    first = start_worker(concurrency=1, **SHORT_LEASE)
    run = submit("polling", marks, seconds=9)
    marks.wait_for("tick")
    frozen = [psutil.Process(pid) for pid in (first.process.pid, *first.guards(), *first.children())]
    freeze(*(process.pid for process in frozen))
    start_worker(concurrency=1, **SHORT_LEASE)
    marks.wait_for("poll.begun", 2, seconds=20)
    before = len(marks.all())
    woken_at = time.time()
    for process in frozen:
        process.resume()

    stale = frozen[-1].pid
    wait_until(lambda: is_gone(stale), "the process of the stale attempt is killed", 2)
    late = [mark["at"] - woken_at for mark in marks.all()[before:] if mark["pid"] == stale]
    assert max(late, default=0.0) < 1, late  # all wake at the same moment, and the guard has to get a core
    ended = control.wait(run.id, timeout_seconds=30)
    assert (ended.status, ended.attempt) == ("completed", 2)
    assert history(run)[-2:] == [("running", 2), ("completed", 2)]


@pytest.mark.slow
def test_guard_that_dies_is_replaced(start_worker: StartWorker, marks: Marks) -> None:
    worker = start_worker(concurrency=1, **SHORT_LEASE)
    (guard,) = worker.guards()
    run = submit("polling", marks, seconds=600)
    marks.wait_for("tick")
    os.kill(guard, signal.SIGKILL)
    wait_until(lambda: [pid for pid in worker.guards() if pid != guard and not is_gone(pid)], "another guard", 5)
    pid = marks.all()[0]["pid"]
    freeze(worker.process.pid)
    wait_until(lambda: is_gone(pid), "the new guard knows what runs", LEASE_SECONDS)
    control.cancel(run.id)


def test_frozen_child_is_killed_by_a_stop(start_worker: StartWorker, marks: Marks) -> None:
    worker = start_worker(concurrency=1)
    run = submit("napping", marks)
    marks.wait_for("nap.begun")
    (pid,) = worker.children()
    freeze(pid)

    control.cancel(run.id, grace_seconds=1)

    ended = control.wait(run.id, timeout_seconds=30)
    assert (ended.status, ended.stop_rung, is_gone(pid)) == ("cancelled", 2, True)
    assert ended.stop_acknowledged_at is None
    assert control.wait(control.submit("quick", {}).id, timeout_seconds=30).status == "completed"


def test_guard_ends_with_its_worker(start_worker: StartWorker) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        worker = start_worker(concurrency=1)
        (guard,) = worker.guards()
        worker.stop(number)
        wait_until(lambda guard=guard: is_gone(guard), "the guard is gone", 2)
