"""What the executions of nodes know of their own stops, which leave the rest of the run alone.

One `NodeTable` belongs to one attempt, one `NodeToken` to one execution of one node. The runner's callbacks open and
end them, `stoppable` runs the node between `enter` and `close`, and `executions` delivers stops from another thread.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from runs.errors import NodeCancelled, NodeInterrupted

REPEAT_SECONDS = 0.1


@dataclass(frozen=True)
class NodeStopOrder:
    """What the supervisor tells the process in which a node is executed.

    `execution_id` is the execution for which the stop was asked; when the node is executed again from the same
    checkpoint, on another worker, only `namespace` is the same.
    """

    run_id: UUID
    attempt: int
    execution_id: UUID
    namespace: str
    reason: str
    rung: int = 0


current: ContextVar[NodeToken | None] = ContextVar("runs_current_node", default=None)


class NodeToken:
    """Tells one execution of one node whether it must stop; the nodes of a subgraph stop with the node that holds it.

    Safe to call from any thread: what changes is changed under the lock of the table, and an exception is raised
    into an OS thread only while that lock proves that the node works there.
    """

    def __init__(self, table: NodeTable, execution_id: UUID, namespace: str, parent: NodeToken | None) -> None:
        self.execution_id = execution_id
        self.namespace = namespace
        self.parent = parent
        self.order: NodeStopOrder | None = None
        self.rung = 0
        self.was_stopped = False  # it has left because of its order, and not by itself
        self.event = threading.Event()  # also set when the whole run must stop
        self._waiters: list[Callable[[], None]] = []
        self._table = table
        self._is_open = True
        self._at_work: Counter[int] = Counter()  # OS threads
        self._task: asyncio.Task[Any] | None = None
        self._cancels = 0  # of the task, that were ours
        self._is_interrupted = False

    @property
    def stopping(self) -> NodeToken | None:
        """The outermost node around this one, or itself, that was told to stop."""
        found = None
        token: NodeToken | None = self
        while token is not None:
            if token.order is not None:
                found = token
            token = token.parent
        return found

    def must_stop(self) -> bool:
        return self.event.is_set() and self.stopping is not None

    def raise_if_cancelled(self) -> None:
        """Raise `NodeCancelled` if this node, or one around it, was told to stop."""
        if self.event.is_set():
            stopping = self.stopping
            if stopping is not None and stopping.order is not None:
                raise NodeCancelled(stopping.namespace, stopping.order.reason)

    @property
    def is_told_to_interrupt(self) -> bool:
        stopping = self.stopping
        return stopping is not None and stopping.rung > 0

    def enter_thread(self) -> None:
        """The node works in the calling OS thread."""
        with self._table.lock:
            self._at_work[threading.get_ident()] += 1

    def leave_thread(self) -> None:
        """It does no longer; what was raised too late for it is taken back."""
        ident = threading.get_ident()
        with self._table.lock:
            self._at_work[ident] -= 1
            if self._at_work[ident] <= 0:
                del self._at_work[ident]
                _set_exception(ident, None)

    def enter_task(self) -> None:
        """The node works in the current asyncio task, which is its own."""
        with self._table.lock:
            self._task = asyncio.current_task()

    @property
    def is_in_threads(self) -> bool:
        return bool(self._at_work)

    def close(self) -> None:
        """The node has left: from now on nothing is raised for it, and an order comes too late. May be called again."""
        ident = threading.get_ident()
        with self._table.lock:
            self._is_open = False
            if self._at_work.pop(ident, None) is not None:
                _set_exception(ident, None)
            self._task = None

    def close_surely(self) -> None:
        """`close`, also if the exception that was raised for this node comes just now."""
        while self._is_open:
            with suppress(NodeCancelled):
                self.close()

    def take_cancels(self) -> int:
        """How often its task was cancelled for it."""
        return self._cancels

    def when_told(self, wake: Callable[[], None]) -> None:
        """Call `wake` once, from the thread that brings the stop, or now if the node was told already."""
        with self._table.lock:
            if not self.event.is_set():
                self._waiters.append(wake)
                return
        wake()

    def forget(self, wake: Callable[[], None]) -> None:
        with self._table.lock, suppress(ValueError):
            self._waiters.remove(wake)

    # --- called by the table ---

    def wake(self) -> None:
        """End its sleeps. Call it with the lock."""
        self.event.set()
        waiters, self._waiters = self._waiters, []
        for wake in waiters:
            wake()

    def tell(self, order: NodeStopOrder) -> bool:
        """False if the node has left."""
        if not self._is_open:
            return False
        self.order = self.order or order
        self.rung = max(self.rung, order.rung)
        return True

    def interrupt(self) -> None:
        """Raise again and again until the node has left."""
        if not self._is_interrupted:
            self._is_interrupted = True
            threading.Thread(target=self._repeat, name="runs-interrupt", daemon=True).start()

    def _repeat(self) -> None:
        while self._is_open:
            if not self._table.is_held():
                with self._table.lock:
                    self._interrupt_once()
            time.sleep(REPEAT_SECONDS)

    def _interrupt_once(self) -> None:
        if not self._is_open:
            return
        below = list(self._table.list_below(self))
        # Where a node only waits for those of its subgraph, they leave first and it follows.
        parents = {token.parent for token in below}
        idents = {ident for token in [self, *below] if token not in parents for ident in token._at_work}
        for ident in idents:
            _set_exception(ident, NodeInterrupted)
        if not idents and self._task is not None:
            with suppress(RuntimeError):  # the loop has just been closed
                self._task.get_loop().call_soon_threadsafe(self._cancel_task)

    def _cancel_task(self) -> None:
        # In the loop's thread, where the node's own code does not run meanwhile.
        if self._task is not None and self._is_open:
            self._cancels += 1
            self._task.cancel()


class NodeTable:
    """The nodes that one attempt executes now."""

    def __init__(self, is_held: Callable[[], bool] = lambda: False) -> None:
        self.lock = threading.RLock()
        self.is_held = is_held  # whether a critical section is open
        # Told when a node has left that was told to stop, or when an order found it gone.
        self.on_left: Callable[[UUID], None] = lambda execution_id: None
        self._open: dict[str, NodeToken] = {}
        self._standing: dict[str, NodeStopOrder] = {}

    def expect(self, orders: Iterable[NodeStopOrder]) -> None:
        """Stops that were asked for in an earlier attempt: those nodes leave as soon as they begin again."""
        self._standing = {order.namespace: order for order in orders}

    def begin(self, execution_id: UUID, namespace: str, *, is_stopping: Callable[[], bool]) -> NodeToken:
        token = NodeToken(self, execution_id, namespace, current.get())
        with self.lock:
            self._open[namespace] = token
            order = self._standing.get(namespace)
            if order is not None:
                token.tell(order)
            if token.stopping is not None:
                token.event.set()
        # Asked after it was entered, so that a run's stop finds it in the table or is found here.
        if is_stopping():
            token.event.set()
        return token

    def find(self, namespace: str) -> NodeToken | None:
        return self._open.get(namespace)

    def end(self, namespace: str, execution_id: UUID) -> NodeToken | None:
        """Forget an execution that has ended."""
        with self.lock:
            token = self._open.get(namespace)
            if token is None or token.execution_id != execution_id:
                return None
            del self._open[namespace]
        token.close_surely()
        return token

    def stop(self, order: NodeStopOrder) -> bool:
        """Hand a stop to the node that it is for. False if that has left, or has not begun."""
        with self.lock:
            token = self._open.get(order.namespace)
            told = token is not None and token.execution_id == order.execution_id and token.tell(order)
            family = [token, *self.list_below(token)] if told and token is not None else []
            for member in family:
                member.wake()
        if not told or token is None:
            self.on_left(order.execution_id)
            return False
        if order.rung > 0:
            token.interrupt()
        return True

    def list_below(self, token: NodeToken) -> Iterator[NodeToken]:
        """The nodes that are executed inside a node's subgraphs. Call it with the lock."""
        below = f"{token.namespace}|"
        return (other for namespace, other in self._open.items() if namespace.startswith(below))

    def wake_all(self) -> None:
        """The whole run must stop: end every sleep."""
        with self.lock:
            for token in self._open.values():
                token.wake()


def _set_exception(ident: int, kind: type[BaseException] | None) -> None:
    value = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), value)
