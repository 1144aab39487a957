import textwrap

from books.reader import Limits, SectionKind
from tests.unit.books.builders import PROSE
from tests.unit.books.conftest import Read, Refuse

GUTENBERG = """The Project Gutenberg eBook of The Small Book

This eBook is for the use of anyone anywhere.

Title: The Small Book

Author: Ann Author

Release date: March 1, 1999 [eBook #1]

Language: English

*** START OF THE PROJECT GUTENBERG EBOOK THE SMALL BOOK ***

THE SMALL BOOK

by Ann Author

CONTENTS

 CHAPTER I.    Down the Rabbit-Hole ..... 1
 CHAPTER II.   The Pool of Tears ....... 12
 CHAPTER III.  A Caucus-Race ........... 20

PREFACE

This book was written in one summer, and the author is glad of it.

CHAPTER I.
DOWN THE RABBIT-HOLE

Alice was beginning to get very tired of sitting by her sister on the
bank, and of having nothing to do.

“What a well-
known story!” she thought.


CHAPTER II.

THE POOL OF TEARS

“Curiouser and curiouser!” cried Alice.

CHAPTER III. A CAUCUS-RACE

They were indeed a queer-looking party.

THE END

INDEX

Alice, 1, 2, 3

*** END OF THE PROJECT GUTENBERG EBOOK THE SMALL BOOK ***

Updated editions will replace the previous one.
"""


def test_gutenberg_text_is_split_into_kinds(read: Read) -> None:
    book = read(GUTENBERG.encode())
    assert (book.title, book.author, book.language) == ("The Small Book", "Ann Author", "en")
    kinds = [section.kind for section in book.sections]
    front, chapter, back, licence = SectionKind
    assert kinds == [licence, front, front, front, chapter, chapter, chapter, back, licence]
    assert [chapter.title for chapter in book.chapters] == [
        "Chapter I. Down the Rabbit-Hole",
        "Chapter II. The Pool of Tears",
        "Chapter III. A Caucus-Race",
    ]


def test_hard_wrapped_lines_are_joined(read: Read) -> None:
    text = read(GUTENBERG.encode()).chapters[0].text
    assert text == (
        "Alice was beginning to get very tired of sitting by her sister on the bank, "
        "and of having nothing to do.\n\n"
        "“What a well-known story!” she thought."
    )


def test_contents_with_blank_lines_holds_no_chapters(read: Read) -> None:
    titles = ["I. The First Thing", "II. The Second Thing", "III. The Third Thing"]
    body = "".join(f"{title.upper()}\n\n{PROSE} {i}\n\n" for i, title in enumerate(titles))
    book = read(("A Title\n\nContents\n\n" + "\n\n".join(titles) + "\n\n" + body).encode())
    assert [chapter.title for chapter in book.chapters] == titles
    assert [chapter.text for chapter in book.chapters] == [f"{PROSE} {i}" for i in range(3)]


def test_numerals_inside_numbered_stories_stay_in_the_text(read: Read) -> None:
    text = (
        f"I. A STORY IN PARTS\n\nI.\n\n{PROSE} One.\n\nII.\n\n{PROSE} Two.\n\nII. ANOTHER STORY\n\n{PROSE} Three.\n\n"
    )
    book = read(text.encode())
    assert [chapter.title for chapter in book.chapters] == ["I. A Story in Parts", "II. Another Story"]
    assert book.chapters[0].text == f"I.\n\n{PROSE} One.\n\nII.\n\n{PROSE} Two."


def test_chapters_of_several_parts_are_told_apart(read: Read) -> None:
    text = "".join(
        f"PART {part}\n\n\n" + "".join(f"CHAPTER {n}\n\n{PROSE} {part}{n}\n\n" for n in ("I", "II"))
        for part in ("ONE", "TWO")
    )
    book = read(text.encode())
    assert [chapter.number for chapter in book.chapters] == [1, 2, 3, 4]
    assert [chapter.title for chapter in book.chapters] == [
        "Part One, Chapter I",
        "Part One, Chapter II",
        "Part Two, Chapter I",
        "Part Two, Chapter II",
    ]
    assert [chapter.text.split()[-1] for chapter in book.chapters] == ["ONEI", "ONEII", "TWOI", "TWOII"]


