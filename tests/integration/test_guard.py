"""The guard ends what passes its deadline, whatever that is doing, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import psutil
import pytest

from runs import guard
from runs.deadlines import ROWS, Clocks, Deadlines
from tests.services import wait_until

HOLDS_THE_LOCK = "import subprocess; subprocess.Popen(['sleep', '600']); print(flush=True); sum(range(10**13))"


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    made = Deadlines.make()
    watching = guard.start(made)
    yield made
    watching.kill()
    watching.wait()
    os.close(made.descriptor)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """It has a child of its own, and its interpreter's lock is held for ever."""
    started = subprocess.Popen([sys.executable, "-c", HOLDS_THE_LOCK], stdout=subprocess.PIPE)
    assert started.stdout is not None
    started.stdout.readline()
    yield started
    for below in psutil.Process(started.pid).children() if started.poll() is None else []:
        below.kill()
    started.kill()
    started.communicate()


def lease(deadlines: Deadlines, process: subprocess.Popen[bytes], seconds: float, index: int = 0) -> None:
    """A row as the process itself would write it."""
    run_id = uuid4()
    deadlines.begin(index, run_id, Clocks.read(), 3_600)
    memory = deadlines._memory
    memory[index * 32 + 8 : index * 32 + 16] = process.pid.to_bytes(8, sys.byteorder)
    deadlines.put_off(process.pid, run_id, Clocks.read(), seconds)


@pytest.mark.parametrize("is_frozen", [False, True])
def test_process_whose_deadline_has_passed_is_killed_with_what_it_started(
    deadlines: Deadlines, process: subprocess.Popen[bytes], is_frozen: bool
) -> None:
    (below,) = psutil.Process(process.pid).children()
    if is_frozen:
        process.send_signal(signal.SIGSTOP)
    lease(deadlines, process, 0.5, index=ROWS - 1)
    assert process.wait(5) == -signal.SIGKILL
    wait_until(lambda: not below.is_running() or below.status() == psutil.STATUS_ZOMBIE, "its child is gone, too", 5)


def test_deadline_on_either_clock_counts() -> None:
    now = Clocks(100.0, 1_000.0)
    assert now.seconds_until(Clocks(101.0, 1_500.0)) == 1.0
    assert now.seconds_until(Clocks(200.0, 999.0)) == -1.0


def test_process_whose_deadline_is_put_off_or_that_has_ended_its_run_lives(
    deadlines: Deadlines, process: subprocess.Popen[bytes]
) -> None:
    lease(deadlines, process, 600)
    run_id = uuid4()
    deadlines.begin(1, run_id, Clocks.read(), 0.5)
    deadlines.end(1)
    deadlines.put_off(os.getpid(), run_id, Clocks.read(), 0.5)  # too late: nothing runs there any more
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)


def test_process_that_is_no_child_of_the_worker_is_left_alone(
    deadlines: Deadlines, process: subprocess.Popen[bytes]
) -> None:
    stranger = psutil.Process(process.pid).children()[0]
    deadlines.begin(0, uuid4(), Clocks.read(), 0.01)
    deadlines._memory[8:16] = stranger.pid.to_bytes(8, sys.byteorder)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    assert stranger.is_running()
