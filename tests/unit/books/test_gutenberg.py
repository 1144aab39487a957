"""Two real books of Project Gutenberg, which lie beside the repository and never in it."""

import os
import re
import zipfile
from html import unescape
from pathlib import Path

import pytest

from books.reader import BookText, SectionKind, read_book

REPOSITORY = Path(__file__).resolve().parents[3]
SHARED_BOOKS = Path(os.environ.get("SHARED_BOOKS", REPOSITORY.parent / "shared" / "books"))

ADVENTURES = [
    "I. A Scandal in Bohemia",
    "II. The Red-Headed League",
    "III. A Case of Identity",
    "IV. The Boscombe Valley Mystery",
    "V. The Five Orange Pips",
    "VI. The Man with the Twisted Lip",
    "VII. The Adventure of the Blue Carbuncle",
    "VIII. The Adventure of the Speckled Band",
    "IX. The Adventure of the Engineer’s Thumb",
    "X. The Adventure of the Noble Bachelor",
    "XI. The Adventure of the Beryl Coronet",
    "XII. The Adventure of the Copper Beeches",
]


def path_of(name: str) -> Path:
    path = SHARED_BOOKS / name
    if not path.exists():
        pytest.skip(f"{name} isn't beside the repository; set SHARED_BOOKS to its folder")
    return path


@pytest.fixture(scope="module")
def holmes() -> BookText:
    return read_book(path_of("pg1661-sherlock-holmes.epub"))


@pytest.fixture(scope="module")
def frankenstein() -> BookText:
    return read_book(path_of("pg84-frankenstein.epub"))


def raw_words(path: Path) -> list[str]:
    """Return all words of an EPUB's documents in order, by another way than the reader's."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".htm.html")]
        pages = [archive.read(name).decode() for name in names]
    bodies = [page[page.index("<body") :] for page in pages]
    spaced = (re.sub(r"</(?:p|h\d|div|td|tr)>|<br/>", " ", body) for body in bodies)
    return [word for body in spaced for word in re.findall(r"\w+", unescape(re.sub(r"<[^>]*>", "", body)).casefold())]


def words_of(book: BookText) -> list[str]:
    heads = {SectionKind.CHAPTER: True}
    return [
        word
        for section in book.sections
        for part in ((section.title, section.text) if heads.get(section.kind) else (section.text,))
        for word in re.findall(r"\w+", part.casefold())
    ]


def test_holmes_metadata_is_read(holmes: BookText) -> None:
    assert (holmes.format, holmes.title) == ("epub", "The Adventures of Sherlock Holmes")
    assert (holmes.author, holmes.language) == ("Arthur Conan Doyle", "en")


def test_holmes_chapters_are_the_twelve_adventures(holmes: BookText) -> None:
    assert [chapter.title for chapter in holmes.chapters] == ADVENTURES
    assert [chapter.number for chapter in holmes.chapters] == list(range(1, 13))


def test_holmes_scandal_keeps_its_three_parts(holmes: BookText) -> None:
    paragraphs = holmes.chapters[0].text.split("\n\n")
    assert [paragraph for paragraph in paragraphs if len(paragraph) <= 4] == ["I.", "II.", "III."]
    assert paragraphs[1].startswith("To Sherlock Holmes she is always the woman.")
    assert paragraphs[-1].endswith("it is always under the honourable title of the woman.")


def test_holmes_last_chapter_ends_before_the_licence(holmes: BookText) -> None:
    assert holmes.chapters[-1].text.endswith("where I believe that she has met with considerable success.")
    assert not any("gutenberg" in chapter.text.casefold() for chapter in holmes.chapters)
    assert [section.kind for section in holmes.sections if section.kind is SectionKind.LICENCE] == ["licence"] * 2


def test_frankenstein_metadata_is_read(frankenstein: BookText) -> None:
    assert frankenstein.title == "Frankenstein; Or, The Modern Prometheus"
    assert (frankenstein.author, frankenstein.language) == ("Mary Wollstonecraft Shelley", "en")


def test_frankenstein_chapters_are_letters_then_chapters(frankenstein: BookText) -> None:
    expected = [f"Letter {n}" for n in range(1, 5)] + [f"Chapter {n}" for n in range(1, 25)]
    assert [chapter.title for chapter in frankenstein.chapters] == expected


def test_frankenstein_begins_and_ends_whole(frankenstein: BookText) -> None:
    assert frankenstein.chapters[0].text.startswith("To Mrs. Saville, England.\n\nSt. Petersburgh, Dec. 11th, 17—.")
    assert frankenstein.chapters[4].text.startswith("I am by birth a Genevese")
    assert frankenstein.chapters[-1].text.endswith("borne away by the waves and lost in darkness and distance.")
    assert not any("gutenberg" in chapter.text.casefold() for chapter in frankenstein.chapters)


@pytest.mark.parametrize("name", ["pg1661-sherlock-holmes.epub", "pg84-frankenstein.epub"])
def test_real_book_keeps_every_word_once_and_in_order(name: str) -> None:
    path = path_of(name)
    raw = raw_words(path)
    raw.remove("contents")  # the one heading that is no chapter's; its section is called so
    assert words_of(read_book(path)) == raw


def test_real_book_text_is_clean(holmes: BookText, frankenstein: BookText) -> None:
    for section in holmes.sections + frankenstein.sections:
        for paragraph in section.text.split("\n\n"):
            assert paragraph == " ".join(paragraph.split())
            assert paragraph
