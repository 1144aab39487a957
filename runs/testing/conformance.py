"""Stops graphs while they run and measures, from outside: after what time, by which rung, and what is left.

Nothing that the engine says is believed: what was left alive is found by a mark in the environment of everything
that the worker started, by the processes seen below the run before the stop, and by the stop's receipt.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from runs import catalog, control, descendants, dispatch, receipts
from runs.errors import RunAlreadyEnded, RunsError
from runs.models import Run
from runs.states import NodeStatus, Status, StopMode
from runs.words import count

HOSTILE_JSON = Path(__file__).with_name("langgraph.json")
NEXT_RUN = "conformance_next"
MODES = tuple(StopMode.values)

START_SECONDS = 60.0
BEGIN_SECONDS = 20.0
CLAIMED_SECONDS = 2.0  # after that a run counts as begun though its first node has told nothing
LATE_SECONDS = 2.0  # allowed beyond the grace
NEXT_SECONDS = 2.0
SLOTS = 2
THREAD_SECONDS = 0.5
LOOKS = 3
IDLE_THREADS = 6  # of a process whose own number is not known
MARK = "RUNS_CONFORMANCE_MARK"


@dataclass(frozen=True)
class Measured:
    """One stop of one graph.

    `seconds` is from the request until the run is `cancelled`; `rung` the one that stopped it; `took` the processes
    that were ended with it; `left` what was still alive then; `next_seconds` how long the worker took to run
    something in each of its slots after it.
    """

    graph: str
    mode: str
    status: str
    seconds: float | None = None
    rung: int | None = None
    took: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    next_seconds: float | None = None
    problems: tuple[str, ...] = ()

    @property
    def is_passed(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.is_passed}


class WorkerStopped(RunsError):
    """The worker under test has ended by itself."""

    def __init__(self, log: Path) -> None:
        lines = log.read_text(errors="replace").splitlines()[-15:]
        super().__init__("the worker under test ended by itself:\n" + "\n".join(lines))


class WorkerUnderTest:
    """A Celery worker with two slots. Everything that it starts carries a mark in its environment.

    Args:
        wrap: makes the command end with the process that starts it.
    """

    def __init__(
        self,
        app: str,
        directory: Path,
        environment: Mapping[str, str],
        wrap: Callable[[Sequence[str]], list[str]] = list,
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.directory = directory
        self.log = directory / "worker.log"
        self.idle_threads: dict[int, int] = {}  # process of the pool → its OS threads when it has nothing to do
        name = f"conformance-{self.mark[:8]}@%h"
        options = ["--loglevel=info", "--pool=prefork", f"--concurrency={SLOTS}", "-n", name]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                wrap([sys.executable, "-m", "celery", "-A", app, "worker", *options]),
                env={**environment, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def hostname(self) -> str | None:
        """Celery's name of it; None until it is alive."""
        names = (worker.hostname for worker in control.list_workers())
        return next((name for name in names if name.startswith(f"conformance-{self.mark[:8]}@")), None)

    def wait_ready(self) -> WorkerUnderTest:
        wait_until(lambda: self.check_alive() and self.hostname, START_SECONDS)
        if self.hostname is None:
            raise WorkerStopped(self.log)
        return self

    def check_alive(self) -> bool:
        if self.process.poll() is not None:
            raise WorkerStopped(self.log)
        return True

    def list_strangers(self) -> list[psutil.Process]:
        """Its living processes that are neither itself nor those of its pool."""
        marked = [process for process in self._list_marked() if process.pid != self.process.pid]
        if len(marked) <= SLOTS and {process.ppid() for process in marked} <= {self.process.pid}:
            return []
        pool = set(dispatch.list_pool(self.hostname)) if self.hostname else set()
        return [process for process in marked if process.pid not in pool and not descendants.is_zombie(process.pid)]

    def count_idle_threads(self, pids: Sequence[int | None]) -> None:
        """Called when these processes of the pool have just run something that leaves nothing behind."""
        time.sleep(0.05)
        for pid in pids:
            if pid is not None and psutil.pid_exists(pid):
                self.idle_threads[pid] = psutil.Process(pid).num_threads()

    def end(self) -> None:
        """Kill it and all that it started: nothing here is worth a good end."""
        while marked := self._list_marked():
            for process in marked:
                kill(process)
        self.process.wait()

    def _list_marked(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


def kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def wait_until(condition: Callable[[], Any], seconds: float) -> bool:
    """Whether it became true in time."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(0.005)
    return True


@contextmanager
def worker_under_test(
    app: str, directory: Path, environment: Mapping[str, str], wrap: Callable[[Sequence[str]], list[str]] = list
) -> Iterator[WorkerUnderTest]:
    """A worker that is ready, and gone afterwards with all that it started."""
    worker = WorkerUnderTest(app, directory, environment, wrap)
    try:
        worker.wait_ready()
        _run_next(worker)  # what a process starts with its first run is not the fault of the second
        yield worker
    finally:
        worker.end()


def write_catalog(source: Path, target: Path) -> None:
    """Write a langgraph.json with the graphs of another one, and with the run that shows that a worker works."""
    document = json.loads(source.read_text(encoding="utf-8"))
    graphs = {name: _moved(value, source.parent) for name, value in document["graphs"].items()}
    graphs[NEXT_RUN] = f"{HOSTILE_JSON.with_name('hostile.py')}:next_run"
    folders = [
        os.path.relpath(source.parent / folder, target.parent) if folder.startswith(".") else folder
        for folder in document.get("dependencies", ["."])
    ]
    env = document.get("env", {})
    document |= {
        "graphs": graphs,
        "dependencies": folders,
        "env": env if isinstance(env, dict) else str(source.parent.resolve() / env),
    }
    target.write_text(json.dumps(document), encoding="utf-8")


def _moved(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {**value, "path": _moved(value["path"], folder)}
    module, _, attribute = value.rpartition(":")
    return f"{(folder / module).resolve()}:{attribute}" if module.endswith(".py") else value


def list_graphs() -> dict[str, str]:
    """The graphs of the catalog, with the line that says what each is, in the catalog's order."""
    return {name: entry.description for name, entry in catalog.read_catalog().entries.items() if name != NEXT_RUN}


def measure(
    worker: WorkerUnderTest, graph: str, mode: str, *, grace_seconds: float, input: Any = None, tells_begun: bool = True
) -> Measured:
    """Start a run of a graph, stop it once it has begun, and see what becomes of it.

    Args:
        tells_begun: its nodes make the file that the input names as `begun`; otherwise the run's first node says it.
    """
    begun = worker.directory / uuid.uuid4().hex
    run = control.submit(graph, {"begun": str(begun)} if tells_begun else input)
    wait_until(lambda: worker.check_alive() and (begun.exists() or _is_over(run, tells_begun)), BEGIN_SECONDS)
    run = control.get(run.id)
    if run.status != Status.RUNNING:
        control.cancel_runs([run.id], mode=StopMode.KILL)
        return Measured(graph, mode, run.status, problems=(_told_too_early(run),))
    before = _Sight(worker, run)
    asked = time.monotonic()
    try:
        control.cancel(run.id, mode=mode, grace_seconds=None if mode == StopMode.KILL else grace_seconds)
    except RunAlreadyEnded as error:
        return Measured(graph, mode, error.status, problems=(_told_too_early(control.get(run.id)),))
    allowed = LATE_SECONDS + (0.0 if mode == StopMode.KILL else grace_seconds)
    wait_until(lambda: _is_terminal(run) or not worker.check_alive(), allowed + 2 * LATE_SECONDS)
    seconds = time.monotonic() - asked
    run = control.get(run.id)
    if not run.is_terminal:
        return Measured(graph, mode, run.display_status, problems=("it did not stop",))
    left = before.list_left()
    receipt = receipts.find(run.id)
    next_seconds = _run_next(worker)
    problems = []
    if run.status != Status.CANCELLED:
        problems.append(f"it ended as {run.status}")
    if seconds > allowed:
        problems.append(f"it took {seconds:.1f} s, allowed are {allowed:g} s")
    if left:
        problems.append(f"left: {', '.join(left)}")
    if next_seconds is None:
        problems.append(f"the worker did not run something else within {NEXT_SECONDS:g} s")
    took = tuple(process["name"] for process in receipt.killed) if receipt else ()
    return Measured(
        graph, mode, run.status, seconds, run.stop_rung, took, tuple(left), next_seconds, problems=tuple(problems)
    )


class _Sight:
    """What is seen of a run before its stop, to be looked for after it."""

    def __init__(self, worker: WorkerUnderTest, run: Run) -> None:
        self.worker = worker
        self.run = run
        self.pid = run.pid or 0
        self.below = [psutil.Process(pid) for pid in descendants.list_below(self.pid) if psutil.pid_exists(pid)]

    def list_left(self) -> list[str]:
        """What of it is alive, in words."""
        receipt = receipts.find(self.run.id)
        recorded = [*receipt.killed, *receipt.processes] if receipt else []
        # A process that replaces itself again and again escapes a single look.
        alive = {process.pid for _ in range(LOOKS) for process in self.worker.list_strangers()}
        alive |= {process.pid for process in self.below if _is_alive(process)}
        for item in recorded:
            if _is_recorded(item) and not descendants.is_zombie(item["pid"]):
                alive.add(item["pid"])
        left = [_name(pid) for pid in sorted(alive)]
        # Some of the engine's own end a moment later.
        if not wait_until(lambda: self._count_new_threads() <= 0, THREAD_SECONDS):
            left.append(count(self._count_new_threads(), "OS thread"))
        return left

    def _count_new_threads(self) -> int:
        try:
            return psutil.Process(self.pid).num_threads() - self.worker.idle_threads.get(self.pid, IDLE_THREADS)
        except psutil.NoSuchProcess:
            return 0


def _is_over(run: Run, tells_begun: bool) -> bool:
    """Whether nothing more is to be waited for: it has ended, or something of it has begun."""
    run.refresh_from_db()
    if run.is_terminal or tells_begun or run.started_at is None:
        return run.is_terminal
    waited = time.time() - run.started_at.timestamp()
    return waited > CLAIMED_SECONDS or run.nodes.filter(status=NodeStatus.RUNNING).exists()


def _is_terminal(run: Run) -> bool:
    run.refresh_from_db()
    return run.is_terminal


def _told_too_early(run: Run) -> str:
    if run.status == Status.QUEUED:
        return "it did not begin"
    why = f": {run.error['type']}: {run.error['message']}" if run.error else ""
    return f"it was {run.status} before it could be stopped{why}"


def _run_next(worker: WorkerUnderTest) -> float | None:
    """How long the worker needs to run something in each of its slots at the same time; None if that is too long."""
    files = [str(worker.directory / uuid.uuid4().hex) for _ in range(SLOTS)]
    asked = time.monotonic()
    runs = [control.submit(NEXT_RUN, {"begun": file, "partners": files}) for file in files]
    in_time = wait_until(lambda: all(_is_terminal(run) for run in runs), NEXT_SECONDS)
    seconds = time.monotonic() - asked
    control.cancel_runs([run.id for run in runs], mode=StopMode.KILL)
    is_done = in_time and all(run.status == Status.COMPLETED for run in runs)
    if is_done:
        worker.count_idle_threads([run.pid for run in runs])
    return seconds if is_done else None


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and not descendants.is_zombie(process.pid)


def _is_recorded(item: dict[str, Any]) -> bool:
    """Whether a process that a receipt names exists, and its number is not somebody else's by now."""
    try:
        return bool(psutil.Process(item["pid"]).create_time() == item["started_at"])
    except psutil.NoSuchProcess:
        return False


def _name(pid: int) -> str:
    try:
        return f"{psutil.Process(pid).name()} ({pid})"
    except psutil.NoSuchProcess:
        return str(pid)


def measure_all(
    worker: WorkerUnderTest,
    graphs: Sequence[str],
    modes: Sequence[str],
    *,
    grace_seconds: float,
    input: Any = None,
    tells_begun: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Measured]:
    """Measure each graph in each mode, one after the other."""
    measured: list[Measured] = []
    total = len(graphs) * len(modes)
    for graph in graphs:
        for mode in modes:
            tell(f"{len(measured) + 1} of {total}: {graph}, {mode}")
            measured.append(
                measure(worker, graph, mode, grace_seconds=grace_seconds, input=input, tells_begun=tells_begun)
            )
    return measured
