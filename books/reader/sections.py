"""What the reader returns: a book as titled sections in reading order."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

BookFormat = Literal["epub", "txt", "html", "pdf"]


class SectionKind(StrEnum):
    FRONT = "front"
    CHAPTER = "chapter"
    BACK = "back"
    LICENCE = "licence"


@dataclass(frozen=True)
class Section:
    """One part of a book.

    Attributes:
        number: chapters are 1, 2, … in reading order; None for every other kind.
        title: as printed, but not in capitals only; the text doesn't repeat it.
        text: paragraphs separated by one blank line, white space normalised.
    """

    number: int | None
    kind: SectionKind
    title: str
    text: str


@dataclass(frozen=True)
class BookText:
    """A whole book; language is the tag the book declares, such as "en" or "pt-BR"."""

    format: BookFormat
    title: str
    author: str | None
    language: str | None
    sections: tuple[Section, ...]

    @property
    def chapters(self) -> tuple[Section, ...]:
        return tuple(section for section in self.sections if section.kind is SectionKind.CHAPTER)
