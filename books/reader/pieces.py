"""Pieces: the blocks of a book cut at its starts, before anyone knows which piece is a chapter."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from books.reader.blocks import Block, Start
from books.reader.headings import is_contents, parse_heading
from books.reader.sections import SectionKind

CONTENTS_TITLE = "Contents"
LICENCE_TITLE = "Project Gutenberg licence"
MIN_LINK_RUN = 5  # as many lines of links in a row are a contents list


@dataclass(slots=True)
class Piece:
    title: str
    blocks: list[Block]
    kind: SectionKind | None = None
    division: str | None = None
    is_division: bool = False
    headings: list[Block] = field(default_factory=list)

    @property
    def characters(self) -> int:
        return sum(len(block.text) for block in self.blocks)


def cut(blocks: Sequence[Block], starts: Sequence[Start]) -> list[Piece]:
    chosen = _one_start_each(starts, len(blocks))
    ends = [start.index for start in chosen] + [len(blocks)]
    pieces = [Piece("", list(blocks[: ends[0]]))] if ends[0] else []
    for start, end in zip(chosen, ends[1:], strict=True):
        piece = Piece(start.title, list(blocks[start.index : end]), start.kind)
        piece.division, piece.is_division = start.division, start.is_division
        pieces.append(piece)
    return pieces


def _one_start_each(starts: Sequence[Start], length: int) -> list[Start]:
    """Keep one start for each block: a chapter rather than its part or the book's title."""
    chosen: dict[int, Start] = {}
    for start in sorted(starts, key=lambda start: start.index):
        held = chosen.get(start.index)
        if start.index < length and (held is None or _rank(start) > _rank(held)):
            chosen[start.index] = start
    return list(chosen.values())


def _rank(start: Start) -> tuple[bool, bool]:
    return not start.is_division, parse_heading(start.title) is not None


def carve(piece: Piece) -> list[Piece]:
    """Take the licence and lists of links out of a piece, so that neither counts as a chapter's text."""
    licence = [block for block in piece.blocks if block.is_licence]
    rest = [block for block in piece.blocks if not block.is_licence]
    listed, text = _link_runs(rest) if not is_contents(piece.title) else ([], rest)
    parts = [replace(piece, blocks=text)] if text or not piece.blocks else []
    if listed:
        parts.insert(0, Piece(CONTENTS_TITLE, listed, SectionKind.FRONT))
    if licence:
        at_front = piece.blocks[0].is_licence
        parts.insert(0 if at_front else len(parts), Piece(LICENCE_TITLE, licence, SectionKind.LICENCE))
    return parts


def _link_runs(blocks: list[Block]) -> tuple[list[Block], list[Block]]:
    listed: list[Block] = []
    text: list[Block] = []
    for is_link, group in groupby(blocks, key=lambda block: block.is_link):
        run = list(group)
        (listed if is_link and len(run) >= MIN_LINK_RUN else text).extend(run)
    return listed, text
