"""A small process beside a prefork worker, which ends a child of it whose lease was not renewed in time.

Leases are renewed by the worker's MainProcess. When that is frozen or hangs, another worker takes its runs over, and
nothing of them may execute here any more. The child can't see to that itself: a C call may keep its interpreter's
lock. `runs.worker` starts the guard, and it ends with the worker. It knows neither Django nor Celery.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil

from runs import descendants
from runs.deadlines import Clocks, Deadlines, Row

LOOK_SECONDS = 0.25  # less than the shortest deadline, which begins between two looks
PR_SET_PDEATHSIG = 1
NEEDED_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "LANG")  # to find Python itself


def start(deadlines: Deadlines) -> subprocess.Popen[bytes]:
    """Start the guard of this process. Call it in the main thread: it dies with the OS thread that started it."""
    return subprocess.Popen(
        [sys.executable, "-m", "runs.guard", str(deadlines.descriptor), str(os.getpid())],
        # Nothing that marks the processes of a worker or a run marks the guard.
        env={
            **{name: os.environ[name] for name in NEEDED_VARIABLES if name in os.environ},
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        stdin=subprocess.DEVNULL,
        pass_fds=[deadlines.descriptor],
        start_new_session=True,  # not stopped with the worker's group
    )


def watch(deadlines: Deadlines, parent: int) -> None:
    """End whatever passes its deadline, until the parent is gone."""
    while os.getppid() == parent:
        now = Clocks.read()
        pause = LOOK_SECONDS
        for row in deadlines.list_busy():
            left = now.seconds_until(row.deadline)
            if left <= 0:
                _end(row, parent)
            else:
                pause = min(pause, left)
        time.sleep(pause)


def _end(row: Row, parent: int) -> None:
    """Freeze the process, and kill it and everything below it."""
    if not _is_child(row.pid, parent):
        return  # it has died, and its number may be somebody else's
    with suppress(ProcessLookupError):
        os.kill(row.pid, signal.SIGSTOP)
        below = descendants.freeze_below(row.pid)
        os.kill(row.pid, signal.SIGKILL)
        print(f"runs.guard: a lease was not renewed, process {row.pid} is killed", file=sys.stderr, flush=True)
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _is_child(pid: int, parent: int) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(process.ppid() == parent and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def main() -> None:
    descriptor, parent = map(int, sys.argv[1:])
    # The worker's Ctrl+C is not the guard's: it is needed until the last run has ended.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    watch(Deadlines(descriptor), parent)


if __name__ == "__main__":
    main()
