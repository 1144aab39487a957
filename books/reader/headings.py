"""Headings: which lines are headings, of what kind, and how a title is printed nicely.

All patterns are applied to at most MAX_HEADING_CHARACTERS, so that no input makes them slow.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from books.reader.blocks import words
from books.reader.sections import SectionKind

MAX_HEADING_CHARACTERS = 160

CHAPTER_WORDS = (
    "chapter|chap|letter|stave|canto|adventure|lecture|lesson|act|epistle|fable|"
    "chapitre|lettre|kapitel|brief|cap[ií]tulo|capitolo|carta|lettera|hoofdstuk|rozdział|kapitola|luku|"
    "глава|письмо"
)
DIVISION_WORDS = (
    "part|book|volume|vol|section|partie|livre|tome|teil|buch|band|parte|libro|livro|deel|boek|часть|книга|том"
)
UNITS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
    "seventeen|eighteen|nineteen|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|"
    "twelfth|thirteenth|fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|last|premier|première"
)
TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|twentieth|thirtieth|fortieth|fiftieth"
NUMBER_WORD = rf"(?:the\s+)?(?:(?:{TENS})(?:[-\s](?:{UNITS}))?|{UNITS})"
LABELLED = re.compile(
    rf"(?P<word>{CHAPTER_WORDS}|{DIVISION_WORDS})\.?\s+(?P<number>[ivxlcdm]+|\d+|{NUMBER_WORD})\b"
    r"(?P<mark>\s*[.:\-–—\])]*)\s*(?P<rest>.*)",
    re.I,
)
REVERSED = re.compile(rf"(?:the\s+)?(?:{UNITS})\s+(?P<word>chapter|letter|part|book|volume|act|canto)\.?", re.I)
CHINESE = re.compile(r"第[〇零一二三四五六七八九十百千0-9０-９]+(?P<word>[章回話话節节部卷編编])\s*(?P<rest>.*)")
NUMBERED = re.compile(r"(?P<number>[IVXLCDM]+|\d{1,4})\s*[.:)–—-]+\s*(?P<rest>[^\W\d_].*|[\"“‘'«].*)")
NUMERAL = re.compile(r"(?P<number>[IVXLCDM]+|\d{1,4})\s*[.:]?")
ROMAN = re.compile(r"(?=[IVXLCDM])M{0,3}(CM|CD|D?C{0,4})(XC|XL|L?X{0,4})(IX|IV|V?I{0,4})")
ELIDED = re.compile(r"[od]['’]\w{2}")
ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
ROMAN_LOOKALIKES = {"MIX", "MI", "DI", "LI", "DIM", "MID", "CD", "MD", "DC", "MM", "CC"}

CONTENTS = re.compile(
    r"(the )?(table of )?contents|toc|contents of .*|table des mati[eè]res|inhalt(sverzeichnis)?|[íi]ndice|"
    r"indice|sommaire|inhoud|содержание|оглавление|目次|目录"
)
LICENCE = re.compile(r".*project gutenberg\S* (ebook|etext|licen[cs]e).*|.*full (project gutenberg\S* )?licen[cs]e.*")
FRONT = re.compile(
    r"(the )?cover( page| image)?|(half )?title( ?page)?|titlepage|half ?title|imprint|colophon|copyright.*|"
    r"dedication|dedicated to.*|epigraph|frontispiece|(author s |editor s |publisher s |translator s )?"
    r"(preface|foreword|introduction|note)( .*)?|prefatory .*|introductory .*|to the reader|"
    r"note (to|on) the .*|"
    r"(list of )?(illustrations|figures|tables|maps|plates|characters|abbreviations)|maps?|praise for.*|"
    r"dramatis person\w+|vorwort|einleitung|avant propos|pr[ée]face|prefacio|pr[óo]logo del autor|widmung|"
    r"front ?matter|advance praise.*"
)
BACK = re.compile(
    r"(general |subject |alphabetical )?index( of .*)?|back ?matter|glossary.*|bibliography|"
    r"(works|literature) cited|"
    r"references|further reading|appendi(x|ces)( .*)?|afterword( .*)?|(foot|end) ?notes|notes|errata|credits|"
    r"about the (author|authors|publisher|translator|editor|type).*|colophon|anmerkungen|"
    r"nachwort|notes de .*|"
    r"(discussion|reading group) (questions|guide)|uncopyright"
)
EITHER_END = re.compile(
    r"acknowledge?ments?|transcriber s? ?notes?.*|advert[is]+ements?( .*)?|"
    r"(also|other (books|works)|books|works) by .*|"
    r"about this (book|e ?book|edition|story|text)|"
    r"by the same author|editor s note.*|author s note.*|copyright.*|newsletter.*"
)
STORY_EDGE = re.compile(r"(?:prologue?|epilogue?|interlude|finale|coda|conclusion|postscript|envoi)[.:]?", re.I)
DECORATION = " *_=~#•·"
SMALL_WORDS = frozenset({
    "a", "an", "and", "as", "at", "but", "by", "for", "from", "in", "into", "nor", "of", "off", "on",
    "or", "over", "per", "the", "to", "up", "upon", "with", "via", "de", "la", "le", "les", "du", "des",
    "et", "von", "und", "der", "die", "das", "den", "del", "y", "e", "o",
})  # fmt: skip
ALWAYS_FRONT_AFTER_CHAPTERS = re.compile(r"(half )?title ?page|cover( page)?|contents")


class Style(StrEnum):
    CHAPTER = "chapter"  # Chapter 7, Letter the First, 第三章
    DIVISION = "division"  # Part II, Book One
    NUMBERED = "numbered"  # IV. The Boscombe Valley Mystery
    NUMERAL = "numeral"  # IV.
    MATTER = "matter"  # Preface, Contents, Index; Prologue, which has no number either


@dataclass(frozen=True, slots=True)
class Heading:
    style: Style
    number: int | str | None = None
    rest: str = ""
    label: str = ""


def parse_heading(text: str) -> Heading | None:
    """Return what kind of heading a line is, or None for any other line."""
    if not text or len(text) > MAX_HEADING_CHARACTERS:
        return None
    text = text.strip(DECORATION)
    heading = _labelled(text) or _numbered(text)
    if heading is not None:
        return heading
    is_matter = STORY_EDGE.fullmatch(text) or matter_kind(text, before_chapters=True) is not None
    return Heading(Style.MATTER) if is_matter else None


def _labelled(text: str) -> Heading | None:
    if match := CHINESE.fullmatch(text):
        style = Style.DIVISION if match["word"] in "部卷編编" else Style.CHAPTER
        return Heading(style, text[: match.start("rest")], match["rest"], match["word"])
    if match := REVERSED.fullmatch(text):
        style = Style.DIVISION if match["word"].lower() in {"part", "book", "volume"} else Style.CHAPTER
        return Heading(style, text.casefold())
    match = LABELLED.fullmatch(text)
    if match is None:
        return None
    rest, number = match["rest"].strip(), match["number"]
    if rest and (not match["mark"].strip() and rest[0].islower()):
        return None  # "Letter I received" is a sentence
    if re.fullmatch(r"[ivxlcdm]+", number, re.I) and not ROMAN.fullmatch(number.upper()):
        return None
    style = Style.DIVISION if re.fullmatch(DIVISION_WORDS, match["word"], re.I) else Style.CHAPTER
    return Heading(style, number_value(number), rest, match["word"].casefold())


def _numbered(text: str) -> Heading | None:
    match = NUMERAL.fullmatch(text)
    if match and is_number(match["number"]):
        return Heading(Style.NUMERAL, number_value(match["number"]))
    match = NUMBERED.fullmatch(text)
    if match and is_number(match["number"]):
        return Heading(Style.NUMBERED, number_value(match["number"]), match["rest"].strip())
    return None


def is_number(text: str) -> bool:
    return text.isdecimal() or bool(ROMAN.fullmatch(text))


def number_value(text: str) -> int | str:
    """Return the value of 12 or XII; a number in words stays words."""
    if text.isdecimal():
        return int(text[:9])
    if not ROMAN.fullmatch(text.upper()):
        return " ".join(words(text))
    total = previous = 0
    for letter in reversed(text.upper()):
        value = ROMAN_VALUES[letter]
        total += value if value >= previous else -value
        previous = max(previous, value)
    return total


def matter_kind(title: str, *, before_chapters: bool) -> SectionKind | None:
    """Return FRONT, BACK or LICENCE for a title that says so, None for any other title."""
    plain = " ".join(words(title[:MAX_HEADING_CHARACTERS])).replace("'", " ")
    if LICENCE.fullmatch(plain):
        return SectionKind.LICENCE
    if is_contents(title) or ALWAYS_FRONT_AFTER_CHAPTERS.fullmatch(plain):
        return SectionKind.FRONT
    if EITHER_END.fullmatch(plain):
        return SectionKind.FRONT if before_chapters else SectionKind.BACK
    if BACK.fullmatch(plain):
        return SectionKind.FRONT if before_chapters else SectionKind.BACK
    if FRONT.fullmatch(plain) and before_chapters:
        return SectionKind.FRONT
    return None


def is_contents(title: str) -> bool:
    return bool(CONTENTS.fullmatch(" ".join(words(title[:MAX_HEADING_CHARACTERS]))))


def nice_title(title: str, printed: dict[str, str]) -> str:
    """Return a title in capitals only as the contents list prints it, else in title case.

    Args:
        printed: the mixed-case lines of the contents list, keyed by `title_key`.
    """
    title = title.strip(DECORATION)
    heading = parse_heading(title)
    if heading and not heading.rest:
        return _nice(title.rstrip(" .:"), printed)
    if heading and heading.rest in title:
        label = title[: title.rindex(heading.rest)].rstrip()
        if label[-1:].isalnum():
            label += "."
        return f"{_nice(label, printed)} {_nice(heading.rest, printed)}"
    return _nice(title, printed)


def _nice(title: str, printed: dict[str, str]) -> str:
    letters = [character for character in title if character.isalpha()]
    if not letters or any(letter.islower() for letter in letters):
        return title
    found = printed.get(title_key(title))
    return found if found is not None else title_case(title)


def title_key(title: str) -> str:
    return " ".join(words(title))


def title_case(title: str) -> str:
    parts = title.split()
    last = len(parts) - 1
    return " ".join(_capitalise(part, outer=i in (0, last)) for i, part in enumerate(parts))


def _capitalise(part: str, *, outer: bool) -> str:
    bare = part.strip(".,:;!?()[]\"'“”‘’")
    if ROMAN.fullmatch(bare) and bare not in ROMAN_LOOKALIKES:
        return part
    pieces = re.split(r"([-—–])", part.lower())
    cased = []
    for i, piece in enumerate(pieces):
        inner = not outer or 0 < i < len(pieces) - 1
        cased.append(piece if inner and piece in SMALL_WORDS else _upper_first(piece))
    return "".join(cased)


def _upper_first(text: str) -> str:
    if ELIDED.match(text):  # O’Brien, d’Artagnan
        return text[:2].capitalize() + _upper_first(text[2:])
    for i, character in enumerate(text):
        if character.isalpha():
            return text[:i] + character.upper() + text[i + 1 :]
    return text
