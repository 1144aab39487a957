"""What a run leaves behind in its process when its graph has returned: processes and OS threads that it started.

Only where one process executes one run at a time, so that all that is new belongs to that run. A stopped run is not
`cancelled` before nothing of it is left.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Collection
from concurrent.futures import thread as pools
from typing import Any
from uuid import UUID

import psutil

from runs import descendants, evidence

logger = logging.getLogger(__name__)

# OS threads that are no code of the run, although they may begin with it: ours, and those with which libraries watch
# and report. They serve every later run of the process.
OWN_THREADS = frozenset({"runs-events", "runs-stops", "runs-interrupt", "runs-sigterm"})
# A connection pool is opened by the first run that needs it, on PostgreSQL also by our own checkpoints.
WATCHING_LIBRARIES = frozenset({"langsmith", "opentelemetry", "psycopg_pool", "sentry_sdk", "tqdm"})
RUN_ID_VARIABLE = "RUNS_RUN_ID"


class Remains:
    """Made before the graph starts; knows then what was there already."""

    def __init__(self, run_id: object) -> None:
        self._processes = set(descendants.list_below(os.getpid())) if descendants.has_children() else set()
        self._threads = {thread.ident for thread in threading.enumerate()}
        # What the run starts inherits it, and is known by it even when both processes above it are gone.
        os.environ[RUN_ID_VARIABLE] = str(run_id)

    def close(self) -> None:
        """The run is over: what this process starts from now on is not the run's."""
        os.environ.pop(RUN_ID_VARIABLE, None)

    def has_processes(self) -> bool:
        if not descendants.has_children():
            return False
        below = descendants.list_below(os.getpid(), spare=self._processes)
        return not all(descendants.is_zombie(pid) for pid in below)

    def kill_processes(self) -> list[dict[str, Any]]:
        """End what the run has started, and return when it is gone.

        Returns:
            Them, as `evidence.describe_processes` does.
        """
        killed: list[dict[str, Any]] = []

        def note(pids: list[int]) -> None:
            killed.extend(evidence.describe_processes([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]))

        descendants.kill_own(spare=self._processes, note=note)
        return killed

    def list_threads(self) -> list[threading.Thread]:
        """The OS threads that the run has started and that still work; idle ones of a pool do not."""
        frames = sys._current_frames()
        return [
            thread
            for thread in threading.enumerate()
            if thread.ident not in self._threads
            and not _is_exempt(thread)
            and not _is_idle(frames.get(thread.ident or 0))
        ]


def kill_orphans(run_ids: Collection[UUID]) -> None:
    """End what these runs, whose processes are gone, had started on this machine.

    A fork that has executed no program carries no mark, and is not found.
    """
    killed = descendants.kill_marked(RUN_ID_VARIABLE, [str(run_id) for run_id in run_ids])
    if killed:
        logger.warning("%d processes of %d lost runs were killed", len(killed), len(run_ids))


def _is_exempt(thread: threading.Thread) -> bool:
    work = getattr(thread, "_target", None) or type(thread)
    library = (getattr(work, "__module__", "") or "").partition(".")[0]
    return thread.name in OWN_THREADS or library in WATCHING_LIBRARIES


def _is_idle(frame: Any) -> bool:
    """Whether an OS thread has ended, or waits for work in the executor that it belongs to."""
    return frame is None or frame.f_code is pools._worker.__code__
