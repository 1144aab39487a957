from __future__ import annotations

import os
import pty
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Where a test presses keys; stdin is the terminal that they belong to."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        yield ours
    os.close(ours)
