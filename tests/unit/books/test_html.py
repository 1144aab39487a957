import pytest

from books.reader import SectionKind
from tests.unit.books.builders import PROSE, paragraphs
from tests.unit.books.conftest import Read, Refuse


def page(body: str, head: str = "<title>The Page</title>") -> bytes:
    return f'<!DOCTYPE html><html lang="en-GB"><head>{head}</head><body>{body}</body></html>'.encode()


def test_html_headings_become_chapters(read: Read) -> None:
    book = read(
        page(
            "<h1>The Page</h1><h2>by Ann Author</h2><h2>Preface</h2><p>Written in haste, read in peace.</p>"
            f"<h2>CHAPTER I</h2><h3>The Start</h3>{paragraphs(PROSE)}<h3>A Pause</h3><p>And on.</p>"
            f"<h2>CHAPTER II</h2><h3>The End</h3>{paragraphs(PROSE)}<h2>Notes</h2><p>None at all.</p>"
        )
    )
    assert (book.format, book.title, book.author, book.language) == (
        "html",
        "The Page",
        "Ann Author",
        "en-GB",
    )
    assert [(section.kind, section.title) for section in book.sections] == [
        (SectionKind.FRONT, "Title page"),
        (SectionKind.FRONT, "Preface"),
        (SectionKind.CHAPTER, "Chapter I. The Start"),
        (SectionKind.CHAPTER, "Chapter II. The End"),
        (SectionKind.BACK, "Notes"),
    ]
    assert book.chapters[0].text == f"{PROSE}\n\nA Pause\n\nAnd on."


def test_html_with_unnumbered_headings_uses_their_level(read: Read) -> None:
    book = read(page(f"<h1>Tales</h1><h2>The Fox</h2>{paragraphs(PROSE)}<h2>The Crow</h2>{paragraphs(PROSE)}"))
    assert [chapter.title for chapter in book.chapters] == ["The Fox", "The Crow"]


def test_html_contents_list_is_no_chapter(read: Read) -> None:
    links = "".join(f'<li><a href="#c{n}">The Tale {n}</a></li>' for n in range(1, 7))
    tales = "".join(f'<h2 id="c{n}">THE TALE {n}</h2>{paragraphs(PROSE)}' for n in range(1, 7))
    book = read(page(f"<h1>Tales</h1><ul>{links}</ul>{tales}"))
    assert [chapter.title for chapter in book.chapters] == [f"The Tale {n}" for n in range(1, 7)]
    assert "The Tale 3" in next(s.text for s in book.sections if s.title == "Contents")


def test_html_inline_markup_and_breaks_keep_words_whole(read: Read) -> None:
    book = read(
        page(
            '<p><span class="dropcap">T</span>he <i>old</i> house<br/>stood<!-- not this --> still.'
            '<span class="pagenum">[Pg 7]</span><script>var x;</script></p>'
            "bare text <div>in a box</div> and after."
        )
    )
    assert book.chapters[0].text == "The old house stood still.\n\nbare text\n\nin a box\n\nand after."


def test_html_without_headings_is_one_chapter(read: Read) -> None:
    book = read(page(paragraphs(PROSE, PROSE)))
    assert [(chapter.title, chapter.text) for chapter in book.chapters] == [("The Page", f"{PROSE}\n\n{PROSE}")]


def test_html_with_all_in_pre_is_read_as_text(read: Read) -> None:
    book = read(page(f"<pre>\nCHAPTER I\n\n{PROSE}\n\nCHAPTER II\n\n{PROSE}\n</pre>"))
    assert book.format == "html"
    assert [chapter.title for chapter in book.chapters] == ["Chapter I", "Chapter II"]


def test_html_broken_is_mended(read: Read) -> None:
    book = read(b"<html><body><h2>Chapter 1<p>Fish & chips <b>and</i> more words<h2>Chapter 2</h2><p>Next words here")
    assert [chapter.title for chapter in book.chapters] == ["Chapter 1", "Chapter 2"]
    assert "Fish & chips and more words" in "\n".join(section.text for section in book.sections)


def test_html_without_text_has_no_text(refuse: Refuse) -> None:
    assert refuse(page("<img src='a.png'><script>" + "x = 1;" * 50 + "</script>")).reason == "no_text"


def test_html_nested_too_deeply_is_malformed(refuse: Refuse) -> None:
    assert refuse(page("<div>" * 5_000 + PROSE)).reason == "malformed"


def test_html_with_ten_thousand_chapters_has_too_many(refuse: Refuse) -> None:
    body = "".join(f"<h2>Chapter {n}</h2><p>Some words.</p>" for n in range(10_000))
    assert refuse(page(body)).reason == "too_many_chapters"


@pytest.mark.parametrize("evil", ["<" + "a" * 400_000, "<a " * 100_000, "<!--" * 100_000, "&a" * 200_000])
def test_html_made_to_be_slow_is_answered(read: Read, evil: str) -> None:
    assert PROSE in read(page(f"<p>{PROSE}</p>") + evil.encode()).chapters[0].text
