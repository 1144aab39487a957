import pytest

from books.reader import Limits
from tests.unit.books.builders import PROSE, pdf
from tests.unit.books.conftest import Read, Refuse

PAGE = [
    "It was a bright cold day in spring, and the clocks of the town were",
    "striking one after the other. Nobody in the street looked up, for the won-",
    "derful sound was old.",
    "The next paragraph is about the river, which ran below the town walls and",
    "had no name.",
]
TEXT = (
    "It was a bright cold day in spring, and the clocks of the town were striking one after the other. "
    "Nobody in the street looked up, for the wonderful sound was old.\n\n"
    "The next paragraph is about the river, which ran below the town walls and had no name."
)


def test_pdf_with_outline_is_split_at_its_titles(read: Read) -> None:
    pages = [["The Small Book"], ["The Fox", *PAGE], ["more of the fox."], [*PAGE, "The Crow", *PAGE]]
    outline = [("The Fox", 1), ("The Crow", 3)]
    book = read(pdf(pages, outline=outline, metadata={"/Title": "The Small Book", "/Author": "Ann Author"}))
    assert (book.format, book.title, book.author) == ("pdf", "The Small Book", "Ann Author")
    assert [chapter.title for chapter in book.chapters] == ["The Fox", "The Crow"]
    assert book.chapters[1].text == TEXT
    assert "more of the fox." in book.chapters[0].text


def test_pdf_without_outline_uses_headings(read: Read) -> None:
    book = read(pdf([["Chapter 1", *PAGE], ["Chapter 2", *PAGE], ["Chapter 3", *PAGE]]))
    assert [chapter.title for chapter in book.chapters] == ["Chapter 1", "Chapter 2", "Chapter 3"]
    assert [chapter.text for chapter in book.chapters] == [TEXT] * 3


def test_pdf_page_numbers_and_running_titles_are_dropped(read: Read) -> None:
    pages = [["THE SMALL BOOK", *PAGE, str(n)] for n in range(1, 7)]
    book = read(pdf([["Chapter 1", *PAGE], *pages]))
    text = book.chapters[0].text
    assert text.count("THE SMALL BOOK") <= 1
    assert not any(paragraph.isdecimal() for paragraph in text.split("\n\n"))


def test_pdf_with_placeholder_title_is_called_after_the_file(read: Read) -> None:
    book = read(pdf([PAGE], metadata={"/Title": "Microsoft Word - draft7.doc"}), name="my_book.pdf")
    assert book.title == "my book"


def test_pdf_with_password_is_encrypted(refuse: Refuse) -> None:
    error = refuse(pdf([PAGE], password="secret"))
    assert error.reason == "encrypted"
    assert "password" in error.message


def test_pdf_with_empty_password_is_read(read: Read) -> None:
    assert read(pdf([PAGE], password="")).chapters[0].text == TEXT


def test_pdf_of_scanned_pages_has_no_text(refuse: Refuse) -> None:
    error = refuse(pdf([[], [], []]))
    assert error.reason == "no_text"
    assert "OCR" in error.message


def test_pdf_with_too_many_pages_is_too_large(refuse: Refuse) -> None:
    assert refuse(pdf([PAGE] * 4), limits=Limits(max_pdf_pages=3)).reason == "too_large"


def test_pdf_with_too_many_operations_is_too_large(refuse: Refuse) -> None:
    assert refuse(pdf([PAGE] * 4), limits=Limits(max_pdf_operations=20)).reason == "too_large"


def test_pdf_with_ten_thousand_headings_has_too_many_chapters(refuse: Refuse) -> None:
    lines = [line for n in range(1, 2_100) for line in (f"Chapter {n}", PROSE)]
    pages = [lines[i : i + 60] for i in range(0, len(lines), 60)]
    assert refuse(pdf(pages)).reason == "too_many_chapters"


@pytest.mark.parametrize("data", [b"%PDF-1.7\n", b"%PDF-1.4\ntrailer <</Root 1 0 R>>\nstartxref\n0\n%%EOF"])
def test_pdf_without_content_is_malformed(refuse: Refuse, data: bytes) -> None:
    assert refuse(data).reason == "malformed"


def test_pdf_cut_off_is_refused_or_read(refuse: Refuse) -> None:
    data = pdf([PAGE] * 3)
    assert refuse(data[: len(data) // 3]).reason in ("malformed", "no_text")
