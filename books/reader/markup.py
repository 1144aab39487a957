"""Markup: XML, XHTML and HTML to trees and blocks, with nothing loaded, resolved or expanded."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.entities import html5
from typing import Any

from lxml import etree

from books.reader.blocks import Block, clean
from books.reader.encoding import decode
from books.reader.errors import BookUnreadable
from books.reader.limits import Limits

Element = Any  # lxml comes without types

BLOCK_TAGS = frozenset({
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div",
    "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5",
    "h6", "header", "hgroup", "hr", "html", "li", "main", "nav", "ol", "p", "pre", "section", "summary",
    "table", "tbody", "tfoot", "thead", "tr", "ul", "subtitle", "title",
})  # fmt: skip
SKIPPED_TAGS = frozenset({
    "head", "script", "style", "template", "noscript", "svg", "iframe", "object", "audio", "video",
    "canvas", "button", "select", "textarea", "rt", "rp",
})  # fmt: skip
SPACED_TAGS = frozenset({"br", "td", "th"})
PAGE_NUMBER_CLASSES = frozenset({"pagenum", "pageno", "pagenumber", "page-number", "page_number", "pgnum", "pb"})
LICENCE_IDS = frozenset({"pg-header", "pg-footer", "pg-machine-header"})
LEVELS = {f"h{level}": level for level in range(1, 7)}
EPUB_TYPE = "{http://www.idpf.org/2007/ops}type"
NAMED_ENTITY = re.compile(rb"&([A-Za-z][A-Za-z0-9]{1,31});")
XML_ENTITIES = frozenset({b"amp", b"lt", b"gt", b"quot", b"apos"})
EMPTY_ELEMENT = re.compile(r"<([A-Za-z][A-Za-z0-9:]*+)((?:\s[^<>]*?)?)/>")
VOID_TAGS = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr",
})  # fmt: skip
DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""")
MAX_XML_BYTES = 20_000_000  # a table of contents; a real one has less than one
BLANK_LINES = re.compile(r"\n[ \t\r]*\n\s*")


@dataclass(slots=True)
class Page:
    """A document as blocks; anchors and types hold the index of the block that comes next."""

    blocks: list[Block] = field(default_factory=list)
    anchors: dict[str, int] = field(default_factory=dict)
    types: dict[int, str] = field(default_factory=dict)
    title: str = ""
    language: str | None = None


def check_tags(count: int, limits: Limits) -> None:
    if count > limits.max_markup_tags:
        raise BookUnreadable("too_large", f"The book has more than the {limits.max_markup_tags:,} markup tags allowed.")


def parse_xml(data: bytes, name: str) -> Element:
    """Parse a small XML file of an archive, mending it where that is possible."""
    if len(data) > MAX_XML_BYTES:
        raise BookUnreadable("too_large", f"The file “{name}” in the book is larger than any real one.")
    for recover in (False, True):
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=recover
        )
        try:
            root = etree.fromstring(data, parser)
        except (etree.XMLSyntaxError, ValueError):
            continue
        if root is not None and isinstance(root.tag, str):
            return root
    raise BookUnreadable("malformed", f"The file “{name}” in the book is damaged: it isn't valid XML.")


def parse_page(data: bytes, name: str) -> Element | None:
    """Parse XHTML strictly, else as a browser would; None for an empty document."""
    root = _parse_strict(NAMED_ENTITY.sub(_numeric, data))
    if root is not None:
        return root
    declared = DECLARED.search(data[:2_048])
    return parse_html(decode(data, declared[1].decode("ascii") if declared else None), name)


def parse_html(text: str, name: str) -> Element | None:
    """Parse HTML as a browser would; None for an empty document."""
    text = EMPTY_ELEMENT.sub(_open_and_close, text.replace("\0", ""))
    parser = etree.HTMLParser(no_network=True, huge_tree=False, recover=True, encoding="utf-8")
    try:
        root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except (etree.XMLSyntaxError, ValueError):
        root = None
    if any(error.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT for error in parser.error_log):
        # The parser drops the rest of such a document without raising.
        raise BookUnreadable("malformed", f"“{name}” can't be read: its elements are nested too deeply or too long.")
    if root is None and text.strip() and "<" not in text:
        raise BookUnreadable("malformed", f"“{name}” can't be read as HTML.")
    return root


def _parse_strict(data: bytes) -> Element | None:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None


def _numeric(match: re.Match[bytes]) -> bytes:
    name = match[1]
    if name in XML_ENTITIES:
        return match[0]
    characters = html5.get(name.decode("ascii") + ";")
    return match[0] if characters is None else "".join(f"&#{ord(c)};" for c in characters).encode("ascii")


