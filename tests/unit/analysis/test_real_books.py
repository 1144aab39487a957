"""Two real books of Project Gutenberg: what a reader would say must be in the report."""

import os
from functools import lru_cache
from pathlib import Path

import pytest

from books.analysis import BookReport, ChapterAnalysis, get_analyst

SHARED_BOOKS = Path(os.environ.get("SHARED_BOOKS") or Path(__file__).parents[4] / "shared" / "books")
NO_PEOPLE = {
    "God",
    "Heaven",
    "Good",
    "Sir",
    "English",
    "Project Gutenberg",
    "Chapter",
    "Lord",
    "Turk",
    "Doctor",
}

reader = pytest.importorskip("books.reader")


@lru_cache(maxsize=2)
def analyse(file_name: str) -> tuple[list[ChapterAnalysis], BookReport]:
    path = SHARED_BOOKS / file_name
    if not path.exists():
        pytest.skip(f"no {file_name} beside the repository; set SHARED_BOOKS to its folder")
    book = reader.read_book(path)
    analyst = get_analyst(None)
    chapters = [analyst.analyse_chapter(number=c.number, title=c.title, text=c.text) for c in book.chapters]
    return chapters, analyst.write_report(title=book.title, author=book.author, chapters=chapters)


@pytest.fixture
def holmes() -> tuple[list[ChapterAnalysis], BookReport]:
    return analyse("pg1661-sherlock-holmes.epub")


@pytest.fixture
def frankenstein() -> tuple[list[ChapterAnalysis], BookReport]:
    return analyse("pg84-frankenstein.epub")


def test_holmes_and_watson_lead_the_people(holmes: tuple[list[ChapterAnalysis], BookReport]) -> None:
    people = holmes[1].people

    assert [person.name for person in people[:2]] == ["Sherlock Holmes", "Dr. Watson"]
    assert people[0].chapters == list(range(1, 13))


def test_irene_adler_is_in_her_chapter(holmes: tuple[list[ChapterAnalysis], BookReport]) -> None:
    chapters, report = holmes

    assert chapters[0].people[1].name == "Irene Adler"
    assert "Irene Adler" in [person.name for person in report.people[:25]]


def test_holmes_and_watson_meet_most(holmes: tuple[list[ChapterAnalysis], BookReport]) -> None:
    first, second, *_ = holmes[1].meetings

    assert (first.a, first.b, first.first_chapter) == ("Sherlock Holmes", "Dr. Watson", 1)
    assert first.passages > second.passages


def test_holmes_lives_in_london(holmes: tuple[list[ChapterAnalysis], BookReport]) -> None:
    assert [place.name for place in holmes[1].places[:2]] == ["London", "Baker Street"]


def test_frankenstein_people_are_the_characters(
    frankenstein: tuple[list[ChapterAnalysis], BookReport],
) -> None:
    names = {person.name for person in frankenstein[1].people}

    assert names >= {
        "Elizabeth Lavenza",
        "Henry Clerval",
        "Justine Moritz",
        "Robert Walton",
        "Victor",
        "Felix",
        "Agatha",
        "Safie",
        "William",
    }


def test_frankenstein_elizabeth_spans_the_book(
    frankenstein: tuple[list[ChapterAnalysis], BookReport],
) -> None:
    elizabeth = frankenstein[1].people[0]

    assert (elizabeth.name, elizabeth.first_chapter, elizabeth.last_chapter) == ("Elizabeth Lavenza", 5, 28)


def test_frankenstein_places_are_where_it_happens(
    frankenstein: tuple[list[ChapterAnalysis], BookReport],
) -> None:
    places = [place.name for place in frankenstein[1].places]

    assert places[0] == "Geneva"
    assert {"Ingolstadt", "Mont Blanc", "London"} <= set(places[:10])


def test_frankenstein_trial_is_darker_than_childhood(
    frankenstein: tuple[list[ChapterAnalysis], BookReport],
) -> None:
    tones = {tone.title: tone.tone for tone in frankenstein[1].tone_by_chapter}

    assert tones["Chapter 1"].label == "bright"
    assert tones["Chapter 8"].label == "dark"


@pytest.mark.parametrize("file_name", ["pg1661-sherlock-holmes.epub", "pg84-frankenstein.epub"])
def test_no_common_word_is_a_person_or_place(file_name: str) -> None:
    report = analyse(file_name)[1]

    assert not NO_PEOPLE & {person.name for person in report.people}
    assert not NO_PEOPLE & {place.name for place in report.places}
    assert not {person.name for person in report.people} & {place.name for place in report.places}


@pytest.mark.parametrize("file_name", ["pg1661-sherlock-holmes.epub", "pg84-frankenstein.epub"])
def test_chapters_have_summaries_and_keywords(file_name: str) -> None:
    chapters, report = analyse(file_name)

    assert all(30 < len(chapter.summary) < 1500 and chapter.keywords for chapter in chapters)
    assert len(report.keywords) == 10
    assert report.language == "en"
