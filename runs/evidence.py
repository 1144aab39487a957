"""What a process is doing right now: the Python stacks of all its OS threads, and the processes below it.

The child registers a C-level handler that writes its stacks into a file both sides hold; it works while a C call
keeps the interpreter's lock and while the node's thread blocks every signal. Source: internals 13.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
import time
from contextlib import suppress
from typing import Any, BinaryIO

import psutil

from runs import descendants

# SIGUSR1 and SIGUSR2 belong to billiard and Celery.
STACKS_SIGNAL: int | None = signal.SIGRTMIN + 1 if hasattr(signal, "SIGRTMIN") else None

_HAS_MEMFD = hasattr(os, "memfd_create")

WRITE_TIMEOUT_SECONDS = 0.5
LOOK_SECONDS = 0.001
SETTLE_SECONDS = 0.02  # without a new line
LAST_LINE_ENDS = (b" in <module>\n", b" in _run_module_as_main\n")  # of a script, of `python -m`
STACKS_LENGTH = 200_000  # characters kept


def offer_stacks() -> BinaryIO:
    """In the child: write the stacks of all OS threads into the returned file at every `STACKS_SIGNAL`."""
    file: BinaryIO = os.fdopen(os.memfd_create("stacks"), "w+b") if _HAS_MEMFD else tempfile.TemporaryFile()  # noqa: SIM115
    if STACKS_SIGNAL is not None:
        faulthandler.register(STACKS_SIGNAL, file=file, all_threads=True, chain=False)
    return file


def read_stacks(pid: int, descriptor: int) -> str:
    """In the MainProcess: ask the child for its stacks and read them.

    Returns:
        faulthandler's text, the most recent call first; empty if the child did not answer in half a second.
    """
    if STACKS_SIGNAL is None:
        return ""
    # Both processes share one file offset: the child writes from the beginning again.
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.kill(pid, STACKS_SIGNAL)
    ends = time.monotonic() + WRITE_TIMEOUT_SECONDS
    size, grew_at = 0, time.monotonic()
    while (now := time.monotonic()) < ends:
        time.sleep(LOOK_SECONDS)
        written = os.fstat(descriptor).st_size
        if written != size:
            size, grew_at = written, now
        elif size and (_is_whole(descriptor, size) or now - grew_at > SETTLE_SECONDS):
            break
    return os.pread(descriptor, STACKS_LENGTH, 0).decode(errors="replace")


def _is_whole(descriptor: int, size: int) -> bool:
    """The main thread is written last, and its first call last of all."""
    return os.pread(descriptor, 40, max(0, size - 40)).endswith(LAST_LINE_ENDS)


def stacks_here() -> str:
    """The same for the calling process, for pools that have no child."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file=file, all_threads=True)
        file.seek(0)
        return file.read(STACKS_LENGTH).decode(errors="replace")


def describe_processes(processes: list[psutil.Process]) -> list[dict[str, Any]]:
    """Processes as a receipt names them; their arguments are left out, which may hold secrets."""
    described = []
    for process in processes:
        try:
            described.append({"pid": process.pid, "name": process.name(), "started_at": process.create_time()})
        except psutil.NoSuchProcess:
            continue
    return described


def list_descendants(pid: int) -> list[psutil.Process]:
    """The processes below one, nearest first; also those that left its group, as it is their subreaper on Linux."""
    found = []
    for below in descendants.list_below(pid):
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(below))
    return found
