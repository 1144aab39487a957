"""The ladder's decisions as a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runs.ladder import Rung, Schedule, latest, next_change_at, next_rung, rung_due, schedule, sooner
from runs.states import StopMode

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("mode", "interrupt_after", "grace", "interrupt_at", "kill_at"),
    [
        (StopMode.CANCEL, 20, 30, 20, 30),
        (StopMode.CANCEL, 20, 5, 5, 5),  # a short grace leaves no time for an interrupt before the kill
        (StopMode.INTERRUPT, 20, 30, 0, 30),
        (StopMode.KILL, 20, 30, 0, 0),
        (StopMode.CANCEL, 20, 0, 0, 0),
    ],
)
def test_schedule_of_each_mode(
    mode: StopMode, interrupt_after: float, grace: float, interrupt_at: float, kill_at: float
) -> None:
    plan = schedule(mode, NOON, interrupt_after_seconds=interrupt_after, grace_seconds=grace)

    assert plan == Schedule(at(interrupt_at), at(kill_at))


@pytest.mark.parametrize(
    ("now", "critical_until", "rung", "next_change"),
    [
        (0, None, Rung.CANCEL, 20),
        (19.9, None, Rung.CANCEL, 20),
        (20, None, Rung.INTERRUPT, 30),
        (29.9, None, Rung.INTERRUPT, 30),
        (30, None, Rung.KILL, None),
        (1_000, None, Rung.KILL, None),
        (20, 25, Rung.CANCEL, 25),
        (25, 25, Rung.INTERRUPT, 30),
        (29, 40, Rung.CANCEL, 40),
        (35, 40, Rung.CANCEL, 40),
        (40, 40, Rung.KILL, None),
        (10, 15, Rung.CANCEL, 20),
        (50, 40, Rung.KILL, None),
    ],
)
def test_rung_due_by_the_clock(now: float, critical_until: float | None, rung: Rung, next_change: float | None) -> None:
    plan = Schedule(at(20), at(30))
    until = None if critical_until is None else at(critical_until)

    assert rung_due(plan, at(now), until) is rung
    assert next_change_at(plan, at(now), until) == (None if next_change is None else at(next_change))


def test_second_stop_brings_forward_and_never_puts_off() -> None:
    assert sooner(Schedule(at(20), at(30)), Schedule(at(5), at(60))) == Schedule(at(5), at(30))


@pytest.mark.parametrize(
    ("plan", "now", "rung"),
    [
        (None, 0, Rung.CANCEL),
        ((20, 30), 0, Rung.INTERRUPT),
        ((20, 30), 19.9, Rung.INTERRUPT),
        ((20, 30), 20, Rung.KILL),
        ((0, 30), 0, Rung.KILL),  # it was interrupted by hand
        ((20, 30), 30, None),
        ((0, 0), 0, None),
    ],
)
def test_next_rung_of_one_more_press(plan: tuple[float, float] | None, now: float, rung: Rung | None) -> None:
    assert next_rung(Schedule(*map(at, plan)) if plan else None, at(now)) is rung


def test_rung_and_mode_have_the_same_names() -> None:
    assert [rung.mode for rung in Rung] == list(StopMode)


def test_latest_of_several_runs_is_when_the_last_is_reached() -> None:
    assert latest([]) is None
    assert latest([None]) is None
    assert latest([Schedule(at(20), at(30)), None, Schedule(at(5), at(60))]) == Schedule(at(20), at(60))
