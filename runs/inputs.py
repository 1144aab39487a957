"""Checks of what callers give; each names what is wrong and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from runs.errors import InputRefused, RunNotFound

LONGEST_SECONDS = 86_400.0


def checked_text(name: str, text: str, length: int) -> str:
    if len(text) > length or "\x00" in text:
        raise InputRefused(f"{name} has {len(text)} characters, allowed are {length} without NUL")
    return text


def checked_choice(name: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise InputRefused(f"{name} is {value!r}, allowed are {', '.join(allowed)}")
    return value


def checked_seconds(name: str, value: float | None, *, longest: float = LONGEST_SECONDS) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 <= value <= longest):
        raise InputRefused(f"{name} is {value!r}, allowed is 0 to {longest:.0f}")
    return value


def find_uuid(text: UUID | str) -> UUID | None:
    try:
        return text if isinstance(text, UUID) else UUID(text)
    except ValueError:
        return None


def checked_run_id(run_id: UUID | str) -> UUID:
    """
    Raises:
        RunNotFound: it is no UUID, so there is no such run.
    """
    found = find_uuid(run_id)
    if found is None:
        raise RunNotFound(run_id)
    return found
