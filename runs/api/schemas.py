"""What goes over the wire. `runs.representation` makes it, so that the API and the command line never differ."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import ConfigDict, Field

from runs.models import DEFAULT_PRIORITY, PRIORITY_RANGE
from runs.states import NodeStatus, NodeStopOutcome, StopMode

MAX_IDS = 1_000

# What people see: while a run is asked to stop or to pause, `cancelling` or `pausing` stands for what is stored.
ShownStatus = Literal[
    "queued", "running", "waiting", "paused", "pausing", "cancelling", "completed", "failed", "cancelled"
]
Grace = Annotated[float | None, Field(ge=0, le=86_400, description="Seconds from now to the kill; null is the default")]
Interrupt = Annotated[
    float | None, Field(ge=0, le=86_400, description="Seconds from now to the interrupt; null is the default")
]
Reason = Annotated[str, Field(max_length=2_000)]


class Strict(Schema):
    """What a client sends: a name that is not known is an error, not ignored."""

    model_config = ConfigDict(extra="forbid")


class Graph(Schema):
    name: str
    description: str


class Progress(Schema):
    done: int
    total: int = Field(description="0 is unknown")


class RunError(Schema):
    model_config = ConfigDict(extra="allow")

    type: str
    message: str


class Stop(Schema):
    requested_at: datetime
    by: str | None
    source: str
    reason: str
    mode: StopMode
    interrupt_at: datetime | None
    deadline: datetime | None = Field(description="When it is killed")
    rung: int | None = Field(description="0 cancel, 1 interrupt, 2 kill; null until it has stopped")
    delivered_at: datetime | None
    acknowledged_at: datetime | None
    gone_at: datetime | None = Field(description="Since when nothing of it executes, proven")


class Pause(Schema):
    requested_at: datetime
    by: str | None
    source: str
    reason: str
    cascades: bool


class Limits(Schema):
    """The run's own times, or its graph's, in seconds; null is the default, and for the last: none."""

    grace_seconds: float | None
    interrupt_after_seconds: float | None
    max_seconds: float | None


class RunSummary(Schema):
    """A run without what may be large."""

    id: UUID
    graph: str
    status: ShownStatus
    parent_id: UUID | None
    root_id: UUID
    retry_of: UUID | None = Field(description="The run that this one is another try of")
    owner: str | None
    thread_id: str
    attempt: int
    error: RunError | None
    current_node: str | None
    current_call: str | None = Field(description="Of a model or a tool, under way")
    progress: Progress
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    last_activity_at: datetime | None
    idle_seconds: float | None
    worker: str | None
    priority: int
    limits: Limits
    stop: Stop | None
    pause: Pause | None


class Run(RunSummary):
    input: Any
    output: Any
    questions: dict[str, Any] = Field(description="What the graph asks a human: interrupt id → value")
    metadata: dict[str, Any]
    frozen: str | None = Field(None, description="The emergency brake that keeps a queued run from beginning")


class Page(Schema):
    items: list[RunSummary]
    next: str | None = Field(description="The `cursor` of the next page; null on the last")


class Node(Schema):
    id: UUID
    node: str
    namespace: str
    attempt: int
    step: int | None
    status: NodeStatus
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None
    error: RunError | None
    is_stoppable: bool = Field(description="Whether it can be stopped while the run goes on")


class Process(Schema):
    pid: int
    name: str
    started_at: float


class StoppedChild(Schema):
    id: UUID
    graph: str
    status: str
    stop: Stop | None


class NodeStop(Schema):
    execution_id: UUID
    run_id: UUID
    node: str
    namespace: str
    attempt: int
    requested_at: datetime
    by: str | None
    source: str
    reason: str
    mode: StopMode
    interrupt_at: datetime
    deadline: datetime
    rung: int | None
    delivered_at: datetime | None
    gone_at: datetime | None
    outcome: NodeStopOutcome | None = Field(description="null while the node has not left")
    pid: int | None = Field(description="Of its process, if that was killed to stop it")
    killed: list[Process]
    stacks: str


class Receipt(Schema):
    """The proof of one stop; while the run is still stopping, what is known so far."""

    id: UUID
    graph: str
    status: str
    current_node: str | None
    current_call: str | None
    node: str | None = Field(description="In which it was when it was asked")
    call: str | None = Field(description="Of a model or a tool, under way when it was asked")
    stop: Stop | None
    pid: int | None
    worker: str | None
    exit_signal: int | None
    killed: list[Process]
    evidence_at: datetime | None
    processes: list[Process]
    critical_sections: list[dict[str, Any]]
    stacks: str = Field(description="Of all OS threads, taken before the kill, the most recent call first")
    children: list[StoppedChild]
    nodes: list[NodeStop] = Field(description="Stopped alone, while the run went on")


class Start(Strict):
    input: Any = None
    thread_id: str | None = Field(
        default=None, max_length=200, description="LangGraph's thread; null is one of its own"
    )
    priority: int = Field(DEFAULT_PRIORITY, ge=PRIORITY_RANGE[0], le=PRIORITY_RANGE[-1])
    metadata: dict[str, Any] = {}
    grace_seconds: Grace = None
    interrupt_after_seconds: Interrupt = None
    max_seconds: float | None = Field(default=None, gt=0, description="It is stopped when it is not over by then")

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"input": {"question": "Who lives on Gull Rock?"}}]}
    )


class Cancel(Strict):
    mode: StopMode = StopMode.CANCEL
    grace_seconds: Grace = None
    interrupt_after_seconds: Interrupt = None
    cascade: bool = True
    reason: Reason = ""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "wrong book"}]})


class CancelMany(Strict):
    """Either ids, or a filter; an empty filter is every active run that the caller may stop."""

    ids: list[UUID] | None = Field(default=None, max_length=MAX_IDS)
    graph: str | None = None
    mode: StopMode = StopMode.CANCEL
    grace_seconds: Grace = None
    interrupt_after_seconds: Interrupt = None
    reason: Reason = ""


class CancelKey(Cancel):
    idempotency_key: str = Field(min_length=1, max_length=200)

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"idempotency_key": "order-4711"}]})


class CancelNode(Strict):
    mode: StopMode = StopMode.CANCEL
    grace_seconds: Grace = None
    interrupt_after_seconds: Interrupt = None
    every: bool = Field(default=False, description="All executions of that name, where several are running")
    reason: Reason = ""


class AskPause(Strict):
    cascade: bool = True
    reason: Reason = ""


class AskResume(Strict):
    cascade: bool = True


class Paused(Schema):
    reached: list[UUID] = Field(description="Asked to pause by this call")
    settled: list[UUID] = Field(description="Of them: paused already, nothing of them was executing")
    run: Run


class Resumed(Schema):
    resumed: list[UUID]
    withdrawn: list[UUID] = Field(description="They had not paused yet, and need not any more")
    run: Run


class Retry(Strict):
    from_start: bool = Field(default=False, description="Begin anew; else go on from the last checkpoint")
    reason: Reason = ""


class Cancelled(Schema):
    """What one call reached; each of them can end only as cancelled."""

    reached: list[UUID] = Field(description="Asked to stop by this call")
    settled: list[UUID] = Field(description="Of them: cancelled already, nothing of them was executing")
    escalated: list[UUID] = Field(description="They were stopping before and are now stopped sooner")


class CancelledRun(Cancelled):
    run: Run


class CancelledKey(Cancelled):
    run: Run | None = Field(description="null if it has not come yet; it will be born cancelled")


class CancelledMany(Cancelled):
    id: UUID = Field(description="Of the bulk stop, for `/stops/{id}`")
    matched: int


class Stopping(Schema):
    """Of those that have not left yet: which rung is due."""

    cancel: int
    interrupt: int
    kill: int


class BulkStop(Schema):
    """How far a stop of many runs has come."""

    id: UUID
    requested_at: datetime
    mode: StopMode
    reason: str
    graph: str | None = Field(description="Only its runs")
    matched: int = Field(description="Runs that were active and in the filter")
    total: int = Field(description="With those that were reached below them; without those that were deleted since")
    settled: int = Field(description="Cancelled, and nothing of them executes")
    stopping: Stopping
    not_asked: int = Field(description="They come next")
    ended_otherwise: int = Field(description="They had completed or failed before they could be asked")
    finished_at: datetime | None = Field(description="When the last had ended; null while one has not")
