"""Celery tasks that are no runs, for tests: every test worker has them."""

from __future__ import annotations

import time

from celery import shared_task


@shared_task(ignore_result=True)
def doze(seconds: float) -> None:
    """Holds its slot and never asks whether it should stop."""
    time.sleep(seconds)
