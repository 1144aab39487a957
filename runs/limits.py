"""How much time runs have: each run's own, or else its graph's (`RUNS_GRAPHS`), or else the engine's settings.

A run keeps what holds for it when it is submitted, so a changed setting changes no run that exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from runs.errors import InputRefused
from runs.inputs import checked_seconds

LONGEST_RUN_SECONDS = 365 * 86_400.0


@dataclass(frozen=True)
class Limits:
    """Seconds; None says nothing. `max_seconds` count from the first start of a run to its end."""

    grace_seconds: float | None = None
    interrupt_after_seconds: float | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputRefused.
        """
        checked_seconds("grace_seconds", self.grace_seconds)
        checked_seconds("interrupt_after_seconds", self.interrupt_after_seconds)
        if self.max_seconds is not None and self.max_seconds == 0:
            raise InputRefused("max_seconds is 0, allowed is more than 0")
        checked_seconds("max_seconds", self.max_seconds, longest=LONGEST_RUN_SECONDS)

    def or_else(self, other: Limits) -> Limits:
        """These, and where they say nothing the other's."""
        others = asdict(other)
        return Limits(**{key: others[key] if value is None else value for key, value in asdict(self).items()})


NO_LIMITS = Limits()
KEYS = tuple(field.name for field in fields(Limits))


def limits_of(graph: str) -> Limits:
    """What `RUNS_GRAPHS` says of a graph.

    Raises:
        ImproperlyConfigured: with what is allowed; `manage.py check` and the start of a worker tell it before.
    """
    given = _graphs()
    return _parse(graph, given[graph]) if graph in given else NO_LIMITS


def list_problems(known: Mapping[str, Any]) -> list[str]:
    """What is wrong in `RUNS_GRAPHS`, in words; `known` are the graphs of the catalog."""
    problems = []
    try:
        given = _graphs()
    except ImproperlyConfigured as error:
        return [str(error)]
    for graph, value in given.items():
        if graph not in known:
            problems.append(f"RUNS_GRAPHS names the graph {graph!r}; known are: {', '.join(sorted(known)) or 'none'}")
        try:
            _parse(graph, value)
        except ImproperlyConfigured as error:
            problems.append(str(error))
    return problems


def _graphs() -> Mapping[str, Any]:
    given = getattr(settings, "RUNS_GRAPHS", None) or {}
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"RUNS_GRAPHS is {given!r}, needed is {{graph: {{key: seconds}}}}")
    return given


def _parse(graph: str, value: Any) -> Limits:
    where = f"RUNS_GRAPHS[{graph!r}]"
    if not isinstance(value, Mapping):
        raise ImproperlyConfigured(f"{where} is {value!r}, needed is {{key: seconds}} with the keys {', '.join(KEYS)}")
    unknown = sorted(set(map(str, value)) - set(KEYS))
    if unknown:
        raise ImproperlyConfigured(f"{where} has the key {unknown[0]!r}; allowed are: {', '.join(KEYS)}")
    try:
        return Limits(**value)
    except InputRefused as error:
        raise ImproperlyConfigured(f"{where}: {error}") from None
