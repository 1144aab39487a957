"""Until when each process of a pool may execute what it executes: one row for each, in shared memory.

A process writes its row when it claims a run, the supervisor puts the deadline off with each renewal of the lease,
and the guard ends the process when it has passed. Two clocks are kept, because either may stand still or be set: the
time since the start of the machine, and the time of day, in which leases are kept.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

ROWS = 1_024
MARGIN = 0.1  # of a lease: what is left for the kill before another worker may take over

# Native and of eight bytes each: a column is written and read in one piece.
_ROW = struct.Struct("@qqdd")  # run, process, and the deadline on both clocks
_RUN = struct.Struct("@q")
_DEADLINE = struct.Struct("@dd")
_NO_RUN = 0


@dataclass(frozen=True)
class Clocks:
    """One moment, or one deadline, on both clocks; in seconds."""

    since_boot: float
    of_day: float

    @classmethod
    def read(cls) -> Clocks:
        # The clock of the boot goes on while the machine is suspended, where there is such a clock.
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
        return cls(since_boot, time.time())

    def seconds_until(self, deadline: Clocks) -> float:
        """Until the sooner of the two; negative when one has passed."""
        return min(deadline.since_boot - self.since_boot, deadline.of_day - self.of_day)


@dataclass(frozen=True)
class Row:
    pid: int
    deadline: Clocks


class Deadlines:
    """The table. Made in the MainProcess before the pool forks; the guard opens it by its descriptor.

    Safe across processes: a row has one process, which writes the deadline before the run, and a renewal writes the
    deadline only while it sees that run there.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, ROWS * _ROW.size)

    @classmethod
    def make(cls) -> Deadlines:
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("deadlines")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, ROWS * _ROW.size)
        return cls(descriptor)

    def begin(self, index: int, run_id: UUID, asked_at: Clocks, lease_seconds: float) -> None:
        """The calling process begins a run whose lease counts from `asked_at`, or a little later."""
        start = index * _ROW.size
        _RUN.pack_into(self._memory, start, _NO_RUN)
        deadline = _deadline(asked_at, lease_seconds)
        _ROW.pack_into(self._memory, start, _NO_RUN, os.getpid(), deadline.since_boot, deadline.of_day)
        _RUN.pack_into(self._memory, start, _as_number(run_id))

    def end(self, index: int) -> None:
        """The process of this row executes nothing."""
        _RUN.pack_into(self._memory, index * _ROW.size, _NO_RUN)

    def put_off(self, pid: int, run_id: UUID, asked_at: Clocks, lease_seconds: float) -> None:
        """The lease of that run in that process was renewed."""
        deadline = _deadline(asked_at, lease_seconds)
        for index, (run, owner, _, _) in enumerate(_ROW.iter_unpack(self._memory)):
            if (run, owner) == (_as_number(run_id), pid):
                start = index * _ROW.size + _ROW.size - _DEADLINE.size
                _DEADLINE.pack_into(self._memory, start, deadline.since_boot, deadline.of_day)

    def list_busy(self) -> Iterator[Row]:
        for run, pid, since_boot, of_day in _ROW.iter_unpack(self._memory):
            if run != _NO_RUN:
                yield Row(pid, Clocks(since_boot, of_day))


def _deadline(asked_at: Clocks, lease_seconds: float) -> Clocks:
    seconds = lease_seconds * (1 - MARGIN)
    return Clocks(asked_at.since_boot + seconds, asked_at.of_day + seconds)


def _as_number(run_id: UUID) -> int:
    """What is random in a run's id, in the width of a row's column; never the number that stands for none."""
    return (run_id.int & (2**62 - 1)) | 2**62
