"""The report of a book from chapters that know nothing of each other."""

from collections.abc import Sequence

from books.analysis import BookReport, ChapterAnalysis, Length, Meeting, Person, Place, get_analyst
from books.analysis.tone import make_tone


def chapter(
    number: int,
    *people: tuple[str, int],
    places: dict[str, int] | None = None,
    meetings: Sequence[tuple[str, str, int]] = (),
    keywords: Sequence[str] = (),
    words: int = 1000,
    tone: float = 0.0,
) -> ChapterAnalysis:
    return ChapterAnalysis(
        number=number,
        title=f"Chapter {number}",
        summary=f"In chapter {number} something happens.",
        keywords=list(keywords),
        people=[Person(name=name, mentions=mentions) for name, mentions in people],
        places=[Place(name=name, mentions=mentions) for name, mentions in (places or {}).items()],
        tone=make_tone(tone),
        length=Length(characters=words * 6, words=words, sentences=words // 15, reading_minutes=words // 230),
        meetings=[Meeting(a=a, b=b, passages=passages) for a, b, passages in meetings],
    )


def report(*chapters: ChapterAnalysis) -> BookReport:
    return get_analyst(None).write_report(title="A book", author="An author", chapters=chapters)


def test_people_of_several_chapters_are_one_person() -> None:
    people = report(
        chapter(1, ("Sherlock Holmes", 40), ("Dr. Watson", 6)),
        chapter(2, ("Holmes", 9), ("Watson", 5)),
        chapter(3, ("Mr. Holmes", 1)),
    ).people

    assert [(p.name, p.mentions, p.chapters) for p in people] == [
        ("Sherlock Holmes", 50, [1, 2, 3]),
        ("Dr. Watson", 11, [1, 2]),
    ]
    assert (people[0].first_chapter, people[0].last_chapter) == (1, 3)
    assert people[0].aliases == ["Holmes", "Mr. Holmes"]


def test_people_of_one_novel_are_joined_by_given_and_family_name() -> None:
    people = report(
        chapter(1, ("Elizabeth Lavenza", 4)),
        chapter(2, ("Elizabeth", 7), ("Henry Clerval", 4)),
        chapter(3, ("Elizabeth", 2), ("Clerval", 9), ("Henry", 3)),
        chapter(4, ("Elizabeth", 1), ("Mr. Frankenstein", 1), ("Victor", 5)),
    ).people

    assert {p.name: p.mentions for p in people} == {
        "Elizabeth Lavenza": 14,
        "Henry Clerval": 16,
        "Victor": 5,
        "Mr. Frankenstein": 1,
    }


def test_meetings_follow_the_joined_people() -> None:
    meetings = report(
        chapter(1, ("Sherlock Holmes", 40), ("Watson", 6), meetings=[("Sherlock Holmes", "Watson", 3)]),
        chapter(2, ("Holmes", 9), ("Watson", 5), meetings=[("Holmes", "Watson", 4)]),
    ).meetings

    assert [(m.a, m.b, m.passages, m.first_chapter) for m in meetings] == [("Sherlock Holmes", "Watson", 7, 1)]


def test_meetings_two_names_of_one_person_are_no_meeting() -> None:
    book = report(
        chapter(1, ("Henry Clerval", 5)),
        chapter(2, ("Clerval", 5), ("Henry", 4), meetings=[("Clerval", "Henry", 2)]),
    )

    assert book.meetings == []


def test_places_named_like_a_main_person_are_left_out() -> None:
    book = report(
        chapter(1, ("Florence", 30)),
        chapter(2, places={"Florence": 1, "Geneva": 3}),
    )

    assert [place.name for place in book.places] == ["Geneva"]


def test_chapters_in_any_order_give_the_same_report() -> None:
    chapters = [chapter(n, ("Anna", n), keywords=["lamp", "door"], tone=n / 10) for n in range(1, 6)]

    assert report(*chapters) == report(*reversed(chapters))


def test_statistics_are_sums_of_the_chapters() -> None:
    statistics = report(chapter(1, words=1000), chapter(2, words=3000), chapter(3, words=500)).statistics

    assert (statistics.chapters, statistics.words, statistics.average_chapter_words) == (3, 4500, 1500)
    assert statistics.longest_chapter is not None
    assert statistics.longest_chapter.number == 2
    assert statistics.shortest_chapter is not None
    assert statistics.shortest_chapter.number == 3


def test_tone_by_chapter_keeps_the_order_of_the_book() -> None:
    tones = report(chapter(2, tone=-0.5), chapter(1, tone=0.5)).tone_by_chapter

    assert [(tone.number, tone.tone.label) for tone in tones] == [(1, "bright"), (2, "dark")]


def test_report_of_no_chapters_is_empty() -> None:
    book = report()

    assert (book.summary, book.people, book.statistics.words) == ("", [], 0)
    assert book.statistics.longest_chapter is None


def test_report_of_empty_chapter_says_so_by_its_numbers() -> None:
    empty = get_analyst(None).analyse_chapter(number=1, title="", text="")

    assert report(empty).statistics.chapters == 1


def test_report_survives_storage_as_json() -> None:
    book = report(chapter(1, ("Anna", 2)))

    assert BookReport.model_validate_json(book.model_dump_json()) == book
