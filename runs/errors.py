"""What can go wrong, each carrying what its caller needs to decide.

HTTP codes and exit codes are chosen by the surfaces, not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID


class RunCancelled(BaseException):
    """Raised inside a node at the next boundary once its run must stop.

    A BaseException, so that a node's `except Exception` or a retry policy cannot swallow it.
    """

    def __init__(self, run_id: UUID | str, reason: str = "") -> None:
        self.run_id = run_id
        self.reason = reason
        super().__init__(f"run {run_id} was cancelled" + (f": {reason}" if reason else ""))


class RunInterrupted(RunCancelled):
    """Raised in the middle of a node that did not come to a boundary in time.

    Python raises it from the class alone, so it takes no arguments.
    """

    def __init__(self) -> None:
        super().__init__("", "interrupted")


class NodeCancelled(BaseException):
    """Raised inside one node at its next boundary once that node must stop; its run goes on with what the node
    declared by `on_cancelled`.

    A BaseException, so that a node's `except Exception` or a retry policy cannot swallow it.
    """

    def __init__(self, node: str, reason: str = "") -> None:
        self.node = node
        self.reason = reason
        super().__init__(f"node {node} was cancelled" + (f": {reason}" if reason else ""))


class NodeInterrupted(NodeCancelled):
    """Raised in the middle of a node that did not come to a boundary in time.

    Python raises it from the class alone, so it takes no arguments.
    """

    def __init__(self) -> None:
        super().__init__("", "interrupted")


class RunsError(Exception):
    """Base of every error of the engine."""


class RunNotFound(RunsError):
    def __init__(self, run_id: object) -> None:
        self.run_id = run_id
        super().__init__(f"there is no run {run_id}")


class RunAlreadyEnded(RunsError):
    """A stop or a pause came after the end; nothing was changed."""

    def __init__(self, run_id: UUID, status: str) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(f"run {run_id} had already ended: {status}")


class RunIsStopping(RunsError):
    """A pause, or the stop of one node, came after a stop of the whole run, and that wins."""

    def __init__(self, run_id: UUID) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} is being stopped, and all its nodes with it")


class RunNotPaused(RunsError):
    """A resume came for a run that nobody has paused."""

    def __init__(self, run_id: UUID, status: str) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(f"run {run_id} is {status}: only a run that is paused or pausing can be resumed")


class NodeNotFound(RunsError):
    def __init__(self, run_id: UUID, node: str, running: Iterable[str]) -> None:
        self.run_id = run_id
        self.node = node
        self.running = list(running)
        names = ", ".join(self.running) or "none"
        super().__init__(f"run {run_id} has executed no node {node!r}; running now: {names}")


class NodeNotRunning(RunsError):
    """A stop came before the node, or after its end; nothing was changed."""

    def __init__(self, run_id: UUID, node: str, status: str) -> None:
        self.run_id = run_id
        self.node = node
        self.status = status
        super().__init__(f"node {node} of run {run_id} is not running: {status}")


class NodeAmbiguous(RunsError):
    """A name stands for several executions that are running."""

    def __init__(self, run_id: UUID, node: str, executions: Sequence[UUID]) -> None:
        self.run_id = run_id
        self.node = node
        self.executions = list(executions)
        ids = ", ".join(map(str, self.executions))
        super().__init__(f"node {node} is running {len(self.executions)} times: name one of {ids}, or ask for all")


class NodeNotStoppable(RunsError):
    """The node lies in a graph that another node calls in its own code, where nobody could take its result."""

    def __init__(self, run_id: UUID, node: str, holder: str) -> None:
        self.run_id = run_id
        self.node = node
        self.holder = holder
        super().__init__(f"node {node} of run {run_id} can't be stopped alone: it is called by the code of {holder}")


class RunNotWaiting(RunsError):
    """An answer came for a run that asked nothing."""

    def __init__(self, run_id: UUID, status: str) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(f"run {run_id} is {status} and waits for no answer")


class ParentIsStopping(RunsError):
    """A child was refused because its parent has been asked to stop, or has ended."""

    def __init__(self, parent_id: UUID, status: str) -> None:
        self.parent_id = parent_id
        self.status = status
        super().__init__(f"run {parent_id} is {status} and starts no more children")


class ThreadBusy(RunsError):
    """Another run of this checkpoint thread has not ended; two at once would overwrite each other's state."""

    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
        super().__init__(f"thread {thread_id} already has a run that has not ended: wait for it or cancel it")


class RetryRefused(RunsError):
    """This run can't be tried again, or not now; nothing was changed."""

    def __init__(self, run_id: UUID, why: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} can't be retried: {why}")


class AlreadyRetried(RetryRefused):
    """Only the newest of its retries can be retried."""

    def __init__(self, run_id: UUID, newest_id: UUID, status: str) -> None:
        self.newest_id = newest_id
        super().__init__(run_id, f"it was retried already, and the newest try, run {newest_id}, is {status}")


class FreezeNotFound(RunsError):
    def __init__(self, freeze_id: object) -> None:
        self.freeze_id = freeze_id
        super().__init__(f"there is no freeze {freeze_id}")


class ShuttingDown(RunsError):
    """This process is about to end; another one, or the next, takes new runs."""

    def __init__(self) -> None:
        super().__init__("this server is shutting down and starts no more runs: try again in a moment")


class InputRefused(RunsError):
    """What was asked for can't be stored or run; says which part and what is allowed."""


class IllegalTransition(RunsError):
    def __init__(self, source: str, target: str) -> None:
        super().__init__(f"a run can't go from {source} to {target}: a bug in the caller")


class GraphNotFound(RunsError):
    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = sorted(known)
        names = ", ".join(self.known) or "none"
        super().__init__(f"there is no graph {name!r}; known are: {names}")


class GraphImportFailed(RunsError):
    def __init__(self, name: str, cause: str) -> None:
        self.name = name
        self.cause = cause
        super().__init__(f"graph {name!r} can't be loaded: {cause}")


class CatalogUnreadable(RunsError):
    """langgraph.json is missing or wrong."""


class ChildFailed(RunsError):
    """`join` was asked to raise, and these children did not complete."""

    def __init__(self, failed: Sequence[Any]) -> None:
        self.failed = list(failed)
        names = "; ".join(f"{child.graph} {child.id} {child.status}" for child in self.failed)
        super().__init__(f"{len(self.failed)} of the children did not complete: {names}")


class NotInRun(RunsError):
    def __init__(self, what: str) -> None:
        super().__init__(f"{what} works only inside a node of a run")


class BrokerAway(RunsError):
    """Celery's workers can't be asked or told anything; what is in the database is not touched by it."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(f"the broker is away: {cause}")


class WaitTimedOut(RunsError):
    """The run is still not terminal; it goes on."""

    def __init__(self, run_id: UUID, status: str, waited_seconds: float) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(f"run {run_id} is still {status} after {waited_seconds:g} s")


class TooManyTombstones(RunsError):
    """An account has cancelled many keys whose runs have not come."""

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} cancelled keys have no run yet, and that is the most; submit some of them first")
