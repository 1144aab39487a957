"""The graphs of a book: `book` reads it, starts one run of `chapter` for each chapter, and writes the report.

A new graph of yours is a copy of this file: a state, nodes that are plain functions, edges between them, and a line
in `langgraph.json`. Every node is a boundary at which a stop takes hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from langgraph.graph import END, START, StateGraph

from books.analysis import AnalysisFailed, ChapterAnalysis, get_analyst
from books.models import Book, Section, SectionKind
from books.reader import BookText, BookUnreadable, read_book
from runs import current_run, join, progress, raise_if_cancelled, spawn


class BookState(TypedDict, total=False):
    """`children` are the ids of the chapters' runs, in reading order."""

    book_id: str
    children: list[str]
    report: dict[str, Any]


class ChapterState(TypedDict, total=False):
    book_id: str
    number: int
    analysis: dict[str, Any]


class ChaptersFailed(Exception):
    """Some chapters could not be analysed, so there is no report."""


class BookGone(Exception):
    """The book is not there any more: it, or its owner, was deleted."""

    def __init__(self) -> None:
        super().__init__("The book was deleted while it was processed.")


# --- book -------------------------------------------------------------------------------------------------


def read(state: BookState) -> BookState:
    """Read the file and store its sections, all of them or none."""
    book = _get_book(state["book_id"])
    try:
        found = read_book(Path(book.file.path), file_name=book.file_name)
    except BookUnreadable as error:
        _refuse(book, error.reason, error.message)
        raise
    except OSError:
        # Its message has the file's place on this machine, which is nothing for the page.
        _refuse(book, "file_gone", "The book's file can't be opened. Upload it again.")
        raise
    raise_if_cancelled()
    _store_sections(book, found)
    return {}


def start_chapters(state: BookState) -> BookState:
    """Start a child run for each chapter; asked again, the same ones."""
    sections = Section.objects.filter(book_id=state["book_id"], kind=SectionKind.CHAPTER).defer("text")
    children = []
    for section in sections:
        child = spawn(
            "chapter",
            {"book_id": state["book_id"], "number": section.number},
            key=str(section.number),
            metadata={"chapter": section.title},
        )
        Section.objects.filter(pk=section.pk).update(run=child)
        children.append(str(child))
    progress(0, len(children))
    return {"children": children}


def await_chapters(state: BookState) -> BookState:
    """Wait for the chapters, holding no worker."""
    results = join([UUID(child) for child in state["children"]], raise_on_failure=False)
    lost = [result for result in results if not result.completed]
    if lost:
        first = (lost[0].error or {}).get("message") or f"its run was {lost[0].status}"
        message = f"{len(lost)} of {len(results)} chapters could not be analysed. The first of them: {first}"
        _refuse(_get_book(state["book_id"]), "chapters_failed", message)
        raise ChaptersFailed(message)
    progress(len(results), len(results))
    return {}


def write_report(state: BookState) -> BookState:
    """Put the chapters together into the book's report and store it."""
    book = _get_book(state["book_id"])
    sections = Section.objects.filter(book=book, kind=SectionKind.CHAPTER).defer("text")
    chapters = [ChapterAnalysis.model_validate(section.analysis) for section in sections]
    report = get_analyst(settings.BOOKS_MODEL).write_report(
        title=book.title, author=book.author or None, chapters=chapters
    )
    raise_if_cancelled()
    document = report.model_dump(mode="json")
    # Only the run that the book points to may write: an older one has been replaced.
    Book.objects.filter(pk=book.pk, run_id=current_run().id).update(
        report=document, analysed_at=timezone.now(), error=None
    )
    return {"report": document}


def _get_book(book_id: str, *, lock: bool = False) -> Book:
    books = Book.objects.select_for_update() if lock else Book.objects.all()
    try:
        return books.get(pk=book_id)
    except Book.DoesNotExist:
        raise BookGone from None


def _store_sections(book: Book, found: BookText) -> None:
    with transaction.atomic():
        book = _get_book(str(book.pk), lock=True)
        book.sections.all().delete()
        Section.objects.bulk_create(
            Section(
                book=book,
                position=position,
                number=section.number,
                kind=section.kind.value,
                title=section.title[:300],
                text=section.text,
            )
            for position, section in enumerate(found.sections)
        )
        Book.objects.filter(pk=book.pk).update(
            title=found.title[:300],
            author=(found.author or "")[:300],
            language=(found.language or "")[:35],
            format=found.format,
            error=None,
        )


def _refuse(book: Book, reason: str, message: str) -> None:
    Book.objects.filter(pk=book.pk).update(error={"type": reason, "message": message})


# --- chapter ----------------------------------------------------------------------------------------------


def analyse(state: ChapterState) -> ChapterState:
    """Summary, keywords, people, places, tone and length of one chapter."""
    try:
        section = Section.objects.get(book_id=state["book_id"], number=state["number"])
    except Section.DoesNotExist:
        raise BookGone from None
    analyst = get_analyst(settings.BOOKS_MODEL)
    try:
        found = analyst.analyse_chapter(number=state["number"], title=section.title, text=section.text)
    except AnalysisFailed as error:
        raise AnalysisFailed(f"chapter {state['number']}, {section.title}: {error}") from error
    return {"analysis": found.model_dump(mode="json")}


def store(state: ChapterState) -> ChapterState:
    """Show the chapter's analysis on the book's page."""
    Section.objects.filter(book_id=state["book_id"], number=state["number"], run_id=current_run().id).update(
        analysis=state["analysis"]
    )
    return {}


book = (
    StateGraph(BookState)
    .add_node("read", read)
    .add_node("start_chapters", start_chapters)
    .add_node("await_chapters", await_chapters)
    .add_node("write_report", write_report)
    .add_edge(START, "read")
    .add_edge("read", "start_chapters")
    .add_edge("start_chapters", "await_chapters")
    .add_edge("await_chapters", "write_report")
    .add_edge("write_report", END)
    .compile(name="book")
)

chapter = (
    StateGraph(ChapterState)
    .add_node("analyse", analyse)
    .add_node("store", store)
    .add_edge(START, "analyse")
    .add_edge("analyse", "store")
    .add_edge("store", END)
    .compile(name="chapter")
)
