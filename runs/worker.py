"""Puts a supervisor into a Celery worker, and a link to it into each of its processes.

`install(app)` is called where the Celery app is made. Source for the order of signals and steps: internals 1 and 2.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
import time
from typing import Any
from uuid import UUID

from celery import Celery, bootsteps, signals

logger = logging.getLogger(__name__)

# A child keeps its database connection from task to task; a broken one is replaced before the next task.
CONNECTION_SECONDS = 60
# A signal to a whole process group reaches the MainProcess and its children in any order.
GROUP_SIGNAL_SECONDS = 1.0

_supervisor: Any = None
_inbox: Any = None
_link: Any = None


def install(app: Celery) -> None:
    """Make every worker of this app a worker of the engine."""
    app.steps["worker"].add(SupervisorStep)
    signals.worker_init.connect(_open_link, weak=False)
    signals.worker_process_init.connect(_join_pool, weak=False)
    signals.worker_process_shutdown.connect(_tell_last, weak=False)
    signals.task_prerun.connect(_renew_connections, weak=False)
    signals.worker_shutting_down.connect(_begin_shutdown, weak=False)
    signals.worker_shutdown.connect(_retire, weak=False)
    signals.task_revoked.connect(_stop_revoked, weak=False)


def current_link() -> Any:
    """The line to the supervisor of the worker that this process belongs to.

    Raises:
        RuntimeError: the process belongs to no worker.
    """
    if _link is None:
        raise RuntimeError("a run can only be executed by a worker: submit it with runs.control.submit")
    return _link


class SupervisorStep(bootsteps.StartStopStep):
    """Starts the supervisor once the pool exists. Never stops it: it must outlive the pool's shutdown."""

    requires = ("celery.worker.components:Hub",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)

    def start(self, worker: Any) -> None:
        from runs import killing

        killing.become_subreaper()
        if _supervisor is None:
            return
        _supervisor.start(worker)
        # Celery calls this first at a cold shutdown, and nothing else early enough.
        worker.wait_for_soft_shutdown = _supervisor.kill_everything

    def stop(self, worker: Any) -> None:
        pass

    def terminate(self, worker: Any) -> None:
        pass


def _open_link(sender: Any, **_: Any) -> None:
    """In the MainProcess, before the pool forks."""
    global _supervisor, _inbox, _link
    from runs.links import Inbox, LocalLink
    from runs.supervisor import Supervisor

    worker_id = f"{sender.hostname}#{secrets.token_hex(4)}"
    pool = getattr(sender.pool_cls, "__module__", str(sender.pool_cls))
    if "prefork" in pool and sys.platform != "win32":
        _inbox = Inbox.open(worker_id)
        _supervisor = Supervisor(worker_id, sender.hostname, _inbox)
    else:
        _link = LocalLink(worker_id, alone="solo" in pool)
        _supervisor = Supervisor(worker_id, sender.hostname, _link)
        logger.warning("pool %s: a run whose node never returns can't be killed, use --pool=prefork", pool)


def _join_pool(**_: Any) -> None:
    """In each prefork child, right after its fork."""
    global _link, _supervisor
    if _inbox is None:
        return
    from billiard import process as pool_processes
    from django.db import connections

    from runs import killing
    from runs.links import ChildLink

    _supervisor = None
    connections.close_all()
    for database in connections.settings.values():
        database["CONN_MAX_AGE"] = CONNECTION_SECONDS
        database["CONN_HEALTH_CHECKS"] = True
    killing.become_subreaper()
    own: Any = pool_processes.current_process()
    _link = ChildLink(_inbox, own.index)


def _tell_last(**_: Any) -> None:
    """In a prefork child that ends in good order: what its last run said may still wait to be written."""
    from runs import events

    events.sink().flush()


def _renew_connections(**_: Any) -> None:
    from django.db import close_old_connections

    if _inbox is not None:
        close_old_connections()


def _begin_shutdown(sig: str = "", **_: Any) -> None:
    if _supervisor is not None:
        # Only a person presses Ctrl+C after a shutdown has begun; a process manager may repeat its SIGTERM.
        _supervisor.begin_shutdown(by_hand=sig == "SIGINT")


def _retire(**_: Any) -> None:
    if _supervisor is not None:
        _supervisor.retire()


def _stop_revoked(request: Any = None, **_: Any) -> None:
    """A run that somebody revoked through Celery itself is stopped, rather than rung for again."""
    if _supervisor is None or request is None:
        return
    from runs.forking import database

    def stop() -> None:
        from runs import control, errors

        with database():
            try:
                control.cancel(request.id, source="celery", reason="revoked through Celery")
            except (errors.RunAlreadyEnded, errors.RunNotFound):
                return

    try:
        if _supervisor.has_killed(UUID(request.id)):
            return
    except ValueError:
        return
    threading.Thread(target=stop, name="runs-revoked", daemon=True).start()


class TerminationHeld:
    """While a run executes, SIGTERM to its process asks it to stop instead of tearing it down; where the whole worker
    is told to end and keeps its runs, it does nothing.

    Celery's own terminate, and a process manager that signals the whole group, end the process without a trace
    otherwise. Used in a child's main thread; elsewhere it does nothing.
    """

    def __init__(self, run_id: UUID) -> None:
        self._run_id = run_id
        self._before: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread() and os.getpid() != _main_pid:
            self._before = signal.signal(signal.SIGTERM, self._request_stop)

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _request_stop(self, *_: object) -> None:
        def stop() -> None:
            from django.db import connections

            from runs import control, errors

            if _is_kept_by_shutdown():
                return
            try:
                control.cancel(self._run_id, source="signal", actor="SIGTERM", reason="its process got SIGTERM")
            except (errors.RunAlreadyEnded, errors.RunNotFound):
                pass
            finally:
                connections.close_all()

        threading.Thread(target=stop, name="runs-sigterm", daemon=True).start()


def _is_kept_by_shutdown() -> bool:
    """Whether this process got the signal because its whole worker is told to end, and hands over its runs."""
    from runs.conf import runs_settings
    from runs.states import OnShutdown

    if runs_settings().on_shutdown is OnShutdown.CANCEL:
        return False
    ends = time.monotonic() + GROUP_SIGNAL_SECONDS
    while not (is_stopping := current_link().is_stopping) and time.monotonic() < ends:
        time.sleep(0.01)
    return bool(is_stopping)


_main_pid = os.getpid()
