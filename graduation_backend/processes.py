"""Child processes whose output is shown line by line under their names. `launcher.py` says which and when."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TextIO

from graduation_backend.environment import BASE_DIR

LINE_MAX_BYTES = 65_536  # a longer line is shown in pieces
RESET = "\x1b[0m"


def ending_with_this_process(command: Sequence[str]) -> list[str]:
    """The command, wrapped so that the kernel kills it when this process dies (Linux; elsewhere unchanged).

    Start it from the main thread: the kernel watches the thread that starts it, not the process.
    """
    if not sys.platform.startswith("linux"):
        return list(command)
    wrapper = Path(__file__).with_name("die_with_parent.py")
    return [sys.executable, "-I", "-S", str(wrapper), str(os.getpid()), *command]


class Console:
    """Lines of several sources on one stream, each after its source's name in its colour.

    Safe to use from any thread: a lock makes every line whole.
    """

    def __init__(self, stream: TextIO, *, colours: Mapping[str, str], coloured: bool) -> None:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for a console that is not UTF-8
        self._stream = stream
        self._colours = colours if coloured else {}
        self._width = max(len(name) for name in colours)
        self._lock = threading.Lock()

    def show(self, name: str, line: str) -> None:
        prefix = f"{name:<{self._width}} | "
        if colour := self._colours.get(name):
            prefix = f"{colour}{prefix}{RESET}"
        self._write(f"{prefix}{line}\n")

    def say(self, text: str = "", *, colour: str = "") -> None:
        """The launcher's own words, without a prefix."""
        self._write(f"{colour}{text}{RESET}\n" if colour and self._colours else f"{text}\n")

    def _write(self, text: str) -> None:
        # Nobody may be reading any more (a closed terminal, `| head`); the pipes must be emptied anyhow.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def is_coloured(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Source: https://no-color.org, any value that is not empty turns colours off."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb" and stream.isatty()


class ChildProcess:
    """A program in a session of its own, so that the terminal's Ctrl+C reaches the launcher alone.

    On Windows a console's Ctrl+C reaches all its processes, and `interrupt` has nothing left to do.
    """

    def __init__(self, name: str, command: Sequence[str], console: Console, environment: Mapping[str, str]) -> None:
        self.name = name
        self._console = console
        self._process = subprocess.Popen(
            ending_with_this_process(command),
            env=dict(environment),
            cwd=BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=sys.platform != "win32",
        )
        self._reader = threading.Thread(
            target=self._show_output, args=(self._process.stdout,), name=f"output of {name}", daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; -9 if signal 9 ended it."""
        return self._process.poll()

    def interrupt(self) -> None:
        """What Ctrl+C sends, to the program but not to the processes it started: those are its to end."""
        if sys.platform != "win32" and self.exit_code() is None:
            self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it and what it started at once; also after its end, for what it may have left behind."""
        if sys.platform == "win32":
            self._process.kill()
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def drain_output(self, seconds: float = 1.0) -> None:
        """Wait until its last words are shown, but not for ever: what it left behind may hold the pipe."""
        self._reader.join(seconds)

    def _show_output(self, output: IO[bytes]) -> None:
        for line in split_lines(output):
            self._console.show(self.name, line)


def split_lines(pipe: IO[bytes]) -> Iterator[str]:
    """Whole lines without their ends, whatever pieces they arrive in; broken UTF-8 shows as U+FFFD."""
    rest = b""
    while piece := pipe.read(LINE_MAX_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > LINE_MAX_BYTES:
            lines.append(rest)
            rest = b""
        for line in lines:
            yield _as_text(line)
    if rest:
        yield _as_text(rest)


def _as_text(line: bytes) -> str:
    # Of a progress bar that redraws its line, the last state.
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
