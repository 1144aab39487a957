import gzip
import pickle
import struct
import zlib

import pytest

from books.reader import BookUnreadable, Limits
from tests.unit.books.builders import PROSE, pack, pdf, small_epub, xhtml
from tests.unit.books.conftest import Read, Refuse


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" + b"\xff\0\0" * 8)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (small_epub(), "epub"),
        (pdf([["Chapter 1", PROSE]]), "pdf"),
        (xhtml(f"<p>{PROSE}</p>").encode(), "html"),
        (f"<!-- saved --><!DOCTYPE html><p>{PROSE}".encode(), "html"),
        (PROSE.encode(), "txt"),
        (f"He wrote <b> in a letter. {PROSE}".encode(), "txt"),
        (f"%PDF is how it starts, he said. {PROSE}".encode(), "txt"),
        (f"PK was his name. {PROSE}".encode(), "txt"),
        (f"MZ and BM were friends. {PROSE}".encode(), "txt"),
        (f"BM and MZ were friends. {PROSE}".encode(), "txt"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else value,
)
@pytest.mark.parametrize("name", ["book.epub", "book.txt", "book.pdf", "book.exe", "book"])
def test_format_any_file_name_follows_content(read: Read, data: bytes, expected: str, name: str) -> None:
    assert read(data, name=name).format == expected


@pytest.mark.parametrize("data", [b"", b"   \r\n\t ", b"\0" * 2_000])
def test_file_without_content_is_empty(refuse: Refuse, data: bytes) -> None:
    assert refuse(data).reason == "empty"


@pytest.mark.parametrize("data", [b"a", b"7", b"\xe9", b"<", b"...."])
def test_file_with_one_character_has_no_text(refuse: Refuse, data: bytes) -> None:
    assert refuse(data).reason in ("no_text", "encoding")


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (png(), "Network Graphics"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01" + b"\0\x01\x02" * 50, "JPEG"),
        (b"\x7fELF\x02\x01\x01" + bytes(200), "ELF"),
        (b"MZ\x90\0\x03\0\0\0\x04" + bytes(200), "Windows program"),
        (gzip.compress(PROSE.encode()), "GZIP"),
        (b"SQLite format 3\0" + bytes(200), "SQLite"),
        (b"{\\rtf1\\ansi Once upon a time there was a fox.}", "RTF"),
        (b"#!/bin/sh\necho a script and not a book\n", "script"),
        (
            b'<?xml version="1.0"?><FictionBook><body><p>Words and words.</p></body></FictionBook>',
            "fictionbook",
        ),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><path/></svg>', "svg"),
        (pack({}).replace(b"application/epub+zip", b"application/x-other-"), "zip archive"),
        (pack({"word/document.xml": "<w/>"}).replace(b"epub+zip", b"word+zip"), "Word"),
        (pack({"holmes.epub": b"PK"}).replace(b"epub+zip", b"other-zi"), "holmes.epub"),
    ],
)
def test_file_of_another_kind_is_named(refuse: Refuse, data: bytes, named: str) -> None:
    error = refuse(data, name="book.epub")
    assert error.reason == "not_a_book"
    assert named.lower() in error.message.lower()
    assert "EPUB, TXT, HTML or PDF" in error.message


def test_file_beyond_limit_is_too_large(refuse: Refuse) -> None:
    error = refuse(PROSE.encode() * 100, limits=Limits(max_file_bytes=1_000_000 // 200))
    assert error.reason == "too_large"
    assert "0.005 MB" in error.message


def test_error_sent_between_processes_keeps_reason_and_message() -> None:
    copy = pickle.loads(pickle.dumps(BookUnreadable("empty", "The file is empty.")))  # noqa: S301
    assert (copy.reason, copy.message, str(copy)) == ("empty", "The file is empty.", "The file is empty.")
