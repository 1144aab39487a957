"""The report of a book, merged from analyses of its chapters that know nothing of each other."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from books.analysis.keywords import merge_keywords
from books.analysis.names import Candidate, merge_candidates, parse_name
from books.analysis.results import (
    BookMeeting,
    BookPerson,
    BookPlace,
    BookReport,
    ChapterAnalysis,
    ChapterSize,
    ChapterTone,
    Statistics,
    Tone,
)
from books.analysis.summary import pick_sentences
from books.analysis.text import reading_minutes, split_sentences
from books.analysis.tone import make_tone

MAX_PEOPLE = 100
MAX_PLACES = 60
MAX_MEETINGS = 100
MANY_PEOPLE = 30  # from so many on, those named just once in the book are left out
SUMMARY_SENTENCES = 4


def merge_chapters(*, title: str, author: str | None, chapters: Sequence[ChapterAnalysis]) -> BookReport:
    """Return the report; chapters may come in any order."""
    chapters = sorted(chapters, key=lambda chapter: chapter.number)
    people, owners = _merge_people(chapters)
    places = _merge_places(chapters, people)
    statistics = _statistics(chapters)
    return BookReport(
        title=title,
        author=author,
        language=_language(chapters),
        summary=_summarise(chapters, people, places, statistics),
        keywords=merge_keywords([chapter.keywords for chapter in chapters]),
        people=people,
        places=places,
        meetings=_merge_meetings(chapters, people, owners),
        tone=_book_tone(chapters),
        tone_by_chapter=[ChapterTone(number=c.number, title=c.title, tone=c.tone) for c in chapters],
        statistics=statistics,
    )


Owners = dict[tuple[int, str], str]


def _merge_people(chapters: Sequence[ChapterAnalysis]) -> tuple[list[BookPerson], Owners]:
    """Return the people of the book, and who each person of a chapter is among them."""
    found = {(chapter.number, person.name): person for chapter in chapters for person in chapter.people}
    units: dict[str, Candidate] = {}
    for (number, name), person in found.items():
        if parse_name(name) is None:
            continue
        forms = Counter({**dict.fromkeys(person.aliases, 0), name: person.mentions})
        unit = Candidate(forms, {number}, [(number, name)])
        if name in units:
            units[name].absorb(unit)
        else:
            units[name] = unit
    people: list[BookPerson] = []
    owners: Owners = {}
    for merged in merge_candidates(units.values()):
        name = merged.name.text
        numbers = sorted(merged.chapters)
        mentions = sum(found[member].mentions for member in merged.members)
        aliases = sorted(set(merged.forms) - {name})
        people.append(
            BookPerson(
                name=name,
                mentions=mentions,
                aliases=aliases,
                chapters=numbers,
                first_chapter=numbers[0],
                last_chapter=numbers[-1],
            )
        )
        owners.update(dict.fromkeys(merged.members, name))
    return _notable(people), owners


def _notable(people: list[BookPerson]) -> list[BookPerson]:
    people = sorted(people, key=lambda person: (-person.mentions, person.name))
    if len(people) > MANY_PEOPLE:
        people = [person for person in people if person.mentions > 1]
    return people[:MAX_PEOPLE]


def _merge_places(chapters: Sequence[ChapterAnalysis], people: Sequence[BookPerson]) -> list[BookPlace]:
    """Return the places; a name that is rather a person's in the whole book is left out."""
    named = {form: person.mentions for person in people for form in (person.name, *person.aliases)}
    mentions: dict[str, Counter[int]] = defaultdict(Counter)
    for chapter in chapters:
        for place in chapter.places:
            mentions[place.name][chapter.number] += place.mentions
    places = [
        BookPlace(name=name, mentions=counts.total(), chapters=sorted(counts))
        for name, counts in mentions.items()
        if named.get(name, 0) < counts.total()
    ]
    return sorted(places, key=lambda place: (-place.mentions, place.name))[:MAX_PLACES]


def _merge_meetings(
    chapters: Sequence[ChapterAnalysis], people: Sequence[BookPerson], owners: Owners
) -> list[BookMeeting]:
    rank = {person.name: position for position, person in enumerate(people)}
    passages: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], int] = {}
    for chapter in chapters:
        for meeting in chapter.meetings:
            names = {owners.get((chapter.number, name), name) for name in (meeting.a, meeting.b)}
            if len(names) == 2 and names <= rank.keys():
                a, b = sorted(names, key=rank.__getitem__)
                passages[a, b] += meeting.passages
                first.setdefault((a, b), chapter.number)
    meetings = [BookMeeting(a=a, b=b, passages=n, first_chapter=first[a, b]) for (a, b), n in passages.items()]
    meetings.sort(key=lambda meeting: (-meeting.passages, rank[meeting.a], rank[meeting.b]))
    return meetings[:MAX_MEETINGS]


def _statistics(chapters: Sequence[ChapterAnalysis]) -> Statistics:
    sizes = [ChapterSize(number=c.number, title=c.title, words=c.length.words) for c in chapters]
    words = sum(size.words for size in sizes)
    return Statistics(
        chapters=len(chapters),
        characters=sum(chapter.length.characters for chapter in chapters),
        words=words,
        sentences=sum(chapter.length.sentences for chapter in chapters),
        reading_minutes=reading_minutes(words),
        average_chapter_words=round(words / len(chapters)) if chapters else 0,
        longest_chapter=max(sizes, key=lambda size: size.words, default=None),
        shortest_chapter=min(sizes, key=lambda size: size.words, default=None),
    )


def _book_tone(chapters: Sequence[ChapterAnalysis]) -> Tone:
    words = sum(chapter.length.words for chapter in chapters)
    weighted = sum(chapter.tone.score * chapter.length.words for chapter in chapters)
    return make_tone(weighted / words if words else 0.0)


def _language(chapters: Sequence[ChapterAnalysis]) -> str | None:
    languages: Counter[str] = Counter()
    for chapter in chapters:
        if chapter.language:
            languages[chapter.language] += chapter.length.words
    return max(languages, key=lambda code: (languages[code], code), default=None)


def _summarise(
    chapters: Sequence[ChapterAnalysis],
    people: Sequence[BookPerson],
    places: Sequence[BookPlace],
    statistics: Statistics,
) -> str:
    """Return what the book is by its numbers, then sentences from its beginning to its end."""
    if not statistics.words:
        return ""
    count = f"{statistics.chapters} chapter{'s' if statistics.chapters != 1 else ''}"
    lead = f"{count}, {statistics.words:,} words."
    if people:
        lead += f" The people named most: {_list(person.name for person in people[:4])}."
    if places:
        lead += f" The places named most: {_list(place.name for place in places[:3])}."
    sentences = [sentence for chapter in chapters for sentence in split_sentences(chapter.summary)]
    names = [form for person in people[:8] for form in (person.name, *person.aliases)]
    return " ".join([lead, *pick_sentences(sentences, names, parts=SUMMARY_SENTENCES)])


def _list(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
