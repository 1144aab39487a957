"""Times and numbers in words, the same for the terminal and the admin."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

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
