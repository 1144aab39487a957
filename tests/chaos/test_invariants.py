"""What chaos looks at after all has ended finds a violation when there is one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from runs import registry
from runs.models import Run, StatusChange
from runs.remains import RUN_ID_VARIABLE
from runs.states import Status
from tests.chaos.invariants import list_violations
from tests.integration.engine import claim, make_ended, make_run, make_running, make_waiting

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker")]


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., list[str]]:
    def call(*notes: dict[str, Any], accepted: dict[Any, float] | None = None) -> list[str]:
        marks = tmp_path / "notes.jsonl"
        marks.write_text("".join(json.dumps(note) + "\n" for note in notes))
        load: Any = SimpleNamespace(accepted=accepted or {}, submitted=[], reader=SimpleNamespace(seen={}))
        return list_violations(load, marks)

    return call


def note(run: Run, *, seconds: float = 0.0, **values: Any) -> dict[str, Any]:
    """As a node leaves it, so many seconds from now."""
    known = {"run": str(run.id), "attempt": 1, "pid": 1, "node": "n0", "what": "tick"}
    return {**known, "at": timezone.now().timestamp() + seconds, **values}


def test_runs_without_fault_violate_nothing(look: Callable[..., list[str]]) -> None:
    runs = [make_ended(status) for status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)]
    assert look(*(note(run, seconds=-1) for run in runs), accepted={runs[2].id: 0.0}) == []


def test_node_that_executes_after_the_end_is_found(look: Callable[..., list[str]]) -> None:
    run = make_ended(Status.CANCELLED)
    (problem,) = look(note(run, seconds=0.5))
    assert "2: 1 notes of attempt 1 after it was cancelled" in problem


def test_accepted_stop_that_ends_otherwise_is_found(look: Callable[..., list[str]]) -> None:
    run = make_ended(Status.COMPLETED)
    (problem,) = look(accepted={run.id: 0.0})
    assert "1: its stop was accepted and it is completed" in problem


def test_run_that_does_not_end_is_found(look: Callable[..., list[str]]) -> None:
    make_running()
    (problem,) = look()
    assert "4: it has not ended, it is running" in problem


def test_two_attempts_at_once_are_found(look: Callable[..., list[str]]) -> None:
    run = make_running()
    registry.requeue(run.id, 1, resurrect=True)
    claim(run)
    registry.settle(run.id, 2, Status.COMPLETED)
    times = [(1, -4), (2, -3), (1, -2)]
    (problem,) = look(*(note(run, attempt=attempt, seconds=seconds, pid=attempt) for attempt, seconds in times))
    assert "3: attempt 1 notes tick in n0 after attempt 2 has" in problem


def test_attempt_of_two_processes_is_found(look: Callable[..., list[str]]) -> None:
    run = make_ended(Status.COMPLETED)
    (problem,) = look(note(run, pid=1, seconds=-2), note(run, pid=2, seconds=-1))
    assert "3: attempt 1 is executed by two processes" in problem


def test_repeated_node_is_found(look: Callable[..., list[str]]) -> None:
    run = make_ended(Status.COMPLETED, graph="chain")
    begun = [note(run, node=node, what="begin", seconds=place - 9) for place, node in enumerate(["n0", "n1", "n0"])]
    (problem,) = look(*begun)
    assert "a finished node was repeated: [0, 1, 0]" in problem


def test_wrong_history_is_found(look: Callable[..., list[str]]) -> None:
    run = make_ended(Status.COMPLETED)
    StatusChange.objects.filter(run=run, status=Status.RUNNING).delete()
    (first, second) = look()
    assert "its history has queued → completed" in first
    assert "its attempts are [] and it has 1" in second


def test_node_that_executes_while_its_run_waits_is_found(look: Callable[..., list[str]]) -> None:
    run = make_waiting(questions={"q": "go on?"})
    registry.answer(run.id, {"q": "yes"})
    registry.wake(run.id)
    registry.settle(claim(run).id, 2, Status.COMPLETED)
    StatusChange.objects.filter(run=run, status=Status.WAITING).update(at=timezone.now() - timedelta(seconds=9))
    (problem,) = look(note(run, seconds=-5))
    assert "6: it executes while it waits: n0" in problem


def test_process_that_is_left_is_found(look: Callable[..., list[str]]) -> None:
    run = make_ended(Status.CANCELLED)
    process = subprocess.Popen(["sleep", "60"], env={**os.environ, RUN_ID_VARIABLE: str(run.id)})
    try:
        (problem,) = look()
    finally:
        process.kill()
        process.wait()
    assert f"2: process {process.pid} is left, it is cancelled" in problem


def test_queued_child_is_found(look: Callable[..., list[str]]) -> None:
    parent = make_running()
    make_run(parent=parent)
    registry.settle(parent.id, 1, Status.COMPLETED)
    assert any("5: child" in problem for problem in look())
