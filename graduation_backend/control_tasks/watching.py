"""`control_tasks list --watch`: the list again and again, as a screen, as tables or as JSON lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.acting import Acting, acting_as
from graduation_backend.control_tasks.keyboard import Keyboard, leaving_cleanly
from graduation_backend.control_tasks.listing import (
    TASK_COLUMNS,
    TASKS_LEAST_NEEDED,
    as_json,
    find_runs,
    print_list,
    shows_plain_tasks,
    task_row,
)
from graduation_backend.control_tasks.run_table import run_table, summary
from graduation_backend.control_tasks.tables import lay_out
from graduation_backend.control_tasks.terminal import Screen, printable
from runs import control, reading, representation
from runs.dispatch import CeleryTask
from runs.errors import BrokerAway
from runs.models import Run
from runs.words import count

if TYPE_CHECKING:
    from rich.console import RenderableType

DEFAULT_INTERVAL_SECONDS = 1.0
TASKS_INTERVAL_SECONDS = 5.0  # the workers are asked for plain tasks less often: each time costs a broadcast
REDRAW_SECONDS = 0.25  # of the countdowns, and after a change of the terminal's size
LOOKS_SHARE = 5  # a look that takes long is followed by so much longer a pause
ENDED_SHOWN_SECONDS = 10.0
QUIT_KEYS = ("q", "Q", "escape", "interrupt", "end of input")
HELP = "q leaves · ↑ ↓ scroll"


@dataclass
class Sight:
    """What is seen at one moment. `ended` are runs that were seen before and have ended since."""

    runs: list[Run] = field(default_factory=list)
    ended: list[Run] = field(default_factory=list)
    tasks: list[CeleryTask] = field(default_factory=list)
    workers: str = ""
    problem: str = ""
    is_new: bool = True  # else it is the one before, because nothing can be seen

    @property
    def state(self) -> object:
        """What makes it another sight than the one before: everything but the time that passes."""
        return [_state_of(run) for run in self.runs], self.tasks


def _state_of(run: Run) -> tuple[object, ...]:
    progress = (run.progress_done, run.progress_total)
    stop = (run.stop_mode, run.stop_delivered_at, run.stop_acknowledged_at, run.stop_interrupt_at, run.stop_deadline)
    return run.id, run.display_status, run.attempt, run.current_node, run.current_call, progress, run.worker, stop


class Lookout:
    """Looks at what `list` with these options shows."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._acting: Acting = acting_as(options["as_user"])
        self._tasks = PlainTasks() if shows_plain_tasks(options, self._acting) else None
        self.cost = 0.0  # seconds that the last look took
        self._seen: set[UUID] = set()  # what was active at the last look

    def look(self) -> Sight:
        """What is there now.

        Raises:
            DatabaseError.
        """
        began = time.monotonic()
        runs, has_more = find_runs(self._options, self._acting, slim=not self._options["json"])
        found = {run.id for run in runs}
        ended = [run for run in self._find(self._seen - found) if run.is_terminal]
        self._seen = {run.id for run in runs if not run.is_terminal}
        tasks, problem = self._tasks.get() if self._tasks else ([], "")
        if has_more:
            problem = problem or f"only the newest {len(runs)} are shown; for more: --limit N"
        sight = Sight(runs, ended, tasks, _workers_in_words(), problem)
        self.cost = time.monotonic() - began
        return sight

    def pause(self, interval: float) -> float:
        """Seconds until the next look."""
        return max(interval, self.cost * LOOKS_SHARE)

    def _find(self, run_ids: set[UUID]) -> list[Run]:
        if not run_ids:
            return []
        return control.list_runs(among=Run.objects.filter(id__in=run_ids), slim=not self._options["json"])


class PlainTasks:
    """The plain Celery tasks as they were at the last answer of the workers, who are asked in an OS thread."""

    def __init__(self) -> None:
        self._answer: tuple[list[CeleryTask], str] = ([], "")
        self._asked_at = 0.0
        self._thread: threading.Thread | None = None

    def get(self) -> tuple[list[CeleryTask], str]:
        """The tasks, and why they are not known."""
        if connection.in_atomic_block:  # its transaction is seen by this OS thread alone
            self._ask()
        elif (self._thread is None or not self._thread.is_alive()) and self._is_due():
            self._asked_at = time.monotonic()
            self._thread = threading.Thread(target=self._ask_apart, name="plain-tasks", daemon=True)
            self._thread.start()
        return self._answer

    def _is_due(self) -> bool:
        return not self._asked_at or time.monotonic() - self._asked_at >= TASKS_INTERVAL_SECONDS

    def _ask_apart(self) -> None:
        try:
            self._ask()
        except DatabaseError as error:
            self._answer = ([], f"the plain Celery tasks are not known: {error}")
        finally:
            connection.close()

    def _ask(self) -> None:
        try:
            self._answer = (control.list_celery_tasks(), "")
        except BrokerAway as error:
            self._answer = ([], f"the plain Celery tasks are not listed, because {error}")


def watch(options: dict[str, Any], screen: Screen) -> int:
    lookout = Lookout(options)
    interval: float = options["interval"] or DEFAULT_INTERVAL_SECONDS
    try:
        with leaving_cleanly():
            if screen.is_terminal and not options["json"]:
                _watch_on_terminal(lookout, interval, screen)
            else:
                _watch_plainly(lookout, interval, options, screen)
    except KeyboardInterrupt:
        pass  # that is how one leaves it
    return exits.DONE


