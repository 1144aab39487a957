"""The only writer of `Run.status`.

Every function is one guarded UPDATE, or one transaction around it, and reports whether it landed. False, None and
the empty list are answers, not errors: another writer got there first, and the caller must drop its own outcome.
Nothing here sends a message; callers do that after the commit.
"""

from runs.registry.beginnings import Claimant, claim, create, has_stopping_ancestor
from runs.registry.ends import Settled, fail_queued, settle
from runs.registry.pauses import request_pause, resume
from runs.registry.rows import Stopped, list_tree
from runs.registry.stops import escalate, mark_delivered, request_own_stop, request_stop
from runs.registry.tombstones import leave_tombstone
from runs.registry.waits import answer, find_progress, list_forgotten_waiters, list_results, requeue, suspend, wake
from runs.requests import PauseRequest, StopRequest

__all__ = [
    "Claimant",
    "PauseRequest",
    "Settled",
    "StopRequest",
    "Stopped",
    "answer",
    "claim",
    "create",
    "escalate",
    "fail_queued",
    "find_progress",
    "has_stopping_ancestor",
    "leave_tombstone",
    "list_forgotten_waiters",
    "list_results",
    "list_tree",
    "mark_delivered",
    "request_own_stop",
    "request_pause",
    "request_stop",
    "requeue",
    "resume",
    "settle",
    "suspend",
    "wake",
]
