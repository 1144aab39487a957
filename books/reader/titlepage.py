"""Title page: a title and an author where no metadata says them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from books.reader.blocks import Block
from books.reader.headings import parse_heading

BY_LINE = re.compile(r"(?:written )?by[:\s]\s*(?P<author>[^\W\d_][^:;!?]{2,80})", re.I)
MAX_TITLE_CHARACTERS = 150
MAX_BLOCKS = 12  # a title page is within the first few lines


@dataclass(frozen=True, slots=True)
class TitlePage:
    title: str | None = None
    author: str | None = None


def read_title_page(blocks: Sequence[Block]) -> TitlePage:
    """Find "Title" above "by Author" before the first chapter."""
    title: list[str] = []
    own = (block for block in blocks if not block.is_licence)
    for _, block in zip(range(MAX_BLOCKS), own, strict=False):
        text = block.text.strip(" *_=")
        if parse_heading(text) is not None or len(text) > MAX_TITLE_CHARACTERS:
            break
        if match := BY_LINE.fullmatch(text):
            return TitlePage(" ".join(title) or None, match["author"].strip(" ."))
        if inner := re.fullmatch(r"(?P<title>.{2,100}?),? by (?P<author>[A-Z][^:;!?]{2,60})", text):
            return TitlePage(inner["title"], inner["author"].strip(" .")) if not title else TitlePage()
        title = [text] if not block.level or not title else [*title, text]
    return TitlePage()
