from __future__ import annotations

import json

import pytest

from authentication.models import User
from books import documents
from books.analysis.results import BookReport
from books.models import Book
from tests.unit.web.conftest import log_in
from tests.unit.web.shelf import HOSTILE, add_chapters, make_book, make_report


@pytest.fixture
def book(alice: User) -> Book:
    book = make_book(alice, status="completed", report=make_report())
    add_chapters(book, 2, analysed=2)
    return book


def test_report_page_shows_every_part(alice: User, book: Book) -> None:
    page = log_in(alice).get(f"/books/{book.pk}/report").content.decode()
    for text in (
        "Two people meet at a mill.",
        "Annie",
        "1,234",
        "Riga",
        "river",
        "3,000",
        "1 h 35 min",
        "Anna and Boris",
    ):
        assert text in page
    assert page.count('class="tone-bar"') == 2
    assert 'x="-0.500" y="0" width="0.500"' in page
    assert "shade-4" in page


def test_report_that_is_not_there_yet_leads_to_the_book(alice: User) -> None:
    book = make_book(alice, status="running")
    client = log_in(alice)
    page = client.get(f"/books/{book.pk}/report", follow=True)
    assert page.redirect_chain == [(f"/books/{book.pk}/", 302)]
    assert "There is no report yet." in page.content.decode()
    assert client.get(f"/books/{book.pk}/report.json").status_code == 404
    assert client.get(f"/books/{book.pk}/report.md").status_code == 404


def test_report_as_json_is_the_report(alice: User, book: Book) -> None:
    answer = log_in(alice).get(f"/books/{book.pk}/report.json")
    assert json.loads(answer.content) == book.report
    assert answer.headers["Content-Disposition"] == 'attachment; filename="the-mill.json"'


def test_report_as_markdown_has_its_tables(alice: User, book: Book) -> None:
    answer = log_in(alice).get(f"/books/{book.pk}/report.md")
    text = answer.content.decode()
    assert text.startswith("# The Mill\n")
    assert "| Anna | Annie | 1234 | 1 | 2 |" in text
    assert "| 2 | Two | bright | +0.50 |" in text
    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"


@pytest.mark.parametrize("title", [HOSTILE, '"; rm -rf\r\nX-Evil: yes', "Тихий Дон", "../../x"])
def test_download_with_a_hostile_title_has_a_harmless_file_name(alice: User, book: Book, title: str) -> None:
    Book.objects.filter(pk=book.pk).update(title=title)
    header = log_in(alice).get(f"/books/{book.pk}/report.json").headers["Content-Disposition"]
    name = header.removeprefix('attachment; filename="').removesuffix('"')
    assert name.replace("-", "").replace(".json", "").isalnum()


def test_markdown_takes_nothing_of_a_title_for_markup() -> None:
    text = documents.as_markdown(BookReport.model_validate(make_report("# <b>x</b> | [a](http://b) \n# y")))
    assert text.splitlines()[0] == r"# \# \<b\>x\</b\> \| \[a\]\(http://b\) \# y"


def test_text_report_is_readable_and_drives_no_terminal() -> None:
    text = documents.as_text(BookReport.model_validate(make_report("The \x1b[31mMill\u202e")))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "2 chapters, 3,000 words, 1.6 hours of reading" in text
    assert " 1234  Anna (also Annie), chapters 1 to 2" in text
    assert "    2  Anna and Boris, first in chapter 2" in text
    assert all(len(line) <= documents.TEXT_WIDTH for line in text.splitlines())


def test_report_with_nobody_in_it_is_shown(alice: User) -> None:
    report = {**make_report(), "people": [], "meetings": [], "places": [], "keywords": [], "author": None}
    book = make_book(alice, status="completed", report=report)
    page = log_in(alice).get(f"/books/{book.pk}/report").content.decode()
    assert "Nobody was found." in page
    assert "Nobody meets anybody." in page
    assert "None." in documents.as_markdown(BookReport.model_validate(report))
    assert "none" in documents.as_text(BookReport.model_validate(report))
