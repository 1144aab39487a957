"""Who asks for a stop or a pause, and for what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from runs.conf import runs_settings
from runs.ladder import Schedule, schedule
from runs.states import StopMode, StopSource


@dataclass(frozen=True)
class StopRequest:
    """Who asks what; `grace_seconds` is the time until the process is killed, `interrupt_after_seconds` that until its
    nodes are interrupted. None are each run's own times, or else the settings."""

    mode: StopMode
    source: StopSource
    actor: str
    reason: str
    grace_seconds: float | None = None
    by_id: UUID | None = None
    interrupt_after_seconds: float | None = None

    def schedule(
        self, now: datetime, own_grace_seconds: float | None = None, own_interrupt_after_seconds: float | None = None
    ) -> Schedule:
        """The schedule for a run with these times of its own."""
        settings = runs_settings()
        return schedule(
            self.mode,
            now,
            interrupt_after_seconds=_first(
                self.interrupt_after_seconds, own_interrupt_after_seconds, settings.interrupt_after_seconds
            ),
            grace_seconds=_first(self.grace_seconds, own_grace_seconds, settings.grace_seconds),
        )


@dataclass(frozen=True)
class PauseRequest:
    """Who asks for a pause and why; with `cascades`, of everything below it as well."""

    source: StopSource
    actor: str
    reason: str
    cascades: bool = True
    by_id: UUID | None = None


def _first(*seconds: float | None) -> float:
    """The first that is not None, of which the last is not."""
    return next(value for value in seconds if value is not None)
