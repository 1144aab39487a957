"""The numbers of the dashboard, from data whose numbers are known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs import brake, statistics
from runs.ladder import Rung
from runs.models import NodeExecution, Run, Worker
from runs.states import NodeStatus, Status
from tests.integration.engine import make_ended, make_paused, make_run, make_running

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_server")]

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def ended(status: Status, hours_ago: float, graph: str = "quick") -> Run:
    run = make_ended(status, graph=graph)
    Run.objects.filter(id=run.id).update(finished_at=NOW - timedelta(hours=hours_ago))
    return run


def stopped(graph: str, rung: Rung | None, seconds: float) -> None:
    run = ended(Status.CANCELLED, 1, graph)
    asked_at = NOW - timedelta(hours=2)
    Run.objects.filter(id=run.id).update(
        stop_rung=rung, stop_requested_at=asked_at, stop_gone_at=asked_at + timedelta(seconds=seconds)
    )


def executed(run: Run, node: str, seconds: float, status: NodeStatus = NodeStatus.FINISHED) -> None:
    NodeExecution.objects.create(
        id=uuid4(),
        run=run,
        attempt=1,
        node=node,
        status=status,
        started_at=NOW - timedelta(seconds=seconds),
        finished_at=None if status == NodeStatus.RUNNING else NOW,
    )


def test_runs_over_time_fall_into_their_hours_and_out_of_the_window() -> None:
    for status, hours_ago in (
        (Status.COMPLETED, 0.1),  # 12:24, the bar that begins at 12:00
        (Status.COMPLETED, 0.6),  # 11:54, the one before
        (Status.FAILED, 0.7),
        (Status.CANCELLED, 23.4),  # 13:06 of the day before, the first bar
        (Status.COMPLETED, 23.6),  # before the window
    ):
        ended(status, hours_ago)

    numbers = statistics.collect(24, now=NOW)

    assert len(numbers.buckets) == 24
    assert numbers.buckets[-1] == statistics.Bucket(datetime(2026, 3, 1, 12, tzinfo=UTC), 1, 0, 0)
    assert numbers.buckets[-2] == statistics.Bucket(datetime(2026, 3, 1, 11, tzinfo=UTC), 1, 1, 0)
    assert numbers.buckets[0] == statistics.Bucket(datetime(2026, 2, 28, 13, tzinfo=UTC), 0, 0, 1)
    assert numbers.ended == {"completed": 2, "failed": 1, "cancelled": 1}
    assert numbers.success_rate == pytest.approx(2 / 3)


def test_a_week_has_bars_of_six_hours() -> None:
    ended(Status.COMPLETED, 5.4)  # 07:06: the last bar is of the hours from 7 to 12
    ended(Status.FAILED, 5.6)

    buckets = statistics.collect(168, now=NOW).buckets

    assert len(buckets) == 28
    assert (buckets[-1].begins_at.hour, buckets[-1].completed, buckets[-1].failed) == (7, 1, 0)
    assert (buckets[-2].begins_at.hour, buckets[-2].failed) == (1, 1)


def test_nothing_is_no_success_rate() -> None:
    numbers = statistics.collect(24, now=NOW)

    assert numbers.success_rate is None
    assert (numbers.stops, numbers.stubborn, numbers.nodes, numbers.workers) == ({}, [], [], [])
    assert numbers.queue == statistics.Queue(0, 0, 0, 0, None)


def test_stop_latency_by_rung_and_graphs_that_never_honour_a_cancel() -> None:
    for seconds in range(1, 12):
        stopped("polite", Rung.CANCEL, seconds / 10)
    for _ in range(2):
        stopped("stubborn", Rung.INTERRUPT, 20)
    stopped("stubborn", Rung.KILL, 30)
    stopped("rarely", Rung.KILL, 30)  # once is no habit
    stopped("polite", None, 0)  # it was not executing

    numbers = statistics.collect(24, now=NOW)

    assert numbers.stops_sampled == 15
    assert numbers.stops[Rung.CANCEL] == statistics.Spread(11, pytest.approx(0.6), pytest.approx(1.05))
    assert numbers.stops[Rung.KILL] == statistics.Spread(2, 30.0, 30.0)
    assert numbers.stubborn == [statistics.StubbornGraph("stubborn", interrupted=2, killed=1)]


def test_slowest_nodes_come_first_and_only_ended_ones_count() -> None:
    run, other = ended(Status.COMPLETED, 1, "book"), ended(Status.FAILED, 2, "book")
    for seconds in (1.0, 2.0, 3.0):
        executed(run, "read", seconds)
    executed(other, "write", 9.0, NodeStatus.FAILED)
    executed(run, "endless", 900.0, NodeStatus.RUNNING)
    executed(make_running(), "elsewhere", 900.0)

    numbers = statistics.collect(24, now=NOW)

    assert numbers.nodes == [
        statistics.NodeTimes("book", "write", statistics.Spread(1, 9.0, 9.0)),
        statistics.NodeTimes("book", "read", statistics.Spread(3, 2.0, pytest.approx(2.9))),
    ]


def test_queue_and_workers_with_their_leases() -> None:
    Worker.objects.create(
        id="tester#1", hostname="tester", pid=1, pool="prefork", concurrency=2, started_at=NOW, heartbeat_at=NOW
    )
    now = datetime.now(UTC)
    Worker.objects.update(heartbeat_at=now)
    running, queued = make_running(graph="book"), make_run()
    make_paused()
    Run.objects.filter(id=queued.id).update(queued_at=now - timedelta(seconds=70))

    numbers = statistics.collect(24, now=now)

    assert (numbers.queue.queued, numbers.queue.running, numbers.queue.paused) == (1, 1, 1)
    assert numbers.queue.oldest_seconds == pytest.approx(70)
    [load] = numbers.workers
    assert (load.hostname, load.slots, [lease.run.id for lease in load.leases]) == ("tester", 2, [running.id])
    assert load.leases[0].seconds_left == pytest.approx(60, abs=30)


def test_the_cost_is_the_same_for_many_runs() -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            statistics.collect(24, now=NOW)
        return len(captured)

    ended(Status.COMPLETED, 1)
    few = cost()
    for _ in range(10):
        executed(ended(Status.COMPLETED, 1), "read", 1)
        make_running()
    assert cost() == few


def test_as_json_is_whole() -> None:
    stopped("polite", Rung.CANCEL, 1)
    brake.freeze(graph="quick", actor="alice", reason="no")

    shown = statistics.as_json(statistics.collect(24, now=NOW))

    assert shown["over_time"][0]["begins_at"] == "2026-02-28T13:00:00Z"
    assert shown["stops"]["by_rung"] == [{"rung": "cancel", "count": 1, "p50_seconds": 1.0, "p95_seconds": 1.0}]
    assert shown["freezes"] == [{"what": "graph quick", "by": "alice", "reason": "no"}]
