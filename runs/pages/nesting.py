"""Rows of a tree as what opens and closes around them, for nested lists in a template. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runs.models import Run


@dataclass(frozen=True)
class Branch:
    """A run of a nested list: whether it is the first of a new level, has some below it, and which levels end with
    it."""

    run: Run
    opens: bool
    is_last: bool  # nothing is below it
    closes: range


def nest(rows: Sequence[tuple[Run, int]]) -> list[Branch]:
    """Runs in the order of their tree, each with its depth."""
    depths = [depth for _, depth in rows]
    following = [*depths[1:], 0]
    return [
        Branch(run, number > 0 and depth > depths[number - 1], after <= depth, range(max(depth - after, 0)))
        for number, ((run, depth), after) in enumerate(zip(rows, following, strict=True))
    ]
