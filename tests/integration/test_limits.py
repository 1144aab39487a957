"""Whose times a stop has: those of the call, of the run, of its graph, of the settings; and runs that take too long."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from runs import control, reaper, registry
from runs.errors import InputRefused
from runs.models import Run
from runs.states import Status
from tests.integration.engine import claim, make_run, make_running, make_waiting, stop_request

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_server", "no_worker")]


@pytest.fixture(autouse=True)
def times(settings: Any) -> None:
    settings.RUNS_GRACE_SECONDS, settings.RUNS_INTERRUPT_AFTER_SECONDS = 30, 20
    settings.RUNS_GRAPHS = {"napping": {"grace_seconds": 90, "interrupt_after_seconds": 60, "max_seconds": 1_000}}


def plan_of(run: Run) -> tuple[float, float]:
    """Seconds from the stop to the interrupt and to the kill."""
    run = Run.objects.get(id=run.id)
    assert run.stop_requested_at
    assert run.stop_interrupt_at
    assert run.stop_deadline
    return (
        round((run.stop_interrupt_at - run.stop_requested_at).total_seconds(), 1),
        round((run.stop_deadline - run.stop_requested_at).total_seconds(), 1),
    )


def test_run_keeps_its_own_times_and_its_graph_s() -> None:
    run = control.submit("napping", {}, grace_seconds=5)

    assert (run.grace_seconds, run.interrupt_after_seconds, run.max_seconds) == (5, 60, 1_000)
    run = control.submit("quick", {})
    assert (run.grace_seconds, run.interrupt_after_seconds, run.max_seconds) == (None, None, None)


@pytest.mark.parametrize("wrong", [{"grace_seconds": -1}, {"interrupt_after_seconds": 1e9}, {"max_seconds": 0}])
def test_wrong_time_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputRefused, match=next(iter(wrong))):
        control.submit("quick", {}, **wrong)  # type: ignore[arg-type]
    assert not Run.objects.exists()


def test_stop_that_names_no_time_uses_the_run_s_then_the_graph_s_then_the_setting() -> None:
    own = claim(control.submit("napping", {}, grace_seconds=8, interrupt_after_seconds=4, ring=False))
    graph = claim(control.submit("napping", {}, ring=False))
    usual = claim(control.submit("quick", {}, ring=False))

    control.cancel_runs([own.id, graph.id, usual.id])

    assert [plan_of(run) for run in (own, graph, usual)] == [(4, 8), (60, 90), (20, 30)]


def test_stop_that_names_times_uses_them_for_everything_it_reaches() -> None:
    parent = make_running(grace_seconds=8)
    child = claim(make_run(parent=parent, grace_seconds=600, interrupt_after_seconds=500))

    control.cancel(parent.id, grace_seconds=3, interrupt_after_seconds=1)

    assert (plan_of(parent), plan_of(child)) == ((1, 3), (1, 3))


def test_cascaded_stop_uses_each_run_s_own_times() -> None:
    parent = make_running()
    child = claim(make_run(parent=parent, grace_seconds=600, interrupt_after_seconds=500))
    other = claim(make_run(parent=parent, grace_seconds=7))

    control.cancel(parent.id)

    assert [plan_of(run) for run in (parent, child, other)] == [(20, 30), (500, 600), (7, 7)]


def test_kill_and_interrupt_wait_for_no_time_of_the_run() -> None:
    killed, interrupted = (make_running(grace_seconds=600, interrupt_after_seconds=500) for _ in range(2))

    control.cancel(killed.id, mode="kill")
    control.cancel(interrupted.id, mode="interrupt")

    assert (plan_of(killed), plan_of(interrupted)) == ((0, 0), (0, 600))


def test_second_stop_brings_forward_by_each_run_s_own_times() -> None:
    slow, usual = make_running(grace_seconds=600, interrupt_after_seconds=500), make_running()
    control.cancel_runs([slow.id, usual.id], grace_seconds=1_000, interrupt_after_seconds=900)

    again = control.cancel_runs([slow.id, usual.id])

    assert set(again.escalated) == {slow.id, usual.id}
    assert [tuple(map(round, plan_of(run))) for run in (slow, usual)] == [(500, 600), (20, 30)]
    assert control.cancel_runs([slow.id, usual.id], grace_seconds=2_000, interrupt_after_seconds=1_500).escalated == []


def test_times_of_many_runs_take_few_statements() -> None:
    parent = make_running()
    children = [claim(make_run(parent=parent, grace_seconds=100 + number % 7)) for number in range(50)]

    with CaptureQueriesContext(connection) as statements:
        registry.request_stop([parent.id], stop_request(grace_seconds=None))

    assert [plan_of(child)[1] for child in children[:3]] == [100, 101, 102]
    # Two rounds, the correction, and the transaction.
    assert len(statements) <= 6


def test_run_over_its_limit_is_stopped_and_says_so() -> None:
    running, waiting, young, unlimited, again = (
        make_running(max_seconds=60),
        make_waiting(run=make_running(max_seconds=60), questions={"q": "?"}),
        make_running(max_seconds=600),
        make_running(),
        make_running(max_seconds=60),
    )
    registry.requeue(again.id, again.attempt, resurrect=True)
    child = claim(make_run(parent=running))
    Run.objects.update(started_at=timezone.now() - timedelta(seconds=61))

    reaper.reap(has_free_slot=False)

    stopped = Run.objects.get(id=running.id)
    assert (stopped.stop_source, stopped.stop_actor, stopped.stop_mode) == ("limit", "quick", "cancel")
    assert stopped.stop_reason == "it was not over after its limit of 60 s"
    assert Run.objects.get(id=child.id).stop_source == "limit"
    assert Run.objects.get(id=waiting.id).status == Status.CANCELLED
    assert Run.objects.get(id=again.id).status == Status.CANCELLED
    assert not Run.objects.filter(id__in=[young.id, unlimited.id], stop_requested_at__isnull=False).exists()
