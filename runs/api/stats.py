"""`GET /stats`: the numbers of the admin's dashboard, for who may view every run."""

from __future__ import annotations

from typing import Any, Literal

from django.http import HttpRequest
from ninja import Router, Schema
from ninja.errors import HttpError

from runs import policy, statistics

router = Router(tags=["stats"])


class Spread(Schema):
    count: int
    p50_seconds: float
    p95_seconds: float


class RungSpread(Spread):
    rung: str


class NodeSpread(Spread):
    graph: str
    node: str


class Ended(Schema):
    completed: int
    failed: int
    cancelled: int


class Bar(Ended):
    begins_at: str


class Stubborn(Schema):
    graph: str
    interrupted: int
    killed: int


class Stops(Schema):
    sampled: int
    by_rung: list[RungSpread]
    never_honour_cancel: list[Stubborn]


class Nodes(Schema):
    sampled: int
    slowest: list[NodeSpread]


class Queue(Schema):
    queued: int
    waiting: int
    paused: int
    running: int
    oldest_seconds: float | None


class WorkerRun(Schema):
    id: str
    graph: str
    status: str
    current_node: str | None
    lease_seconds_left: float


class WorkerLoad(Schema):
    hostname: str
    slots: int
    is_stopping: bool
    heartbeat_seconds: float
    runs: list[WorkerRun]


class Frozen(Schema):
    what: str
    by: str | None
    reason: str


class Stats(Schema):
    hours: int
    ended: Ended
    success_rate: float | None
    over_time: list[Bar]
    stops: Stops
    nodes: Nodes
    queue: Queue
    workers: list[WorkerLoad]
    freezes: list[Frozen]


@router.get("/stats", response=Stats)
def get_stats(request: HttpRequest, hours: Literal["24", "168"] = "24") -> Any:
    """The last 24 or 168 hours: how runs ended, how quickly they stopped, slow nodes, the queue and the workers."""
    if not policy.may_view_all(request.user):
        raise HttpError(403, "The statistics are of all runs: they take the permission runs.view_run.")
    return statistics.as_json(statistics.collect(int(hours)))
