"""The settings of this app, with their defaults."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache

from django.conf import settings

HIDDEN_NAMES = r"passw|pwd|secret|token|api[_-]?key|authorization|credential|cookie|private[_-]?key"


def hidden_names() -> re.Pattern[str]:
    """Which names of arguments stand for secrets: `TASKS_HIDDEN_NAMES`, a regular expression searched for in them."""
    return _compiled(getattr(settings, "TASKS_HIDDEN_NAMES", HIDDEN_NAMES))


def most_characters() -> int:
    """How much of a task's arguments is kept: `TASKS_ARGUMENT_CHARACTERS`."""
    return int(getattr(settings, "TASKS_ARGUMENT_CHARACTERS", 10_000))


def keep_results() -> timedelta:
    """How long a finished task is kept: `TASKS_KEEP_DAYS`."""
    return timedelta(days=float(getattr(settings, "TASKS_KEEP_DAYS", 7)))


@lru_cache(maxsize=4)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)
