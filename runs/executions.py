"""Executes runs in this process: claim, drive, settle. Holds the global registry of the graphs running here.

A Celery task calls `execute`; the supervisor, or the listener thread that it feeds, calls `deliver`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cache, partial
from typing import Protocol
from uuid import UUID

import psutil
from django.db import transaction
from django.utils import timezone

from runs import announcements, events, node_stops, pauses, receipts, registry, stops, telling, tokens
from runs.conf import runs_settings
from runs.models import Run
from runs.node_tokens import NodeStopOrder
from runs.registry import Claimant, Settled
from runs.remains import Remains
from runs.requests import StopRequest
from runs.runner import GraphThread, Outcome
from runs.states import IDLE, Status, StopMode, StopSource
from runs.tokens import StopOrder

logger = logging.getLogger(__name__)

DAEMON_SECONDS = 0.3  # how long a daemon OS thread may outlive its stopped run

_lock = threading.Lock()
_running: dict[UUID, GraphThread] = {}


class Supervised(Protocol):
    """What an execution tells its supervisor."""

    worker: str
    alone: bool  # whether this process runs one run at a time

    @property
    def is_stopping(self) -> bool: ...

    def lease(self, run_id: UUID) -> AbstractContextManager[None]: ...

    def begun(self, run_id: UUID, attempt: int) -> None: ...

    def critical(self, run_id: UUID, until: float | None) -> None: ...

    def node_left(self, run_id: UUID, execution_id: UUID) -> None: ...

    def ended(self, run_id: UUID, attempt: int) -> None: ...


def running_here() -> list[UUID]:
    """The runs whose graphs execute in this process now."""
    with _lock:
        return list(_running)


def deliver(order: StopOrder | NodeStopOrder) -> bool:
    """Hand an order to the graph, or the node, it is for. False if that does not run here (any more)."""
    with _lock:
        thread = _running.get(order.run_id)
    if thread is None or thread.run_row.attempt != order.attempt:
        return False
    if isinstance(order, NodeStopOrder):
        return thread.token.nodes.stop(order)
    if order.drain:
        thread.drain(order.reason, interrupt=order.rung > 0)
    elif order.rung > 0:
        thread.interrupt(order.reason)
    else:
        thread.stop(order.reason)
    return True


def execute(run_id: UUID, supervised: Supervised) -> Settled | None:
    """Execute one run, if it can be claimed, until it ends or suspends.

    Returns:
        How it ended; None if there was nothing to do, it suspends, or another writer got there first.
    """
    if supervised.is_stopping:
        return None  # it stays queued, for another worker or the next start of this one
    with supervised.lease(run_id):  # from before the claim on: nobody else may have the run before this has ended
        return _execute(run_id, supervised)


def _execute(run_id: UUID, supervised: Supervised) -> Settled | None:
    claimant = Claimant(supervised.worker, os.getpid(), _pid_started_at(os.getpid()))
    run = registry.claim(run_id, claimant, lease_seconds=runs_settings().lease_seconds)
    if run is None:
        _settle_unclaimed(run_id)
        return None
    sink = events.sink()
    sink.know(run)
    sink.status(run.id, Status.RUNNING, attempt=run.attempt, worker=supervised.worker)
    token = tokens.CancelToken(run.id, run.attempt)
    token.on_acknowledged = partial(sink.stop, run.id, "acknowledged")
    token.voice = voice = telling.Voice(run.id, sink)
    telling.install_log_handler()
    token.on_critical = partial(supervised.critical, run.id)
    token.nodes.on_left = partial(supervised.node_left, run.id)
    if run.attempt > 1:
        token.nodes.expect(node_stops.list_standing(run.id, run.attempt))
    thread = GraphThread(run, token, voice)
    with _lock:
        _running[run.id] = thread
    supervised.begun(run.id, run.attempt)
    tokens.enter(token, alone=supervised.alone)
    remains = Remains(run.id) if supervised.alone else None
    try:
        thread.start()
        thread.join()
    finally:
        tokens.leave(token)
        with _lock:
            del _running[run.id]
    try:
        if token.should_stop():
            token.run_cleanups()
        sink.store_nodes(run.id)  # whoever sees the end sees every node before it
        return _settle(run, thread.outcome, token, remains)
    finally:
        supervised.ended(run.id, run.attempt)
        if remains is not None:
            remains.close()


def _settle_unclaimed(run_id: UUID) -> None:
    """A run below a stopping one may have been queued in the last moment; it never starts."""
    if registry.has_stopping_ancestor(run_id):
        request = StopRequest(StopMode.CANCEL, StopSource.PARENT, "", "its parent was stopped", 0.0)
        announcements.tell_stop(registry.request_stop([run_id], request), request)


def _settle(run: Run, outcome: Outcome, token: tokens.CancelToken, remains: Remains | None) -> Settled | None:
    if outcome.status in IDLE:
        if _leave(run, outcome, remains):
            return None
        outcome = Outcome(Status.CANCELLED)
    if outcome.status is Status.CANCELLED and not token.should_stop():
        # The graph raised RunCancelled by itself: that is a stop, too, and every stop has somebody who asked.
        request = StopRequest(StopMode.CANCEL, StopSource.NODE, run.graph, "the graph stopped itself", 0.0)
        announcements.tell_stop(registry.request_own_stop(run.id, run.attempt, request), request)
    write = partial(
        registry.settle,
        run.id,
        run.attempt,
        outcome.status,
        output=outcome.output,
        error=outcome.error,
        # A graph that ended by itself has heard of its stop at its end.
        acknowledged_at=_as_datetime(token.acknowledged_at) or timezone.now(),
    )
    settled = None
    if remains is not None and not token.should_stop() and outcome.status is not Status.CANCELLED:
        # A run that ends by itself may leave a daemon behind; one that was stopped in the last moment may not.
        settled = write(unless_stopping=True)
    if settled is None:
        if remains is not None:
            _end_remains(run, remains)
        with transaction.atomic():  # whoever sees the end sees what the stop has waited for
            settled = write(rung=token.rung)
            if settled is not None and token.should_stop() and token.sections:
                receipts.record_sections(run.id, token.sections)
    if settled is None:
        logger.warning("attempt %d of run %s is stale, its outcome is dropped", run.attempt, run.id)
        return None
    logger.info("run %s of graph %s is %s", run.id, run.graph, settled.status)
    announce(settled)
    return settled


def _leave(run: Run, outcome: Outcome, remains: Remains | None) -> bool:
    """Take a run that goes on later out of this process. False if a stop was requested, or the attempt is stale."""
    if remains is not None and remains.has_processes():
        # Nobody would own them until the run goes on.
        killed = remains.kill_processes()
        logger.warning("run %s leaves, and left %d processes behind, they were killed", run.id, len(killed))
    if outcome.status is Status.WAITING:
        status = registry.suspend(run.id, run.attempt, awaited=outcome.awaited, questions=outcome.questions)
        if status is not None:
            events.sink().status(run.id, status, attempt=run.attempt)
            pauses.wake([run.id])
    else:
        status = pauses.give_back(run.id, run.attempt)
    if status is not None:
        logger.info("run %s of graph %s has left, it is %s", run.id, run.graph, status)
    return status is not None


def _end_remains(run: Run, remains: Remains) -> None:
    """Return when nothing that a stopping run has started lives any more, or not at all, with this process."""
    if remains.has_processes():
        killed = remains.kill_processes()
        logger.warning("run %s left %d processes behind, they were killed", run.id, len(killed))
        receipts.record_death(run.id, exit_signal=None, killed=killed)
    _await_threads(run, remains)


def _await_threads(run: Run, remains: Remains) -> None:
    """OS threads can't be killed. One that Python would wait for at its end has until the run's deadline; daemons
    have a moment, and are then taken with the process."""
    ends = time.monotonic() + DAEMON_SECONDS
    is_asked = False
    while threads := remains.list_threads():
        if not is_asked and time.monotonic() > ends and all(thread.daemon for thread in threads):
            is_asked = True
            names = ", ".join(sorted(thread.name for thread in threads))
            logger.warning("run %s left OS threads behind (%s), its process is killed", run.id, names)
            if not _ask_for_kill(run, f"OS threads were left: {names}"[:200]):
                return
        time.sleep(0.01)


def _ask_for_kill(run: Run, reason: str) -> bool:
    """False if this attempt is stale: a kill would hit its successor."""
    with transaction.atomic():
        own = Run.objects.select_for_update(no_key=True).filter(
            id=run.id, attempt=run.attempt, status=Status.RUNNING, stop_requested_at__isnull=False
        )
        if own.only("id").first() is None:
            return False
        stops.cancel(run.id, mode=StopMode.KILL, source=StopSource.NODE, actor=run.graph, reason=reason)
        return True


def announce(settled: Settled) -> None:
    """Tell everybody who waits for it that a run has ended."""
    announcements.tell_settled(settled)
    if settled.status is Status.FAILED:
        request = StopRequest(StopMode.CANCEL, StopSource.PARENT, "", "its parent failed")
        stops.stop_children(Run.objects.filter(parent_id=settled.run_id), request)
    if settled.parent_id is not None:
        pauses.wake([settled.parent_id])


def _as_datetime(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


@cache
def _pid_started_at(pid: int) -> float:
    return psutil.Process(pid).create_time()
