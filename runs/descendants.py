"""The processes below one: finds them, ends them, and proves that they are gone.

What is told to end may fork meanwhile, so it is frozen first, and looked for again until nothing new is found. On
Linux a subreaper also has those below it that detached themselves.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress

import psutil

FREEZE_TIMEOUT_SECONDS = 2.0
PAUSE_SECONDS = 0.002
REAP_SECONDS = 1.0
QUIET_LOOKS = 8  # one may miss a process that replaces itself again and again


def list_below(pid: int, *, spare: Collection[int] = ()) -> list[int]:
    """Every process below one, nearest first, zombies among them.

    Args:
        spare: processes that are left out, with everything below them.
    """
    found: list[int] = []
    waiting = _list_children(pid)
    while waiting:
        child = waiting.pop(0)
        if child not in spare and child not in found:
            found.append(child)
            waiting.extend(_list_children(child))
    return found


def has_children() -> bool:
    """Whether this process has any child, also one that it adopted; the kernel knows it for sure."""
    if not hasattr(os, "waitid"):
        return bool(_list_children(os.getpid()))
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def freeze_below(pid: int) -> list[int]:
    """Stop every process below one that is stopped itself, until none is found that still runs.

    Returns:
        All of them, zombies among them.
    """
    frozen: set[int] = set()
    ends = time.monotonic() + FREEZE_TIMEOUT_SECONDS
    quiet = 0
    while quiet < 2 and time.monotonic() < ends:
        # A process may fork and end between two looks, and a listing may miss it: look twice.
        fresh = [below for below in list_below(pid) if below not in frozen]
        quiet = 0 if fresh else quiet + 1
        _signal(fresh, signal.SIGSTOP)
        frozen.update(fresh)
        time.sleep(PAUSE_SECONDS)
    return list_below(pid)


def kill_own(*, spare: Collection[int] = (), note: Callable[[list[int]], None] = lambda pids: None) -> None:
    """Kill everything below this process, and return when it is gone, however long that takes.

    Args:
        spare: processes that are left alone, with everything below them.
        note: told of each process before it is killed.
    """
    noted: set[int] = set()
    quiet = 0
    # Orphans come to this process, as their subreaper: no child at all is the proof that nothing is left.
    while has_children() and quiet < 3:
        below = list_below(os.getpid(), spare=spare)
        living = [pid for pid in below if not is_zombie(pid)]
        _signal(living, signal.SIGSTOP)
        note([pid for pid in living if pid not in noted])
        noted.update(living)
        _signal(living, signal.SIGKILL)
        reap(below, seconds=0)
        quiet = quiet + 1 if spare and not below else 0
        time.sleep(PAUSE_SECONDS)


def list_marked(name: str) -> dict[int, str]:
    """Every living process on this machine that was started with this variable in its environment, and its value."""
    if not os.path.exists("/proc/self/environ"):
        return _list_marked_slowly(name)
    return dict(_find_marked(name))


def _find_marked(name: str) -> Iterator[tuple[int, str]]:
    """The youngest first: a process that replaces itself fifty times a second is gone before all are looked at."""
    prefix = f"{name}=".encode()
    with open("/proc/loadavg") as file:
        youngest = int(file.read().split()[-1])
    pids = map(int, filter(str.isdigit, os.listdir("/proc")))
    for pid in sorted(pids, key=lambda pid: (pid > youngest, -pid)):
        with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            for variable in file.read().split(b"\0"):
                if variable.startswith(prefix):
                    yield pid, variable.removeprefix(prefix).decode(errors="replace")


def _list_marked_slowly(name: str) -> dict[int, str]:
    marked = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            value = process.environ().get(name)
            if value is not None and process.status() != psutil.STATUS_ZOMBIE:
                marked[process.pid] = value
    return marked


def kill_marked(name: str, values: Collection[str], *, seconds: float = 2.0) -> list[int]:
    """Kill the processes that carry one of these marks, until several looks find none; says which."""
    killed: list[int] = []
    ends = time.monotonic() + seconds
    quiet = 0
    while quiet < QUIET_LOOKS and time.monotonic() < ends:
        quiet += 1
        has_proc = os.path.exists("/proc/self/environ")
        for pid, value in _find_marked(name) if has_proc else list_marked(name).items():
            if value in values:
                _signal([pid], signal.SIGKILL)
                killed.append(pid)
                quiet = 0
    reap(killed, seconds=0.1)
    return list(dict.fromkeys(killed))


def list_zombies(*, spare: Collection[int]) -> set[int]:
    """The dead children of this process whose exits nobody has taken in."""
    return {pid for pid in _list_children(os.getpid()) if pid not in spare and is_zombie(pid)}


def reap(pids: Iterable[int], *, seconds: float = REAP_SECONDS) -> None:
    """Take in the exits of dead processes that this one inherited: nobody else does."""
    ends = time.monotonic() + seconds
    for pid in pids:
        with suppress(ChildProcessError):
            while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < ends:
                time.sleep(PAUSE_SECONDS)


def is_zombie(pid: int) -> bool:
    """Whether a process has ended, and only its exit code is left, or not even that."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _list_children(pid: int) -> list[int]:
    # The kernel's own list is some hundred times faster than a look at every process, and so rarely too late.
    if not os.path.exists(f"/proc/{pid}/task/{pid}/children"):
        with suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(pid).children()]
        return []
    # A child stands with the OS thread that forked it. When that ends, the child goes over to another, which may have
    # been read already: a second look finds it there.
    return list(dict.fromkeys([*_read_children(pid), *_read_children(pid)]))


def _read_children(pid: int) -> Iterator[int]:
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(FileNotFoundError, ProcessLookupError):
                yield from _read_children_of_thread(pid, thread)


def _read_children_of_thread(pid: int, thread: str) -> list[int]:
    with open(f"/proc/{pid}/task/{thread}/children") as file:
        return [int(child) for child in file.read().split()]
