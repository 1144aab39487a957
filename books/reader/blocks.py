"""Blocks, the common form between a file format and the sections of a book.

Every format becomes a flat list of blocks plus the places where sections start; `assembly` does the rest.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from books.reader.sections import SectionKind

INVISIBLE = re.compile("[\u00ad\u200b\u200c\u2060\ufeff\x00-\x08\x0e-\x1f\x7f]")
WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Block:
    """One paragraph or heading.

    Attributes:
        level: 1 to 6 for a heading, 0 for a paragraph.
        is_link: nothing but a link inside the book: a line of a contents list.
    """

    text: str
    level: int = 0
    is_licence: bool = False
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """A section starts at block `index`; `kind` only where the book itself says it."""

    index: int
    title: str
    kind: SectionKind | None = None
    division: str | None = None
    is_division: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the book's own table of contents."""

    title: str
    index: int
    children: tuple["Entry", ...] = ()


def clean(text: str) -> str:
    """Normalise white space and Unicode, and drop characters that nobody can see."""
    return " ".join(INVISIBLE.sub("", unicodedata.normalize("NFC", text)).split())


def words(text: str) -> list[str]:
    """Return the bare words of a heading, for comparing headings."""
    return WORD.findall(text.casefold().replace("’", "'"))


def join_paragraphs(blocks: Iterable[Block]) -> str:
    return "\n\n".join(block.text for block in blocks)
