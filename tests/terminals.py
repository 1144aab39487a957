"""A real terminal for tests: a program on a pseudo-terminal, whose keys the test presses."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence

from tests.environment import ROOT
from tests.services import process_environment, wait_until

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-Z\\-_])")


class TerminalProcess:
    """A program with a terminal of its own, as its controlling terminal, so that Ctrl+C reaches it."""

    def __init__(self, command: Sequence[str], *, columns: int = 120, rows: int = 30, **environment: str) -> None:
        self.raw = ""
        self._descriptor, theirs = pty.openpty()
        self.resize(columns, rows)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**process_environment(), "TERM": "xterm-256color", "COLORTERM": "", **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.settings = termios.tcgetattr(theirs)
        self._theirs = theirs

    def __enter__(self) -> TerminalProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self._descriptor)
        os.close(self._theirs)

    @property
    def text(self) -> str:
        """All that was ever written, without the sequences that a terminal obeys."""
        self._read()
        return _SEQUENCE.sub("", self.raw).replace("\r\n", "\n")

    def press(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text: str, seconds: float = 40.0) -> None:
        try:
            wait_until(lambda: text in self.text, text, seconds)
        except AssertionError:
            raise AssertionError(f"after {seconds:g} s no {text!r} in:\n{self.text}") from None

    def wait_end(self, seconds: float = 40.0) -> int:
        """Its exit code; 128 + N if signal N ended it."""
        try:
            wait_until(lambda: self.text is not None and self.process.poll() is not None, "it has ended", seconds)
        except AssertionError:
            raise AssertionError(f"after {seconds:g} s it has not ended:\n{self.text}") from None
        code = self.process.returncode
        return code if code >= 0 else 128 - code

    def is_as_before(self) -> bool:
        """Whether the terminal echoes and edits lines as it did before the program began."""
        return termios.tcgetattr(self._theirs) == self.settings

    def _read(self) -> None:
        while select.select([self._descriptor], [], [], 0)[0]:
            self.raw += os.read(self._descriptor, 65_536).decode(errors="replace")


def control_tasks(*arguments: str, **options: object) -> TerminalProcess:
    """`manage.py control_tasks` as a person at a terminal has it."""
    return TerminalProcess([sys.executable, "manage.py", "control_tasks", *arguments], **options)  # type: ignore[arg-type]


CTRL_C = "\x03"
