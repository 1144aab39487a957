"""`--wait`: look until nothing is active any more, and say meanwhile what is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from django.utils import timezone

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.terminal import Screen
from runs.dispatch import CeleryTask
from runs.models import Run
from runs.words import count, duration, progress_in_words

LOOK_EVERY_SECONDS = 0.25

Active = Sequence[Run | CeleryTask]


def wait_until_ended(
    look: Callable[[], Active],
    screen: Screen,
    *,
    timeout_seconds: float | None,
    advice: str,
) -> None:
    """Wait until `look` finds nothing active.

    Args:
        advice: what to tell the person who presses Ctrl+C, or whose time is up: it goes on, and what can be done.

    Raises:
        Error: with code 4 or 130.
    """
    begun = time.monotonic()
    pause = 0.02
    try:
        with screen.progress() as show:
            while active := look():
                waited = time.monotonic() - begun
                if timeout_seconds is not None and waited >= timeout_seconds:
                    raise exits.Error(f"after {duration(waited)}: {describe(active)}; {advice}", exits.TIMED_OUT)
                show(describe(active))
                time.sleep(pause)
                pause = min(pause * 1.5, LOOK_EVERY_SECONDS)
    except KeyboardInterrupt:
        raise exits.Interrupted(advice) from None


def describe(active: Active) -> str:
    """What is active, in one line: the only one with its node, or how many in which status."""
    if len(active) > 1:
        statuses = Counter(_status(item) for item in active)
        parts = ", ".join(f"{number} {status}" for status, number in sorted(statuses.items()))
        return f"{count(len(active), 'run')} left: {parts}" if _are_runs(active) else f"{len(active)} left: {parts}"
    item = active[0]
    if isinstance(item, CeleryTask):
        return f"{item.name} is {item.state}"
    parts = f"{item.graph} is {item.display_status}"
    if item.current_node:
        parts += f" in node {item.current_node}"
    if progress := progress_in_words(item):
        parts += f", {progress}"
    if item.is_stopping and item.stop_deadline:
        at = timezone.localtime(item.stop_deadline)
        parts += f", killed at {at:%H:%M:%S} {at.tzname()}"
    return parts


def _status(item: Run | CeleryTask) -> str:
    return f"{item.state} task" if isinstance(item, CeleryTask) else item.display_status


def _are_runs(active: Active) -> bool:
    return not any(isinstance(item, CeleryTask) for item in active)
