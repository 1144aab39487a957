"""What no writer can store, whatever code it runs."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from runs import registry
from runs.errors import IllegalTransition
from runs.models import NodeExecution, Run, new_run_id
from runs.states import ACTIVE, IDLE, TERMINAL, TRANSITIONS, Status, StopMode
from tests.integration.engine import (
    CLAIMANT,
    PAUSE,
    claim,
    make_ended,
    make_paused,
    make_run,
    make_running,
    make_waiting,
    pausing,
    status_of,
    stop_request,
)

pytestmark = pytest.mark.django_db

NOW = timezone.now()
STOP = {"stop_requested_at": NOW, "stop_mode": "cancel"}
ENDED = {"finished_at": NOW, "lease_expires_at": None}


def refuse(run: Run, constraint: str, **columns: Any) -> None:
    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        Run.objects.filter(id=run.id).update(**columns)
    assert constraint in str(refused.value)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED])
def test_run_with_a_stop_requested_never_ends_otherwise(status: Status) -> None:
    refuse(make_running(), "run_stop_ends_only_as_cancelled", status=status, **ENDED, **STOP)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED])
def test_stop_is_never_requested_of_an_ended_run(status: Status) -> None:
    refuse(make_ended(status), "run_stop_ends_only_as_cancelled", **STOP)


def test_run_is_never_cancelled_without_a_stop() -> None:
    refuse(make_running(), "run_cancelled_was_asked", status=Status.CANCELLED, **ENDED)


@pytest.mark.parametrize("status", sorted(IDLE))
def test_idle_run_is_never_stopping(status: Status) -> None:
    refuse(make_running(), "run_idle_is_not_stopping", status=status, lease_expires_at=None, **STOP)


@pytest.mark.parametrize("status", sorted(ACTIVE))
def test_active_run_has_no_end(status: Status) -> None:
    lease = NOW if status is Status.RUNNING else None
    refuse(make_running(), "run_finished_at_iff_terminal", status=status, finished_at=NOW, lease_expires_at=lease)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_ended_run_has_an_end(status: Status) -> None:
    stop = STOP if status is Status.CANCELLED else {}
    refuse(make_running(), "run_finished_at_iff_terminal", status=status, lease_expires_at=None, **stop)


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.RUNNING}))
def test_only_a_running_run_has_a_lease(status: Status) -> None:
    ended = {"finished_at": NOW} if status in TERMINAL else {}
    stop = STOP if status is Status.CANCELLED else {}
    refuse(make_running(), "run_lease_iff_running", status=status, lease_expires_at=NOW, **ended, **stop)


@pytest.mark.parametrize("missing", ["lease_expires_at", "pid"])
def test_running_run_has_a_lease_and_a_process(missing: str) -> None:
    refuse(make_running(), "run_lease_iff_running", **{missing: None})


def test_running_run_has_an_attempt() -> None:
    refuse(make_running(), "run_lease_iff_running", attempt=0)


@pytest.mark.parametrize(
    "columns", [{"stop_mode": "cancel"}, {"stop_requested_at": NOW}, {"stop_requested_at": NOW, "stop_mode": "hope"}]
)
def test_stop_has_a_known_mode(columns: dict[str, Any]) -> None:
    refuse(make_running(), "run_stop_has_a_mode", **columns)


def test_status_is_known() -> None:
    refuse(make_run(), "run_", status="lost")  # PostgreSQL names another constraint that it breaks, too


@pytest.mark.parametrize("priority", [10, 200])
def test_priority_is_in_range(priority: int) -> None:
    refuse(make_run(), "run_priority_in_range", priority=priority)


@pytest.mark.parametrize("columns", [{"status": "running"}, {"status": "finished", "finished_at": None}])
def test_node_has_an_end_iff_it_ended(columns: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        NodeExecution.objects.create(
            **{
                "id": new_run_id(),
                "run": make_running(),
                "attempt": 1,
                "node": "n",
                "started_at": NOW,
                "finished_at": NOW,
                **columns,
            }
        )


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING, Status.WAITING])
def test_second_active_run_on_a_thread_is_refused(status: Status) -> None:
    run = make_run(thread_id="t")
    if status is not Status.QUEUED:
        claim(run)
    if status is Status.WAITING:
        make_waiting(run=Run.objects.get(id=run.id))

    with pytest.raises(IntegrityError), transaction.atomic():
        make_run(thread_id="t")


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_thread_of_an_ended_run_takes_the_next(status: Status) -> None:
    make_ended(status, thread_id="t")
    make_run(thread_id="t")


def test_second_child_of_the_same_key_is_refused() -> None:
    parent = make_running()
    make_run(parent=parent, child_key="k")
    with pytest.raises(IntegrityError), transaction.atomic():
        make_run(parent=parent, child_key="k")
    make_run(parent=make_running(), child_key="k")


def test_second_run_of_the_same_idempotency_key_is_refused() -> None:
    make_run(idempotency_key="k")
    with pytest.raises(IntegrityError), transaction.atomic():
        make_run(idempotency_key="k")


# --- TRANSITIONS and what the registry does ---------------------------------------------------------------


def in_status(status: Status) -> Run:
    if status is Status.QUEUED:
        return make_run()
    if status is Status.RUNNING:
        return make_running()
    if status is Status.WAITING:
        return make_waiting()
    if status is Status.PAUSED:
        return make_paused()
    return make_ended(status)


def try_everything(run: Run) -> dict[str, Any]:
    """Every move that the registry knows, by name."""
    return {
        "claim": lambda: registry.claim(run.id, CLAIMANT, lease_seconds=60),
        "complete": lambda: registry.settle(run.id, run.attempt, Status.COMPLETED),
        "fail": lambda: registry.settle(run.id, run.attempt, Status.FAILED),
        "fail_queued": lambda: registry.fail_queued(run.id, {"type": "X", "message": ""}),
        "suspend": lambda: registry.suspend(run.id, run.attempt, awaited=[], questions={}),
        "wake": lambda: registry.wake(run.id),
        "requeue": lambda: registry.requeue(run.id, run.attempt, resurrect=True),
        "stop": lambda: registry.request_stop([run.id], stop_request()),
        "pause": lambda: registry.request_pause([run.id], PAUSE),
        "resume": lambda: registry.resume([run.id]),
    }


@pytest.mark.parametrize("name", sorted(try_everything(Run())))
@pytest.mark.parametrize("source", sorted(Status))
def test_registry_moves_only_along_transitions(source: Status, name: str) -> None:
    run = in_status(source)

    landed = try_everything(run)[name]()

    target = Status(status_of(run))
    assert target == source or target in TRANSITIONS[source]
    assert bool(landed) == (target != source or (name in ("stop", "pause") and source is Status.RUNNING))
    if target != source:
        last = run.status_changes.last()
        assert last is not None
        assert last.status == target


def test_registry_makes_every_transition() -> None:
    made: set[tuple[Status, Status]] = set()
    for source in Status:
        for name in try_everything(Run()):
            run = in_status(source)
            try_everything(run)[name]()
            made.add((source, Status(status_of(run))))
    run = make_running()
    registry.request_stop([run.id], stop_request())
    registry.settle(run.id, run.attempt, Status.COMPLETED)
    made.add((Status.RUNNING, Status(status_of(run))))

    run = pausing()
    registry.requeue(run.id, run.attempt, resurrect=False)
    made.add((Status.RUNNING, Status(status_of(run))))
    run = make_waiting(questions={"i": "go on?"})
    registry.request_pause([run.id], PAUSE)
    registry.resume([run.id])
    made.add((Status.PAUSED, Status(status_of(run))))

    named = {(source, target) for source, targets in TRANSITIONS.items() for target in targets}
    assert {edge for edge in made if edge[0] is not edge[1]} == named


def test_settling_as_no_outcome_is_a_bug_of_the_caller() -> None:
    run = make_running()
    with pytest.raises(IllegalTransition):
        registry.settle(run.id, run.attempt, Status.RUNNING)


def test_every_stop_mode_can_be_stored() -> None:
    for mode in StopMode:
        run = make_running()
        registry.request_stop([run.id], stop_request(mode=mode))
        assert Run.objects.get(id=run.id).stop_mode == mode
