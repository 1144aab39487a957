"""Reader: one function that turns an uploaded file into the text of a book.

Pure Python, no Django, no Celery. It trusts neither the name of a file nor anything a file says of itself;
it writes nothing to disk and opens nothing that a book links to. Called by the graph's first node.
"""

from pathlib import Path

from books.reader.detection import ALLOWED, detect
from books.reader.epub import read_epub
from books.reader.errors import BookUnreadable, Reason
from books.reader.html import read_html
from books.reader.limits import Limits
from books.reader.pdf import read_pdf
from books.reader.sections import BookFormat, BookText, Section, SectionKind
from books.reader.text import read_text

__all__ = [
    "BookFormat",
    "BookText",
    "BookUnreadable",
    "Limits",
    "Reason",
    "Section",
    "SectionKind",
    "read_book",
]


def read_book(source: Path, *, limits: Limits = Limits(), file_name: str | None = None) -> BookText:  # noqa: B008
    """Read a book from a file of any of the four formats, told apart by content.

    Args:
        file_name: the name the file was uploaded under; only a book without a title is called after it.

    Raises:
        BookUnreadable: the file isn't a book that can be read; reason and message say why.
        OSError: the file itself can't be opened.
    """
    data = _load(source, limits)
    fallback_title = Path(file_name or source.name).stem.replace("_", " ").strip() or "Untitled"
    detected = detect(data, limits)
    match detected.format:
        case "epub":
            return read_epub(data, limits, fallback_title)
        case "pdf":
            return read_pdf(data, limits, fallback_title)
        case "html":
            return read_html(detected.text, limits, fallback_title)
        case "txt":
            return read_text(detected.text, limits, fallback_title)


def _load(source: Path, limits: Limits) -> bytes:
    with source.open("rb") as file:
        data = file.read(limits.max_file_bytes + 1)
    if len(data) > limits.max_file_bytes:
        megabytes = limits.max_file_bytes / 1_000_000
        raise BookUnreadable("too_large", f"The file is larger than the {megabytes:g} MB allowed.")
    if not data.strip(b"\0 \t\r\n\f\v"):
        raise BookUnreadable("empty", f"The file is empty. {ALLOWED}")
    return data
