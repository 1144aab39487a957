"""Plain text: paragraphs out of hard-wrapped lines, headings out of short lines."""

from collections.abc import Iterator

from books.reader.assembly import assemble, text_too_large, too_many_paragraphs
from books.reader.blocks import Block, clean
from books.reader.headings import Style, is_contents, nice_title, parse_heading
from books.reader.licence import header_fields, language_tag, mark_licence
from books.reader.limits import Limits
from books.reader.lines import Paragraph, split_paragraphs, unwrap
from books.reader.outline import starts_from_headings
from books.reader.sections import BookFormat, BookText
from books.reader.titlepage import read_title_page
from books.reader.titles import PAGE_NUMBER

LEVELS = {Style.DIVISION: 1, Style.CHAPTER: 2, Style.MATTER: 2, Style.NUMBERED: 3, Style.NUMERAL: 4}
CAPITALS_LEVEL = 5
SUBTITLE_LEVEL = 6
MAX_HEADING_LINES = 3
MAX_TITLE_CHARACTERS = 80
MAX_TITLE_WORDS = 12
MIN_GAP_LINES = 2  # blank lines above a heading that has no label and no number


def read_text(text: str, limits: Limits, fallback_title: str, *, book_format: BookFormat = "txt") -> BookText:
    if len(text) > 2 * limits.max_text_characters:  # half of it may be white space and line breaks
        raise text_too_large(limits)
    paragraphs = split_paragraphs(text, limits)
    if len(paragraphs) > limits.max_paragraphs:
        raise too_many_paragraphs(limits)
    blocks = mark_licence([block for _, block in text_blocks(paragraphs)])
    fields = header_fields(blocks)
    page = read_title_page(blocks)
    title = fields.get("title") or (nice_title(page.title, {}) if page.title else fallback_title)
    author = fields.get("author") or (nice_title(page.author, {}) if page.author else None)
    starts = starts_from_headings(blocks, limits)
    sections = assemble(blocks, starts, title=title, author=author, limits=limits)
    return BookText(book_format, title, author, language_tag(fields.get("language")), sections)


def text_blocks(paragraphs: list[Paragraph], *, soft_hyphens: bool = False) -> Iterator[tuple[Paragraph, Block]]:
    """Turn paragraphs into blocks, telling headings and contents lists from prose."""
    in_contents = after_label = False
    for paragraph in paragraphs:
        if (in_contents and len(paragraph.lines) > 1) or _is_list(paragraph.lines):
            texts = (clean(line) for line in paragraph.lines)
            yield from ((paragraph, Block(text, is_link=True)) for text in texts if text)
            continue
        text = clean(unwrap(paragraph.lines, soft_hyphens=soft_hyphens))
        if not text:
            continue
        level = _level(paragraph)
        if after_label and level in (0, CAPITALS_LEVEL) and len(paragraph.lines) <= 2 and is_title_line(text):
            level = SUBTITLE_LEVEL
        heading = parse_heading(text) if level else None
        in_contents = (in_contents and not level) or is_contents(text)
        after_label = heading is not None and not heading.rest and heading.style is not Style.MATTER
        yield paragraph, Block(text, level)


def _is_list(lines: list[str]) -> bool:
    """Tell whether most lines are headings, as in a contents list without blank lines."""
    if len(lines) < MAX_HEADING_LINES:
        return False
    found = sum(parse_heading(PAGE_NUMBER.sub("", line.strip()[:200])) is not None for line in lines)
    return found * 3 > len(lines) * 2


def _level(paragraph: Paragraph) -> int:
    lines = [line.strip() for line in paragraph.lines]
    if len(lines) > MAX_HEADING_LINES:
        return 0
    text = clean(" ".join(lines))
    heading = parse_heading(lines[0])
    if heading is None:
        is_set_off = paragraph.gap >= MIN_GAP_LINES and text.isupper() and is_title_line(text)
        return CAPITALS_LEVEL if is_set_off else 0
    if len(lines) > 1 and not all(is_title_line(line) for line in [heading.rest, *lines[1:]] if line):
        return 0
    if heading.style is Style.NUMBERED and not is_title_line(heading.rest):
        return 0
    if heading.style is Style.MATTER and (len(lines) > 1 or not _is_title_case(text)):
        return 0
    return LEVELS[heading.style]


def is_title_line(text: str) -> bool:
    """Tell whether a line without a label may be a title: short, in capitals or title case, no sentence."""
    if len(text) > MAX_TITLE_CHARACTERS or len(text.split()) > MAX_TITLE_WORDS or not any(map(str.isalpha, text)):
        return False
    if text.strip("_* ").isupper():
        return True
    return text.strip("_* ")[-1:] not in ".,;:" and text[0] not in "\"“«‘'" and _is_title_case(text)


def _is_title_case(text: str) -> bool:
    """Tell whether every longer word is capitalised, or at least the first of a line of few words."""
    found = [word for word in text.strip("_*[( ").split() if word[0].isalpha()]
    return bool(found) and not found[0][0].islower() and all(not word[0].islower() for word in found if len(word) > 4)
