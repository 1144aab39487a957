"""What node code asks: must I stop? And who am I?

A token belongs to one attempt of one run. The runner puts it in a context variable, so that every node, also one
that LangGraph runs in its own pool, finds it; `executions` sets it when a stop arrives.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from runs import node_tokens
from runs.errors import RunCancelled
from runs.node_tokens import NodeTable


@dataclass(frozen=True)
class StopOrder:
    """What the supervisor tells the process that runs a graph."""

    run_id: UUID
    attempt: int
    reason: str
    rung: int = 0  # 0 cancel, 1 interrupt; the supervisor climbs the next one itself
    drain: bool = False  # no stop: leave at the next step boundary, to go on from the checkpoint later


logger = logging.getLogger(__name__)

MAX_CRITICAL_SECONDS = 300.0


@dataclass
class CriticalSection:
    """A stretch of a node that a stop waits for, at most until `ends_at`."""

    name: str
    began_at: float  # time.time(), like the other two
    ends_at: float  # the latest
    ended_at: float | None = None


class Voice(Protocol):
    """Takes what a run says while it is executed; see `telling`."""

    def custom(self, namespace: str, value: Any) -> None: ...

    def log(self, level: str, logger: str, message: str) -> None: ...


class CancelToken:
    """Tells one attempt whether it must stop.

    Safe to call from any thread: a stop is one `Event`, set once and never cleared; the reason is written before
    it. The list of waiters has a lock of its own.
    """

    def __init__(self, run_id: UUID, attempt: int) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.reason = ""
        self.rung = 0  # the highest that this process has been told of
        self.requested_at: float | None = None  # time.monotonic()
        self.acknowledged_at: float | None = None  # time.time() of the first boundary that raised
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._waiters: list[Callable[[], None]] = []
        self._spawned: Counter[str] = Counter()
        self._cleanups: list[tuple[str, Callable[[], object]]] = []  # with the namespace of the node
        self.nodes = NodeTable(lambda: self.critical_until is not None)
        self.sections: list[CriticalSection] = []
        # Told of each change of `critical_until`, with the time or None; `executions` passes it to the supervisor.
        self.on_critical: Callable[[float | None], None] = lambda until: None
        # Told when a boundary has raised for the first time; `executions` tells it the watchers.
        self.on_acknowledged: Callable[[], None] = lambda: None
        self.voice: Voice | None = None  # what the run says is told to it

    def request(self, reason: str) -> None:
        """Make every boundary raise from now on. A second request changes nothing."""
        with self._lock:
            if self._event.is_set():
                return
            self.reason = reason
            self.requested_at = time.monotonic()
            self._event.set()
            waiters, self._waiters = self._waiters, []
        for wake in waiters:
            wake()
        self.nodes.wake_all()

    @property
    def is_stopped(self) -> bool:
        """Whether the whole run must stop, whatever node asks."""
        return self._event.is_set()

    def should_stop(self) -> bool:
        """Whether the run must stop, or the node that asks."""
        if self._event.is_set():
            return True
        node = node_tokens.current.get()
        return node is not None and node.must_stop()

    def raise_if_cancelled(self) -> None:
        """Raise `RunCancelled` if this run must stop, `NodeCancelled` if only the calling node must; not inside a
        critical section, which does so at its end."""
        if _in_critical.get():
            return
        if self._event.is_set():
            self.acknowledge()
            raise RunCancelled(self.run_id, self.reason)
        node = node_tokens.current.get()
        if node is not None:
            node.raise_if_cancelled()

    def acknowledge(self) -> None:
        if self.acknowledged_at is None:
            self.acknowledged_at = time.time()
            self.on_acknowledged()

    @property
    def critical_until(self) -> float | None:
        """The latest end of the critical sections that are open, in `time.time()`; None if none is."""
        now = time.time()
        with self._lock:
            ends = [section.ends_at for section in self.sections if section.ended_at is None and section.ends_at > now]
        return max(ends, default=None)

    @contextmanager
    def critical(self, name: str, max_seconds: float) -> Iterator[None]:
        """Hold the ladder back until the section ends, or for `max_seconds`."""
        self.raise_if_cancelled()
        now = time.time()
        section = CriticalSection(name, now, now + max_seconds)
        with self._lock:
            self.sections.append(section)
        self.on_critical(self.critical_until)
        inside = _in_critical.set(True)
        try:
            yield
        finally:
            _in_critical.reset(inside)
            section.ended_at = time.time()
            self.on_critical(self.critical_until)
        self.raise_if_cancelled()

    def add_cleanup(self, cleanup: Callable[[], object]) -> None:
        node = node_tokens.current.get()
        with self._lock:
            self._cleanups.append((node.namespace if node is not None else "", cleanup))

    def has_cleanups(self, namespace: str) -> bool:
        with self._lock:
            return bool(self._cleanups_of(namespace))

    def _cleanups_of(self, namespace: str) -> list[tuple[str, Callable[[], object]]]:
        return [item for item in self._cleanups if not namespace or f"{item[0]}|".startswith(f"{namespace}|")]

    def run_cleanups(self, namespace: str = "") -> None:
        """Call what was registered, the latest first, once; an error in one does not keep the others from running.

        Args:
            namespace: only what this node, or one inside it, has registered.
        """
        while True:
            with self._lock:
                found = self._cleanups_of(namespace)
                if not found:
                    return
                self._cleanups.remove(found[-1])
            cleanup = found[-1][1]
            try:
                cleanup()
            except Exception:
                logger.exception("a cleanup of run %s failed", self.run_id)

    def sleep(self, seconds: float) -> None:
        """Sleep, or raise `RunCancelled` as soon as the run must stop, `NodeCancelled` as soon as the node must."""
        node = node_tokens.current.get()
        (self._event if node is None else node.event).wait(seconds)
        self.raise_if_cancelled()

    async def asleep(self, seconds: float) -> None:
        """`sleep` for async nodes: the event loop goes on."""
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has been closed: nobody sleeps there any more
                loop.call_soon_threadsafe(stopped.set)

        node = node_tokens.current.get()
        self.when_requested(wake)
        if node is not None:
            node.when_told(wake)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), seconds)
        finally:
            self.forget(wake)
            if node is not None:
                node.forget(wake)
        self.raise_if_cancelled()

    def begin_node(self, node: str) -> None:
        """Count the node's spawns from 1 again: it is executed anew, for example by a retry policy."""
        with self._lock:
            self._spawned.pop(node, None)

    def next_spawn(self, node: str) -> int:
        """The place of the next child among those that this execution of the node spawns, from 1."""
        with self._lock:
            self._spawned[node] += 1
            return self._spawned[node]

    def when_requested(self, wake: Callable[[], None]) -> None:
        """Call `wake` once, from the thread that requests the stop, or now if it was requested already."""
        with self._lock:
            if not self._event.is_set():
                self._waiters.append(wake)
                return
        wake()

    def forget(self, wake: Callable[[], None]) -> None:
        with self._lock, suppress(ValueError):
            self._waiters.remove(wake)


