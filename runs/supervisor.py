"""Lives in each worker's MainProcess, outside the processes that run graphs: delivers stops, kills what does not
stop in time, renews leases, reports the worker's heartbeat, and reaps.

One thread does it all, woken by doorbells, by the children's messages and by the clock. It keeps its own table of
what runs where; Celery's is not reliable enough.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseError
from django.db.models import Q
from django.utils import timezone

from runs import (
    events,
    evidence,
    executions,
    guard,
    killing,
    leases,
    pauses,
    queries,
    reaper,
    receipts,
    registry,
    remains,
    stops,
)
from runs.conf import runs_settings
from runs.deadlines import Clocks
from runs.doorbells import Doorbells
from runs.forking import database
from runs.ladder import Rung, Schedule, next_change_at, rung_due, sooner
from runs.links import MESSAGE_BYTES, Inbox, LocalLink, encode_order
from runs.models import NodeStop, Run, Worker
from runs.node_supervision import NodeSupervision, record_kill
from runs.node_tokens import NodeStopOrder
from runs.requests import StopRequest
from runs.states import NodeStatus, OnShutdown, Status, StopMode, StopSource
from runs.tokens import StopOrder

logger = logging.getLogger(__name__)

EARLY_LENGTH = 1_000  # doorbells remembered for runs that have not begun here; the poll finds what is forgotten


@dataclass
class Child:
    """A prefork child as it has reported itself."""

    pid: int
    orders: socket.socket
    stacks: int  # the descriptor of the file into which it writes its stacks
    exit: int | None = None  # a descriptor that becomes readable when the process has died, where there are such
    run_id: UUID | None = None
    attempt: int = 0
    critical_until: float | None = None  # time.time()


class Supervisor:
    """One worker's supervisor. `start` is called once the pool exists; everything else happens in its thread."""

    def __init__(self, worker_id: str, hostname: str, link: Inbox | LocalLink) -> None:
        self.worker_id = worker_id
        self.hostname = hostname
        self.link = link
        self.celery_worker: Any = None
        self.children: dict[int, Child] = {}
        self.delivered: dict[UUID, int] = {}  # run id → attempt that was told
        self.plans: dict[UUID, Schedule] = {}  # of the runs here that are stopping
        self.interrupted: dict[UUID, int] = {}  # run id → attempt that was told to interrupt
        self.drained: dict[UUID, int] = {}  # run id → attempt that was told to drain
        self._ending: set[UUID] = set()  # runs that are being killed, until that is written down
        self._killed: set[UUID] = set()  # runs whose process was killed here, until Celery tells of it
        self.handover: Schedule | None = None  # of a shutdown that keeps the runs: when what is left is killed
        self.nodes = NodeSupervision(self._send, self._critical_until, self.plans.__contains__)
        self._early: OrderedDict[UUID, str] = OrderedDict()
        self.selector = selectors.DefaultSelector()
        self.bells = Doorbells()
        self._shutdown_asked = threading.Event()
        self._shut_down: set[UUID] | None = None  # the runs that the shutdown has stopped
        self._kill_all = threading.Event()
        self._started_at = timezone.now()
        self._next_poll = self._next_heartbeat = 0.0
        self._last_renewal = time.monotonic()
        self._stale: set[tuple[UUID, int]] = set()
        self._guard: subprocess.Popen[bytes] | None = None
        self._zombies: set[int] = set()

    # --- called from other threads ---

    def start(self, celery_worker: Any) -> None:
        self.celery_worker = celery_worker
        self.selector.register(self.bells.bell, selectors.EVENT_READ, self._on_bell)
        if isinstance(self.link, Inbox):
            self.selector.register(self.link.receiver, selectors.EVENT_READ, self._on_message)
            self._guard = guard.start(self.link.deadlines)
        threading.Thread(target=self._run, name="runs-supervisor", daemon=True).start()
        self.bells.start()

    def begin_shutdown(self, *, by_hand: bool = False) -> None:
        """Stop every run of this worker, or hand them over; asked again `by_hand`, kill what is left. Called in signal
        handlers: sets flags."""
        if by_hand and self._shutdown_asked.is_set():
            self._kill_all.set()
        self.link.stopping.set()
        self._shutdown_asked.set()
        self.bells.ring()

    def kill_everything(self, timeout_seconds: float = 3.0) -> None:
        """The second signal: kill what still runs, and wait until it is gone and settled."""
        self.begin_shutdown()
        self._kill_all.set()
        self.bells.ring()
        ends = time.monotonic() + timeout_seconds
        while (self._table() or self._ending) and time.monotonic() < ends:
            time.sleep(0.02)

    def has_killed(self, run_id: UUID) -> bool:
        """Whether the process that Celery reports as terminated was killed by this supervisor. True once for a kill."""
        try:
            self._killed.remove(run_id)
        except KeyError:
            return False
        return True

    def retire(self) -> None:
        """The worker has ended in good order: it is alive no more."""
        with database():
            Worker.objects.filter(id=self.worker_id).delete()
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()

    # --- the thread ---

    def _run(self) -> None:
        while True:
            try:
                self._round()
            except Exception:
                logger.exception("the supervisor's round failed, it goes on")
                time.sleep(0.2)

    def _round(self) -> None:
        due = min(self._next_poll, self._next_heartbeat) - time.monotonic()
        for key, _ in self.selector.select(max(0.0, min(due, self._seconds_to_next_rung()))):
            key.data(key.fileobj)
        if self._shutdown_asked.is_set():
            self._shut_down_runs()
        while isinstance(self.link, LocalLink) and self.link.left:
            self._node_left(self.link.left.popleft())
        now = time.monotonic()
        if now >= self._next_poll:
            self._next_poll = now + runs_settings().supervisor_poll_seconds
            self._look_at_stops()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + runs_settings().heartbeat_seconds
            self._beat()
        self._climb()
        for stop in self.nodes.climb():
            self._kill_for_node(stop)

    def _on_bell(self, _: socket.socket) -> None:
        for run_ids, reason in self.bells.answer():
            for run_id in run_ids:
                # The truth is read below; the graph is told before, because the message is enough for that.
                self._tell(run_id, reason)
        self._next_poll = 0.0

    def _on_message(self, receiver: socket.socket) -> None:
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(receiver, MESSAGE_BYTES, 2)
            except BlockingIOError:
                return
            message = json.loads(data)
            if "hello" in message:
                self._meet(message["pid"], *descriptors)
                continue
            child = self.children.get(message["pid"])
            if child is None:
                continue
            if "begun" in message:
                child.run_id, child.attempt = UUID(message["begun"]), message["attempt"]
                child.critical_until = None
                if child.run_id in self._early:
                    self._tell(child.run_id, self._early.pop(child.run_id))
                    self._next_poll = 0.0
            elif "critical" in message:
                child.critical_until = message["until"]
            elif "node_left" in message:
                self._node_left(UUID(message["execution"]))
            elif child.run_id == UUID(message["ended"]):
                self._forget(child.run_id)
                child.run_id = None

    def _meet(self, pid: int, orders: int, stacks: int) -> None:
        child = Child(pid, socket.socket(fileno=orders), stacks)
        self.children[pid] = child
        self.selector.register(child.orders, selectors.EVENT_READ, lambda _: self._on_death(child))
        # A process that the child has forked keeps the line open beyond the child's death.
        if hasattr(os, "pidfd_open"):
            with suppress(ProcessLookupError):
                child.exit = os.pidfd_open(pid)
                self.selector.register(child.exit, selectors.EVENT_READ, lambda _: self._on_death(child))

    def _on_death(self, child: Child) -> None:
        """The child's line or the child itself has ended."""
        if self.children.get(child.pid) is not child:
            return
        if isinstance(self.link, Inbox):
            self._on_message(self.link.receiver)  # what it said last
        self._drop(child)
        if child.run_id is not None:
            self._lose(child.run_id, child.attempt)

    def _drop(self, child: Child) -> None:
        if self.children.get(child.pid) is child:
            del self.children[child.pid]
            self.selector.unregister(child.orders)
            child.orders.close()
            os.close(child.stacks)
            if child.exit is not None:
                self.selector.unregister(child.exit)
                os.close(child.exit)

    def _lose(self, run_id: UUID, attempt: int) -> None:
        self._forget(run_id)
        remains.kill_orphans([run_id])
        if self.celery_worker.pool is not None:
            killing.replace_child(self.celery_worker)
        with database():
            run = Run.objects.filter(id=run_id, attempt=attempt, status=Status.RUNNING).first()
            if run is not None:
                reaper.recover(run)

    def _table(self) -> dict[UUID, int]:
        """Run id → attempt of everything that executes in this worker."""
        if isinstance(self.link, LocalLink):
            return dict(self.link.table)
        return {child.run_id: child.attempt for child in list(self.children.values()) if child.run_id}

    def _child_of(self, run_id: UUID) -> Child | None:
        """The process that executes a run; a thread pool has none."""
        return next((child for child in self.children.values() if child.run_id == run_id), None)

    def _forget(self, run_id: UUID) -> None:
        self.delivered.pop(run_id, None)
        self.plans.pop(run_id, None)
        self.interrupted.pop(run_id, None)
        self.drained.pop(run_id, None)
        self.nodes.forget(run_id)

    # --- stops ---

    def _look_at_stops(self) -> None:
        table = self._table()
        if not table:
            return
        with database():
            asked = Run.objects.filter(
                Q(stop_requested_at__isnull=False) | Q(pause_requested_at__isnull=False),
                id__in=table,
                worker=self.worker_id,
                status=Status.RUNNING,
            ).defer(*queries.LARGE_FIELDS)
            stopping = [run for run in asked if run.is_stopping]
            for run in asked:
                if run.is_pausing:
                    self._drain(run.id, run.pause_reason or "paused")
            for run in stopping:
                self._tell(run.id, run.stop_reason)
                kill_at = run.stop_deadline or timezone.now()
                self.plans[run.id] = Schedule(run.stop_interrupt_at or kill_at, kill_at)
            fresh = [run.id for run in stopping if run.stop_delivered_at is None and run.id in self.delivered]
            if fresh:
                registry.mark_delivered(fresh, timezone.now())
                events.sink().learn(fresh)
                for run_id in fresh:
                    events.sink().stop(run_id, "delivered")
            self.nodes.look(table)
            for run_id in receipts.list_requested(list(table)):
                self._take_evidence(run_id)

    def _tell(self, run_id: UUID, reason: str) -> None:
        attempt = self._table().get(run_id)
        if attempt is None:
            self._remember(run_id, reason)
            return
        if self.delivered.get(run_id) == attempt:
            return
        if self._send(StopOrder(run_id, attempt, reason)):
            self.delivered[run_id] = attempt

    def _drain(self, run_id: UUID, reason: str) -> None:
        attempt = self._table().get(run_id)
        if attempt is None or self.drained.get(run_id) == attempt:
            return
        if self._send(StopOrder(run_id, attempt, reason, drain=True)):
            self.drained[run_id] = attempt

    def _send(self, order: StopOrder | NodeStopOrder) -> bool:
        if isinstance(self.link, LocalLink):
            return executions.deliver(order)
        child = self._child_of(order.run_id)
        if child is not None:
            child.orders.sendall(encode_order(order))
        return child is not None

    def _remember(self, run_id: UUID, reason: str) -> None:
        """A stop may be rung for before its run has told that it begins, here or in another worker."""
        self._early[run_id] = reason
        while len(self._early) > EARLY_LENGTH:
            self._early.popitem(last=False)

    def _seconds_to_next_rung(self) -> float:
        now = timezone.now()
        plans = {run_id: plan for run_id in self._table() if (plan := self._plan(run_id))}
        changes = [next_change_at(plan, now, self._critical_until(run_id)) for run_id, plan in plans.items()]
        seconds = min(((change - now).total_seconds() for change in changes if change is not None), default=1.0)
        return min(seconds, self.nodes.seconds_to_next_rung())

    def _plan(self, run_id: UUID) -> Schedule | None:
        plan = self.plans.get(run_id)
        return sooner(plan, self.handover) if plan and self.handover else plan or self.handover

    def _critical_until(self, run_id: UUID) -> datetime | None:
        if isinstance(self.link, LocalLink):
            until = self.link.critical_until.get(run_id)
        else:
            child = self._child_of(run_id)
            until = child.critical_until if child else None
        return None if until is None else datetime.fromtimestamp(until, UTC)

    def _climb(self) -> None:
        """Do for each stopping run here what its rung is due."""
        now = timezone.now()
        for run_id, attempt in self._table().items():
            plan = self._plan(run_id)
            due = rung_due(plan, now, self._critical_until(run_id)) if plan else Rung.CANCEL
            if self._kill_all.is_set():
                due = Rung.KILL
            if due is Rung.KILL:
                self._ending.add(run_id)
                try:
                    self._kill(run_id)
                finally:
                    self._ending.discard(run_id)
            elif due is Rung.INTERRUPT and self.interrupted.get(run_id) != attempt:
                logger.info("run %s did not come to a boundary in time, it is interrupted", run_id)
                if self._send(StopOrder(run_id, attempt, "interrupted", rung=Rung.INTERRUPT)):
                    self.interrupted[run_id] = attempt
                    events.sink().stop(run_id, "interrupting", rung=Rung.INTERRUPT.value)

    def _kill(self, run_id: UUID) -> None:
        child = self._child_of(run_id)
        is_kept = self.handover is not None and run_id not in self.plans  # until the database says otherwise
        if child is None:
            # A thread pool has no process to kill; raising inside the nodes is the most that can be done.
            self.plans.pop(run_id, None)
            attempt = self._table().get(run_id, 0)
            if self.interrupted.get(run_id) != attempt:
                order = StopOrder(run_id, attempt, "interrupted", rung=Rung.INTERRUPT, drain=is_kept)
                if self._send(order):
                    self.interrupted[run_id] = attempt
            return
        attempt = child.attempt
        logger.warning("run %s did not stop in time, its process %d is killed", run_id, child.pid)
        if not is_kept:
            events.sink().stop(run_id, "killing", rung=Rung.KILL.value)
            with database():
                self._take_evidence(run_id)
        killed = self._end_process(child)
        if killed is None:
            self.plans.pop(run_id, None)
            return
        with database():
            events.end_nodes_of_lost_process(run_id, attempt, NodeStatus.CANCELLED)
            if self.handover is not None and pauses.give_back(run_id, attempt):
                return
            receipts.record_death(run_id, exit_signal=signal.SIGKILL, killed=killed)
            settled = registry.settle(run_id, attempt, Status.CANCELLED, rung=2)
            if settled is not None:
                executions.announce(settled)

    def _end_process(self, child: Child, is_wanted: Callable[[], bool] = lambda: True) -> list[dict[str, Any]] | None:
        """Kill a child, unless it has ended its run meanwhile or `is_wanted` says no; see `killing.kill_child`."""
        run_id, attempt = child.run_id, child.attempt

        def is_still_due() -> bool:
            if isinstance(self.link, Inbox):
                self._on_message(self.link.receiver)
            return child.run_id == run_id and child.attempt == attempt and is_wanted()

        if run_id is not None:
            self._killed.add(run_id)
        killed = killing.kill_child(self.celery_worker, child.pid, is_still_due=is_still_due)
        if killed is None and run_id is not None:
            self._killed.discard(run_id)
        elif run_id is not None:
            self._drop(child)
            self._forget(run_id)
            child.run_id = None
        return killed

    def _node_left(self, execution_id: UUID) -> None:
        self.nodes.has_left(execution_id)
        self._next_poll = 0.0

    def _kill_for_node(self, stop: NodeStop) -> None:
        """One node does not leave: its process is ended, and its run goes on in another."""
        child = self._child_of(stop.run_id)
        if child is None:
            self.nodes.interrupt(stop)
            return
        logger.warning("node %s of run %s did not stop in time, its process is killed", stop.namespace, stop.run_id)
        stacks = ""
        try:
            stacks = evidence.read_stacks(child.pid, child.stacks)
        except OSError:
            logger.exception("evidence of run %s could not be taken", stop.run_id)
        killed = self._end_process(child, lambda: stop.pk in self.nodes.pending)
        if killed is None:
            return
        with database():
            record_kill(stop, pid=child.pid, stacks=stacks.replace("\x00", ""), killed=killed)

    def _take_evidence(self, run_id: UUID) -> None:
        """Write down what the run's process is doing. A failure here must not save it from a kill."""
        child = self._child_of(run_id)
        pid = child.pid if child else os.getpid()
        try:
            stacks = evidence.read_stacks(child.pid, child.stacks) if child else evidence.stacks_here()
            processes = evidence.describe_processes(evidence.list_descendants(pid))
            receipts.record_evidence(run_id, pid=pid, stacks=stacks, processes=processes)
        except (OSError, DatabaseError):
            logger.exception("evidence of run %s could not be taken", run_id)

    def _shut_down_runs(self) -> None:
        how = runs_settings().on_shutdown
        if how is OnShutdown.CANCEL:
            self._stop_own_runs()
            return
        if self.handover is None:
            ends = timezone.now() + timedelta(seconds=runs_settings().grace_seconds)
            self.handover = Schedule(interrupt_at=ends, kill_at=ends)
            with database():
                Worker.objects.filter(id=self.worker_id).update(is_stopping=True)
        if how is OnShutdown.REQUEUE:
            for run_id in self._table():
                self._drain(run_id, "the worker is shutting down")

    def _stop_own_runs(self) -> None:
        """Those too that begin after the first look: a child may have passed its own before the shutdown."""
        table = set(self._table())
        if self._shut_down is not None and table <= self._shut_down:
            return
        grace = 0.0 if self._kill_all.is_set() else runs_settings().grace_seconds
        request = StopRequest(StopMode.CANCEL, StopSource.SHUTDOWN, self.hostname, "the worker is shutting down", grace)
        with database():
            stops.stop_runs(sorted(table - (self._shut_down or set())), request)
            Worker.objects.filter(id=self.worker_id).update(is_stopping=True)
        self._shut_down = table | (self._shut_down or set())
        self._next_poll = 0.0

    # --- heartbeat ---

    def _beat(self) -> None:
        lease_seconds = runs_settings().lease_seconds
        table = self._table()
        self._look_after_guard()
        self._zombies = killing.reap_adopted(self.celery_worker, self._zombies, spare=self._guard)
        try:
            asked_at = Clocks.read()
            with database():
                owned = leases.renew(self.worker_id, table, lease_seconds)
                self._put_off(owned, asked_at)
                self._end_stale()
                self._last_renewal = time.monotonic()
                self._report()
                reaper.reap(has_free_slot=self._has_free_slot(table))
        except DatabaseError as error:
            logger.warning("the supervisor could not reach the database: %s", error)
            if time.monotonic() - self._last_renewal > lease_seconds - runs_settings().heartbeat_seconds:
                self._fence(table)

    def _put_off(self, owned: set[tuple[UUID, int]], asked_at: Clocks) -> None:
        """Tell the guard which leases were renewed."""
        if isinstance(self.link, Inbox):
            for child in self.children.values():
                if child.run_id and (child.run_id, child.attempt) in owned:
                    self.link.deadlines.put_off(child.pid, child.run_id, asked_at, runs_settings().lease_seconds)

    def _look_after_guard(self) -> None:
        if self._guard is not None and self._guard.poll() is not None and isinstance(self.link, Inbox):
            logger.warning("the guard of this worker has ended, another is started")
            self._guard = guard.start(self.link.deadlines)

    def _fence(self, table: dict[UUID, int]) -> None:
        """Another worker may soon take over what runs here: end it before its leases do."""
        for child in list(self.children.values()):
            if child.run_id in table:
                logger.error("leases can't be renewed, process %d of run %s is killed", child.pid, child.run_id)
                self._killed.add(child.run_id)
                killing.kill_child(self.celery_worker, child.pid, is_still_due=lambda: True)
                self._forget(child.run_id)
                self._drop(child)

    def _end_stale(self) -> None:
        """End what still runs here although it has ended or belongs to another: this process was frozen for longer
        than a lease. It must be so at two heartbeats, because a child that has just settled says so a moment later.
        """
        here = {child.run_id: child.attempt for child in self.children.values() if child.run_id}
        ours = set(
            Run.objects.filter(id__in=here, worker=self.worker_id, status=Status.RUNNING).values_list("id", "attempt")
        )
        before, self._stale = self._stale, {pair for pair in here.items() if pair not in ours}
        for run_id, _ in before & self._stale:
            self._kill(run_id)

    def _report(self) -> None:
        Worker.objects.update_or_create(
            id=self.worker_id,
            defaults={
                "hostname": self.hostname,
                "pid": os.getpid(),
                "pool": type(self.celery_worker.pool).__module__.rpartition(".")[2],
                "concurrency": self.celery_worker.concurrency,
                "started_at": self._started_at,
                "heartbeat_at": timezone.now(),
                "is_stopping": self._shutdown_asked.is_set(),
            },
        )

    def _has_free_slot(self, table: dict[UUID, int]) -> bool:
        from celery.worker import state

        busy = max(len(table), len(state.active_requests))
        return not self._shutdown_asked.is_set() and busy < self.celery_worker.concurrency
