"""Keeps database connections out of forks, for a process that works with the database and forks at any moment."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

# Held while this process has a database connection open, and taken by every fork: a child never inherits a SQLite
# connection, whose file locks it would break.
_gate = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_gate.acquire, after_in_parent=_gate.release, after_in_child=_gate.release)


@contextmanager
def database() -> Iterator[None]:
    """A stretch of database work in a process that forks."""
    with _gate:
        try:
            yield
        finally:
            connections.close_all()
