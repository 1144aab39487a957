"""Whether this process is about to end and starts no more runs. `submit` and `retry` ask; whoever ends it says so.

Safe to call from any thread: one event, set once and never cleared.
"""

from __future__ import annotations

import threading

from runs.errors import ShuttingDown

_draining = threading.Event()


def begin() -> None:
    _draining.set()


def is_draining() -> bool:
    return _draining.is_set()


def refuse_new_runs() -> None:
    """
    Raises:
        ShuttingDown: from `begin` on.
    """
    if _draining.is_set():
        raise ShuttingDown
