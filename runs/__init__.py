"""The engine: durable LangGraph runs as Celery tasks that can be stopped. Usable in any Django project.

In a node: `from runs import should_stop, raise_if_cancelled, sleep, asleep, progress, spawn, join, current_run`.
On a node: `@on_cancelled(result)` declares what stands for it when it is stopped alone.
Outside: `from runs import control`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runs.errors import NodeCancelled, RunCancelled
    from runs.nodes import ChildResult, current_run, join, progress, spawn
    from runs.stoppable import on_cancelled
    from runs.tokens import asleep, critical, on_cancel, raise_if_cancelled, should_stop, sleep

# Imported at their first use, because Django loads this package before its apps are ready.
_HOMES = {
    "NodeCancelled": "runs.errors",
    "RunCancelled": "runs.errors",
    "ChildResult": "runs.nodes",
    "current_run": "runs.nodes",
    "join": "runs.nodes",
    "progress": "runs.nodes",
    "spawn": "runs.nodes",
    "on_cancelled": "runs.stoppable",
    "asleep": "runs.tokens",
    "critical": "runs.tokens",
    "on_cancel": "runs.tokens",
    "raise_if_cancelled": "runs.tokens",
    "should_stop": "runs.tokens",
    "sleep": "runs.tokens",
}

__all__ = [
    "ChildResult",
    "NodeCancelled",
    "RunCancelled",
    "asleep",
    "critical",
    "current_run",
    "join",
    "on_cancel",
    "on_cancelled",
    "progress",
    "raise_if_cancelled",
    "should_stop",
    "sleep",
    "spawn",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'runs' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
