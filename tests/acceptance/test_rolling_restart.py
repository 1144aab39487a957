"""A deploy under load: every worker is told to end and replaced, and nothing is lost or done twice."""

from __future__ import annotations

import itertools
import signal
import threading
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import psutil
import pytest
from django.db import connections

from runs import control
from runs.models import Run, StatusChange
from runs.remains import RUN_ID_VARIABLE
from tests.graphs.rolling import FINISHED
from tests.services import Marks, WorkerProcess, wait_until

StartWorker = Callable[..., WorkerProcess]

LOAD = ("rolling_steps", "rolling_steps", "rolling_tree", "rolling_steps", "rolling_deep_tree")
SUBMITTED = 25


class Load:
    """Submits runs from an OS thread of its own until the last one."""

    def __init__(self, marks: Marks) -> None:
        self.run_ids: list[UUID] = []
        self._marks = marks
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._submit, daemon=True)
        self._thread.start()

    def _submit(self) -> None:
        try:
            for graph in itertools.islice(itertools.cycle(LOAD), SUBMITTED):
                self.run_ids.append(control.submit(graph, {"marks": str(self._marks)}).id)
                self._enough.wait(0.4)
        finally:
            connections.close_all()

    def join(self) -> list[UUID]:
        self._thread.join(60)
        assert len(self.run_ids) == SUBMITTED
        return self.run_ids


def executes(worker: WorkerProcess) -> bool:
    return Run.objects.filter(status="running", worker__startswith=worker.mark).exists()


def replace(worker: WorkerProcess, start_worker: StartWorker) -> WorkerProcess:
    """Tell a worker that executes something to end, wait until it has, and start another in its place."""
    wait_until(lambda: executes(worker), "the worker executes something", 30)
    assert worker.stop(signal.SIGTERM) == 0
    assert not executes(worker)
    assert worker.survivors() == []
    return start_worker(RUNS_ON_SHUTDOWN="requeue", RUNS_GRACE_SECONDS="20")


def marked_with(run_ids: set[str]) -> list[psutil.Process]:
    """The living processes that one of these runs has started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(RUN_ID_VARIABLE) in run_ids and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def handed_over() -> int:
    """How often a run went from an attempt straight back to the queue."""
    changes = StatusChange.objects.order_by("run_id", "id").values_list("run_id", "status")
    pairs = itertools.pairwise(changes)
    return sum(before == (run_id, "running") and status == "queued" for before, (run_id, status) in pairs)


@pytest.mark.slow
def test_rolling_restart_under_load_loses_nothing_and_repeats_nothing(start_worker: StartWorker, marks: Marks) -> None:
    first, second = (start_worker(RUNS_ON_SHUTDOWN="requeue", RUNS_GRACE_SECONDS="20") for _ in range(2))
    load = Load(marks)
    first = replace(first, start_worker)
    second = replace(second, start_worker)
    submitted = load.join()
    ended = [control.wait(run_id, timeout_seconds=90, tree=True) for run_id in submitted]

    runs = list(Run.objects.all())
    assert len(runs) > SUBMITTED  # the trees have grown
    assert Counter(run.status for run in runs) == {"completed": len(runs)}, [str(run.error) for run in ended]
    assert {run.resurrections for run in runs} == {0}
    assert handed_over() > 0
    done = Counter(marks.names())
    for run in runs:
        finished = {name: done[f"{run.id} {name}.finished"] for name in FINISHED[run.graph]}
        assert finished == dict.fromkeys(FINISHED[run.graph], 1), run
    # No node was cut either: what began has finished.
    assert {what: number for what, number in done.items() if number > 1} == {}
    assert first.stop(signal.SIGTERM) == 0
    assert second.stop(signal.SIGTERM) == 0
    assert marked_with({str(run.id) for run in runs}) == []
