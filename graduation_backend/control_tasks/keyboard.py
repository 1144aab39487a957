"""Single keys of a terminal, as they are pressed; and Ctrl+C as a question instead of an exception."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

try:
    import termios
    import tty
except ImportError:  # Windows
    termios = tty = None  # type: ignore[assignment]

# What terminals send for keys without a character of their own.
_SEQUENCES = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    " ": "page down",
    "\x03": "interrupt",
    "\x04": "end of input",
}


class Keyboard:
    """The keys of stdin, not echoed while it is entered; the terminal is as before when it is left.

    Where stdin is no terminal there are no keys, and `wait` only waits.
    """

    def __init__(self) -> None:
        self._before: list[Any] | None = None
        self._pressed = ""
        self.is_there = sys.stdin is not None and sys.stdin.isatty()

    def __enter__(self) -> Keyboard:
        if self.is_there and termios is not None:
            descriptor = sys.stdin.fileno()
            self._before = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor, termios.TCSADRAIN)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._before)
            self._before = None

    def wait(self, seconds: float) -> str:
        """The next key, a character or a name; empty if none is pressed in that time."""
        if not self.is_there:
            time.sleep(seconds)
            return ""
        if termios is None:
            return _wait_on_windows(seconds)
        if not self._pressed:
            descriptor = sys.stdin.fileno()
            if not select.select([descriptor], [], [], seconds)[0]:
                return ""
            try:
                self._pressed = os.read(descriptor, 1_024).decode(errors="replace")
            except OSError:
                self._pressed = ""
            if not self._pressed:
                self.is_there = False  # the terminal has gone
                return "end of input"
        return self._take()

    def _take(self) -> str:
        """The first of the keys that were read together."""
        known = [sequence for sequence in _SEQUENCES if self._pressed.startswith(sequence)]
        sequence = max(known, key=len, default=self._pressed[0])
        if sequence == "\x1b" and len(self._pressed) > 1:
            self._pressed = ""  # a key that nobody knows
            return ""
        self._pressed = self._pressed[len(sequence) :]
        return _SEQUENCES.get(sequence, sequence)


def _wait_on_windows(seconds: float) -> str:
    import msvcrt

    console: Any = msvcrt  # typed for Windows only
    ends = time.monotonic() + seconds
    while not console.kbhit():
        if time.monotonic() >= ends:
            return ""
        time.sleep(0.02)
    pressed: str = console.getwch()
    if pressed in ("\x00", "\xe0"):
        names = {"H": "up", "P": "down", "I": "page up", "Q": "page down", "G": "home", "O": "end"}
        return names.get(console.getwch(), "")
    return _SEQUENCES.get(pressed, pressed)


class Interrupts:
    """Whether Ctrl+C was pressed since it was last asked for."""

    def __init__(self) -> None:
        self._is_pressed = False

    def press(self, _number: int, _frame: FrameType | None) -> None:
        # A second one while nobody has asked: whatever holds us must end.
        if self._is_pressed:
            raise KeyboardInterrupt
        self._is_pressed = True

    def take(self) -> bool:
        pressed, self._is_pressed = self._is_pressed, False
        return pressed


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Ctrl+C is noted, and does not break what is under way."""
    noted = Interrupts()
    before = signal.signal(signal.SIGINT, noted.press)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def leaving_cleanly() -> Iterator[None]:
    """A request to end (SIGTERM, a closed terminal) ends as an exception, so that the terminal is as before."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {
        number: signal.signal(number, leave)
        for name in ("SIGTERM", "SIGHUP")
        if (number := getattr(signal, name, None)) is not None and signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
