"""Reads the chapters of a book and says what is in them, with or without a language model.

Pure Python: knows neither Django nor Celery. Heavy libraries load with the first chapter.
"""

from books.analysis.analyst import AnalysisFailed, Analyst, get_analyst
from books.analysis.results import (
    BookMeeting,
    BookPerson,
    BookPlace,
    BookReport,
    ChapterAnalysis,
    ChapterTone,
    Length,
    Meeting,
    Person,
    Place,
    Statistics,
    Tone,
)

__all__ = [
    "AnalysisFailed",
    "Analyst",
    "BookMeeting",
    "BookPerson",
    "BookPlace",
    "BookReport",
    "ChapterAnalysis",
    "ChapterTone",
    "Length",
    "Meeting",
    "Person",
    "Place",
    "Statistics",
    "Tone",
    "get_analyst",
]
