"""The line between a worker's MainProcess, where the supervisor lives, and the processes that run graphs.

The supervisor opens one inbox before the pool forks. Each child inherits it, and sends back one end of a socket
pair of its own: on that the supervisor sends stops, and its end of file tells that the child has died. No Redis,
no database and no file system path is in between. In a thread pool both sides are in one process and no socket is
needed.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from runs import evidence, executions
from runs.conf import runs_settings
from runs.deadlines import Clocks, Deadlines
from runs.node_tokens import NodeStopOrder
from runs.tokens import StopOrder

logger = logging.getLogger(__name__)

MESSAGE_BYTES = 65_536


class Flag:
    """One bit that the MainProcess sets and every child reads: shared memory, so that it works across forks."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def set(self) -> None:
        self._memory[0] = 1

    def __bool__(self) -> bool:
        return self._memory[0] == 1


@dataclass(frozen=True)
class Inbox:
    """Made in the MainProcess before the pool forks; children write into `sender`."""

    worker: str
    receiver: socket.socket
    sender: socket.socket
    stopping: Flag
    deadlines: Deadlines

    @classmethod
    def open(cls, worker: str) -> Inbox:
        receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        return cls(worker, receiver, sender, Flag(), Deadlines.make())


class ChildLink:
    """A prefork child's side: tells what runs here, and takes stops on a thread of its own.

    Args:
        index: its place in the pool, which no other living process of the pool has.
    """

    alone = True

    def __init__(self, inbox: Inbox, index: int = 0) -> None:
        self.worker = inbox.worker
        self._inbox = inbox
        self._index = index
        inbox.deadlines.end(index)  # of the process that had this place before
        self._orders, theirs = socket.socketpair()
        self._stacks = evidence.offer_stacks()
        hello = json.dumps({"pid": os.getpid(), "hello": True}).encode()
        socket.send_fds(inbox.sender, [hello], [theirs.fileno(), self._stacks.fileno()])
        theirs.close()
        threading.Thread(target=self._listen, name="runs-stops", daemon=True).start()

    @property
    def is_stopping(self) -> bool:
        return bool(self._inbox.stopping)

    @contextmanager
    def lease(self, run_id: UUID) -> Iterator[None]:
        """A stretch in which this process may claim and execute a run. The guard kills it when the lease is over."""
        self._inbox.deadlines.begin(self._index, run_id, Clocks.read(), runs_settings().lease_seconds)
        try:
            yield
        finally:
            self._inbox.deadlines.end(self._index)

    def begun(self, run_id: UUID, attempt: int) -> None:
        self._tell({"begun": str(run_id), "attempt": attempt})

    def critical(self, run_id: UUID, until: float | None) -> None:
        self._tell({"critical": str(run_id), "until": until})

    def node_left(self, run_id: UUID, execution_id: UUID) -> None:
        self._tell({"node_left": str(run_id), "execution": str(execution_id)})

    def ended(self, run_id: UUID, attempt: int) -> None:
        self._tell({"ended": str(run_id), "attempt": attempt})

    def _tell(self, message: dict[str, Any]) -> None:
        self._inbox.sender.send(json.dumps({"pid": os.getpid(), **message}).encode())

    def _listen(self) -> None:
        with self._orders.makefile("rb") as lines:
            for line in lines:
                executions.deliver(decode_order(line))


class LocalLink:
    """The same for a pool whose tasks run in the MainProcess itself (threads, solo)."""

    def __init__(self, worker: str, *, alone: bool) -> None:
        self.worker = worker
        self.alone = alone
        self.stopping = threading.Event()
        self.table: dict[UUID, int] = {}
        self.critical_until: dict[UUID, float | None] = {}
        self.left: deque[UUID] = deque()  # executions of nodes that were told to stop

    @property
    def is_stopping(self) -> bool:
        return self.stopping.is_set()

    @contextmanager
    def lease(self, run_id: UUID) -> Iterator[None]:
        """There is no process that could be ended for its runs alone."""
        yield

    def begun(self, run_id: UUID, attempt: int) -> None:
        self.table[run_id] = attempt

    def critical(self, run_id: UUID, until: float | None) -> None:
        self.critical_until[run_id] = until

    def node_left(self, run_id: UUID, execution_id: UUID) -> None:
        self.left.append(execution_id)

    def ended(self, run_id: UUID, attempt: int) -> None:
        self.critical_until.pop(run_id, None)
        self.table.pop(run_id, None)


def encode_order(order: StopOrder | NodeStopOrder) -> bytes:
    """One line that a `ChildLink` understands."""
    line = {"run": str(order.run_id), "attempt": order.attempt, "reason": order.reason, "rung": order.rung}
    if isinstance(order, NodeStopOrder):
        line |= {"execution": str(order.execution_id), "namespace": order.namespace}
    else:
        line["drain"] = order.drain
    return json.dumps(line).encode() + b"\n"


def decode_order(line: bytes) -> StopOrder | NodeStopOrder:
    order = json.loads(line)
    run_id, attempt, reason, rung = UUID(order["run"]), order["attempt"], order["reason"], order["rung"]
    if "execution" in order:
        return NodeStopOrder(run_id, attempt, UUID(order["execution"]), order["namespace"], reason, rung)
    return StopOrder(run_id, attempt, reason, rung, order["drain"])
