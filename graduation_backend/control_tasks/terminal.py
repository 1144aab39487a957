"""Everything that `control_tasks` prints: answers on stdout, all else on stderr.

What comes from the database is not trusted to be fit for a terminal: it is stripped of control characters,
and Rich sees it as text, not as markup.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

from django.core.management.base import OutputWrapper

from runs.states import CANCELLING, PAUSING, Status
from runs.words import duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

ICONS = {
    Status.QUEUED: "○",
    Status.RUNNING: "●",
    Status.WAITING: "◔",
    Status.PAUSED: "‖",
    CANCELLING: "◌",
    PAUSING: "◌",
    Status.COMPLETED: "✓",
    Status.FAILED: "✗",
    Status.CANCELLED: "⊘",
}
COLOURS = {
    Status.RUNNING: "cyan",
    Status.WAITING: "magenta",
    Status.PAUSED: "yellow",
    CANCELLING: "yellow",
    PAUSING: "yellow",
    Status.COMPLETED: "green",
    Status.FAILED: "red",
    Status.CANCELLED: "bright_black",
}
# Wide enough for every line when nobody looks at it, so that nothing wraps and each run is one line for grep.
PLAIN_WIDTH = 10_000


class Screen:
    """The two streams of one command."""

    def __init__(self, stdout: OutputWrapper, stderr: OutputWrapper, *, no_color: bool = False) -> None:
        self._stdout = stdout
        self._stderr = stderr
        # Rich writes to the streams themselves: Django's wrappers add colours and line ends of their own.
        self._out = cast(IO[str], stdout._out)
        self._err = cast(IO[str], stderr._out)
        self._no_color = no_color or bool(os.environ.get("NO_COLOR"))

    def line(self, text: str = "") -> None:
        self._stdout.write(self._encodable(text))
        self._stdout.flush()

    def json(self, value: Any) -> None:
        self.line(_as_json(value, indent=2, ensure_ascii=not self.has_unicode))

    def json_line(self, value: Any) -> None:
        """One document of several, each on a line of its own."""
        self.line(_as_json(value, ensure_ascii=not self.has_unicode))

    def note(self, text: str) -> None:
        """One line for the person, not for the program that reads stdout."""
        self._stderr.write(self._encodable(printable(text)), str)

    def ask(self, question: str) -> str:
        self.ask_for_key(question)
        return input()

    def ask_for_key(self, question: str) -> None:
        """A question that one key answers."""
        self._stderr.write(f"{self._encodable(printable(question))} ", str, ending="")
        self._stderr.flush()

    @property
    def is_terminal(self) -> bool:
        return bool(self._stdout.isatty())

    @property
    def has_unicode(self) -> bool:
        # A StringIO, in tests, has no encoding and takes everything.
        return "utf" in (getattr(self._out, "encoding", None) or "utf-8").lower()

    @property
    def width(self) -> int:
        from rich.console import Console

        return Console(file=self._out).width if self.is_terminal else PLAIN_WIDTH

    def console(self, width: int | None = None) -> Console:
        """Stdout for Rich; without a width that of the terminal, also after it has changed."""
        from rich.console import Console

        if not self.has_unicode and isinstance(self._out, io.TextIOWrapper):
            self._out.reconfigure(errors="replace")  # what is shown must not end the command
        return Console(
            file=self._out,
            width=width,
            no_color=self._no_color,
            color_system="auto" if self.is_terminal else None,
            force_terminal=None if self.is_terminal else False,
            highlight=False,
        )

    def show(self, table: RenderableType, *, least_width: int = 0) -> None:
        """Print what Rich lays out, on a terminal that is too narrow with its lines wrapped rather than cut."""
        console = self.console(max(self.width, least_width))
        if self.is_terminal:
            console.print(table)
            return
        with console.capture() as captured:
            console.print(table)
        for line in captured.get().splitlines():
            self.line(line.rstrip())

    def status(self, status: str) -> Text:
        """A status as an icon and a word: the colour is never all there is."""
        from rich.text import Text

        icon = ICONS.get(status, "") if self.has_unicode else ""
        return Text(f"{icon} {status}".strip(), style=COLOURS.get(status, ""))

    @staticmethod
    def mark(word: str, colours: Mapping[str, str]) -> Text:
        """A word in its colour."""
        from rich.text import Text

        return Text(word, style=colours.get(word, ""))

    @contextmanager
    def progress(self) -> Iterator[Callable[[str], None]]:
        """A function that shows one line: in the same place on a terminal, else each time it changes."""
        shown = ""
        if not self._stderr.isatty():

            def show(line: str) -> None:
                nonlocal shown
                if line != shown:
                    shown = line
                    self.note(line)

            yield show
            return

        from rich.console import Console
        from rich.text import Text

        console = Console(file=self._err, no_color=self._no_color, highlight=False)
        begun = time.monotonic()
        with console.status("") as status:
            yield lambda line: status.update(
                Text(f"{printable(line)} · {duration(time.monotonic() - begun)}", no_wrap=True)
            )

    def _encodable(self, text: str) -> str:
        if self.has_unicode:
            return text
        return text.encode("ascii", "replace").decode("ascii")


def printable(text: str) -> str:
    """The text on one line, without control and direction characters."""
    return printable_part(text).strip()


def printable_part(text: str) -> str:
    """The same for a part of a line, whose spaces at both ends count."""
    return "".join(character if character.isprintable() else " " for character in text)


def _as_json(value: Any, *, ensure_ascii: bool, indent: int | None = None) -> str:
    # JSON may hold characters that a terminal obeys: those between ASCII and Latin-1, and marks of direction.
    text = json.dumps(value, indent=indent, ensure_ascii=ensure_ascii)
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1] for character in text
    )


def shortened(value: Any, length: int = 500) -> str:
    """A value as JSON on one line, cut with a note of how long it is."""
    text = printable(json.dumps(value, ensure_ascii=False, default=str))
    if len(text) <= length:
        return text
    return f"{text[:length]}… ({len(text):,} characters, all of it with --json)"