def _open_and_close(match: re.Match[str]) -> str:
    name, attributes = match[1], match[2]
    return match[0] if name.lower() in VOID_TAGS else f"<{name}{attributes}></{name}>"


def local_name(element: Element) -> str:
    """Return the tag without its namespace, in lower case; empty for a comment or an entity."""
    tag = element.tag
    return tag.rpartition("}")[2].lower() if isinstance(tag, str) else ""


def find_all(root: Element, name: str) -> Iterator[Element]:
    return (element for element in root.iter() if local_name(element) == name)


def text_of(element: Element) -> str:
    return clean("".join(element.itertext()))


def read_page(root: Element | None) -> Page:
    page = Page()
    if root is None:
        return page
    page.language = root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang")
    page.title = next((text_of(title) for title in find_all(root, "title")), "")
    _Walk(page).run(root)
    return page


class _Walk:
    """One walk over a tree, collecting its text block by block. Not shared between threads."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.parts: list[str] = []
        self.characters = self.link_characters = 0
        self.heading: Element | None = None
        self.licence: Element | None = None
        self.link: Element | None = None
        self.pre: Element | None = None

    def run(self, root: Element) -> None:
        events = etree.iterwalk(root, events=("start", "end", "comment", "pi"))
        for event, element in events:
            if event in ("comment", "pi"):
                self.add(element.tail)
                continue
            name = local_name(element)
            is_skipped = name in SKIPPED_TAGS or _is_hidden(element)
            if event == "start":
                if is_skipped or not name:
                    self.note(element)
                    events.skip_subtree()
                else:
                    self.open(element, name)
                continue
            if not is_skipped:
                self.close(element, name)
            if element is not root:
                self.add(element.tail)
        self.flush()

    def open(self, element: Element, name: str) -> None:
        if name in BLOCK_TAGS:
            self.flush()
        if name in SPACED_TAGS:
            self.parts.append("\n" if self.pre is not None else " ")
        self.note(element)
        if name in LEVELS and self.heading is None:
            self.heading = element
        elif name == "a" and _is_inside(element.get("href")):
            self.link = element
        elif name == "pre":
            self.pre = element
        elif name == "img" and len(element.get("alt") or "") == 1:
            self.add(element.get("alt"))  # an illuminated initial
        if self.licence is None and _is_licence(element):
            self.licence = element
        self.add(element.text)

    def close(self, element: Element, name: str) -> None:
        if name in BLOCK_TAGS:
            self.flush()
        if element is self.heading:
            self.heading = None
        if element is self.link:
            self.link = None
        if element is self.pre:
            self.pre = None
        if element is self.licence:
            self.licence = None

    def note(self, element: Element) -> None:
        index = len(self.page.blocks)
        for anchor in (element.get("id"), element.get("name")):
            if anchor:
                self.page.anchors.setdefault(anchor, index)
        kind = element.get(EPUB_TYPE) or element.get("epub:type")
        if kind and local_name(element) in BLOCK_TAGS:
            self.page.types[index] = f"{self.page.types.get(index, '')} {kind}"

    def add(self, text: str | None) -> None:
        if text:
            self.parts.append(text)
            size = len(text.strip())
            self.characters += size
            if self.link is not None:
                self.link_characters += size

    def flush(self) -> None:
        text = "".join(self.parts)
        is_link = self.heading is None and self.link_characters * 2 > self.characters
        self.parts.clear()
        self.characters = self.link_characters = 0
        level = LEVELS[local_name(self.heading)] if self.heading is not None else 0
        for paragraph in BLANK_LINES.split(text) if self.pre is not None else (text,):
            if cleaned := clean(paragraph):
                self.page.blocks.append(Block(cleaned, level, self.licence is not None, is_link))


def _is_hidden(element: Element) -> bool:
    if not isinstance(element.tag, str):
        return False
    if element.get("hidden") is not None and local_name(element) != "nav":
        return True
    if element.get(EPUB_TYPE) == "pagebreak" or element.get("role") == "doc-pagebreak":
        return True
    return not PAGE_NUMBER_CLASSES.isdisjoint((element.get("class") or "").lower().split())


def _is_licence(element: Element) -> bool:
    return element.get("id") in LICENCE_IDS or "pg-boilerplate" in (element.get("class") or "").split()


def _is_inside(href: str | None) -> bool:
    """Tell whether a link leads to another place in the book."""
    return bool(href) and "://" not in str(href) and not str(href).startswith("mailto:")
