"""Use cases of a book: add it, process it, stop that. Every surface calls these."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.files.base import File
from django.db import transaction

from authentication.models import User
from books.models import Book
from runs import control
from runs.errors import RunAlreadyEnded
from runs.models import Run
from runs.states import ACTIVE

PROCESS_TASK = "books.tasks.process_book_workflow"
SAMPLE = Path(__file__).parent / "sample" / "the-keeper-of-gull-rock.txt"


class BookNotFound(Exception):
    def __init__(self, book_id: object) -> None:
        super().__init__(f"there is no book {book_id}")


class BookIsStopping(Exception):
    """Its last run was stopped, and something of it still executes."""

    def __init__(self, book: Book) -> None:
        super().__init__(f"“{book.title}” is still stopping: try again when it has stopped")


def add_book(file: File[Any], *, owner: User, file_name: str) -> Book:
    """Keep an uploaded file as a book. Whether it is one is found out when it is processed."""
    name = Path(file_name.replace("\\", "/")).name.replace("\x00", "")[:255] or "untitled"
    book = Book(owner=owner, file_name=name, title=(Path(name).stem.replace("_", " ").strip() or name)[:300])
    book.file.save(name, file, save=False)
    try:
        book.save(force_insert=True)
    except BaseException:
        book.file.delete(save=False)
        raise
    return book


def add_sample_book(owner: User) -> Book:
    """Add the book that ships with the project."""
    with SAMPLE.open("rb") as file:
        return add_book(File(file), owner=owner, file_name=SAMPLE.name)


def start_processing(book: Book, *, by: User | None = None, run_id: UUID | None = None, **options: Any) -> Run:
    """Queue the analysis of a book, or return the run that is already at it.

    Race: the book's row is locked, so two presses of the button give one run.

    Raises:
        BookIsStopping: chapters of the run before have not stopped yet.
    """
    with transaction.atomic():
        locked = Book.objects.select_for_update().select_related("owner").get(pk=book.pk)
        current = locked.run
        if current is not None and not current.is_terminal and not current.is_stopping:
            return current
        if current is not None and Run.objects.filter(root_id=current.root_id, status__in=ACTIVE).exists():
            raise BookIsStopping(locked)
        run = control.submit(
            "book",
            {"book_id": str(book.pk)},
            owner=locked.owner,
            run_id=run_id,
            task=PROCESS_TASK,
            metadata={"book_title": locked.title, "started_by": str(by) if by else None},
            **options,
        )
        Book.objects.filter(pk=book.pk).update(run=run, error=None)
    book.refresh_from_db(fields=["run", "error"])
    return run


def stop_processing(book: Book, *, by: User | None, source: str, reason: str = "") -> None:
    """Ask the book's run and its chapters to stop; does nothing if it has ended."""
    if book.run_id is None:
        return
    try:
        control.cancel(book.run_id, by=by, source=source, reason=reason)
    except RunAlreadyEnded:
        return


def get_book(book_id: UUID | str) -> Book:
    """Find a book.

    Raises:
        BookNotFound: also for an id that is no UUID.
    """
    try:
        return Book.objects.get(pk=book_id)
    except (Book.DoesNotExist, ValidationError, ValueError):
        raise BookNotFound(book_id) from None
