"""Processes that are hard to find."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from runs import descendants, killing
from runs.testing.hostile import HOPPING
from tests.services import wait_until

MARK = "RUNS_TEST_HOPPING"


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("number", range(5))
def test_process_that_replaces_itself_is_killed_by_its_mark(tmp_path: Path, number: int) -> None:
    started = tmp_path / "started"
    code = [sys.executable, "-c", HOPPING, str(started)]
    first = subprocess.Popen(code, env={**os.environ, MARK: f"value {number}"}, start_new_session=True)
    wait_until(started.exists, "it has begun")
    first.wait()

    assert descendants.kill_marked(MARK, [f"value {number}"])

    ends = time.monotonic() + 0.5
    while time.monotonic() < ends:
        assert f"value {number}" not in descendants.list_marked(MARK).values()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_dead_that_were_adopted_are_taken_in_at_the_second_look_and_others_are_not() -> None:
    adopted, ours, own = (os.fork() or os._exit(0) for _ in range(3))
    worker = SimpleNamespace(pool=SimpleNamespace(_pool=SimpleNamespace(_pool=[SimpleNamespace(pid=ours)])))
    try:
        wait_until(lambda: all(map(descendants.is_zombie, (adopted, ours, own))), "all are dead")
        guard = SimpleNamespace(pid=own)
        seen = killing.reap_adopted(worker, set(), spare=guard)  # type: ignore[arg-type]
        assert adopted in seen
        assert psutil.pid_exists(adopted)
        killing.reap_adopted(worker, {adopted, ours, own}, spare=guard)  # type: ignore[arg-type]
        assert not psutil.pid_exists(adopted)
        assert psutil.pid_exists(ours)
        assert psutil.pid_exists(own)
    finally:
        for pid in (ours, own):
            os.waitpid(pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_child_is_found_when_the_os_thread_that_forked_it_ends_between_two_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forked, may_end = threading.Event(), threading.Event()
    children: list[subprocess.Popen[bytes]] = []

    def fork() -> None:
        children.append(subprocess.Popen(["sleep", "60"]))
        forked.set()
        may_end.wait()

    forker = threading.Thread(target=fork, daemon=True)
    forker.start()
    forked.wait()
    number = str(forker.native_id)
    read = descendants._read_children_of_thread

    def end_first(pid: int, thread: str) -> list[int]:
        if (pid, thread) == (os.getpid(), number):  # the main thread's children have been read
            may_end.set()
            wait_until(lambda: number not in os.listdir("/proc/self/task"), "the OS thread is gone")
        return read(pid, thread)

    monkeypatch.setattr(descendants, "_read_children_of_thread", end_first)
    try:
        assert children[0].pid in descendants.list_below(os.getpid())
    finally:
        may_end.set()
        forker.join()
        children[0].kill()
        children[0].wait()
