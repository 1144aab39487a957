"""What chaos does to the services: every fault has a name, is counted, and is taken back when it freezes something."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
from django.conf import settings
from django.db import connection

from graduation_backend import embedded_redis
from runs import control
from tests.databases import PostgresCluster
from tests.environment import DATA_DIR
from tests.services import WorkerProcess, wait_until

WORKERS = 2
SLOTS = 3
LEASE_SECONDS = 4.0


class Services:
    """Two workers, a Redis and perhaps a PostgreSQL; what was killed is started again."""

    def __init__(self, folder: Path, environment: dict[str, str], cluster: PostgresCluster | None) -> None:
        self.folder = folder
        self.environment = environment
        self.cluster = cluster
        self.started: list[WorkerProcess] = []
        self.workers = [self._start() for _ in range(WORKERS)]
        for worker in self.workers:
            worker.wait_ready()

    def _start(self) -> WorkerProcess:
        log = self.folder / f"worker-{len(self.started)}.log"
        self.started.append(WorkerProcess(log, concurrency=SLOTS, **self.environment))
        return self.started[-1]

    def revive(self) -> None:
        self.workers = [worker if worker.process.poll() is None else self._start() for worker in self.workers]

    def wait_ready(self) -> None:
        def are_ready() -> bool:
            self.revive()
            alive = [worker.id for worker in control.list_workers()]
            return all(any(name.startswith(worker.mark) for name in alive) for worker in self.workers)

        wait_until(are_ready, "both workers are alive", 60)

    def survivors(self) -> list[psutil.Process]:
        marks = {worker.mark for worker in self.started}
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("TEST_MARK") in marks and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def destroy(self) -> None:
        for process in self.survivors():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for worker in self.started:
            worker.process.wait(10)


class Faults:
    """Does one fault after the other; what it freezes is woken when its time has come."""

    def __init__(self, services: Services, random: Random) -> None:
        self.services = services
        self.random = random
        self.done: Counter[str] = Counter()
        self.redis_lost_at: list[float] = []  # time.time() around which events may be missing
        self.redis_emptied_at: list[float] = []
        self.machine_woken_at: list[float] = []  # time.time() when everything of a worker went on at once
        self._frozen: list[tuple[float, list[int], bool]] = []  # until, processes, whether it is a whole worker
        self._lock = threading.Lock()
        # Whoever asks a service that is frozen waits for it, so somebody else must wake it.
        threading.Thread(target=self._wake_in_time, daemon=True).start()
        self.kinds: dict[Callable[[], bool], int] = {
            self.kill_child: 8,
            self.kill_main: 2,
            self.kill_whole_worker: 1,
            self.kill_guard: 1,
            self.freeze_child: 4,
            self.freeze_main: 2,
            self.freeze_whole_worker: 1,
        }
        if settings.REDIS_IS_EMBEDDED:
            self.kinds |= {self.restart_redis: 1, self.empty_redis: 1, self.freeze_redis: 2}
        if services.cluster is not None:
            self.kinds |= {self.restart_database: 1, self.freeze_database: 1}

    def do_one(self) -> str:
        fault = self.random.choices(list(self.kinds), list(self.kinds.values()))[0]
        with suppress(psutil.NoSuchProcess):  # the worker has just ended by itself
            if fault():
                self.done[fault.__name__] += 1
        self.services.revive()
        return fault.__name__

    def wake(self, *, everything: bool = False) -> None:
        now = time.monotonic()
        with self._lock:
            due = [item for item in self._frozen if everything or now >= item[0]]
            self._frozen = [item for item in self._frozen if item not in due]
            for _, pids, is_whole in due:
                if is_whole:
                    self.machine_woken_at.append(time.time())
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)

    def _wake_in_time(self) -> None:
        while True:
            time.sleep(0.05)
            self.wake()

    def kill_child(self) -> bool:
        return self._signal(self._some_child(), signal.SIGKILL)

    def kill_main(self) -> bool:
        worker = self._some_worker()
        worker.process.kill()
        worker.process.wait(10)
        return True

    def kill_whole_worker(self) -> bool:
        worker = self._some_worker()
        pids = self._pids(worker)
        self._signal(pids, signal.SIGKILL)
        worker.process.wait(10)
        return True

    def kill_guard(self) -> bool:
        """Not where everything is frozen: nothing would be left there that sees to the leases when it is woken."""
        with self._lock:
            frozen = {pid for _, pids, is_whole in self._frozen if is_whole for pid in pids}
        guards = [pid for pid in self._some_worker().guards() if pid not in frozen]
        return self._signal(guards[:1], signal.SIGKILL)

    def freeze_child(self) -> bool:
        return self._freeze(self._some_child())

    def freeze_main(self) -> bool:
        return self._freeze([self._some_worker().process.pid])

    def freeze_whole_worker(self) -> bool:
        return self._freeze(self._pids(self._some_worker()), is_whole=True)

    def restart_redis(self) -> bool:
        """Killed, and started again with what it had written."""
        self.redis_lost_at.append(time.time())
        pid = embedded_redis.server_pid(DATA_DIR)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: embedded_redis.server_pid(DATA_DIR) is None, "Redis is gone")
        time.sleep(self.random.uniform(0, 1))
        embedded_redis.ensure_running(DATA_DIR)
        self.redis_lost_at.append(time.time())
        return True

    def empty_redis(self) -> bool:
        embedded_redis.stop(DATA_DIR)
        shutil.rmtree(DATA_DIR / "redis" / "appendonlydir", ignore_errors=True)
        self.redis_emptied_at.append(time.time())
        embedded_redis.ensure_running(DATA_DIR)
        return True

    def freeze_redis(self) -> bool:
        """Longer than its clients wait, or shorter."""
        pid = embedded_redis.server_pid(DATA_DIR)
        if pid is None:
            return False
        seconds = self.random.uniform(0.3, 3.0)
        with self._lock:
            self._frozen.append((time.monotonic() + seconds, [pid], False))
        self.redis_lost_at += [time.time() + part * seconds for part in (0, 0.5, 1)]
        return self._signal([pid], signal.SIGSTOP)

    def restart_database(self) -> bool:
        assert self.services.cluster is not None
        self.services.cluster.stop(mode=self.random.choice(["immediate", "fast"]))
        connection.close()
        time.sleep(self.random.uniform(0, 1))
        self.services.cluster.start()
        return True

    def freeze_database(self) -> bool:
        """It hangs; this process would, too, so it waits here."""
        assert self.services.cluster is not None
        self.services.cluster.signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(0.3, 1.2) * LEASE_SECONDS)
        self.services.cluster.signal(signal.SIGCONT)
        return True

    def _some_worker(self) -> WorkerProcess:
        self.services.revive()
        return self.random.choice(self.services.workers)

    def _some_child(self) -> list[int]:
        children = sorted(self._some_worker().children())
        return [self.random.choice(children)] if children else []

    def _pids(self, worker: WorkerProcess) -> list[int]:
        return [worker.process.pid, *worker.guards(), *worker.children()]

    def _freeze(self, pids: list[int], *, is_whole: bool = False) -> bool:
        seconds = self.random.uniform(0.2, 2.0) * LEASE_SECONDS
        is_done = self._signal(pids, signal.SIGSTOP)
        with self._lock:
            self._frozen.append((time.monotonic() + seconds, pids, is_whole))
        return is_done

    def _signal(self, pids: list[int], number: int) -> bool:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return bool(pids)
