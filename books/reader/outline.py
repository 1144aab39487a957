"""Outline: where the sections of a book start.

From the book's own table of contents (`starts_from_entries`), else from its headings
(`starts_from_headings`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from books.reader.blocks import Block, Entry, Start, words
from books.reader.errors import BookUnreadable
from books.reader.headings import Heading, Style, matter_kind, parse_heading
from books.reader.limits import Limits
from books.reader.sections import SectionKind

SHORT_BODY_CHARACTERS = 200  # an entry of a contents list has less than this before the next one
NUMBERED_STYLES = (Style.NUMBERED, Style.NUMERAL)


def starts_from_entries(entries: Sequence[Entry], book_title: str) -> list[Start]:
    """Choose which entries of a table of contents are chapters, and which only hold or divide chapters."""
    starts = list(_entry_starts(entries, words(book_title), None))
    styles = [heading.style if (heading := parse_heading(start.title)) else None for start in starts]
    if not any(style in (Style.CHAPTER, *NUMBERED_STYLES) for style in styles):
        return starts
    return [
        replace(start, is_division=start.is_division or style is Style.DIVISION)
        for start, style in zip(starts, styles, strict=True)
    ]


def _entry_starts(entries: Sequence[Entry], book_title: list[str], division: str | None) -> Iterator[Start]:
    alone = len([entry for entry in entries if matter_kind(entry.title, before_chapters=True) is None]) == 1
    for entry in entries:
        if entry.children and _holds_chapters(entry, book_title, alone=alone):
            yield Start(entry.index, entry.title, division=division, is_division=True)
            inner = division if words(entry.title) == book_title else entry.title
            yield from _entry_starts(entry.children, book_title, inner)
        else:
            yield Start(entry.index, entry.title, division=division)
            yield from _closing_starts(entry.children)


def _closing_starts(entries: Sequence[Entry]) -> Iterator[Start]:
    """Yield the licence, index and the like that some makers nest below the last chapter."""
    for entry in entries:
        if matter_kind(entry.title, before_chapters=False) in (SectionKind.BACK, SectionKind.LICENCE):
            yield Start(entry.index, entry.title)


def _holds_chapters(entry: Entry, book_title: list[str], *, alone: bool) -> bool:
    own = parse_heading(entry.title)
    if own is not None and own.style is Style.DIVISION:
        return True
    if own is not None:
        return False
    if (book_title and words(entry.title) == book_title) or (alone and len(entry.children) > 1):
        return True
    styles = [heading.style for child in entry.children if (heading := parse_heading(child.title))]
    titled = sum(style in (Style.CHAPTER, Style.DIVISION, Style.NUMBERED) for style in styles)
    return titled * 2 > len(entry.children)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A heading; its body reaches to the next heading, its reach to the next labelled or numbered one."""

    index: int
    level: int
    text: str
    heading: Heading | None
    body_characters: int
    reach_characters: int

    @property
    def style(self) -> Style | None:
        return self.heading.style if self.heading else None


def starts_from_headings(blocks: Sequence[Block], limits: Limits) -> list[Start]:
    """Choose the headings that start a chapter: labelled ones, else numbered ones, else one level of them."""
    candidates = _without_contents_list(_candidates(blocks))
    if len(candidates) > 4 * limits.max_chapters:  # a contents list, divisions and notes are in it too
        raise too_many_chapters(len(candidates), limits)
    chosen = _labelled(candidates) or _numbered(candidates) or _of_one_level(candidates)
    divides = any(candidate.style is Style.CHAPTER for candidate in chosen)
    return [
        Start(candidate.index, candidate.text, is_division=divides and candidate.style is Style.DIVISION)
        for candidate in chosen
    ]


def too_many_chapters(count: int, limits: Limits) -> BookUnreadable:
    return BookUnreadable(
        "too_many_chapters",
        f"The book has {count:,} chapters; at most {limits.max_chapters:,} are allowed.",
    )


def _candidates(blocks: Sequence[Block]) -> list[_Candidate]:
    found: list[_Candidate] = []
    body = reach = 0
    for index in range(len(blocks) - 1, -1, -1):
        block = blocks[index]
        if block.is_licence:
            body = reach = 0
        elif block.level and not block.is_link:
            heading = parse_heading(block.text)
            found.append(_Candidate(index, block.level, block.text, heading, body, reach))
            body = 0
            reach = 0 if heading else reach
        else:
            body += len(block.text)
            reach += len(block.text)
    return found[::-1]


def _without_contents_list(candidates: list[_Candidate]) -> list[_Candidate]:
    """Drop headings without text below them that come again later: lines of a printed contents list."""
    keys = [_key(candidate) for candidate in candidates]
    later = Counter(keys)
    listed: list[bool] = []
    run = 0
    for candidate, key in zip(candidates, keys, strict=True):
        later[key] -= 1
        limit = SHORT_BODY_CHARACTERS if run > 1 else 1  # the last line may have a title page below it
        listed.append(candidate.reach_characters < limit and later[key] > 0 and candidate.style is not Style.MATTER)
        run = run + 1 if listed[-1] else 0
    for i in range(len(candidates) - 2, -1, -1):
        if candidates[i].style is Style.DIVISION:
            listed[i] = listed[i] and listed[i + 1]
    return [candidate for candidate, is_listed in zip(candidates, listed, strict=True) if not is_listed]


def _key(candidate: _Candidate) -> tuple[str, int | str | None, str]:
    heading = candidate.heading
    if heading is None or heading.style is Style.MATTER:
        return "", None, " ".join(words(candidate.text))
    rest = "" if heading.style in (Style.CHAPTER, Style.DIVISION) else " ".join(words(heading.rest))
    return heading.label, heading.number, rest


def _labelled(candidates: list[_Candidate]) -> list[_Candidate]:
    for style in (Style.CHAPTER, Style.DIVISION):
        levels = Counter(c.level for c in candidates if c.style is style)
        if levels:
            level = levels.most_common(1)[0][0]
            return [
                c
                for c in candidates
                if c.style in (style, Style.DIVISION, Style.MATTER)
                or (c.level <= level and c.style is not Style.NUMERAL)
            ]
    return []


def _numbered(candidates: list[_Candidate]) -> list[_Candidate]:
    for style in NUMBERED_STYLES:
        sequence = _counting_up([c for c in candidates if c.style is style])
        if len(sequence) >= 2:
            level = min(c.level for c in sequence)
            indexes = {c.index for c in sequence}
            return [
                c
                for c in candidates
                if c.index in indexes or c.style is Style.MATTER or (c.level <= level and c.style is None)
            ]
    return []


def _counting_up(candidates: list[_Candidate]) -> list[_Candidate]:
    """Keep those that count 1, 2, 3, …; a year or a list inside a chapter does not."""
    kept: list[_Candidate] = []
    expected = 1
    for candidate in candidates:
        number = candidate.heading.number if candidate.heading else None
        if number in (expected, 1):
            kept.append(candidate)
            expected = 2 if number == 1 else expected + 1
    return kept


def _of_one_level(candidates: list[_Candidate]) -> list[_Candidate]:
    with_text = [c for c in candidates if c.style is not Style.MATTER and c.body_characters > 0]
    levels = Counter(c.level for c in with_text)
    repeated = [level for level, count in levels.items() if count >= 2]
    level = min(repeated or levels, default=0)
    return [c for c in candidates if c.style is Style.MATTER or c.level <= level]
