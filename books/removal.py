"""Deleting a book; its file goes with it, see `apps`."""

from __future__ import annotations

from django.db import transaction

from books.models import Book
from books.progress import progress_of, with_runs


class BookIsActive(Exception):
    """The book is being processed: stop it first."""


def remove_book(book: Book) -> None:
    """Delete a book, its chapters and its file.

    Race: the row is locked while its run is looked at, so a run starting meanwhile is seen or finds no book.

    Raises:
        BookIsActive: it is being processed or its stop is not proven yet.
    """
    with transaction.atomic():
        Book.objects.select_for_update().filter(pk=book.pk).first()
        current = with_runs(Book.objects.filter(pk=book.pk)).first()
        if current is None:
            return
        if progress_of(current).is_active:
            raise BookIsActive(f"“{current.title}” is being processed.")
        current.delete()
