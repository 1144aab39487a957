import pytest

from books.reader.headings import Style, matter_kind, nice_title, parse_heading
from books.reader.sections import SectionKind


@pytest.mark.parametrize(
    ("line", "style", "number"),
    [
        ("CHAPTER I", Style.CHAPTER, 1),
        ("Chapter 12. The Whiteness of the Whale", Style.CHAPTER, 12),
        ("Chapter Twenty-One: An Ending", Style.CHAPTER, "twenty one"),
        ("CHAPTER THE FIRST", Style.CHAPTER, "the first"),
        ("Letter 4", Style.CHAPTER, 4),
        ("STAVE ONE: Marley’s Ghost", Style.CHAPTER, "one"),
        ("Kapitel 3", Style.CHAPTER, 3),
        ("第三章 風の音", Style.CHAPTER, "第三章 "),
        ("PART II", Style.DIVISION, 2),
        ("BOOK THE FIRST—RECALLED TO LIFE", Style.DIVISION, "the first"),
        ("IV. THE BOSCOMBE VALLEY MYSTERY", Style.NUMBERED, 4),
        ("3. The Quest", Style.NUMBERED, 3),
        ("XIV.", Style.NUMERAL, 14),
        ("Preface", Style.MATTER, None),
        ("TABLE OF CONTENTS", Style.MATTER, None),
    ],
)
def test_heading_line_is_recognised(line: str, style: Style, number: object) -> None:
    heading = parse_heading(line)
    assert heading is not None
    assert (heading.style, heading.number) == (style, number)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Letter I received yesterday from my sister",
        "I went down to the river.",
        "Chapter by chapter he read on",
        "He was mild, civil and vivid.",
        "Chapter civil war",
        "12.50 was the price",
        "x" * 5_000,
        "Chapter 1 " + "long " * 50,
    ],
)
def test_sentence_is_no_heading(line: str) -> None:
    assert parse_heading(line) is None


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("I. A SCANDAL IN BOHEMIA", "I. A Scandal in Bohemia"),
        ("CHAPTER I. DOWN THE RABBIT-HOLE", "Chapter I. Down the Rabbit-Hole"),
        ("IX. THE ADVENTURE OF THE ENGINEER’S THUMB", "IX. The Adventure of the Engineer’s Thumb"),
        ("O’BRIEN AND MR. D’ARTAGNAN", "O’Brien and Mr. D’Artagnan"),
        ("HENRY VIII AND THE MIX", "Henry VIII and the Mix"),
        ("Already Nice, by iPod", "Already Nice, by iPod"),
        ("第三章", "第三章"),
    ],
)
def test_title_in_capitals_becomes_title_case(title: str, expected: str) -> None:
    assert nice_title(title, {}) == expected


def test_title_in_capitals_follows_contents_list() -> None:
    assert nice_title("III. LE CHATEAU D’IF", {"le chateau d if": "Le Chateau d’If"}) == "III. Le Chateau d’If"


@pytest.mark.parametrize(
    ("title", "before", "after"),
    [
        ("Contents", SectionKind.FRONT, SectionKind.FRONT),
        ("Preface to the Second Edition", SectionKind.FRONT, None),
        ("Dedication", SectionKind.FRONT, None),
        ("Acknowledgements", SectionKind.FRONT, SectionKind.BACK),
        ("TRANSCRIBER’S NOTES:", SectionKind.FRONT, SectionKind.BACK),
        ("Index", SectionKind.FRONT, SectionKind.BACK),
        ("About the Author", SectionKind.FRONT, SectionKind.BACK),
        ("THE FULL PROJECT GUTENBERG LICENSE", SectionKind.LICENCE, SectionKind.LICENCE),
        ("Prologue", None, None),
        ("Epilogue", None, None),
        ("The Index Finger", None, None),
        ("The Cover of Night", None, None),
    ],
)
def test_matter_title_is_told_by_its_place(title: str, before: SectionKind | None, after: SectionKind | None) -> None:
    assert matter_kind(title, before_chapters=True) is before
    assert matter_kind(title, before_chapters=False) is after
