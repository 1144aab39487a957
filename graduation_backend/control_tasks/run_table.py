"""Runs as a table for a live view: a tree with progress bars, times and what becomes of a stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from graduation_backend.control_tasks.tables import branch, lay_out
from graduation_backend.control_tasks.terminal import Screen, printable
from runs.ladder import Rung, next_rung
from runs.models import Run
from runs.states import ACTIVE, CANCELLING, PAUSING, Status
from runs.words import count, duration, duration_ahead, how_it_stopped, progress_in_words

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

COLUMNS = ("graph", "status", "node", "call", "progress", "elapsed", "idle", "stop", "worker", "id")
# What is left out first where the terminal is too narrow; the id, which is the longest, rather than what happens.
LEAST_NEEDED = ("worker", "idle", "call", "elapsed", "node", "id", "progress", "stop")
BAR_WIDTH = 10
LONGEST_CELL = 36
# As they are counted in the summary.
STATUS_ORDER = (Status.RUNNING, CANCELLING, PAUSING, Status.WAITING, Status.PAUSED, Status.QUEUED)


def run_table(screen: Screen, runs: Sequence[tuple[Run, int]], now: datetime, room: int) -> Table:
    """Each run with its depth in the tree, in at most `room` columns of the terminal."""
    table, _ = lay_out(COLUMNS, LEAST_NEEDED, [_row(screen, run, depth, now) for run, depth in runs], room)
    return table


def _row(screen: Screen, run: Run, depth: int, now: datetime) -> list[Any]:
    is_running = run.status == Status.RUNNING
    ended_at = run.finished_at or now
    return [
        _cut(branch(screen, depth) + printable(run.graph)),
        screen.status(run.display_status),
        _cut(run.current_node if is_running else ""),
        _cut(run.current_call if is_running else ""),
        progress_bar(screen, run),
        duration((ended_at - (run.started_at or run.created_at)).total_seconds()),
        "" if run.is_terminal else duration((now - (run.last_activity_at or run.queued_at)).total_seconds()),
        stop_state(run, now),
        _cut(run.worker if is_running else ""),
        str(run.id),
    ]


def progress_bar(screen: Screen, run: Run) -> Text:
    """Nothing for a run that tells no progress."""
    from rich.text import Text

    if not run.progress_total:
        return Text()
    full, empty = ("━", "─") if screen.has_unicode else ("#", "-")
    done = min(run.progress_done, run.progress_total) * BAR_WIDTH // run.progress_total
    colour = "green" if run.progress_done >= run.progress_total else "cyan"
    return Text.assemble((full * done, colour), (empty * (BAR_WIDTH - done), "dim"), f" {progress_in_words(run)}")


def stop_state(run: Run, now: datetime) -> Text:
    """What comes next of a stop, counted down, or how it was stopped; nothing if nobody has asked for one."""
    from rich.text import Text

    plan = run.stop_plan
    if plan is None:
        return Text(how_it_stopped(run.stop_rung) if run.status == Status.CANCELLED else "", style="dim")
    coming = next_rung(plan, now)
    if coming is None:
        return Text("being killed", style="bold red")
    if coming is Rung.KILL:
        return Text(f"killed in {duration_ahead((plan.kill_at - now).total_seconds())}", style="red")
    return Text(f"interrupted in {duration_ahead((plan.interrupt_at - now).total_seconds())}", style="yellow")


def summary(runs: Sequence[Run]) -> str:
    """How many runs are active, in which status: `3 runs: 1 running, 2 waiting`."""
    statuses = Counter(run.display_status for run in runs if run.status in ACTIVE)
    if not statuses:
        return "nothing is running"
    parts = ", ".join(f"{statuses[status]:,} {status}" for status in STATUS_ORDER if statuses[status])
    return f"{count(statuses.total(), 'run')}: {parts}"


def _cut(cell: str) -> str:
    return cell if len(cell) <= LONGEST_CELL else f"{cell[: LONGEST_CELL - 1]}…"
