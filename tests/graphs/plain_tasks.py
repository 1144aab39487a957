"""Celery tasks that are no runs, for tests: every test worker has them."""

from __future__ import annotations

import time

from celery import shared_task


@shared_task(ignore_result=True)
def doze(seconds: float) -> None:
    """Holds its slot and never asks whether it should stop."""
    time.sleep(seconds)


@shared_task
def sleep_and_tell(seconds: float, password: str = "", note: str = "") -> str:
    """Its result is kept."""
    time.sleep(seconds)
    return f"slept {seconds:g} s"


@shared_task
def fail(url: str) -> None:
    raise ValueError(f"nothing answers at {url}")