_current: ContextVar[CancelToken | None] = ContextVar("runs_current_token", default=None)
# An OS thread that a node starts by itself has an empty context. A prefork child runs one run at a time, so there
# the run is known all the same.
_only: CancelToken | None = None


_in_critical: ContextVar[bool] = ContextVar("runs_in_critical", default=False)


def find_token() -> CancelToken | None:
    """The token of the run whose node is asking; None outside any run."""
    return _current.get() or _only


def find_own_token() -> CancelToken | None:
    """The token of the calling context itself, for those to whom a guess is not enough."""
    return _current.get()


def enter(token: CancelToken, *, alone: bool) -> None:
    """Make the token the current context's, and the whole process's if no other run can be in it."""
    global _only
    _current.set(token)
    if alone:
        _only = token


def leave(token: CancelToken) -> None:
    global _only
    if _only is token:
        _only = None


def on_cancel(cleanup: Callable[[], object]) -> None:
    """Call `cleanup` once if the run is stopped: when its graph has left, or when it is interrupted, and before it is
    killed. It runs in another OS thread than the node. Does nothing outside any run."""
    token = find_token()
    if token is not None:
        token.add_cleanup(cleanup)


@contextmanager
def critical(name: str, *, max_seconds: float) -> Iterator[None]:
    """A section that a stop must not cut: charging a card, swapping a file.

    While it is open no boundary raises and no higher rung is climbed, for `max_seconds` at most; the delay is kept in
    the stop's receipt. A run that must stop is not let in, and is stopped when it comes out.

    Raises:
        ValueError: `max_seconds` is not between 0 and 300.
        RunCancelled: the run must stop.
    """
    if not 0 < max_seconds <= MAX_CRITICAL_SECONDS:
        raise ValueError(f"critical({name!r}, max_seconds={max_seconds}): allowed is 0 to {MAX_CRITICAL_SECONDS:g}")
    token = find_token()
    if token is None:
        yield
    else:
        with token.critical(name, max_seconds):
            yield


def should_stop() -> bool:
    """Whether the run of the calling node must stop; False outside any run."""
    token = find_token()
    return token is not None and token.should_stop()


def raise_if_cancelled() -> None:
    """Raise `RunCancelled` if the run of the calling node must stop; does nothing outside any run."""
    token = find_token()
    if token is not None:
        token.raise_if_cancelled()


def sleep(seconds: float) -> None:
    """`time.sleep` that ends at once, with `RunCancelled`, when the run must stop."""
    token = find_token()
    if token is None:
        time.sleep(seconds)
    else:
        token.sleep(seconds)


async def asleep(seconds: float) -> None:
    """`asyncio.sleep` that ends at once, with `RunCancelled`, when the run must stop."""
    token = find_token()
    if token is None:
        await asyncio.sleep(seconds)
    else:
        await token.asleep(seconds)
