"""Detection: what a file is, by its content and never by its name."""

import re
from dataclasses import dataclass
from typing import Literal

import puremagic

from books.reader.archive import Archive
from books.reader.encoding import BOMS, decode, is_readable, wide_encoding
from books.reader.errors import BookUnreadable
from books.reader.limits import Limits
from books.reader.markup import DECLARED

ALLOWED = "Upload an EPUB, TXT, HTML or PDF file."
EPUB_MIMETYPE = b"application/epub+zip"
HEAD_BYTES = 8_192
HEAD_CHARACTERS = 4_096
ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
WINDOWS_PROGRAM = b"MZ"  # puremagic names it after the rarest of its kinds
PDF_MARK = b"%PDF-"
MARKUP_START = re.compile(r"\s*(?:<\?xml[^>]{0,500}\?>|<!--(?:[^-]|-(?!->)){0,2000}+-->|\s)*<(?P<name>[!\w:]+)", re.I)
DOCTYPE = re.compile(r"<!doctype\s+(?P<name>[\w:]+)", re.I)
HTML_TAG = re.compile(r"</?(?:html|head|body|h[1-6]|p|div|br|title|meta)\b[^<>]{0,500}>", re.I)
HTML_NAMES = frozenset({"html", "head", "body", "title", "meta", "div", "p", "h1", "h2", "h3", "section", "article"})
TEXT_MARKS = {"{\\rtf": "an RTF document", "%!PS": "a PostScript file", "#!": "a script"}
OFFICE = {"word/": "a Word document", "xl/": "an Excel workbook", "ppt/": "a PowerPoint presentation"}


@dataclass(frozen=True, slots=True)
class Detected:
    """The format, and the decoded text of a file that is text."""

    format: Literal["epub", "txt", "html", "pdf"]
    text: str = ""


def detect(data: bytes, limits: Limits) -> Detected:
    """Tell what a file is.

    Raises:
        BookUnreadable: "not_a_book", naming what the file looks like; "encoding"; "malformed".
    """
    if data.startswith(ZIP_MARKS):
        _check_epub(data, limits)
        return Detected("epub")
    if _is_pdf(data):
        return Detected("pdf")
    is_marked = any(data.startswith(mark) for mark, _ in BOMS)
    if not is_marked and wide_encoding(data) is None and (name := _binary_name(data)):
        raise not_a_book(name)
    declared = DECLARED.search(data[:HEAD_BYTES])
    text = decode(data, declared[1].decode("ascii") if declared else None)
    return Detected("html" if _is_html(text[:HEAD_CHARACTERS]) else "txt", text)


def not_a_book(looks_like: str) -> BookUnreadable:
    return BookUnreadable("not_a_book", f"The file looks like {looks_like}, not a book. {ALLOWED}")


def _is_pdf(data: bytes) -> bool:
    head = data[:1_024]
    return head.lstrip().startswith(PDF_MARK) or (PDF_MARK in head and b"startxref" in data[-2_048:])


def _check_epub(data: bytes, limits: Limits) -> None:
    """Let an EPUB pass; name any other zip."""
    if EPUB_MIMETYPE in data[:200]:
        return
    names = Archive(data, limits).names
    if any(name.casefold() == "meta-inf/container.xml" for name in names):
        return
    if any(name.lower().endswith(".opf") for name in names):
        return
    for folder, name in OFFICE.items():
        if any(entry.startswith(folder) for entry in names):
            raise not_a_book(name)
    inner = next((name for name in names if name.lower().endswith((".epub", ".txt", ".pdf", ".html"))), None)
    if inner is not None:
        raise not_a_book(f"a zip archive with “{inner[:100]}” in it (unpack it first)")
    raise not_a_book("a zip archive")


def _binary_name(data: bytes) -> str | None:
    """Name a binary file by its first bytes; None for text and for bytes nobody knows."""
    head = data[:HEAD_BYTES]
    matches = _signatures(head)
    is_text = is_readable(head.decode("latin-1").translate(LATIN_1_HIGH))
    for match in matches:
        is_certain = len(match.byte_match) >= 3 and any(byte > 0x7E or byte < 9 for byte in match.byte_match)
        if match.offset == 0 and (is_certain or not is_text):
            if data.startswith(WINDOWS_PROGRAM):
                return "a Windows program"
            return f"a file of the kind “{match.name}”"
    return None


LATIN_1_HIGH = dict.fromkeys(range(0x80, 0xA0))  # letters in most other encodings


def _signatures(head: bytes) -> list[puremagic.PureMagicWithConfidence]:
    try:
        return list(puremagic.magic_string(head))
    except (puremagic.PureError, ValueError):
        return []


def _is_html(head: str) -> bool:
    """Tell HTML from plain text.

    Raises:
        BookUnreadable: "not_a_book" for other markup.
    """
    head = head.lstrip("\ufeff \t\r\n")
    for mark, name in TEXT_MARKS.items():
        if head.startswith(mark):
            raise not_a_book(name)
    match = MARKUP_START.match(head)
    if match is None:
        return False
    doctype = DOCTYPE.match(head, match.start("name") - 1)
    name = (doctype["name"] if doctype else match["name"]).rpartition(":")[2].lower()
    if name not in HTML_NAMES and (head.startswith("<?xml") or doctype):
        raise not_a_book(f"an XML file (“{name[:40]}”)")
    return name in HTML_NAMES or len(HTML_TAG.findall(head)) >= 2
