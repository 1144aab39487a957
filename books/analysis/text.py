"""A chapter cut into paragraphs, sentences and passages, once, for all who read it.

Pure functions of the text: no language knowledge beyond abbreviations, no network, linear time.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from books.analysis.results import Length
from books.analysis.vocabulary import ABBREVIATIONS

WORDS_PER_MINUTE = 230  # silent reading of fiction, Brysbaert 2019: 238 for non-fiction, 260 for fiction
MAX_SENTENCE_WORDS = 120  # longer ones are cut, so that no later step meets a sentence of a megabyte
PASSAGE_WORDS = 120  # a passage is full when it has so many words

_PARAGRAPH_BREAK = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)|[。！？؟۔]+[」』”]*")
_LAST_WORD = re.compile(r"([^\W\d_]+(?:\.[^\W\d_]+)*)\.[\"'”’)\]]*$")
_STARTS_LOWER = re.compile(r"\s*[\"'“‘«(\[]*[a-zà-öø-ÿ]")
# A letter of a script written without spaces counts as a word of its own.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:[’'\-][^\W_]+)*"
)


@dataclass(frozen=True)
class Sentence:
    text: str
    paragraph: int


@dataclass(frozen=True)
class Text:
    content: str

    @cached_property
    def paragraphs(self) -> list[str]:
        content = self.content.replace("\r\n", "\n").replace("_", "")
        return [" ".join(part.split()) for part in _PARAGRAPH_BREAK.split(content) if part.strip()]

    @cached_property
    def sentences(self) -> list[Sentence]:
        return [
            Sentence(sentence, number)
            for number, paragraph in enumerate(self.paragraphs)
            for sentence in split_sentences(paragraph)
        ]

    @cached_property
    def passages(self) -> list[str]:
        """Neighbouring sentences, joined until a passage is full, broken at paragraphs where possible."""
        passages: list[str] = []
        current: list[str] = []
        words, paragraph = 0, 0
        for sentence in self.sentences:
            new_paragraph = sentence.paragraph != paragraph
            if current and (words >= 2 * PASSAGE_WORDS or (new_paragraph and words >= PASSAGE_WORDS)):
                passages.append(" ".join(current))
                current, words = [], 0
            current.append(sentence.text)
            words += count_words(sentence.text)
            paragraph = sentence.paragraph
        return [*passages, " ".join(current)] if current else passages

    @cached_property
    def length(self) -> Length:
        words = sum(count_words(paragraph) for paragraph in self.paragraphs)
        return Length(
            characters=len(self.content),
            words=words,
            sentences=len(self.sentences),
            reading_minutes=reading_minutes(words),
        )


def reading_minutes(words: int) -> int:
    return 0 if not words else max(1, round(words / WORDS_PER_MINUTE))


def count_words(text: str) -> int:
    return sum(1 for _ in _WORD.finditer(text))


def split_sentences(paragraph: str) -> list[str]:
    sentences: list[str] = []
    start = 0
    for end in _SENTENCE_END.finditer(paragraph):
        if _ends_sentence(paragraph, start, end):
            sentences.extend(_cut(paragraph[start : end.end()].strip()))
            start = end.end()
    sentences.extend(_cut(paragraph[start:].strip()))
    return [sentence for sentence in sentences if sentence]


def _ends_sentence(paragraph: str, start: int, end: re.Match[str]) -> bool:
    if _STARTS_LOWER.match(paragraph, end.end()):
        return False
    if end.group()[0] != "." or end.group().startswith(".."):
        return True
    last = _LAST_WORD.search(paragraph[max(start, end.end() - 24) : end.end()])
    if last is None:
        return True
    word = last.group(1)
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    return not (is_initial or word.lower() in ABBREVIATIONS)


def _cut(sentence: str) -> list[str]:
    words = sentence.split()
    if len(words) <= MAX_SENTENCE_WORDS:
        return [sentence]
    return [" ".join(words[start : start + MAX_SENTENCE_WORDS]) for start in range(0, len(words), MAX_SENTENCE_WORDS)]
