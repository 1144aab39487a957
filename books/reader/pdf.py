"""PDF: the text of its pages, with chapters from its outline, else from lines that look like headings."""

import io
import logging
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, LimitReachedError
from pypdf.generic import Destination

from books.reader.assembly import assemble, text_too_large
from books.reader.blocks import Block, Entry, Start, clean, words
from books.reader.errors import BookUnreadable
from books.reader.headings import Style, parse_heading
from books.reader.licence import language_tag, mark_licence
from books.reader.limits import Limits
from books.reader.lines import check_lines, reflow
from books.reader.outline import starts_from_entries, starts_from_headings
from books.reader.sections import BookText
from books.reader.text import text_blocks
from books.reader.titlepage import read_title_page

EDGE_LINES = 2  # lines looked at, at the top and the bottom of a page
MAX_RUNNING_CHARACTERS = 60
MIN_RUNNING_PAGES = 3  # the same line at the edge of as many pages is no part of the text
MIN_OUTLINE_LINES = 2
PLACEHOLDER_TITLE = re.compile(r"untitled.*|microsoft word.*|.*\.(docx?|indd|tex|dvi|pdf|qxd|rtf|odt)", re.I)
MAX_OUTLINE_DEPTH = 20

logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of every blemish that it mends


@dataclass(frozen=True, slots=True)
class OutlineLine:
    title: str
    page: int
    children: tuple["OutlineLine", ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """The lines where the pages print the title of an outline line."""

    first: int
    last: int | None  # None if the title isn't printed there


def read_pdf(data: bytes, limits: Limits, fallback_title: str) -> BookText:
    with _damage_reported():
        reader = _open(data, limits)
        pages = _page_lines(reader, limits)
        outline = _outline(reader.outline, reader, limits, 0) if pages else ()
        metadata = reader.metadata
        stated_title = clean((metadata and metadata.title) or "")
        stated_title = "" if PLACEHOLDER_TITLE.fullmatch(stated_title) else stated_title
        author = clean((metadata and metadata.author) or "") or None
        language = language_tag(str(reader.root_object.get("/Lang", "")))
    pages = _without_running_lines(pages)
    places = _places(outline, pages)
    blocks, first_lines = _blocks(pages, places.values())
    if not blocks:
        raise BookUnreadable(
            "no_text",
            "The PDF holds only images of pages; it needs a text layer (OCR) before it can be read.",
        )
    blocks = mark_licence(blocks)
    title_page = read_title_page(blocks)
    title = stated_title or title_page.title or fallback_title
    author = author or title_page.author
    starts = _starts(outline, places, first_lines, blocks, title, limits)
    sections = assemble(blocks, starts, title=title, author=author, limits=limits)
    return BookText("pdf", title, author, language, sections)


def _blocks(pages: list[list[str]], places: Iterable[_Place]) -> tuple[list[Block], list[int]]:
    """Return the blocks of all pages, and the line that each of them starts with."""
    lines = [line for page in pages for line in page]
    opens = {place.first for place in places}
    closes = {place.last for place in places if place.last is not None}
    pairs = list(text_blocks(reflow(lines, opens, closes), soft_hyphens=True))
    return [block for _, block in pairs], [paragraph.first_line for paragraph, _ in pairs]


@contextmanager
def _damage_reported() -> Iterator[None]:
    try:
        yield
    except BookUnreadable:
        raise
    except (DependencyError, FileNotDecryptedError) as error:
        raise _encrypted() from error
    except LimitReachedError as error:
        raise BookUnreadable("too_large", "A page of the PDF unpacks to more than is allowed.") from error
    except Exception as error:
        # pypdf raises nearly every built-in exception on a damaged file.
        raise BookUnreadable("malformed", "The PDF is damaged and can't be read.") from error


def _encrypted() -> BookUnreadable:
    return BookUnreadable("encrypted", "The PDF is protected with a password; upload it without protection.")


def _open(data: bytes, limits: Limits) -> PdfReader:
    reader = PdfReader(io.BytesIO(data), strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise _encrypted()
    if len(reader.pages) > limits.max_pdf_pages:
        raise BookUnreadable(
            "too_large",
            f"The PDF has {len(reader.pages):,} pages; at most {limits.max_pdf_pages:,} are allowed.",
        )
    return reader


def _page_lines(reader: PdfReader, limits: Limits) -> list[list[str]]:
    pages: list[list[str]] = []
    characters = lines = 0
    count = _operation_counter(limits)
    for page in reader.pages:
        text = page.extract_text(visitor_operand_before=count)
        characters += len(text)
        if characters > limits.max_text_characters:
            raise text_too_large(limits)
        pages.append([line.rstrip() for line in text.splitlines()])
        lines += len(pages[-1])
        check_lines(lines, limits)
    return pages


def _operation_counter(limits: Limits) -> Callable[[Any, Any, Any, Any], None]:
    """Bound the work: forms that draw forms can make a small file draw without end."""
    operations = 0

    def count(*_: Any) -> None:
        nonlocal operations
        operations += 1
        if operations > limits.max_pdf_operations:
            raise BookUnreadable(
                "too_large",
                f"The PDF needs more than the {limits.max_pdf_operations:,} drawing operations allowed.",
            )

    return count


def _without_running_lines(pages: list[list[str]]) -> list[list[str]]:
    """Drop page numbers and running titles, which stand at the edges of several pages."""
    counts = Counter(key for page in pages for key in {_edge_key(page[i]) for i in _edges(page)})
    seen: set[str] = set()
    kept: list[list[str]] = []
    for page in pages:
        edges = _edges(page)
        lines = []
        for i, line in enumerate(page):
            key = _edge_key(line) if i in edges else ""
            is_running = counts[key] >= MIN_RUNNING_PAGES and (key in seen or any(map(str.isdecimal, line)))
            if not key or not is_running:
                lines.append(line)
            seen.add(key)
        kept.append(lines)
    return kept


def _edges(page: list[str]) -> set[int]:
    """Return the lines that may be a running title or a page number."""
    filled = [i for i, line in enumerate(page) if line.strip()]
    outer = filled[:EDGE_LINES] + filled[-EDGE_LINES:]
    return {i for i in outer if len(page[i]) <= MAX_RUNNING_CHARACTERS and not page[i].lstrip()[0].islower()}


def _edge_key(line: str) -> str:
    """Return the line with its numbers alike, so that "12 Emma" and "14 Emma" are the same line."""
    heading = parse_heading(line)
    if heading is not None and heading.style is not Style.NUMERAL:
        return line.strip()
    return " ".join("0" if word.isdecimal() else word for word in words(line))


def _places(outline: Iterable[OutlineLine], pages: list[list[str]]) -> dict[tuple[str, int], _Place]:
    firsts = list(accumulate((len(page) for page in pages), initial=0))
    places: dict[tuple[str, int], _Place] = {}
    for line in _flat(outline):
        if line.page < len(pages):
            found = _find_title(words(line.title), pages[line.page])
            first = firsts[line.page]
            place = _Place(first + found[0], first + found[1]) if found else _Place(first, None)
            places.setdefault((line.title, line.page), place)
    return places


def _find_title(title: list[str], page: list[str]) -> tuple[int, int] | None:
    """Return the first and last line of a title that a page prints over up to three lines."""
    for i in range(len(page)):
        found: list[str] = []
        for j in range(i, min(i + 3, len(page))):
            found += words(page[j])
            if found and found == title:
                return i, j
            if found != title[: len(found)]:
                break
    return None


def _flat(outline: Iterable[OutlineLine]) -> Iterator[OutlineLine]:
    for line in outline:
        yield line
        yield from _flat(line.children)


def _starts(
    outline: tuple[OutlineLine, ...],
    places: dict[tuple[str, int], _Place],
    first_lines: list[int],
    blocks: list[Block],
    title: str,
    limits: Limits,
) -> list[Start]:
    def entries(lines: Iterable[OutlineLine]) -> tuple[Entry, ...]:
        return tuple(
            Entry(line.title, bisect_left(first_lines, place.first), entries(line.children))
            for line in lines
            if (place := places.get((line.title, line.page)))
        )

    from_outline = starts_from_entries(entries(outline), title)
    from_headings = starts_from_headings(blocks, limits) if len(from_outline) < MIN_OUTLINE_LINES else []
    return from_headings if len(from_headings) > len(from_outline) else from_outline


def _outline(items: Iterable[Any], reader: PdfReader, limits: Limits, depth: int) -> tuple[OutlineLine, ...]:
    lines: list[OutlineLine] = []
    for item in items:
        if isinstance(item, Destination):
            page = reader.get_destination_page_number(item)
            if page is not None and page >= 0:
                lines.append(OutlineLine(clean(str(item.title)), page, ()))
        elif isinstance(item, list) and lines and depth < MAX_OUTLINE_DEPTH:
            last = lines[-1]
            lines[-1] = OutlineLine(last.title, last.page, _outline(item, reader, limits, depth + 1))
    return tuple(lines)
