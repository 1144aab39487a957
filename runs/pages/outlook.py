"""What a stop is waiting for, what happens by itself and when, and what one more press of Stop asks for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runs.ladder import Rung, latest, next_rung, rung_due
from runs.models import Run
from runs.states import Status, StopMode

# The next rung is offered only then, so that the second half of a double click does not climb.
CLIMB_AFTER = timedelta(seconds=1)


@dataclass(frozen=True)
class Outlook:
    """`mode` is what one more press asks for, None for nothing more; `changes_at` is when the stop climbs by itself,
    and `change` what happens then."""

    words: str
    mode: StopMode | None
    change: str = ""
    changes_at: datetime | None = None
    is_fresh: bool = False  # the next rung is offered in a moment


def find_outlook(run: Run, below: Sequence[Run], now: datetime) -> Outlook | None:
    """How the stop of a run and of those below it goes on; None if nothing of it is being stopped.

    Args:
        below: the runs below it that have not ended.
    """
    stopping = [member for member in (run, *below) if member.is_stopping]
    plan = latest(member.stop_plan for member in stopping)
    if plan is None:
        return None
    asked_at = max(member.stop_requested_at or now for member in stopping)
    due = rung_due(plan, now)
    rung = next_rung(plan, now)
    is_fresh = now - asked_at < CLIMB_AFTER or rung is not next_rung(plan, now - CLIMB_AFTER)
    mode = None if rung is None or is_fresh else rung.mode
    if due is Rung.KILL:
        return Outlook("Ending its process…", None)
    if due is Rung.INTERRUPT:
        return Outlook("Interrupting…", mode, "Its process is ended", plan.kill_at, is_fresh)
    words = f"Stopping… {awaited(run, stopping)}"
    if plan.interrupt_at < plan.kill_at:
        return Outlook(words, mode, "It is interrupted", plan.interrupt_at, is_fresh)
    return Outlook(words, mode, "Its process is ended", plan.kill_at, is_fresh)


def awaited(run: Run, stopping: Sequence[Run]) -> str:
    """What a stop lets come to its end: `after the current LLM call`."""
    others = len([member for member in stopping if member.id != run.id])
    if others > 1:
        return f"after the current step of {others} runs below it"
    if others == 1 and not run.is_stopping:
        return "after the current step of the run below it"
    kind, _, name = run.current_call.partition(" ")
    if kind:
        what = "LLM call" if kind == "model" else f"{kind} call"
        return f"after the current {what}" + (f" ({name})" if name else "")
    return f"after the current step ({run.current_node})" if run.current_node else "after the current step"


def can_pause(run: Run) -> bool:
    return not run.is_terminal and not run.is_stopping and run.pause_requested_at is None


def can_resume(run: Run) -> bool:
    return run.status == Status.PAUSED or run.is_pausing
