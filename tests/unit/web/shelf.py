"""Books in every state, as rows: what the pages show does not need a run that really ran."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.core.files.base import ContentFile
from django.utils import timezone

from authentication.models import User
from books.models import Book, Section
from runs.models import Run

HOSTILE = "<script>alert('x')</script> & \"quoted\""

ANALYSIS: dict[str, Any] = {
    "number": 1,
    "title": "One",
    "language": "en",
    "summary": "Anna meets Boris at the mill.",
    "keywords": ["mill"],
    "people": [{"name": "Anna", "mentions": 7, "aliases": []}],
    "places": [],
    "tone": {"score": -0.25, "label": "mixed"},
    "length": {"characters": 9_000, "words": 1_500, "sentences": 90, "reading_minutes": 6},
    "meetings": [{"a": "Anna", "b": "Boris", "passages": 2}],
}


def make_report(title: str = "The Mill") -> dict[str, Any]:
    return {
        "title": title,
        "author": "C. D. Ef",
        "language": "en",
        "summary": "Two people meet at a mill.",
        "keywords": ["mill", "river"],
        "people": [
            _make_person("Anna", mentions=1_234, aliases=["Annie"], chapters=[1, 2]),
            _make_person("Boris", mentions=9, aliases=[], chapters=[2]),
        ],
        "places": [{"name": "Riga", "mentions": 3, "chapters": [1]}],
        "meetings": [{"a": "Anna", "b": "Boris", "passages": 2, "first_chapter": 2}],
        "tone": {"score": 0.1, "label": "mixed"},
        "tone_by_chapter": [
            {"number": 1, "title": "One", "tone": {"score": -0.25, "label": "mixed"}},
            {"number": 2, "title": "Two", "tone": {"score": 0.5, "label": "bright"}},
        ],
        "statistics": {
            "chapters": 2,
            "characters": 18_000,
            "words": 3_000,
            "sentences": 180,
            "reading_minutes": 95,
            "average_chapter_words": 1_500,
            "longest_chapter": None,
            "shortest_chapter": None,
        },
    }


def _make_person(name: str, *, mentions: int, aliases: list[str], chapters: list[int]) -> dict[str, Any]:
    return {
        "name": name,
        "mentions": mentions,
        "aliases": aliases,
        "chapters": chapters,
        "first_chapter": chapters[0],
        "last_chapter": chapters[-1],
    }


def make_run(status: str, owner: User, *, parent: Run | None = None, **fields: Any) -> Run:
    """A run as the engine would leave it in this status; "cancelling" is running with a stop asked for,
    "pausing" with a pause."""
    run_id = uuid.uuid4()
    now = timezone.now()
    values: dict[str, Any] = {
        "id": run_id,
        "root_id": parent.root_id if parent else run_id,
        "parent": parent,
        "graph": "chapter" if parent else "book",
        "thread_id": str(run_id),
        "task": "test",
        "queue": "test",
        "owner": owner,
        "status": "running" if status in ("cancelling", "pausing") else status,
    }
    if values["status"] == "running":
        values |= {"lease_expires_at": now + timedelta(hours=1), "attempt": 1, "pid": 1}
    if status in ("completed", "failed", "cancelled"):
        values["finished_at"] = now
    if status in ("cancelling", "cancelled"):
        values |= {"stop_requested_at": now, "stop_mode": "cancel"}
        values |= {"stop_interrupt_at": now + timedelta(seconds=20), "stop_deadline": now + timedelta(seconds=30)}
    if status in ("pausing", "paused"):
        values["pause_requested_at"] = now
    return Run.objects.create(**(values | fields))


def make_book(owner: User, *, title: str = "The Mill", status: str | None = None, **fields: Any) -> Book:
    run_fields = fields.pop("run_fields", {})
    run = make_run(status, owner, **run_fields) if status else None
    book = Book(owner=owner, title=title, file_name="mill.txt", run=run, **fields)
    book.file.save("mill.txt", ContentFile(b"Chapter One"), save=False)
    book.save()
    return book


def add_chapters(book: Book, count: int, *, analysed: int = 0) -> None:
    for number in range(1, count + 1):
        found = {**ANALYSIS, "number": number} if number <= analysed else None
        Section.objects.create(
            book=book,
            position=number,
            number=number,
            kind="chapter",
            title=f"Part {number}",
            text="…",
            analysis=found,
        )
