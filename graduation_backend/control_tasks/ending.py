"""How a run that was waited for has ended: its words and its exit code."""

from __future__ import annotations

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.terminal import Screen, shortened
from runs.models import Run
from runs.states import Status
from runs.words import duration, error_in_words


def tell_end(run: Run, screen: Screen) -> None:
    """Print how long a completed run took, and its output."""
    if run.status == Status.COMPLETED and run.finished_at:
        took = duration((run.finished_at - run.created_at).total_seconds())
        screen.line(f"completed after {took}")
        screen.line(shortened(run.output, 2_000))


def require_completed(run: Run) -> int:
    """The exit code of a run that completed.

    Raises:
        Error: it did not.
    """
    if run.status == Status.COMPLETED:
        return exits.DONE
    raise exits.Error(f"run {run.id} {_how_it_ended(run)}; for more: manage.py control_tasks status --task-id {run.id}")


def _how_it_ended(run: Run) -> str:
    if run.status == Status.CANCELLED:
        return "was cancelled" + (f" ({run.stop_reason})" if run.stop_reason else "")
    return f"failed: {error_in_words(run.error)}"
