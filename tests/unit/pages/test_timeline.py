"""Executions of nodes as bars."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from runs.models import NodeExecution
from runs.pages.timeline import LONGEST_ROWS, draw_timeline

BEGUN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def executed(node: str, begun: float, ended: float | None, status: str = "finished") -> NodeExecution:
    return NodeExecution(
        id=uuid.uuid4(),
        node=node,
        namespace=f"{node}:1",
        attempt=1,
        status="running" if ended is None else status,
        started_at=BEGUN + timedelta(seconds=begun),
        finished_at=None if ended is None else BEGUN + timedelta(seconds=ended),
    )


def test_bars_lie_where_their_time_is() -> None:
    drawn = draw_timeline([executed("read", 0, 1), executed("write", 1, 4)], BEGUN + timedelta(seconds=9))

    assert drawn.span == 4_000
    assert [(row.path, row.lanes[0][0].start, row.lanes[0][0].length) for row in drawn.rows] == [
        ("read", 0, 1_000),
        ("write", 1_000, 3_000),
    ]
    assert drawn.marks == ["0.0 s", "1.0 s", "2.0 s", "3.0 s", "4.0 s"]
    assert not drawn.is_growing


def test_running_node_reaches_to_now() -> None:
    drawn = draw_timeline([executed("read", 0, None)], BEGUN + timedelta(seconds=7))

    assert drawn.is_growing
    assert drawn.rows[0].lanes[0][0].length == drawn.span == 7_000
    assert drawn.rows[0].words == "running, 7.0 s"


def test_parallel_executions_of_one_node_have_lanes_of_their_own() -> None:
    parallel = [executed("part", 0, 3), executed("part", 1, 2), executed("part", 2.5, 4, "failed")]
    (row,) = draw_timeline(parallel, BEGUN).rows

    assert [len(lane) for lane in row.lanes] == [1, 2]
    assert row.words == "3 times; the last failed, 1.5 s"


def test_no_execution_and_too_many_nodes() -> None:
    assert draw_timeline([], BEGUN).rows == []
    drawn = draw_timeline([executed(f"n{number}", number, number + 1) for number in range(50)], BEGUN)
    assert (len(drawn.rows), drawn.left_out) == (LONGEST_ROWS, 10)
