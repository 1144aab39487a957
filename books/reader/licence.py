"""Project Gutenberg's header and licence, told apart from the book between them."""

import re
from collections.abc import Sequence
from dataclasses import replace

from books.reader.blocks import Block

START_MARKER = re.compile(r"^\W{0,5}START OF (?:THE|THIS) PROJECT GUTENBERG|^\*END\W{0,3}THE SMALL PRINT", re.I)
END_MARKER = re.compile(r"^\W{1,5}END OF (?:THE|THIS) PROJECT GUTENBERG", re.I)
END_LINE = re.compile(r"^\W{0,5}END OF (?:THE |THIS )?PROJECT GUTENBERG", re.I)
FIELD = re.compile(r"\b(Title|Author|Language):[ \t]*(.{1,300}?)(?=\s+[A-Z][a-z]+(?: [a-z]+)?:\s|$)")
LANGUAGES = {
    "english": "en", "french": "fr", "german": "de", "spanish": "es", "italian": "it", "dutch": "nl",
    "portuguese": "pt", "finnish": "fi", "swedish": "sv", "danish": "da", "norwegian": "no", "greek": "el",
    "latin": "la", "polish": "pl", "russian": "ru", "hungarian": "hu", "czech": "cs", "chinese": "zh",
    "japanese": "ja", "esperanto": "eo", "catalan": "ca", "tagalog": "tl", "bulgarian": "bg", "arabic": "ar",
}  # fmt: skip


def mark_licence(blocks: Sequence[Block]) -> list[Block]:
    """Flag what lies outside Project Gutenberg's START and END markers."""
    texts = [block.text[:120] for block in blocks]
    last_start = max((i for i, text in enumerate(texts) if START_MARKER.match(text)), default=-1)
    first_end = next((i for i, text in enumerate(texts) if i > last_start and END_MARKER.match(text)), len(texts))
    if first_end < len(texts) and first_end > 0 and END_LINE.match(texts[first_end - 1]):
        first_end -= 1
    return [
        replace(block, is_licence=True) if i <= last_start or i >= first_end else block
        for i, block in enumerate(blocks)
    ]


def header_fields(blocks: Sequence[Block]) -> dict[str, str]:
    """Return the title, author and language that the header states; empty without a header."""
    fields: dict[str, str] = {}
    if not blocks or not blocks[0].is_licence:
        return fields
    for block in blocks[:60]:
        if not block.is_licence:
            break
        for name, value in FIELD.findall(block.text[:2_000]):
            fields.setdefault(name.lower(), value.strip())
    return fields


def language_tag(value: str | None) -> str | None:
    """Turn "English" or "en_GB" into a language tag; None for what is no language."""
    if not value:
        return None
    tag = LANGUAGES.get(value.strip().lower(), value.strip().replace("_", "-"))
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}", tag) or tag.lower() == "und":
        return None
    return tag
