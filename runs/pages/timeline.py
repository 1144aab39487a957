"""Places executions of nodes on a line of time: one row for each node, more where it overlaps itself. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runs.models import NodeExecution
from runs.states import NodeStatus
from runs.words import duration, node_path

LONGEST_ROWS = 40
MARKS = 4


@dataclass(frozen=True)
class Bar:
    """Milliseconds since the beginning of the line."""

    start: int
    length: int
    status: str
    title: str

    @property
    def is_running(self) -> bool:
        return self.status == NodeStatus.RUNNING


@dataclass(frozen=True)
class Row:
    path: str
    lanes: list[list[Bar]]
    words: str  # for those who do not see the bars


@dataclass(frozen=True)
class Timeline:
    """`span` is its length in milliseconds; `left_out` counts the rows for which there is no place."""

    begins_at: datetime | None
    span: int
    rows: list[Row]
    marks: list[str]
    is_growing: bool
    left_out: int = 0


def draw_timeline(executions: Sequence[NodeExecution], now: datetime) -> Timeline:
    """Lay out executions, which are in the order of their beginning."""
    if not executions:
        return Timeline(None, 1, [], [], False)
    begins_at = min(execution.started_at for execution in executions)
    ends_at = max(execution.finished_at or now for execution in executions)
    span = max(_milliseconds(ends_at - begins_at), 1)
    by_path: dict[str, list[NodeExecution]] = {}
    for execution in executions:
        by_path.setdefault(node_path(execution.namespace, execution.node), []).append(execution)
    rows = [_row(path, of_node, begins_at, now) for path, of_node in by_path.items()]
    return Timeline(
        begins_at=begins_at,
        span=span,
        rows=rows[:LONGEST_ROWS],
        marks=_marks(span),
        is_growing=any(execution.finished_at is None for execution in executions),
        left_out=max(len(rows) - LONGEST_ROWS, 0),
    )


def _marks(span: int) -> list[str]:
    """Times at even distances; of a short line only its ends, because a tenth of a second is the finest."""
    parts = MARKS if span >= 1_000 * MARKS else 1
    return [duration(span / 1_000 * number / parts) for number in range(parts + 1)]


def _row(path: str, executions: Sequence[NodeExecution], begins_at: datetime, now: datetime) -> Row:
    lanes: list[list[Bar]] = []
    ends: list[datetime] = []
    for execution in executions:
        ended = execution.finished_at or now
        lane = next((index for index, free in enumerate(ends) if free <= execution.started_at), None)
        if lane is None:
            lane = len(lanes)
            lanes.append([])
            ends.append(ended)
        ends[lane] = ended
        took = ended - execution.started_at
        lanes[lane].append(
            Bar(
                start=_milliseconds(execution.started_at - begins_at),
                length=max(_milliseconds(took), 0),
                status=execution.status,
                title=f"{path}: {execution.status}, {duration(took.total_seconds())}",
            )
        )
    return Row(path, lanes, _in_words(executions, now))


def _in_words(executions: Sequence[NodeExecution], now: datetime) -> str:
    latest = executions[-1]
    took = duration(((latest.finished_at or now) - latest.started_at).total_seconds())
    words = f"{latest.get_status_display()}, {took}"
    return words if len(executions) == 1 else f"{len(executions)} times; the last {words}"


def _milliseconds(length: timedelta) -> int:
    return round(length.total_seconds() * 1_000)
