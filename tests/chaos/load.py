"""What chaos asks of the engine: runs of many kinds, stops, answers, doorbells that nobody needs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import connection

from runs import control, dispatch, events
from runs.connections import RedisError
from runs.control import StopResult
from runs.errors import RunAlreadyEnded, RunNotFound, RunNotWaiting
from runs.models import Run
from runs.states import ACTIVE, Status, StopMode
from tests.chaos.graphs import HOSTILE

LEAVES = {
    "chain": 10,
    "async_chain": 6,
    "napping": 4,
    "processes": 4,
    "charging": 3,
    "failing": 2,
    "poison": 0.3,
    "resisting": 5,
}
ACTIVE_AT_MOST = 24


class Reader:
    """Follows the event streams of some runs with a cursor, as a page does."""

    def __init__(self) -> None:
        self.seen: dict[UUID, list[dict[str, Any]]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def follow(self, run_id: UUID) -> None:
        self.seen[run_id] = []

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _follow(self) -> None:
        while not self._over.wait(0.2):
            self._look()

    def _look(self) -> None:
        for run_id, seen in list(self.seen.items()):
            with suppress(RedisError):
                seen.extend(events.read_events(run_id, after=seen[-1]["cursor"] if seen else "0"))


class Load:
    """Does one thing after the other, and keeps what it was told."""

    def __init__(self, marks: Path, random: Random) -> None:
        self.marks = str(marks)
        self.random = random
        self.done: Counter[str] = Counter()
        self.submitted: list[UUID] = []
        self.accepted: dict[UUID, float] = {}  # stops: run → time.time() when it was told to be accepted
        self.reader = Reader()
        self.kinds: dict[Callable[[], Any], int] = {
            self.submit: 20,
            self.cancel: 5,
            self.interrupt: 2,
            self.kill: 3,
            self.answer: 5,
            self.ring_again: 3,
        }

    def do_one(self) -> str:
        call = self.random.choices(list(self.kinds), list(self.kinds.values()))[0]
        if call == self.submit and self._count_active() >= ACTIVE_AT_MOST:
            return "nothing"
        self._try(call)
        return call.__name__

    def cancel_everything(self) -> str:
        self._try(self.cancel_all)
        return "cancel_all"

    def _try(self, call: Callable[[], Any]) -> None:
        """Whoever asks while the database is away is told so; what became of it is then not known."""
        try:
            if call():
                self.done[call.__name__] += 1
        except DatabaseError:
            self.done["database away"] += 1
            connection.close()

    def _count_active(self) -> int:
        try:
            return Run.objects.filter(status__in=ACTIVE).count()
        except DatabaseError:
            connection.close()
            return 0

    # --- starting ---

    def submit(self) -> bool:
        graph, values = self._some_graph(depth=2)
        run = control.submit(graph, {"marks": self.marks, **values})
        self.submitted.append(run.id)
        if len(self.submitted) % 4 == 0:
            self.reader.follow(run.id)
        return True

    def _some_graph(self, depth: int) -> tuple[str, dict[str, Any]]:
        kind = self.random.random()
        if depth and kind < 0.15:
            children = [self._some_graph(depth - 1) for _ in range(self.random.randint(1, 4))]
            return "tree", {"children": [{"graph": graph, **values} for graph, values in children]}
        if depth == 2 and kind < 0.25:
            return "asking", {}
        graph = self.random.choices(list(LEAVES), list(LEAVES.values()))[0]
        values: dict[str, Any] = {"seconds": round(self.random.uniform(0.02, 0.3), 3)}
        if graph == "resisting":
            values["resist"] = self.random.choice(list(HOSTILE))
        return graph, values

    # --- stopping ---

    def cancel(self) -> bool:
        return self._stop(StopMode.CANCEL)

    def interrupt(self) -> bool:
        return self._stop(StopMode.INTERRUPT)

    def kill(self) -> bool:
        return self._stop(StopMode.KILL)

    def cancel_all(self) -> bool:
        result = control.cancel_all(reason="chaos")
        self._keep(result)
        return True

    def _stop(self, mode: StopMode) -> bool:
        # What never ends by itself is stopped more often, or all slots would soon be taken.
        run = self._some_run(graph="resisting", status=Status.RUNNING) if self.random.random() < 0.7 else None
        run = run or self._some_run()
        if run is None:
            return False
        try:
            result = control.cancel(run.id, mode=mode, reason="chaos")
        except (RunAlreadyEnded, RunNotFound):
            return False
        self._keep(result)
        self.accepted.setdefault(run.id, time.time())
        return True

    def _keep(self, result: StopResult) -> None:
        for run_id in (*result.reached, *result.escalated):
            self.accepted.setdefault(run_id, time.time())

    # --- the rest ---

    def answer(self) -> bool:
        run = self._some_run(status=Status.WAITING, graph="asking")
        if run is None or not run.questions:
            return False
        with suppress(RunNotWaiting):
            control.answer(run.id, dict.fromkeys(run.questions, "yes"))
        return True

    def ring_again(self) -> bool:
        run = self._some_run()
        if run is None:
            return False
        for _ in range(2):
            dispatch.ring([run.id])
        return True

    def _some_run(self, **where: Any) -> Run | None:
        found = list(Run.objects.filter(**{"status__in": ACTIVE, **where}).order_by("id")[:50])
        return self.random.choice(found) if found else None

    def finish(self) -> bool:
        """Bring everything that would not end by itself to its end; False while something is left."""
        try:
            for run in Run.objects.filter(status__in=ACTIVE, graph="resisting", stop_requested_at__isnull=True):
                self._keep(control.cancel(run.id, mode=StopMode.KILL, reason="chaos ends"))
            for run in Run.objects.filter(status=Status.WAITING, graph="asking", answers={}):
                with suppress(RunNotWaiting):
                    control.answer(run.id, dict.fromkeys(run.questions, "yes"))
            return not Run.objects.filter(status__in=ACTIVE).exists()
        except RunAlreadyEnded:
            return False
        except DatabaseError:
            connection.close()
            return False
