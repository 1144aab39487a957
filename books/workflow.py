"""Use cases of a book: add it, process it, stop that, go on with it. Every surface calls these."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.files.base import File
from django.db import transaction

from authentication.models import User
from books.models import Book, Section
from runs import catalog, control
from runs.errors import AlreadyRetried, RunAlreadyEnded, ThreadBusy
from runs.models import Run
from runs.states import ACTIVE, StopMode

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


def is_offered() -> bool:
    """Whether the graphs in use are those of books; LANGGRAPH_JSON may name a project's own."""
    return any(entry.name == "book" for entry in catalog.list_graphs())


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


def continue_processing(book: Book, *, by: User | None = None) -> Run:
    """Try the book's last run again: chapters that are finished are kept. A book that is being processed keeps its run.

    Raises:
        BookIsStopping: chapters of the last run have not stopped yet.
        RetryRefused: it has completed, or was never processed.
    """
    current = book.run
    if current is None:
        return start_processing(book, by=by)
    if not current.is_terminal and not current.is_stopping:
        return current
    if Run.objects.filter(root_id=current.root_id, status__in=ACTIVE).exists():
        raise BookIsStopping(book)
    try:
        return control.retry(current.id, by=by)
    except (AlreadyRetried, ThreadBusy):
        return Book.objects.get(pk=book.pk).run or current  # the other press of the button
    finally:
        book.refresh_from_db(fields=["run", "error"])


def follow_retry(*, old: Run, new: Run, **_: object) -> None:
    """Whatever retries the run of a book or of a chapter: from here on the new one may write."""
    Book.objects.filter(run=old).update(run=new, error=None)
    Section.objects.filter(run=old).update(run=new)


def stop_processing(book: Book, *, by: User | None, source: str, reason: str = "", mode: str = StopMode.CANCEL) -> None:
    """Ask the book's run and its chapters to stop; does nothing if it has ended. A stronger mode climbs."""
    if book.run_id is None:
        return
    try:
        control.cancel(book.run_id, by=by, source=source, reason=reason, mode=mode)
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
