"""Who may see and change which books: their owner, and whoever has Django's permission for all of them."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet

from authentication.models import User
from books.models import Book
from runs import policy

Person = User | AnonymousUser


def visible_to(person: Person) -> QuerySet[Book]:
    if person.has_perm("books.view_book"):
        return Book.objects.all()
    return Book.objects.filter(owner_id=person.pk) if person.is_authenticated else Book.objects.none()


def may_change(person: Person, book: Book) -> bool:
    """Process and stop it."""
    return book.owner_id == person.pk or person.has_perm("books.change_book")


def may_force_stop(person: Person, book: Book) -> bool:
    """End the processes of its runs at once: as everywhere, that takes the permission to kill runs."""
    return book.run is not None and may_change(person, book) and policy.may_kill(person, book.run)


def may_delete(person: Person, book: Book) -> bool:
    return book.owner_id == person.pk or person.has_perm("books.delete_book")
