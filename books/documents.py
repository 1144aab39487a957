"""The report of a book as a file or in a terminal: Markdown and plain text. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

from books.analysis.results import BookPerson, BookReport, Statistics

TEXT_WIDTH = 88  # characters
PEOPLE_IN_TEXT = 15
MEETINGS_IN_TEXT = 10
TONE_BAR = 10  # characters on each side of the middle

# Everything that Markdown, or HTML inside it, could take for markup: titles and names are a stranger's.
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&])")


def as_markdown(report: BookReport) -> str:
    blocks = [
        f"# {_plain(report.title)}",
        *([f"*{_plain(report.author)}*"] if report.author else []),
        _size(report.statistics),
        "## Summary",
        _plain(report.summary) or "None.",
        "## People",
        _table(
            ("Name", "Also", "Mentions", "First chapter", "Last chapter"),
            (
                (_plain(p.name), _plain(", ".join(p.aliases)), p.mentions, p.first_chapter, p.last_chapter)
                for p in report.people
            ),
        ),
        "## Who meets whom",
        _table(
            ("Person", "Person", "Passages", "First in chapter"),
            ((_plain(m.a), _plain(m.b), m.passages, m.first_chapter) for m in report.meetings),
        ),
        "## Keywords",
        _plain(", ".join(report.keywords)) or "None.",
        "## Places",
        _table(("Place", "Mentions"), ((_plain(p.name), p.mentions) for p in report.places)),
        "## Tone by chapter",
        _table(
            ("Chapter", "Title", "Tone", "Score"),
            ((c.number, _plain(c.title), c.tone.label, f"{c.tone.score:+.2f}") for c in report.tone_by_chapter),
        ),
    ]
    return "\n\n".join(blocks) + "\n"


def as_text(report: BookReport) -> str:
    """The report for a terminal; without control characters, which could drive it."""
    heading = printable(report.title) + (f", by {printable(report.author)}" if report.author else "")
    lines = [
        heading,
        "=" * min(len(heading), TEXT_WIDTH),
        _size(report.statistics),
        "",
        *_wrapped(report.summary),
        *_section("People", [_person_line(person) for person in report.people[:PEOPLE_IN_TEXT]]),
        *_section(
            "Who meets whom",
            [
                f"{m.passages:>5}  {m.a} and {m.b}, first in chapter {m.first_chapter}"
                for m in report.meetings[:MEETINGS_IN_TEXT]
            ],
        ),
        *_section("Keywords", [", ".join(report.keywords)]),
        *_section("Places", [", ".join(f"{place.name} ({place.mentions})" for place in report.places)]),
        *_section(
            "Tone by chapter (dark < | > bright)",
            [f"{c.number:>4}  {_tone_line(c.tone.score)}  {c.title}" for c in report.tone_by_chapter],
        ),
    ]
    return "\n".join(lines)


def printable(text: str) -> str:
    """The text on one line, without control and direction characters."""
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _plain(text: str) -> str:
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    if not lines:
        return "None."
    return "\n".join([f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}", *lines])


def _section(title: str, lines: list[str]) -> list[str]:
    shown = [part for line in lines if line for part in _wrapped(line)]
    return ["", title, "-" * len(title), *(shown or ["none"])]


def _wrapped(text: str) -> list[str]:
    clean = "".join(character if character.isprintable() else " " for character in text).rstrip()
    indent = " " * (len(clean) - len(clean.lstrip()))
    return textwrap.wrap(clean, TEXT_WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _person_line(person: BookPerson) -> str:
    also = f" (also {', '.join(person.aliases)})" if person.aliases else ""
    where = (
        f"chapter {person.first_chapter}"
        if person.first_chapter == person.last_chapter
        else f"chapters {person.first_chapter} to {person.last_chapter}"
    )
    return f"{person.mentions:>5}  {person.name}{also}, {where}"


def _tone_line(score: float) -> str:
    length = round(abs(score) * TONE_BAR)
    left = "#" * length if score < 0 else ""
    right = "#" * length if score > 0 else ""
    return f"{left:>{TONE_BAR}}|{right:<{TONE_BAR}} {score:+.2f}"


def _size(numbers: Statistics) -> str:
    minutes = numbers.reading_minutes
    time = f"{minutes} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
    return f"{numbers.chapters} chapters, {numbers.words:,} words, {time} of reading"
