"""HTML: one page, whose headings are the chapters."""

from books.reader.assembly import assemble
from books.reader.blocks import Block, clean
from books.reader.headings import parse_heading
from books.reader.licence import header_fields, language_tag, mark_licence
from books.reader.limits import Limits
from books.reader.markup import Element, check_tags, find_all, parse_html, read_page
from books.reader.outline import starts_from_headings
from books.reader.sections import BookText
from books.reader.text import read_text
from books.reader.titlepage import read_title_page

PREFORMATTED_SHARE = 0.8  # a page with more than this in one <pre> is a text file in HTML's clothes
SITE_NAMES = (" | Project Gutenberg", " - Project Gutenberg")


def read_html(markup: str, limits: Limits, fallback_title: str) -> BookText:
    check_tags(markup.count("<"), limits)
    root = parse_html(markup, "the file")
    if (inner := _preformatted(root)) is not None:
        return read_text(inner, limits, fallback_title, book_format="html")
    page = read_page(root)
    blocks = mark_licence(page.blocks)
    fields = header_fields(blocks)
    author = fields.get("author") or _meta(root, "author") or read_title_page(blocks).author
    title = fields.get("title") or _page_title(page.title) or _first_heading(blocks) or fallback_title
    language = language_tag(page.language) or language_tag(fields.get("language"))
    starts = starts_from_headings(blocks, limits)
    sections = assemble(blocks, starts, title=title, author=author, limits=limits)
    return BookText("html", title, author, language, sections)


def _preformatted(root: Element | None) -> str | None:
    if root is None:
        return None
    whole = sum(len(part) for part in root.itertext())
    texts = ("".join(pre.itertext()) for pre in find_all(root, "pre"))
    return next((text for text in texts if len(text) > PREFORMATTED_SHARE * whole), None)


def _meta(root: Element | None, name: str) -> str | None:
    if root is None:
        return None
    found = (meta for meta in find_all(root, "meta") if (meta.get("name") or "").lower() in (name, f"dc.{name}"))
    return next((content for meta in found if (content := clean(meta.get("content") or ""))), None)


def _page_title(title: str) -> str:
    for name in SITE_NAMES:
        title = title.split(name, 1)[0]
    return title.removeprefix("The Project Gutenberg eBook of ").strip()


def _first_heading(blocks: list[Block]) -> str | None:
    headings = (block.text for block in blocks if block.level == 1 and not block.is_licence)
    return next((text for text in headings if parse_heading(text) is None), None)
