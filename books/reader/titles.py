"""Titles: which headings of a piece print its title, and how the title reads in the end."""

import re
from collections.abc import Iterable

from books.reader.blocks import Block, words
from books.reader.headings import Style, is_contents, nice_title, parse_heading, title_key
from books.reader.pieces import Piece
from books.reader.sections import SectionKind

MAX_TITLE_CHARACTERS = 400
MAX_HEADINGS_ABOVE = 3
PAGE_NUMBER = re.compile(r"[ .…]{1,200}\d{1,4}$")


def take_title(piece: Piece) -> None:
    """Move the headings that print the title from the text into the title."""
    if piece.kind is SectionKind.LICENCE or not piece.title:
        return
    rest = whole = words(piece.title)
    label = ""
    taken = _headings_above(piece.blocks, whole)
    for block in piece.blocks[len(taken) :]:
        found = words(block.text) if len(block.text) <= MAX_TITLE_CHARACTERS else []
        if not found or not rest:
            break
        if rest[: len(found)] == found and (block.level or found == whole):
            rest = rest[len(found) :]
        elif block.level and rest == whole and _says_more(block.text, piece.title):
            piece.title, rest = block.text, []
        elif block.level and not piece.is_division and has_style(block.text, Style.DIVISION):
            piece.division = block.text
        elif block.level and not label and is_bare(block.text) and parse_heading(piece.title) is None:
            label = block.text
        else:
            break
        taken.append(block)
    if label and rest == whole:
        taken = []
    elif label:
        piece.title = joined_title(label, piece.title)
    piece.headings, piece.blocks = taken, piece.blocks[len(taken) :]
    _extend_title(piece)


def _headings_above(blocks: list[Block], title: list[str]) -> list[Block]:
    """Return headings, such as the book's title, that stand above the heading with the title."""
    above: list[Block] = []
    for block in blocks[: MAX_HEADINGS_ABOVE + 1]:
        if not block.level:
            break
        if words(block.text) == title:
            return above
        if parse_heading(block.text) is not None:
            return []
        above.append(block)
    return []


def _says_more(printed: str, title: str) -> bool:
    """Tell whether a heading says more than the title, as "Chapter 1. Loomings" than "Loomings"."""
    longer, shorter = words(printed), words(title)
    if longer[: len(shorter)] == shorter or longer[-len(shorter) :] == shorter:
        return True
    own, fuller = parse_heading(title), parse_heading(printed)
    return own is not None and fuller is not None and is_bare(title) and own.number == fuller.number


def has_style(text: str, style: Style) -> bool:
    heading = parse_heading(text)
    return heading is not None and heading.style is style


def is_bare(text: str) -> bool:
    heading = parse_heading(text)
    return heading is not None and not heading.rest and heading.style is not Style.MATTER


def _extend_title(piece: Piece) -> None:
    """Join a bare "Chapter I" with the heading below it."""
    if not piece.blocks or not is_bare(piece.title):
        return
    below = piece.blocks[0]
    if below.level and parse_heading(below.text) is None:
        piece.title = joined_title(piece.title, below.text)
        piece.headings.append(piece.blocks.pop(0))


def joined_title(label: str, rest: str) -> str:
    return f"{label.rstrip(' .:—-')}. {rest}"


def final_titles(pieces: list[Piece]) -> list[str]:
    """Return the titles nicely printed, with their parts where chapters count anew in each part."""
    printed = _printed_titles(pieces)
    titles = [nice_title(piece.title, printed) for piece in pieces]
    pairs = list(zip(pieces, titles, strict=True))
    chapters = [title.casefold() for piece, title in pairs if piece.kind is SectionKind.CHAPTER]
    if len(set(chapters)) == len(chapters):
        return titles
    return [
        f"{nice_title(piece.division, printed).rstrip(' .:')}, {title}"
        if piece.division and piece.kind is SectionKind.CHAPTER and _is_counted(title)
        else title
        for piece, title in pairs
    ]


def _is_counted(title: str) -> bool:
    heading = parse_heading(title)
    return heading is not None and heading.number is not None


def _printed_titles(pieces: Iterable[Piece]) -> dict[str, str]:
    """Return the titles as the contents list prints them, for headings that are in capitals only."""
    printed: dict[str, str] = {}
    for piece in pieces:
        if piece.kind is not SectionKind.FRONT or not is_contents(piece.title):
            continue
        for block in piece.blocks:
            line = PAGE_NUMBER.sub("", block.text[:MAX_TITLE_CHARACTERS])
            heading = parse_heading(line)
            title = heading.rest if heading and heading.rest else line
            if any(character.islower() for character in title):
                printed.setdefault(title_key(title), title.strip())
    return printed