def _watch_plainly(lookout: Lookout, interval: float, options: dict[str, Any], screen: Screen) -> None:
    """Print what is there each time that it has changed."""
    before: object = None
    problem = ""
    while True:
        sight = _look(lookout, Sight())
        if sight.problem != problem and sight.problem:
            screen.note(f"Warning: {sight.problem}")
        problem = sight.problem
        if sight.is_new and (sight.ended or sight.state != before):
            if options["json"]:
                ended = [representation.as_json(run) for run in sight.ended]
                at = timezone.now().isoformat().replace("+00:00", "Z")
                screen.json_line({"at": at, **as_json(sight.runs, sight.tasks), "ended": ended})
            else:
                if before is not None:
                    screen.line()
                screen.line(f"{timezone.localtime():%H:%M:%S}  {summary(sight.runs)}")
                print_list([*sight.runs, *sight.ended], sight.tasks, {**options, "tree": True}, screen)
            before = sight.state
        time.sleep(lookout.pause(interval))


def _look(lookout: Lookout, before: Sight) -> Sight:
    """The sight of now; the one before with a problem while the database is away."""
    try:
        if not connection.in_atomic_block:
            close_old_connections()
        return lookout.look()
    except DatabaseError as error:
        return replace(before, problem=f"the database is away: {error}", is_new=False)


# --- on a terminal ----------------------------------------------------------------------------------------


def _watch_on_terminal(lookout: Lookout, interval: float, screen: Screen) -> None:
    from rich.live import Live

    sight = lookout.look()
    looked_at = time.monotonic()
    page = Page(screen)
    page.show(sight, timezone.now())
    console = screen.console()
    with Keyboard() as keyboard, Live(page, console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.refresh()
            key = keyboard.wait(min(REDRAW_SECONDS, interval))
            if key in QUIT_KEYS:
                return
            page.scroll(key)
            if time.monotonic() - looked_at >= lookout.pause(interval):
                sight = _look(lookout, sight)
                looked_at = time.monotonic()
            page.show(sight, timezone.now())


class Page:
    """The whole screen: a title, the tree, the plain tasks, and a line of help. Fits itself to the terminal."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._sight = Sight()
        self._now = timezone.now()
        self._offset = 0
        self._ended: dict[UUID, tuple[Run, datetime]] = {}
        self._room = 10

    def show(self, sight: Sight, now: datetime) -> None:
        """What ended stays for some seconds, so that a person sees how."""
        for run in sight.ended:
            self._ended.setdefault(run.id, (run, now))
        for run_id, (_, seen_at) in list(self._ended.items()):
            if (now - seen_at).total_seconds() > ENDED_SHOWN_SECONDS:
                del self._ended[run_id]
        self._sight, self._now = sight, now

    def scroll(self, key: str) -> None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -self._room, "page down": self._room}
        ends = {"home": -len(self._sight.runs), "g": -len(self._sight.runs), "end": 10**6, "G": 10**6}
        self._offset = max(self._offset + (steps | ends).get(key, 0), 0)

    def __rich_console__(self, console: Any, options: Any) -> Any:
        yield self.render(options.max_width, options.height or console.height)

    def render(self, width: int, height: int) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        shown = {run.id for run in self._sight.runs}
        kept = [run for run, _ in self._ended.values() if run.id not in shown]
        ordered = control.in_tree_order(sorted([*self._sight.runs, *kept], key=lambda run: run.id, reverse=True))
        tasks = self._sight.tasks[: max(height // 4, 1)]
        below = 2 + (len(tasks) + 3 if tasks else 0)
        self._room = max(height - 4 - below, 1)
        self._offset = max(min(self._offset, len(ordered) - self._room), 0)
        page = ordered[self._offset : self._offset + self._room]

        title = Table.grid(expand=True, padding=(0, 1, 0, 0), pad_edge=False)
        title.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        title.add_column(no_wrap=True, justify="right")
        words = Text.assemble(("control_tasks ", "bold"), summary(self._sight.runs))
        if self._sight.workers and width >= 80:
            words.append(f" · {self._sight.workers}")
        title.add_row(words, Text(f"{timezone.localtime(self._now):%H:%M:%S}", style="dim"))
        parts: list[RenderableType] = [title, Text()]
        if page:
            parts.append(run_table(self._screen, page, self._now, width))
        if tasks:
            parts += [Text(), _tasks_table(tasks, width)]
        used = 2 + (len(page) + 2 if page else 0) + (len(tasks) + 3 if tasks else 0)
        parts += [Text()] * max(height - used - 1, 0)
        return Group(*parts, self._foot(len(ordered), len(page)))

    def _foot(self, total: int, shown: int) -> RenderableType:
        from rich.text import Text

        if self._sight.problem:
            return Text(printable(self._sight.problem), style="bold red", no_wrap=True, overflow="ellipsis")
        words = HELP if self._screen.has_unicode else "q leaves, up and down scroll"
        if shown < total:
            words += f" · {self._offset + 1} to {self._offset + shown} of {total:,}"
        return Text(words, style="dim", no_wrap=True, overflow="ellipsis")


def _tasks_table(tasks: Sequence[CeleryTask], width: int) -> RenderableType:
    table, _ = lay_out(TASK_COLUMNS, TASKS_LEAST_NEEDED, [task_row(task) for task in tasks], width)
    return table


def _workers_in_words() -> str:
    """`2 workers, 3 of 4 slots busy`."""
    workers = control.list_workers()
    if not workers:
        return "no worker is alive"
    running = reading.list_running()
    busy = sum(len(running.get(worker.id, ())) for worker in workers)
    slots = sum(worker.concurrency for worker in workers)
    return f"{count(len(workers), 'worker')}, {busy} of {slots} slots busy"
