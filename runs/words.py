"""Times, numbers and rungs in words, the same for the terminal and the pages."""

from __future__ import annotations

import math
from datetime import datetime
from signal import Signals
from typing import Any

from django.utils import timezone

from runs.ladder import Rung, Schedule

_UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def duration(seconds: float) -> str:
    """A time in the one or two units that say most: `0.4 s`, `12 s`, `3 min 4 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    for size, unit, smaller_size, smaller in _UNITS:
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def duration_ahead(seconds: float) -> str:
    """A time to come, for a countdown: `9 s`, never more exact than a second."""
    whole = math.ceil(seconds)
    return f"{max(whole, 0)} s" if whole < 60 else duration(whole)


def moment(at: datetime | None) -> str:
    """`2026-03-01 14:05:09 CET` in the current time zone; nothing for None."""
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S %Z}" if at else ""


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def node_path(namespace: str, node: str) -> str:
    """Where a node lies, by the names of the nodes that hold its subgraphs: `review/write`.

    Args:
        namespace: LangGraph's checkpoint namespace, `review:<id>|write:<id>`.
    """
    names = [part.partition(":")[0] for part in namespace.split("|") if part]
    return "/".join(names if names and names[-1] == node else [*names, node])


def rungs_ahead(plan: Schedule, now: datetime) -> str:
    """What happens to a stopping run by itself, and when: `interrupted in 12 s, killed in 22 s`.

    Returns:
        Empty once the kill is due.
    """
    ahead = [f"killed in {duration_ahead((plan.kill_at - now).total_seconds())}"] if plan.kill_at > now else []
    if now < plan.interrupt_at < plan.kill_at:
        ahead.insert(0, f"interrupted in {duration_ahead((plan.interrupt_at - now).total_seconds())}")
    return ", ".join(ahead)


def progress_in_words(run: Any) -> str:
    """`3/10`; nothing if the run tells none."""
    return f"{run.progress_done}/{run.progress_total}" if run.progress_total else ""


def error_in_words(error: dict[str, Any] | None) -> str:
    """The error of a run or a node: its type and its message; nothing for None."""
    return f"{error.get('type', '')}: {error.get('message', '')}" if error else ""


def limits_in_words(run: Any) -> list[str]:
    """The times that a run has of its own."""
    times = (
        (run.max_seconds, "stopped after {}"),
        (run.interrupt_after_seconds, "interrupted {} after a stop"),
        (run.grace_seconds, "killed {} after a stop"),
    )
    return [words.format(duration(seconds)) for seconds, words in times if seconds is not None]


def how_it_stopped(rung: int | None) -> str:
    """By which rung a stop took hold; None is that of a run that was in no process."""
    if rung is None:
        return "it was not executing"
    return {
        Rung.CANCEL: "it stopped by itself",
        Rung.INTERRUPT: "it was interrupted",
        Rung.KILL: "its process was killed",
    }[Rung(rung)]


def signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
