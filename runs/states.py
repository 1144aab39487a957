"""Statuses of a run and the moves between them. Pure: no database, no Celery.

`registry` is the only module that writes a status; everyone else reads these names.
"""

from __future__ import annotations

from django.db.models import TextChoices


class Status(TextChoices):
    """What is stored. "cancelling" and "pausing" are derived: that was requested and has not happened yet."""

    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    WAITING = "waiting", "waiting"  # for its children or a human, holding no worker slot
    PAUSED = "paused", "paused"  # by an operator
    COMPLETED = "completed", "completed"
    FAILED = "failed", "failed"
    CANCELLED = "cancelled", "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
ACTIVE = frozenset(Status) - TERMINAL
# Nothing of such a run executes anywhere, so a stop settles it on the spot.
IDLE = frozenset({Status.QUEUED, Status.WAITING, Status.PAUSED})

CANCELLING = "cancelling"
PAUSING = "pausing"

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.CANCELLED, Status.FAILED}),
    Status.RUNNING: frozenset(
        {
            Status.COMPLETED,
            Status.FAILED,
            Status.CANCELLED,
            Status.WAITING,
            Status.PAUSED,
            Status.QUEUED,  # its worker was lost, or handed it over, or its pause was withdrawn too late
        }
    ),
    Status.WAITING: frozenset({Status.QUEUED, Status.PAUSED, Status.CANCELLED}),
    Status.PAUSED: frozenset({Status.QUEUED, Status.WAITING, Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


class StopMode(TextChoices):
    """The rungs of the one ladder, by the name a person asks for."""

    CANCEL = "cancel", "cancel"
    INTERRUPT = "interrupt", "interrupt"
    KILL = "kill", "kill"


class StopSource(TextChoices):
    """Where a stop was asked for."""

    PAGE = "page", "web page"
    ADMIN = "admin", "admin"
    CLI = "cli", "command line"
    API = "api", "API"
    SHUTDOWN = "shutdown", "shutdown"
    PARENT = "parent", "parent run"
    SIGNAL = "signal", "signal"
    CELERY = "celery", "Celery revoke"
    NODE = "node", "the graph itself"
    LIMIT = "limit", "time limit"


class FreezeScope(TextChoices):
    """Whose queued runs a freeze holds back."""

    ALL = "all", "all runs"
    GRAPH = "graph", "runs of a graph"
    OWNER = "owner", "runs of an owner"


class OnParentStop(TextChoices):
    """What a child does when its parent is stopped."""

    CANCEL = "cancel", "cancel"
    ABANDON = "abandon", "abandon"


class OnShutdown(TextChoices):
    """What a worker does with its runs when it is told to end."""

    CANCEL = "cancel", "cancel"
    REQUEUE = "requeue", "requeue"  # drained to their checkpoints, for another worker
    LEAVE = "leave", "leave"  # they may end by themselves within the grace


class NodeStatus(TextChoices):
    """One execution of one node."""

    RUNNING = "running", "running"
    FINISHED = "finished", "finished"
    SUSPENDED = "suspended", "suspended"  # called join() or interrupt(); runs again when it is answered
    FAILED = "failed", "failed"
    CANCELLED = "cancelled", "cancelled"


class NodeStopOutcome(TextChoices):
    """What became of the stop of one node."""

    CANCELLED = "cancelled", "cancelled"  # the run went on with the node's declared result
    ENDED = "ended", "had ended by itself"  # nothing was changed
    OVERTAKEN = "overtaken", "overtaken by the end of the run"