def test_prologue_and_epilogue_are_chapters(read: Read) -> None:
    text = "".join(f"{title}\n\n{PROSE}\n\n" for title in ("PROLOGUE", "CHAPTER ONE", "CHAPTER TWO", "EPILOGUE"))
    assert [chapter.title for chapter in read(text.encode()).chapters] == [
        "Prologue",
        "Chapter One",
        "Chapter Two",
        "Epilogue",
    ]


def test_markdown_headings_are_chapters(read: Read) -> None:
    book = read(f"# A Novel\n\n## Chapter 1\n\n{PROSE}\n\n## Chapter 2\n\n{PROSE}\n".encode())
    assert [chapter.title for chapter in book.chapters] == ["Chapter 1", "Chapter 2"]


def test_stories_with_titles_in_capitals_are_chapters(read: Read) -> None:
    stories = "".join(f"\n\n\n{title}\n\n{PROSE}\n\nSTOP!\n\n{PROSE}\n" for title in ("THE FOX", "THE CROW"))
    book = read(f"TALES\n\nby Ann Author\n{stories}".encode())
    assert (book.title, book.author) == ("Tales", "Ann Author")
    assert [chapter.title for chapter in book.chapters] == ["The Fox", "The Crow"]


def test_text_without_heading_is_one_chapter(read: Read) -> None:
    book = read(f"{PROSE}\n\n{PROSE}\n".encode(), name="my_story.txt")
    assert [(chapter.number, chapter.title) for chapter in book.chapters] == [(1, "my story")]
    assert book.chapters[0].text == f"{PROSE}\n\n{PROSE}"


def test_list_in_prose_makes_no_chapters(read: Read) -> None:
    text = f"CHAPTER I\n\n{PROSE}\n\n1. Take a bowl.\n\n2. Break an egg.\n\nCHAPTER II\n\n{PROSE}\n"
    assert len(read(text.encode()).chapters) == 2


def test_sentence_that_starts_like_a_heading_makes_no_chapter(read: Read) -> None:
    text = f"Chapter 1\n\n{PROSE}\n\nChapter 2 was the one he liked.\n\nLetter I never sent.\n\n{PROSE}\n"
    assert len(read(text.encode()).chapters) == 1


def test_text_without_blank_lines_keeps_paragraphs(read: Read) -> None:
    paragraph = textwrap.fill(PROSE * 4, 70) + "\nSo it ended.\n"
    book = read(("CHAPTER 1\n" + paragraph * 5 + "CHAPTER 2\n" + paragraph * 5).encode())
    assert len(book.chapters) == 2
    assert book.chapters[0].text.count("\n\n") >= 4


def test_text_with_one_line_a_paragraph_keeps_paragraphs(read: Read) -> None:
    book = read(("Chapter 1\n" + (PROSE * 3 + "\n") * 4).encode())
    assert book.chapters[0].text.count("\n\n") == 3


def test_windows_line_ends_are_read_alike(read: Read) -> None:
    assert read(GUTENBERG.replace("\n", "\r\n").encode()).sections == read(GUTENBERG.encode()).sections


def test_text_in_utf16_is_read_alike(read: Read) -> None:
    assert read(GUTENBERG.encode("utf-16")).sections == read(GUTENBERG.encode()).sections


def test_ten_thousand_chapters_are_too_many(refuse: Refuse) -> None:
    text = "".join(f"Chapter {n}\n\n{PROSE}\n\n" for n in range(1, 10_001))
    error = refuse(text.encode())
    assert error.reason == "too_many_chapters"
    assert "10,000" in error.message
    assert "2,000" in error.message


def test_text_beyond_limit_is_too_large(refuse: Refuse) -> None:
    assert refuse((PROSE + "\n\n").encode() * 200, limits=Limits(max_text_characters=10_000)).reason == "too_large"


def test_markers_alone_have_no_text(refuse: Refuse) -> None:
    lines = "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\n"
    assert refuse(lines.encode()).reason == "no_text"
