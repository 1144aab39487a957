"""Which rung of a stop is due when. Pure: times come in, a decision goes out.

Rung 0, cancel: the graph is asked. Rung 1, interrupt: an exception is raised inside its nodes. Rung 2, kill: its
process is ended. The supervisor decides with this, and so does whoever shows a countdown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from runs.states import StopMode


class Rung(IntEnum):
    CANCEL = 0
    INTERRUPT = 1
    KILL = 2

    @property
    def mode(self) -> StopMode:
        """What a stop is called that begins at this rung."""
        return StopMode[self.name]


@dataclass(frozen=True)
class Schedule:
    """When the higher rungs are due; never the kill before the interrupt."""

    interrupt_at: datetime
    kill_at: datetime


def schedule(mode: StopMode, now: datetime, *, interrupt_after_seconds: float, grace_seconds: float) -> Schedule:
    """The schedule of a stop that is asked for now.

    Mode interrupt begins at rung 1 and keeps the grace until the kill; mode kill begins at rung 2.
    """
    if mode is StopMode.KILL:
        return Schedule(now, now)
    grace = timedelta(seconds=grace_seconds)
    if mode is StopMode.INTERRUPT:
        return Schedule(now, now + grace)
    return Schedule(now + min(timedelta(seconds=interrupt_after_seconds), grace), now + grace)


def sooner(one: Schedule, other: Schedule) -> Schedule:
    """What holds after a stop was asked for twice: a stop is brought forward and never put off."""
    return Schedule(min(one.interrupt_at, other.interrupt_at), min(one.kill_at, other.kill_at))


def latest(plans: Iterable[Schedule | None]) -> Schedule | None:
    """When the last of several runs is interrupted and killed; None stands for a run that is not stopping."""
    known = [plan for plan in plans if plan is not None]
    if not known:
        return None
    return Schedule(max(plan.interrupt_at for plan in known), max(plan.kill_at for plan in known))


def rung_due(plan: Schedule, now: datetime, critical_until: datetime | None = None) -> Rung:
    """The highest rung that is due.

    Args:
        critical_until: the latest end of a critical section that is open; no higher rung is due before it.
    """
    if critical_until is not None and now < critical_until:
        return Rung.CANCEL
    if now >= plan.kill_at:
        return Rung.KILL
    if now >= plan.interrupt_at:
        return Rung.INTERRUPT
    return Rung.CANCEL


def next_change_at(plan: Schedule, now: datetime, critical_until: datetime | None = None) -> datetime | None:
    """When a higher rung will be due; None once the kill is."""
    if rung_due(plan, now, critical_until) is Rung.KILL:
        return None
    candidates = [plan.interrupt_at, plan.kill_at]
    if critical_until is not None and now < critical_until:
        candidates = [max(moment, critical_until) for moment in candidates]
    return min(moment for moment in candidates if moment > now)


def next_rung(plan: Schedule | None, now: datetime) -> Rung | None:
    """The rung to which one more press of Stop climbs.

    A critical section delays what is due and not what is asked, so it makes no difference here.

    Args:
        plan: None if nobody asked for a stop before.

    Returns:
        None once the kill is due: there is nothing more to ask for.
    """
    if plan is None:
        return Rung.CANCEL
    due = rung_due(plan, now)
    return None if due is Rung.KILL else Rung(due + 1)
