"""What the runs of the last hours or days add up to: for the dashboard and `GET /api/stats`.

Every query is bounded, by a window of time that an index answers or by a number of rows, so a dashboard costs the same
with a million runs. What is taken from the newest rows alone says how many they were.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, Min
from django.utils import timezone

from runs import brake, control
from runs.columns import moment
from runs.ladder import Rung
from runs.models import NodeExecution, Run
from runs.states import ACTIVE, TERMINAL, NodeStatus, Status

WINDOWS = {24: 1, 168: 6}  # hours that are looked at → hours of one bar of the chart
STOPS_SAMPLED = 2_000
RUNS_SAMPLED = 500  # whose nodes are looked at
NODES_SAMPLED = 5_000
NEVER_HONOURED_FROM = 3  # stops of a graph, before it is called one that never honours a cancel
SLOWEST = 10
RUNNING_SHOWN = 100
_BAR = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)  # as `Bucket` has them


@dataclass(frozen=True)
class Spread:
    """Seconds that many things took."""

    count: int
    p50: float
    p95: float


@dataclass(frozen=True)
class Bucket:
    """What ended in one bar of the chart."""

    begins_at: datetime
    completed: int
    failed: int
    cancelled: int

    @property
    def total(self) -> int:
        return self.completed + self.failed + self.cancelled


@dataclass(frozen=True)
class StubbornGraph:
    """A graph whose stops were never over by themselves in the window."""

    graph: str
    interrupted: int
    killed: int


@dataclass(frozen=True)
class NodeTimes:
    graph: str
    node: str
    spread: Spread


@dataclass(frozen=True)
class Queue:
    """What waits now; `oldest_seconds` is how long the first of the queued runs has waited."""

    queued: int
    waiting: int
    paused: int
    running: int
    oldest_seconds: float | None


@dataclass(frozen=True)
class Lease:
    run: Run
    seconds_left: float


@dataclass(frozen=True)
class WorkerLoad:
    hostname: str
    slots: int
    is_stopping: bool
    heartbeat_seconds: float  # since the last one
    leases: list[Lease]


@dataclass(frozen=True)
class Statistics:
    hours: int
    buckets: list[Bucket]
    stops: dict[Rung, Spread]
    stops_sampled: int
    stubborn: list[StubbornGraph]
    nodes: list[NodeTimes]
    nodes_sampled: int
    queue: Queue
    workers: list[WorkerLoad]

    @property
    def ended(self) -> dict[str, int]:
        """How many of the window's runs ended how."""
        return {name: sum(getattr(bucket, name) for bucket in self.buckets) for name in sorted(TERMINAL)}

    @property
    def success_rate(self) -> float | None:
        """Completed of those that completed or failed, for a stop is somebody's wish; None if there are none."""
        ended = self.ended
        counted = ended[Status.COMPLETED] + ended[Status.FAILED]
        return ended[Status.COMPLETED] / counted if counted else None


def collect(hours: int = 24, *, now: datetime | None = None) -> Statistics:
    """The numbers of the last 24 or 168 hours.

    Args:
        now: the end of the window; None is this moment.
    """
    now = now or timezone.now()
    stops = _list_stops(now - timedelta(hours=hours))
    nodes = _list_nodes(now - timedelta(hours=hours))
    return Statistics(
        hours=hours,
        buckets=list_buckets(hours, now),
        stops=_by_rung(stops),
        stops_sampled=len(stops),
        stubborn=_stubborn(stops),
        nodes=_slowest(nodes),
        nodes_sampled=len(nodes),
        queue=look_at_queue(now),
        workers=list_loads(now),
    )


# --- over time --------------------------------------------------------------------------------------------


