"""Starts what the benchmarks need, in a data directory of their own: SQLite, Valkey, a worker with two slots."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import environment


@contextmanager
def services() -> Iterator[None]:
    os.environ["LANGGRAPH_JSON"] = str(Path(__file__).parent / "langgraph.json")
    os.environ["DJANGO_SETTINGS_MODULE"] = "graduation_backend.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from graduation_backend import embedded_redis
    from tests.services import WorkerProcess

    call_command("migrate", verbosity=0)
    if settings.REDIS_IS_EMBEDDED:
        embedded_redis.ensure_running(environment.DATA_DIR)
    worker = WorkerProcess(environment.DATA_DIR / "worker.log", include="benchmarks.graphs")
    try:
        worker.wait_ready()
        yield
    finally:
        worker.destroy()
        if settings.REDIS_IS_EMBEDDED:
            embedded_redis.stop(environment.DATA_DIR)


def percentile(values: Sequence[float], part: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[part - 1]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1_000:.1f} ms"
