"""The pictures of a report."""

from __future__ import annotations

import math
from typing import Any

from books.analysis.results import BookReport
from books.pictures import LARGEST_DOT, RADIUS, draw_appearances, draw_network
from tests.unit.web.shelf import make_report


def report(**changes: Any) -> BookReport:
    return BookReport.model_validate({**make_report(), **changes})


def test_people_stand_on_a_circle_and_are_joined_where_they_meet() -> None:
    network = draw_network(report())

    assert network is not None
    assert {dot.name for dot in network.dots} == {"Anna", "Boris"}
    assert all(math.isclose(math.hypot(dot.x, dot.y), RADIUS, abs_tol=0.2) for dot in network.dots)
    assert max(dot.radius for dot in network.dots) == LARGEST_DOT  # who is named most
    assert [tie.title for tie in network.ties] == ["Anna and Boris: 2 passages"]
    assert "The strongest is that of Anna and Boris." in network.words


def test_nobody_meets_anybody() -> None:
    assert draw_network(report(meetings=[])) is None


def test_each_person_has_a_row_with_their_chapters_and_each_chapter_its_tone() -> None:
    drawn = draw_appearances(report())

    assert drawn is not None
    anna, boris = drawn.rows
    assert (len(anna.dots), len(boris.dots)) == (2, 1)
    assert boris.dots == [anna.last_x]  # the second chapter
    assert [bar.is_dark for bar in drawn.tones] == [True, False]
    assert drawn.tones[1].y + drawn.tones[1].height <= drawn.tone_y + 0.1  # bright is above the line
    assert drawn.tones[0].title == "Chapter 1, One: mixed"
    assert [number for _, number in drawn.marks] == [1, 2]


def test_book_of_one_chapter_or_without_people_has_no_time_line() -> None:
    assert draw_appearances(report(people=[])) is None
    assert draw_appearances(report(tone_by_chapter=make_report()["tone_by_chapter"][:1])) is None


def test_hundred_chapters_are_numbered_sparsely() -> None:
    tones = [{"number": n, "title": str(n), "tone": {"score": 0.0, "label": "mixed"}} for n in range(1, 101)]
    drawn = draw_appearances(report(tone_by_chapter=tones))

    assert drawn is not None
    assert len(drawn.marks) == 20
