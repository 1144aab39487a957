"""Ends one prefork child and everything that it started.

Source: internals 1 and 7, "SIGKILL procedure": freeze, look again, mark, kill, wait until it can be reaped, then
let the pool's own thread replace it. Marked as billiard's `terminate_job` marks it, the message is acknowledged
and never delivered again.
"""

from __future__ import annotations

import ctypes
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

from runs import descendants, evidence

logger = logging.getLogger(__name__)

PR_SET_CHILD_SUBREAPER = 36
REAP_TIMEOUT_SECONDS = 10


def become_subreaper() -> None:
    """Keep descendants that detach themselves below this process, so that they are found. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_child(worker: Any, pid: int, *, is_still_due: Callable[[], bool]) -> list[dict[str, Any]] | None:
    """SIGKILL a pool child and its descendants. Returns once the process is gone.

    Args:
        worker: Celery's WorkController.
        is_still_due: asked once more while the child is frozen and can't begin another run.

    Returns:
        The descendants that were killed with it, as `evidence.describe_processes` names them; None if the process is
        no child of this pool, or the kill is no longer due.
    """
    process, _ = worker.pool._pool._process_by_pid(pid)
    if process is None:
        return None
    killed: list[dict[str, Any]] = []
    descriptor = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    try:
        os.kill(pid, signal.SIGSTOP)
        if not is_still_due():
            os.kill(pid, signal.SIGCONT)
            return None
        below = descendants.freeze_below(pid)
        killed = evidence.describe_processes([psutil.Process(one) for one in below if not descendants.is_zombie(one)])
        process._controlled_termination = process._job_terminated = True
        os.kill(pid, signal.SIGKILL)
        for one in below:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        _await_death(pid, descriptor)
        descendants.reap(below)
    except ProcessLookupError:
        logger.info("process %d was gone before it was killed", pid)
    finally:
        if descriptor is not None:
            os.close(descriptor)
    replace_child(worker)
    return killed


def reap_adopted(worker: Any, before: set[int], *, spare: subprocess.Popen[bytes] | None) -> set[int]:
    """Take in the exits of what came to this process as its subreaper, or they fill the table of processes.

    Args:
        before: the dead that were seen the last time; only those are taken in, so that everything that this process
            has started itself is known as such by now.

    Returns:
        The dead that are left, for the next time.
    """
    pool = getattr(getattr(worker.pool, "_pool", None), "_pool", ())
    own = {getattr(process, "pid", None) for process in pool} | {spare.pid if spare else None}
    zombies = descendants.list_zombies(spare={pid for pid in own if pid is not None})
    descendants.reap(zombies & before, seconds=0)
    return zombies - before


def replace_child(worker: Any) -> None:
    """Let the pool reap and fork, in its own thread: a child forked elsewhere dies with that thread."""
    worker.hub.call_soon(worker.pool.maintain_pool)


def _await_death(pid: int, descriptor: int | None) -> None:
    if descriptor is not None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(REAP_TIMEOUT_SECONDS * 1_000)
        return
    with suppress(psutil.TimeoutExpired, psutil.NoSuchProcess):
        psutil.Process(pid).wait(REAP_TIMEOUT_SECONDS)
