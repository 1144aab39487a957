"""Rung 1: raises inside the nodes of one attempt, wherever they run.

Sync nodes: an asynchronous exception into every OS thread in which a node of the run is working. Async nodes: the
graph's task is cancelled. Both again and again while it is swallowed. A C call that does not return to Python is not
reached: that is for rung 2.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from runs import node_tokens
from runs.errors import NodeCancelled, RunInterrupted
from runs.node_tokens import NodeToken

REPEAT_SECONDS = 0.1


class Interruption:
    """Knows where the nodes of one attempt work, and interrupts them.

    Safe to call from any thread: the table of OS threads has one lock, and an exception is raised into a thread
    only while the lock proves that a node works there.
    """

    def __init__(self, is_held: Callable[[], bool] = lambda: False) -> None:
        self._is_held = is_held  # whether a critical section is open
        self._lock = threading.Lock()
        self._at_work: Counter[int] = Counter()  # OS thread → how many nodes deep
        self._task: asyncio.Task[Any] | None = None
        self._started = False
        self._over = threading.Event()

    def enter_node(self) -> None:
        """A node begins in the calling OS thread."""
        with self._lock:
            self._at_work[threading.get_ident()] += 1

    def leave_node(self) -> None:
        """A node has ended in the calling OS thread; what was raised too late for it is taken back."""
        ident = threading.get_ident()
        with self._lock:
            self._at_work[ident] -= 1
            if self._at_work[ident] <= 0:
                del self._at_work[ident]
                _set_exception(ident, None)

    def enter_loop(self) -> None:
        """The graph runs as the current asyncio task; its sync nodes run in a pool that this can interrupt."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_InterruptiblePool(self))
        with self._lock:
            self._task = asyncio.current_task()

    def end(self) -> None:
        """The graph has returned: nothing is interrupted any more."""
        self._over.set()
        with self._lock:
            self._at_work.clear()
            self._task = None

    def start(self) -> None:
        """Interrupt what works now, and again every tenth of a second until the graph has returned."""
        with self._lock:
            if self._started:
                return
            self._started = True
        threading.Thread(target=self._repeat, name="runs-interrupt", daemon=True).start()

    def _repeat(self) -> None:
        while not self._over.is_set():
            if not self._is_held():
                self._interrupt_once()
            time.sleep(REPEAT_SECONDS)

    def _interrupt_once(self) -> None:
        with self._lock:
            for ident in self._at_work:
                _set_exception(ident, RunInterrupted)
            if self._task is not None:
                with suppress(RuntimeError):  # the loop has just been closed
                    self._task.get_loop().call_soon_threadsafe(self._task.cancel)


class _InterruptiblePool(ThreadPoolExecutor):
    """The executor in which an async graph's sync nodes run."""

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(thread_name_prefix="runs-nodes")
        self._interruption = interruption

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(self._work, node_tokens.current.get(), fn, *args, **kwargs)

    def _work(self, node: NodeToken | None, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._interruption.enter_node()
        if node is not None:
            node.enter_thread()
        try:
            return fn(*args, **kwargs)
        finally:
            if node is not None:
                _leave_surely(node)
            self._interruption.leave_node()


def _leave_surely(node: NodeToken) -> None:
    """Also if the exception that was raised for this node comes just now."""
    try:
        node.leave_thread()
    except NodeCancelled:
        node.leave_thread()


def _set_exception(ident: int, kind: type[BaseException] | None) -> None:
    value = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), value)
