"""Composition only: settings, addresses, processes and commands. The engine is `runs`."""

from graduation_backend.celery import app as celery_app

__all__ = ["celery_app"]
