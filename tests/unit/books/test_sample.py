"""The sample book that ships with the project."""

from __future__ import annotations

from pathlib import Path

from books.reader import SectionKind, read_book

SAMPLE = Path(__file__).parents[3] / "books" / "sample" / "the-keeper-of-gull-rock.txt"


def test_sample_book_has_its_ten_chapters() -> None:
    book = read_book(SAMPLE)

    assert (book.title, book.author) == ("The Keeper of Gull Rock", "The graduation_backend authors")
    assert [chapter.number for chapter in book.chapters] == list(range(1, 11))
    assert book.chapters[4].title == "Chapter V. The Good Intent"
    assert book.sections[-1].kind is SectionKind.BACK
