"""The engine's settings, typed and with units, read from Django's settings (`RUNS_…`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from runs.states import OnShutdown


@dataclass(frozen=True)
class RunsSettings:
    """Every value the engine can be told; the defaults are those of the design."""

    grace_seconds: float = 30.0  # from the request of a stop to the kill
    interrupt_after_seconds: float = 20.0
    lease_seconds: float = 20.0
    supervisor_poll_seconds: float = 1.0  # how often the database is asked when no doorbell rings
    langgraph_json: Path = Path("langgraph.json")
    queue: str = "ai_processing"
    redis_url: str = "redis://127.0.0.1:6379/0"
    checkpoint_url: str = "sqlite:///checkpoints.sqlite3"
    event_flush_seconds: float = 0.05
    event_stream_length: int = 10_000  # events kept for each run in Redis
    event_stream_seconds: int = 7 * 24 * 3_600  # how long a stream is kept after its last event
    changes_stream_length: int = 10_000  # of the stream that the lists of all runs follow
    changes_stream_seconds: int = 24 * 3_600
    socket_heartbeat_seconds: float = 15.0  # also: how often a socket looks whether its user still may
    slow_socket_seconds: float = 10.0  # a client that reads nothing for so long is dropped
    max_resurrections: int = 3  # how often a run is started again after its worker was lost
    # What LangGraph streams beside the values, into the run's events: messages (tokens), custom.
    stream_modes: tuple[str, ...] = ()
    on_shutdown: OnShutdown = OnShutdown.CANCEL  # what a worker that is told to end does with its runs
    resurrection_pause_seconds: float = 1.0  # before the first of them; doubled before each further one
    ring_again_seconds: float = 5.0  # a queued run that no idle worker took by then has lost its message

    # Whether an owner may stop, pause and retry own runs without the permission `runs.stop_own_run`.
    owners_may_stop: bool = True

    @property
    def heartbeat_seconds(self) -> float:
        return self.lease_seconds / 4


@cache
def runs_settings() -> RunsSettings:
    names = RunsSettings.__dataclass_fields__
    given = {name: getattr(settings, f"RUNS_{name.upper()}", None) for name in names}
    given["on_shutdown"] = _on_shutdown(given["on_shutdown"])
    return RunsSettings(**{name: value for name, value in given.items() if value is not None})


def _on_shutdown(value: str | None) -> OnShutdown | None:
    if value is not None and value not in OnShutdown.values:
        raise ImproperlyConfigured(f"RUNS_ON_SHUTDOWN={value!r}: allowed are {', '.join(OnShutdown.values)}")
    return None if value is None else OnShutdown(value)


def _forget(*, setting: str, **_: object) -> None:
    if setting.startswith("RUNS_"):
        runs_settings.cache_clear()


setting_changed.connect(_forget)
