"""The analyst that needs no model: word lists, counts and graphs, the same result every time."""

from collections.abc import Sequence

from books.analysis.keywords import find_keywords
from books.analysis.language import detect_language
from books.analysis.mentions import count_people
from books.analysis.people import CapitalisedWords, find_people
from books.analysis.places import find_places
from books.analysis.report import merge_chapters
from books.analysis.results import BookReport, ChapterAnalysis
from books.analysis.summary import summarise
from books.analysis.text import Text
from books.analysis.tone import measure_tone


class ClassicalAnalyst:
    def analyse_chapter(self, *, number: int, title: str, text: str) -> ChapterAnalysis:
        content = Text(text)
        language = detect_language(text)
        words = CapitalisedWords.of(content)
        named = find_people(words, chapter=number)
        people, meetings = count_people(content.passages, named)
        places = find_places(words, named)
        forms = [form for person in named for form in (person.name, *person.forms)]
        return ChapterAnalysis(
            number=number,
            title=title,
            language=language,
            summary=summarise(content, forms),
            keywords=find_keywords(content.passages, [*forms, *(place.name for place in places)], language),
            people=people,
            places=places,
            tone=measure_tone(content),
            length=content.length,
            meetings=meetings,
        )

    def write_report(self, *, title: str, author: str | None, chapters: Sequence[ChapterAnalysis]) -> BookReport:
        return merge_chapters(title=title, author=author, chapters=chapters)
