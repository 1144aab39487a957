"""The report of a book: its page, and as a file."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.text import slugify
from django.views.decorators.http import require_GET

from books import documents
from books.analysis.results import BookReport
from books.models import Book
from books.pictures import draw_appearances, draw_network
from books.views import chapters_of, for_members, get_book

MATRIX_PEOPLE = 10
TONE_REACH_AT_LEAST = 0.2  # so that a book in one even tone looks even


@for_members
@require_GET
def report_page(request: HttpRequest, book_id: UUID) -> HttpResponse:
    book = get_book(request, book_id)
    if book.report is None:
        messages.info(request, "There is no report yet.")
        return redirect("book", book_id)
    report = BookReport.model_validate(book.report)
    chapter_words = {
        section.number: section.analysis["length"]["words"] for section in chapters_of(book) if section.analysis
    }
    context = {
        "book": book,
        "report": report,
        "network": draw_network(report),
        "appearances": draw_appearances(report),
        "matrix": _meeting_matrix(report),
        "tone_reach": max([TONE_REACH_AT_LEAST, *(abs(item.tone.score) for item in report.tone_by_chapter)]),
        "chapters": [(chapter, chapter_words.get(chapter.number)) for chapter in report.tone_by_chapter],
    }
    return render(request, "books/report.html", context)


@for_members
@require_GET
def report_json(request: HttpRequest, book_id: UUID) -> HttpResponse:
    book, _ = _get_report(request, book_id)
    text = json.dumps(book.report, ensure_ascii=False, indent=2) + "\n"
    return _download(text, "application/json", book, "json")


@for_members
@require_GET
def report_markdown(request: HttpRequest, book_id: UUID) -> HttpResponse:
    book, report = _get_report(request, book_id)
    return _download(documents.as_markdown(report), "text/markdown; charset=utf-8", book, "md")


def _get_report(request: HttpRequest, book_id: UUID) -> tuple[Book, BookReport]:
    book = get_book(request, book_id)
    if book.report is None:
        raise Http404("There is no report yet.")
    return book, BookReport.model_validate(book.report)


def _download(text: str, content_type: str, book: Book, ending: str) -> HttpResponse:
    # A slug has no quotes, slashes or line ends, whatever the title has.
    name = f"{slugify(book.title)[:80] or 'report'}.{ending}"
    return HttpResponse(
        text, content_type=content_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


def _meeting_matrix(report: BookReport) -> list[dict[str, Any]]:
    """One row a person, most mentioned first; a cell has the passages they share and a shade from 0 to 4."""
    people = [person.name for person in report.people[:MATRIX_PEOPLE]]
    passages = {frozenset((meeting.a, meeting.b)): meeting.passages for meeting in report.meetings}
    most = max(passages.values(), default=0)
    rows = []
    for row, name in enumerate(people):
        counts = [passages.get(frozenset((name, other)), 0) for other in people]
        cells = [
            {"passages": count, "shade": -(-4 * count // most) if most else 0, "is_self": column == row}
            for column, count in enumerate(counts)
        ]
        rows.append({"number": row + 1, "name": name, "cells": cells})
    return rows if len(rows) > 1 else []
