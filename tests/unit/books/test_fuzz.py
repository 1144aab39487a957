"""Whatever the bytes, the reader answers with a book or with BookUnreadable."""

import contextlib
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from books.reader import BookText, BookUnreadable, Limits, read_book
from tests.unit.books.builders import PROSE, epub_files, ncx, pack, pdf, small_epub, xhtml

SAMPLES = {
    "epub": small_epub(),
    "stored epub": pack(epub_files({"a.xhtml": f"<h2>Chapter 1</h2><p>{PROSE}</p>"}), method=0),
    "pdf": pdf([["Chapter 1", PROSE], ["Chapter 2", PROSE]], outline=[("Chapter 1", 0), ("Chapter 2", 1)]),
    "html": xhtml(f'<h2 id="a">Chapter 1</h2><p>{PROSE}</p><h2>Chapter 2</h2><p>{PROSE} &eacute;</p>').encode(),
    "txt": f"CONTENTS\n\nCHAPTER I\n\nCHAPTER II\n\nCHAPTER I\n\n{PROSE}\n\nCHAPTER II\n\n{PROSE}".encode("cp1252"),
}
LIMITS = Limits(max_uncompressed_bytes=5_000_000, max_pdf_operations=100_000)
MUTATION = st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4), st.integers(0, 4))
SETTINGS = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def check(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file, contextlib.suppress(BookUnreadable):
        file.write(data)
        file.flush()
        book = read_book(Path(file.name), limits=LIMITS)
        assert isinstance(book, BookText)
        assert book.chapters
        assert [chapter.number for chapter in book.chapters] == list(range(1, len(book.chapters) + 1))
        assert all(section.text for section in book.sections)


@SETTINGS
@given(st.binary(max_size=600))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    check(data)


@SETTINGS
@given(st.text(max_size=300), st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32"]))
def test_random_text_is_read_or_refused(text: str, encoding: str) -> None:
    check(text.encode(encoding, "replace"))


@SETTINGS
@given(st.sampled_from(sorted(SAMPLES)), st.floats(0, 1))
def test_truncated_book_is_read_or_refused(name: str, share: float) -> None:
    data = SAMPLES[name]
    check(data[: int(share * len(data))])


@SETTINGS
@given(st.sampled_from(sorted(SAMPLES)), st.lists(MUTATION, min_size=1, max_size=8))
def test_mutated_book_is_read_or_refused(name: str, mutations: list[tuple[float, bytes, int]]) -> None:
    data = bytearray(SAMPLES[name])
    for share, new, cut in mutations:
        at = int(share * len(data))
        data[at : at + cut] = new
    check(bytes(data))


PIECES = [
    "<h2>", "</h2>", "<p>", "</p>", "<br/>", "<pre>", '<a href="#x">', "</a>", '<div id="pg-header">',
    "</div>", "Chapter 1", "Chapter 2", "PART I", "I.", "II. THE DAY", "Contents", "Prologue", "Index", "\n\n",
    PROSE,
    "*** START OF THE PROJECT GUTENBERG EBOOK X ***", "*** END OF THE PROJECT GUTENBERG EBOOK ***",
    "by A. B.",
]  # fmt: skip


@SETTINGS
@given(st.lists(st.sampled_from(PIECES), max_size=30), st.sampled_from(["<html>", "", "\n"]))
def test_random_structure_is_read_or_refused(pieces: list[str], start: str) -> None:
    check((start + "\n\n".join(pieces)).encode())


@SETTINGS
@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_random_structure_in_an_epub_is_read_or_refused(pieces: list[str]) -> None:
    check(pack(epub_files({"a.xhtml": "".join(pieces), "b.xhtml": "".join(reversed(pieces))})))


@SETTINGS
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["p", "h1", "h2", "h3"]), st.integers(0, 4), st.booleans()), max_size=6),
        min_size=1,
        max_size=4,
    )
)
def test_any_structure_of_an_epub_keeps_every_paragraph_once_and_in_order(
    documents: list[list[tuple[str, int, bool]]],
) -> None:
    bodies: dict[str, str] = {}
    contents, expected = [], []
    for number, elements in enumerate(documents):
        body = ""
        for tag, style, is_listed in elements:
            mark = f"n{len(expected) + len(contents) + body.count('<')}d{number}"
            if tag == "p":
                expected.append(f"The paragraph {mark} of the tale.")
                body += f"<p>{expected[-1]}</p>"
                continue
            title = (f"Chapter {style}", f"PART {style}", f"{style}. The Day", f"Title {mark}", "Notes")[style]
            body += f'<{tag} id="{mark}">{title}</{tag}>'
            if is_listed:
                contents.append((title, f"d{number}.xhtml#{mark}"))
        bodies[f"d{number}.xhtml"] = body
    data = pack({**epub_files(bodies), "OEBPS/toc.ncx": ncx(contents)})
    with tempfile.NamedTemporaryFile() as file, contextlib.suppress(BookUnreadable):
        file.write(data)
        file.flush()
        book = read_book(Path(file.name))
        paragraphs = [part for section in book.sections for part in section.text.split("\n\n")]
        assert [part for part in paragraphs if part.startswith("The paragraph")] == expected
