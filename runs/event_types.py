"""The events of a run as types: what `events` writes, what a socket sends, what `docs/events.md` shows.

Names and shapes alone; nothing is checked at run time but in tests, because a stream may carry thousands a second.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired
from uuid import UUID

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

STRICT = ConfigDict(extra="forbid")

StopStep = Literal["requested", "delivered", "acknowledged", "interrupting", "killing", "gone"]
# The events that the stream of all runs carries as well.
CHANGES = frozenset({"run.status", "run.stop", "progress", "child.spawned"})


class Place(TypedDict):
    """Which run it is, in every event that the list of all runs shows, too."""

    graph: NotRequired[Annotated[str, Field(description="Of the run")]]
    parent_id: NotRequired[UUID | None]
    root_id: NotRequired[UUID]


class ErrorData(TypedDict):
    """An exception: its class and its message, never its traceback."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    type: str
    message: str


class StatusData(Place):
    """A run's status has changed, or what is shown for it."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    status: Literal["queued", "running", "waiting", "paused", "completed", "failed", "cancelled"]
    displayed: Annotated[str, Field(description="The status, or `cancelling` or `pausing` while that is under way")]
    attempt: Annotated[int | None, Field(description="Null where whoever changed it did not look")]
    worker: NotRequired[str]
    error: NotRequired[ErrorData | None]
    resurrected: NotRequired[Annotated[bool, Field(description="Its process was lost, and it goes on")]]


class StopData(Place):
    """One step of a stop. `requested` comes again when it is asked to climb sooner."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    step: StopStep
    mode: NotRequired[str]
    rung: NotRequired[Annotated[int | None, Field(description="0 cancel, 1 interrupt, 2 kill")]]
    by: NotRequired[str | None]
    source: NotRequired[str]
    reason: NotRequired[str]
    interrupt_at: NotRequired[datetime | None]
    deadline: NotRequired[Annotated[datetime | None, Field(description="When it is killed")]]


class PauseData(TypedDict):
    """A pause was asked for."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    reason: str


class ResumeData(TypedDict):
    """A pause was taken back."""

    __pydantic_config__ = STRICT  # type: ignore[misc]


class RetryData(TypedDict):
    """Another run tries this one again."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    run_id: UUID
    from_start: bool


class NodeData(TypedDict):
    """One execution of one node; `namespace` is LangGraph's, with the subgraphs in which it lies."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    execution_id: UUID
    node: str
    namespace: str
    attempt: int
    step: int | None
    started_at: datetime
    seconds: NotRequired[float]
    error: NotRequired[ErrorData | None]


class NodeStopData(TypedDict):
    """One node was asked to stop while its run goes on."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    execution_id: UUID
    node: str
    mode: str
    reason: str


class ProgressData(Place):
    """How far it is, in units of the graph's choice; the latest of a flush stands for all."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    done: int
    total: int


class TokenData(TypedDict):
    """Text of a model as it comes; the tokens of one message are one event for each flush."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    message_id: str | None
    node: str
    namespace: str
    text: str


class CustomData(TypedDict):
    """What a node gave to LangGraph's stream writer."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    node: str
    namespace: str
    data: Any


class StreamData(TypedDict):
    """A part of another of LangGraph's stream modes, if `RUNS_STREAM_MODES` names one: `type` is the mode."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    namespace: str
    data: Any


class LogData(TypedDict):
    """A log record of level INFO or above from inside the run."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    level: str
    logger: str
    message: str
    node: NotRequired[str]


class ChildData(Place):
    """This run has started a child; `graph` is the child's, `parent_id` and `root_id` are this run's."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    run_id: UUID
    key: str


class RunSnapshotData(TypedDict):
    """A run as it is now: what came before is not told one by one."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    run: dict[str, Any]
    nodes: Annotated[list[dict[str, Any]], Field(description="The newest 200 executions, oldest first")]
    children: list[dict[str, Any]]


class ListSnapshotData(TypedDict):
    """Up to 200 active runs, the newest first."""

    __pydantic_config__ = STRICT  # type: ignore[misc]
    runs: list[dict[str, Any]]


class Envelope(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]
    cursor: Annotated[str, Field(description="Send the last one as `after` to go on behind it")]
    at: datetime


class RunEnvelope(Envelope):
    run_id: UUID


class StatusEvent(RunEnvelope):
    type: Literal["run.status"]
    data: StatusData


class StopEvent(RunEnvelope):
    type: Literal["run.stop"]
    data: StopData


class PauseEvent(RunEnvelope):
    type: Literal["run.pause"]
    data: PauseData


class ResumeEvent(RunEnvelope):
    type: Literal["run.resume"]
    data: ResumeData


class RetryEvent(RunEnvelope):
    type: Literal["run.retried"]
    data: RetryData


class NodeEvent(RunEnvelope):
    type: Literal["node.started", "node.finished", "node.failed", "node.cancelled", "node.suspended"]
    data: NodeData


class NodeStopEvent(RunEnvelope):
    type: Literal["node.stop"]
    data: NodeStopData


class ProgressEvent(RunEnvelope):
    type: Literal["progress"]
    data: ProgressData


class TokenEvent(RunEnvelope):
    type: Literal["token"]
    data: TokenData


class CustomEvent(RunEnvelope):
    type: Literal["custom"]
    data: CustomData


class StreamEvent(RunEnvelope):
    type: Literal["debug", "tasks", "checkpoints", "tools"]
    data: StreamData


class LogEvent(RunEnvelope):
    type: Literal["log"]
    data: LogData


class ChildEvent(RunEnvelope):
    type: Literal["child.spawned"]
    data: ChildData


class RunSnapshotEvent(RunEnvelope):
    type: Literal["snapshot"]
    data: RunSnapshotData


class ListSnapshotEvent(Envelope):
    run_id: None
    type: Literal["snapshot"]
    data: ListSnapshotData


AnyEvent = Annotated[
    StatusEvent
    | StopEvent
    | PauseEvent
    | ResumeEvent
    | RetryEvent
    | NodeEvent
    | NodeStopEvent
    | ProgressEvent
    | TokenEvent
    | CustomEvent
    | StreamEvent
    | LogEvent
    | ChildEvent
    | RunSnapshotEvent
    | ListSnapshotEvent,
    Field(title="Event"),
]

any_event: TypeAdapter[Any] = TypeAdapter(AnyEvent)