def list_buckets(hours: int, now: datetime) -> list[Bucket]:
    """What ended when, the oldest first; the last bar is that of this hour.

    A count of each part of each bar: an index answers it many times as quickly as a GROUP BY of the hour.
    """
    width = timedelta(hours=WINDOWS[hours])
    ends = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    begins = [ends - width * (place + 1) for place in reversed(range(hours // WINDOWS[hours]))]
    one = f"SELECT COUNT(*) FROM {Run._meta.db_table} WHERE status = %s AND finished_at >= %s AND finished_at < %s"  # noqa: S608
    parts = [(at, status) for at in begins for status in _BAR]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join([f'({one})'] * len(parts))}",
            [value for at, status in parts for value in (status.value, moment(at), moment(at + width))],
        )
        counts = iter(cursor.fetchone())
    return [Bucket(at, *(int(next(counts)) for _ in _BAR)) for at in begins]


# --- stops ------------------------------------------------------------------------------------------------

# graph, rung, seconds from the request to the proof that it is gone
Stop = tuple[str, int, float]


def _list_stops(since: datetime) -> list[Stop]:
    """The newest stops of runs that were executing."""
    stopped = Run.objects.filter(status=Status.CANCELLED, finished_at__gte=since, stop_rung__isnull=False)
    rows = stopped.order_by("-finished_at").values_list("graph", "stop_rung", "stop_requested_at", "stop_gone_at")
    return [
        (graph, rung, (gone_at - asked_at).total_seconds())
        for graph, rung, asked_at, gone_at in rows[:STOPS_SAMPLED]
        if rung is not None and gone_at is not None and asked_at is not None
    ]


def _by_rung(stops: Sequence[Stop]) -> dict[Rung, Spread]:
    return {
        rung: _spread([seconds for _, own, seconds in stops if own == rung])
        for rung in Rung
        if any(own == rung for _, own, _ in stops)
    }


def _stubborn(stops: Sequence[Stop]) -> list[StubbornGraph]:
    """The graphs that were stopped often enough and never came to a boundary in time."""
    rungs: dict[str, list[int]] = defaultdict(list)
    for graph, rung, _ in stops:
        rungs[graph].append(rung)
    found = [
        StubbornGraph(graph, own.count(Rung.INTERRUPT), own.count(Rung.KILL))
        for graph, own in rungs.items()
        if len(own) >= NEVER_HONOURED_FROM and Rung.CANCEL not in own
    ]
    return sorted(found, key=lambda graph: (-graph.killed, -graph.interrupted, graph.graph))


# --- nodes ------------------------------------------------------------------------------------------------

# graph, node, seconds
NodeTime = tuple[str, str, float]


def _list_nodes(since: datetime) -> list[NodeTime]:
    """The node executions of the newest runs: by their runs, because ten million of them are only found that way."""
    ended = Run.objects.filter(status__in=[Status.COMPLETED, Status.FAILED], finished_at__gte=since)
    graphs: dict[UUID, str] = {}
    for status in (Status.COMPLETED, Status.FAILED):  # each in the order of its index
        newest = ended.filter(status=status).order_by("-finished_at")
        graphs.update(newest.values_list("id", "graph")[: RUNS_SAMPLED // 2])
    rows = NodeExecution.objects.filter(
        run_id__in=graphs, status__in=[NodeStatus.FINISHED, NodeStatus.FAILED], finished_at__isnull=False
    )
    return [
        (graphs[run_id], node, (finished_at - started_at).total_seconds())
        for run_id, node, started_at, finished_at in rows.order_by().values_list(
            "run_id", "node", "started_at", "finished_at"
        )[:NODES_SAMPLED]
        if finished_at is not None
    ]


def _slowest(nodes: Sequence[NodeTime]) -> list[NodeTimes]:
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for graph, node, took in nodes:
        seconds[graph, node].append(took)
    times = [NodeTimes(graph, node, _spread(values)) for (graph, node), values in seconds.items()]
    return sorted(times, key=lambda row: (-row.spread.p95, row.graph, row.node))[:SLOWEST]


def _spread(values: Sequence[float]) -> Spread:
    if len(values) == 1:
        return Spread(1, values[0], values[0])
    parts = quantiles(values, n=100, method="inclusive")
    return Spread(len(values), parts[49], parts[94])


# --- now --------------------------------------------------------------------------------------------------


def look_at_queue(now: datetime) -> Queue:
    active = Run.objects.filter(status__in=sorted(ACTIVE)).order_by()
    number = dict(active.values_list("status").annotate(Count("pk")))
    oldest = Run.objects.filter(status=Status.QUEUED).aggregate(at=Min("queued_at"))["at"]
    return Queue(
        queued=number.get(Status.QUEUED, 0),
        waiting=number.get(Status.WAITING, 0),
        paused=number.get(Status.PAUSED, 0),
        running=number.get(Status.RUNNING, 0),
        oldest_seconds=(now - oldest).total_seconds() if oldest is not None else None,
    )


def list_loads(now: datetime) -> list[WorkerLoad]:
    """The living workers, with what each executes and how long its leases last."""
    running = Run.objects.filter(status=Status.RUNNING).select_related("owner").defer(*control.LARGE_FIELDS)
    leases: dict[str, list[Lease]] = defaultdict(list)
    for run in running.order_by("-id")[:RUNNING_SHOWN]:
        left = (run.lease_expires_at - now).total_seconds() if run.lease_expires_at else 0.0
        leases[run.worker].append(Lease(run, left))
    return [
        WorkerLoad(
            hostname=worker.hostname,
            slots=worker.concurrency,
            is_stopping=worker.is_stopping,
            heartbeat_seconds=(now - worker.heartbeat_at).total_seconds(),
            leases=leases[worker.id],
        )
        for worker in control.list_workers()
    ]


# --- as JSON ----------------------------------------------------------------------------------------------


def as_json(numbers: Statistics) -> dict[str, Any]:
    return {
        "hours": numbers.hours,
        "ended": numbers.ended,
        "success_rate": numbers.success_rate,
        "over_time": [
            {
                "begins_at": bucket.begins_at.isoformat().replace("+00:00", "Z"),
                "completed": bucket.completed,
                "failed": bucket.failed,
                "cancelled": bucket.cancelled,
            }
            for bucket in numbers.buckets
        ],
        "stops": {
            "sampled": numbers.stops_sampled,
            "by_rung": [{"rung": rung.mode.value, **_spread_json(spread)} for rung, spread in numbers.stops.items()],
            "never_honour_cancel": [
                {"graph": row.graph, "interrupted": row.interrupted, "killed": row.killed} for row in numbers.stubborn
            ],
        },
        "nodes": {
            "sampled": numbers.nodes_sampled,
            "slowest": [{"graph": row.graph, "node": row.node, **_spread_json(row.spread)} for row in numbers.nodes],
        },
        "queue": {
            "queued": numbers.queue.queued,
            "waiting": numbers.queue.waiting,
            "paused": numbers.queue.paused,
            "running": numbers.queue.running,
            "oldest_seconds": numbers.queue.oldest_seconds,
        },
        "workers": [
            {
                "hostname": load.hostname,
                "slots": load.slots,
                "is_stopping": load.is_stopping,
                "heartbeat_seconds": load.heartbeat_seconds,
                "runs": [
                    {
                        "id": str(lease.run.id),
                        "graph": lease.run.graph,
                        "status": lease.run.display_status,
                        "current_node": lease.run.current_node or None,
                        "lease_seconds_left": lease.seconds_left,
                    }
                    for lease in load.leases
                ],
            }
            for load in numbers.workers
        ],
        "freezes": [
            {"what": freeze.what, "by": freeze.actor or None, "reason": freeze.reason}
            for freeze in brake.list_standing()
        ],
    }


def _spread_json(spread: Spread) -> dict[str, Any]:
    return {"count": spread.count, "p50_seconds": spread.p50, "p95_seconds": spread.p95}
