"""What an analysis of a book says: the values that analysts return and that runs store as JSON.

No computation here. Imported by every module of the package and by its callers.
"""

from typing import Literal

from pydantic import BaseModel, Field

ToneLabel = Literal["dark", "mixed", "bright"]


class Person(BaseModel):
    name: str
    mentions: int
    aliases: list[str] = Field(default_factory=list)


class Place(BaseModel):
    name: str
    mentions: int


class Meeting(BaseModel):
    """Two people who share passages; `a` sorts before `b` in the list of people."""

    a: str
    b: str
    passages: int


class Tone(BaseModel):
    score: float = Field(ge=-1, le=1)
    label: ToneLabel


class Length(BaseModel):
    characters: int
    words: int
    sentences: int
    reading_minutes: int


class ChapterAnalysis(BaseModel):
    number: int
    title: str
    language: str | None = Field(default=None, description="ISO 639-1 code, None when not recognised")
    summary: str
    keywords: list[str]
    people: list[Person]
    places: list[Place]
    tone: Tone
    length: Length
    meetings: list[Meeting]


class BookPerson(BaseModel):
    name: str
    mentions: int
    aliases: list[str] = Field(default_factory=list)
    chapters: list[int]
    first_chapter: int
    last_chapter: int


class BookPlace(BaseModel):
    name: str
    mentions: int
    chapters: list[int]


class BookMeeting(BaseModel):
    a: str
    b: str
    passages: int
    first_chapter: int


class ChapterTone(BaseModel):
    number: int
    title: str
    tone: Tone


class ChapterSize(BaseModel):
    number: int
    title: str
    words: int


class Statistics(BaseModel):
    chapters: int
    characters: int
    words: int
    sentences: int
    reading_minutes: int
    average_chapter_words: int
    longest_chapter: ChapterSize | None
    shortest_chapter: ChapterSize | None


class BookReport(BaseModel):
    title: str
    author: str | None
    language: str | None = None
    summary: str
    keywords: list[str]
    people: list[BookPerson]
    places: list[BookPlace]
    meetings: list[BookMeeting]
    tone: Tone
    tone_by_chapter: list[ChapterTone]
    statistics: Statistics
