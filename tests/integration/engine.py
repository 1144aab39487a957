"""Runs in every status without a worker, and calls on connections of their own whose order a test forces."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection, connections
from django.utils import timezone

from runs import registry
from runs.models import Run, new_run_id
from runs.registry import Claimant, PauseRequest, StopRequest
from runs.states import Status, StopMode, StopSource
from tests.services import wait_until

CLAIMANT = Claimant(worker="tester#1", pid=4242, pid_started_at=1.0)


def make_run(*, parent: Run | None = None, graph: str = "quick", **columns: Any) -> Run:
    """Insert a queued run as `control.submit` does, and ring no bell."""
    run_id = new_run_id()
    run = Run(
        id=run_id,
        graph=graph,
        parent=parent,
        root_id=parent.root_id if parent else run_id,
        **{
            "thread_id": str(run_id),
            "task": "runs.tasks.execute_run",
            "queue": "ai_processing",
            "input": {},
            **columns,
        },
    )
    registry.create(run)
    return run


def make_running(**columns: Any) -> Run:
    return claim(make_run(**columns))


def claim(run: Run, claimant: Claimant = CLAIMANT) -> Run:
    claimed = registry.claim(run.id, claimant, lease_seconds=60)
    assert claimed is not None, f"{run} can't be claimed"
    return claimed


def make_waiting(*children: Run, run: Run | None = None, questions: dict[str, Any] | None = None) -> Run:
    run = run or make_running()
    landed = registry.suspend(run.id, run.attempt, awaited=[child.id for child in children], questions=questions or {})
    assert landed
    return Run.objects.get(id=run.id)


PAUSE = PauseRequest(StopSource.CLI, "tester", "a break")


def pausing(**columns: Any) -> Run:
    """A running run that was asked to pause and has not drained yet."""
    run = make_running(**columns)
    registry.request_pause([run.id], PAUSE)
    return Run.objects.get(id=run.id)


def make_paused(**columns: Any) -> Run:
    """A run that was paused while it ran."""
    run = pausing(**columns)
    assert registry.requeue(run.id, run.attempt, resurrect=False) is Status.PAUSED
    return Run.objects.get(id=run.id)


def make_ended(status: Status, **columns: Any) -> Run:
    run = make_running(**columns)
    if status is Status.CANCELLED:
        registry.request_stop([run.id], stop_request())
    assert registry.settle(run.id, run.attempt, status)
    return Run.objects.get(id=run.id)


def stop_request(
    reason: str = "enough", *, grace_seconds: float | None = 30.0, mode: StopMode = StopMode.CANCEL
) -> StopRequest:
    return StopRequest(mode, StopSource.CLI, "tester", reason, grace_seconds)


def status_of(run: Run | UUID) -> str:
    return str(Run.objects.values_list("status", flat=True).get(id=run.id if isinstance(run, Run) else run))


def has_stop(run: Run) -> bool:
    return Run.objects.filter(id=run.id, stop_requested_at__isnull=False).exists()


def expire_lease(run: Run) -> None:
    Run.objects.filter(id=run.id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


class Elsewhere:
    """A call in an OS thread with a database connection of its own, held in the middle of its work.

    Args:
        hold_before: a part of the SQL statement before which the call waits until `let_go`; None never waits.
        occurrence: which of these statements, from 1.
    """

    def __init__(
        self, call: Callable[..., Any], *args: Any, hold_before: str | None = None, occurrence: int = 1, **kwargs: Any
    ) -> None:
        self._call = lambda: call(*args, **kwargs)
        self._hold_before = hold_before
        self._left = occurrence
        self._begun = threading.Event()
        self._is_held = threading.Event()
        self._may_go = threading.Event()
        self._future: Future[Any] = Future()
        threading.Thread(target=self._run, daemon=True).start()

    def until_held(self) -> Elsewhere:
        wait_until(lambda: self._is_held.is_set() or self._future.done(), f"held before {self._hold_before!r}")
        if not self._is_held.is_set():
            raise AssertionError(f"it never came to {self._hold_before!r}, its result is {self.result()!r}")
        return self

    def until_held_or_done(self) -> Elsewhere:
        wait_until(lambda: self._is_held.is_set() or self._future.done(), f"held before {self._hold_before!r} or done")
        return self

    def until_blocked(self) -> Elsewhere:
        """Wait until the database makes it wait for somebody else's lock (SQLite: until it asks for it)."""
        assert self._begun.wait(15)
        if connection.vendor == "postgresql":
            wait_until(_is_somebody_blocked, "somebody waits for a lock")
        return self

    def until_blocked_or_done(self) -> Elsewhere:
        assert self._begun.wait(15)
        if connection.vendor == "postgresql":
            wait_until(lambda: self.is_done or _is_somebody_blocked(), "it is done or waits for a lock")
        return self

    def let_go(self) -> Elsewhere:
        self._may_go.set()
        return self

    def result(self) -> Any:
        return self._future.result(30)

    @property
    def is_done(self) -> bool:
        return self._future.done()

    def _run(self) -> None:
        try:
            with connection.execute_wrapper(self._watch):
                self._future.set_result(self._call())
        except BaseException as error:
            self._future.set_exception(error)
        finally:
            connections.close_all()

    def _watch(self, execute: Any, sql: str, *args: Any) -> Any:
        self._begun.set()
        if self._hold_before is not None and self._hold_before in sql:
            self._left -= 1
            if self._left == 0:
                self._is_held.set()
                assert self._may_go.wait(30)
        return execute(sql, *args)


def _is_somebody_blocked() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' LIMIT 1"
        )
        return cursor.fetchone() is not None
