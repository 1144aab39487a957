"""A stop against whatever else happens to its tree, in many forced orders: nothing ever escapes it.

`--stop-trials 2000` makes many more of them than an ordinary test run does.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from runs import control, registry
from runs.errors import ParentIsStopping
from runs.models import Run
from runs.registry import Claimant, Stopped
from runs.states import TRANSITIONS, Status
from tests.integration.engine import CLAIMANT, Elsewhere, make_run, make_running, status_of, stop_request

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("no_worker"),
    pytest.mark.timeout(3_600),
]

# Where the other one is held, by the statement that it is about to make.
ANYWHERE = ("SELECT", "UPDATE", "INSERT INTO", "runs_statuschange")
STOP_POINTS = ("WITH RECURSIVE", "runs_statuschange")


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--stop-trials"))


def orders(trials: int, points: tuple[str, ...]) -> Iterator[tuple[Callable[..., tuple[Any, Any]], str]]:
    """For each trial, how to bring two calls together: one is held in mid-work while the other comes, seeded."""
    chance = random.Random(20261121)
    cases = [(point, occurrence, False) for point in points for occurrence in (1, 2, 5)]
    cases += [(point, occurrence, True) for point in STOP_POINTS for occurrence in (1, 2)]
    for number, (point, occurrence, is_stop_held) in zip(range(trials), itertools.cycle(cases)):
        waits = chance.random() < 0.5

        def meet(
            stop: Callable[[], Any],
            other: Callable[[], Any],
            point: str = point,
            occurrence: int = occurrence,
            is_stop_held: bool = is_stop_held,
            waits: bool = waits,
        ) -> tuple[Any, Any]:
            first, second = (stop, other) if is_stop_held else (other, stop)
            held = Elsewhere(first, hold_before=point, occurrence=occurrence).until_held_or_done()
            coming = Elsewhere(second)
            if waits:
                coming.until_blocked_or_done()
            held.let_go()
            results = held.result(), coming.result()
            return results if is_stop_held else (results[1], results[0])

        yield meet, f"trial {number}: {'stop' if is_stop_held else 'other'} held before {point} {occurrence}"


def assert_legal(run: Run) -> None:
    """Its whole history is one of allowed moves, and nothing follows a cancel."""
    seen = list(run.status_changes.values_list("status", flat=True))
    for before, after in itertools.pairwise(seen):
        assert Status(after) in TRANSITIONS[Status(before)], seen


def test_spawn_against_stop(trials: int) -> None:
    for meet, order in orders(trials, ANYWHERE):
        parent = make_running()

        def stop(parent: Run = parent) -> list[Stopped]:
            return registry.request_stop([parent.id], stop_request())

        def spawn(parent: Run = parent) -> set[Any]:
            spawned: set[Any] = set()
            with suppress(ParentIsStopping):
                for number in range(12):
                    child = control.submit("quick", {}, parent=parent.id, child_key=f"#{number}", ring=False)
                    spawned.add(child.id)
            return spawned

        stopped, spawned = meet(stop, spawn)

        children = set(parent.children.values_list("id", flat=True))
        assert spawned == children, order
        assert {item.run_id for item in stopped} == children | {parent.id}, order
        assert set(parent.children.values_list("status", flat=True)) <= {Status.CANCELLED}, order
        for child_id in children:
            assert registry.claim(child_id, CLAIMANT, lease_seconds=60) is None, order


def test_claim_against_stop(trials: int) -> None:
    for number, (meet, order) in enumerate(orders(trials, ("UPDATE", "runs_statuschange"))):
        parent = make_running()
        child = make_run(parent=parent)
        target = parent if number % 2 else child
        stopped, claimed = meet(
            lambda target=target: registry.request_stop([target.id], stop_request()),
            lambda child=child: registry.claim(child.id, CLAIMANT, lease_seconds=60),
        )

        assert child.id in {item.run_id for item in stopped}, order
        assert status_of(child) == ("running" if claimed else "cancelled"), order
        if claimed:
            settled = registry.settle(child.id, claimed.attempt, Status.COMPLETED)
            assert settled is not None, order
            assert settled.status == "cancelled", order
        assert registry.claim(child.id, CLAIMANT, lease_seconds=60) is None, order
        assert_legal(child)


@pytest.mark.parametrize("move", ["completed", "failed", "suspend", "requeue"])
def test_settle_against_stop(trials: int, move: str) -> None:
    moves: dict[str, Callable[[Run], Any]] = {
        "completed": lambda run: registry.settle(run.id, run.attempt, Status.COMPLETED),
        "failed": lambda run: registry.settle(run.id, run.attempt, Status.FAILED, error={"type": "E", "message": ""}),
        "suspend": lambda run: registry.suspend(run.id, run.attempt, awaited=[], questions={}),
        "requeue": lambda run: registry.requeue(run.id, run.attempt, resurrect=False),
    }
    for meet, order in orders(trials // 4, ("UPDATE", "runs_statuschange")):
        run = make_running()
        stopped, _ = meet(
            lambda run=run: registry.request_stop([run.id], stop_request()), lambda run=run: moves[move](run)
        )

        ended = Run.objects.get(id=run.id)
        if stopped:
            # Accepted: whatever comes now, it ends as cancelled.
            if ended.status == Status.RUNNING:
                assert registry.settle(run.id, run.attempt, Status.COMPLETED).status == "cancelled", order
            assert status_of(run) == "cancelled", order
        else:
            assert ended.status == move, order
            assert ended.stop_requested_at is None, order
        assert registry.settle(run.id, run.attempt, Status.COMPLETED) is None, order
        assert_legal(run)


def test_takeover_against_stop(trials: int) -> None:
    """The worker of a run is lost in the moment of its stop: the next attempt never begins, or is told."""
    for meet, order in orders(trials // 4, ("UPDATE", "runs_statuschange")):
        run = make_running()
        registry.requeue(run.id, run.attempt, resurrect=True)
        stopped, taken = meet(
            lambda run=run: registry.request_stop([run.id], stop_request()),
            lambda run=run: registry.claim(run.id, Claimant("worker-2", 1, 1.0), lease_seconds=60),
        )

        assert [item.run_id for item in stopped] == [run.id], order
        if taken is None:
            assert status_of(run) == "cancelled", order
        else:
            assert registry.settle(run.id, 1, Status.COMPLETED) is None, order
            assert registry.settle(run.id, 2, Status.COMPLETED).status == "cancelled", order
        assert_legal(run)
