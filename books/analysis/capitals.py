"""Capitalised words in a row, as they stand in the sentences of a text, without words that are no names.

Finds and describes; whether a run is a person or a place is judged by `people` and `places`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from books.analysis.text import Sentence, Text
from books.analysis.vocabulary import FIRST_NAMES, NATIONALITIES, NOT_NAMES, PARTICLES, is_title

MAX_RUN_WORDS = 8  # a longer run of capitals is a heading, not a name

_TOKEN = re.compile(r"[^\W\d_]+(?:[’'\-][^\W\d_]+)*")
_POSSESSIVE = re.compile(r"[’']s$")
_QUOTE_OPENS = re.compile(r"[\"“‘«(\[]")
_NAME_GAP = re.compile(r"\s+|\.\s*")


@dataclass(frozen=True)
class Run:
    """Capitalised words in a row, with what stands around them."""

    title: str
    words: tuple[str, ...]
    before: str
    before_that: str
    after: str
    gap_before: str
    gap_after: str
    starts_sentence: bool
    possessive: bool
    text: str


def find_runs(text: Text) -> tuple[list[Run], Counter[str]]:
    """Return the runs in text order, and how often each word occurs in lower case."""
    sentences = [[*_TOKEN.finditer(sentence.text)] for sentence in text.sentences]
    lower = Counter(t.group() for tokens in sentences for t in tokens if t.group()[0].islower())
    inside = _capitalised_inside(text.sentences, sentences)
    runs = [
        run
        for sentence, tokens in zip(text.sentences, sentences, strict=True)
        for run in _cut_runs(sentence.text, tokens, lower, inside)
    ]
    return runs, lower


def _capitalised_inside(sentences: list[Sentence], tokens: list[list[re.Match[str]]]) -> Counter[str]:
    """Count the words that are capitalised where the grammar doesn't ask for it."""
    inside: Counter[str] = Counter()
    for sentence, found in zip(sentences, tokens, strict=True):
        for previous, token in pairwise(found):
            gap = sentence.text[previous.end() : token.start()]
            if _is_capitalised(token.group()) and not _QUOTE_OPENS.search(gap) and not set(gap) & set(".!?:"):
                inside[_POSSESSIVE.sub("", token.group())] += 1
    return inside


def _cut_runs(sentence: str, tokens: list[re.Match[str]], lower: Counter[str], inside: Counter[str]) -> Iterator[Run]:
    start = 0
    while start < len(tokens):
        if not _is_capitalised(tokens[start].group()):
            start += 1
            continue
        end = start + 1
        while end < len(tokens) and _continues(sentence, tokens, end):
            end += 1
        while end > start + 1 and not _is_capitalised(tokens[end - 1].group()):
            end -= 1
        yield from _clean_runs(sentence, tokens, start, end, lower, inside)
        start = end


def _continues(sentence: str, tokens: list[re.Match[str]], end: int) -> bool:
    previous, token = tokens[end - 1], tokens[end]
    gap = sentence[previous.end() : token.start()]
    word = previous.group()
    if _POSSESSIVE.search(word):
        return False
    short = word.rstrip(".").lower()
    if "." in gap and not (is_title(short) or short == "st" or len(word) == 1):
        return False
    if not _NAME_GAP.fullmatch(gap):
        return False
    return _is_capitalised(token.group()) or token.group() in PARTICLES


def _clean_runs(
    sentence: str,
    tokens: list[re.Match[str]],
    start: int,
    end: int,
    lower: Counter[str],
    inside: Counter[str],
) -> Iterator[Run]:
    """Yield the run without title words, split at the words that are no part of a name."""
    part: list[int] = []
    for index in range(start, end):
        word = _POSSESSIVE.sub("", tokens[index].group())
        starts = index == start and _starts_sentence(sentence, tokens, index)
        if _is_no_name(word, starts, lower, inside) and not _is_title(word, index + 1 < end):
            if part:
                yield from _build(sentence, tokens, part)
            part = []
        else:
            part.append(index)
    if part:
        yield from _build(sentence, tokens, part)


def _build(sentence: str, tokens: list[re.Match[str]], part: list[int]) -> Iterator[Run]:
    title = ""
    while part and _is_title(tokens[part[0]].group(), len(part) > 1):
        title = title or tokens[part[0]].group()
        part = part[1:]
    if not part or len(part) > MAX_RUN_WORDS or tokens[part[-1]].group() == "St":
        return
    first, last = part[0] - (1 if title else 0), part[-1]
    words = [_POSSESSIVE.sub("", tokens[index].group()) for index in part]
    for number, word in enumerate(words[:-1]):
        if word == "St" or len(word) == 1:
            words[number] = word + "."

    def token(index: int) -> str:
        return tokens[index].group() if 0 <= index < len(tokens) else ""

    yield Run(
        title=title,
        words=tuple(words),
        before=token(first - 1),
        before_that=token(first - 2),
        after=token(last + 1),
        gap_before=sentence[tokens[first - 1].end() : tokens[first].start()] if first > 0 else "",
        gap_after=sentence[tokens[last].end() : tokens[last + 1].start()]
        if last + 1 < len(tokens)
        else sentence[tokens[last].end() :],
        starts_sentence=_starts_sentence(sentence, tokens, first),
        possessive=bool(_POSSESSIVE.search(tokens[last].group())),
        text=_POSSESSIVE.sub("", sentence[tokens[first].start() : tokens[last].end()]),
    )


def _is_no_name(word: str, starts_sentence: bool, lower: Counter[str], inside: Counter[str]) -> bool:
    key = word.lower()
    if key in NOT_NAMES or key in NATIONALITIES:
        return True
    if len(word) > 1 and word.isupper():
        return True
    if word == "St":
        return False
    return starts_sentence and not inside[word] and (bool(lower[key]) or key not in FIRST_NAMES)


def _is_title(word: str, more_follow: bool) -> bool:
    return more_follow and is_title(word)


def _is_capitalised(word: str) -> bool:
    return word[0].isupper() and word != "I" and not word.startswith(("I’", "I'"))


def _starts_sentence(sentence: str, tokens: list[re.Match[str]], index: int) -> bool:
    if index == 0:
        return True
    gap = sentence[tokens[index - 1].end() : tokens[index].start()]
    return bool(_QUOTE_OPENS.search(gap)) or bool(set(gap) & set(".!?:"))
