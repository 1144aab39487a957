"""The contract of an analyst, and the choice between the two there are.

Called by the book graphs. An analyst knows nothing of runs, queues or the database.
"""

from collections.abc import Sequence
from typing import Protocol

from books.analysis.results import BookReport, ChapterAnalysis


class AnalysisFailed(Exception):
    """The analysis can't be had; the message says what to do about it."""


class Analyst(Protocol):
    def analyse_chapter(self, *, number: int, title: str, text: str) -> ChapterAnalysis: ...

    def write_report(self, *, title: str, author: str | None, chapters: Sequence[ChapterAnalysis]) -> BookReport: ...


def get_analyst(model: str | None) -> Analyst:
    """Return the analyst for a model name.

    Args:
        model: a LangChain name such as "openai:gpt-4o-mini"; None or "" for the analyst that
            needs no model, no key and no network.
    """
    if model and model.strip():
        from books.analysis.model import ModelAnalyst

        return ModelAnalyst(model.strip())
    from books.analysis.classical import ClassicalAnalyst

    return ClassicalAnalyst()
