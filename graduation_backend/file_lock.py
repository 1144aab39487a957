"""A lock between processes that the operating system releases when its holder dies, however it dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, *, wait: bool) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int, *, wait: bool) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


class Locked(Exception):
    """Another process holds the lock. `owner` is what it wrote about itself, its pid, or empty."""

    def __init__(self, path: Path, owner: str) -> None:
        super().__init__(f"{path} is locked by {owner or 'another process'}")
        self.owner = owner


@contextmanager
def exclusive(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of this file, and note one's pid beside it for whoever finds it taken.

    Args:
        wait: False raises at once instead of waiting for the holder.

    Raises:
        Locked: another process holds it and `wait` is False.
    """
    owner = path.with_name(f"{path.name}.pid")
    # Python's descriptors are not inherited, so no child keeps the lock of a dead parent.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            _lock(descriptor, wait=wait)
        except (BlockingIOError, PermissionError):
            raise Locked(path, owner.read_text().strip() if owner.exists() else "") from None
        owner.write_text(f"{os.getpid()}\n")
        yield
        owner.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
