from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.core.files.storage import default_storage

from authentication.models import User
from books.models import Book
from runs.models import Run
from tests.unit.web.conftest import log_in
from tests.unit.web.shelf import add_chapters, make_book

LIST = "/admin/books/book/"
HTMX = {"HX-Request": "true"}
PRESSED = {"_form_submitted": "True"}


@pytest.fixture
def book(alice: User) -> Book:
    book = make_book(alice, status="running", run_fields={"progress_done": 1, "progress_total": 4})
    add_chapters(book, 2, analysed=1)
    return book


def test_list_shows_status_and_progress(admin: User, book: Book) -> None:
    page = log_in(admin).get(LIST).content.decode()
    assert "The Mill" in page
    assert "alice@example.com" in page
    assert "1/4" in page


def test_page_shows_the_chapters_without_their_text_and_offers_nothing_to_save(admin: User, book: Book) -> None:
    book.sections.update(text="SECRET TEXT")
    page = log_in(admin).get(f"{LIST}{book.pk}/change/").content.decode()
    assert "Part 2" in page
    assert "SECRET TEXT" not in page
    assert 'name="_save"' not in page


def test_book_can_not_be_added_in_the_admin(admin: User) -> None:
    assert log_in(admin).get(f"{LIST}add/").status_code == 403


@pytest.mark.parametrize("path", ["cancel", "cancel-page"])
def test_cancel_asks_first_and_then_stops(admin: User, book: Book, path: str) -> None:
    client = log_in(admin)
    asked = client.get(f"{LIST}{book.pk}/{path}/")
    assert "Cancel the processing of this book?" in asked.content.decode()
    assert not Run.objects.get(pk=book.run_id).is_stopping
    answer = client.post(f"{LIST}{book.pk}/{path}/", PRESSED, headers=HTMX)
    assert answer.headers["HX-Redirect"].startswith(LIST)
    run = Run.objects.get(pk=book.run_id)
    assert run.is_stopping
    assert (run.stop_source, run.stop_by) == ("admin", admin)


def test_cancel_without_javascript_leads_back_to_the_list(admin: User, book: Book) -> None:
    assert log_in(admin).post(f"{LIST}{book.pk}/cancel/", PRESSED).headers["Location"] == LIST


@pytest.mark.parametrize("path", ["process", "process-page"])
def test_process_of_an_ended_book_starts_a_run(admin: User, alice: User, path: str) -> None:
    book = make_book(alice, status="failed")
    before = book.run_id
    log_in(admin).post(f"{LIST}{book.pk}/{path}/", PRESSED)
    book.refresh_from_db()
    assert book.run_id != before


def test_process_of_an_active_book_warns_and_starts_nothing(admin: User, book: Book) -> None:
    page = log_in(admin).post(f"{LIST}{book.pk}/process/", PRESSED, follow=True).content.decode()
    assert "is being processed already" in page
    assert Run.objects.count() == 1


def test_bulk_cancel_asks_first_and_then_stops_what_is_active(admin: User, alice: User, book: Book) -> None:
    ended = make_book(alice, title="Ended", status="completed")
    client = log_in(admin)
    chosen = {"action": "cancel_selected", "_selected_action": [str(book.pk), str(ended.pk)]}
    page = client.post(LIST, chosen).content.decode()
    assert "What is finished by then is kept." in page
    assert "Ended" in page
    assert not Run.objects.get(pk=book.run_id).is_stopping
    page = client.post(LIST, {**chosen, "confirmed": "yes"}, follow=True).content.decode()
    assert "1 book will stop after the current step." in page
    assert "“Ended” was not being processed." in page
    assert Run.objects.get(pk=book.run_id).is_stopping


def test_bulk_process_starts_each(admin: User, alice: User) -> None:
    books = [make_book(alice, title=f"Number {number}") for number in range(3)]
    chosen = {
        "action": "process_selected",
        "_selected_action": [str(book.pk) for book in books],
        "confirmed": "yes",
    }
    page = log_in(admin).post(LIST, chosen, follow=True).content.decode()
    assert "3 books will be processed." in page
    assert Run.objects.filter(status="queued", owner=alice).count() == 3


@pytest.mark.parametrize("path", ["process", "cancel", "process-page", "cancel-page"])
def test_action_is_refused_to_who_may_only_look(viewer: User, book: Book, path: str) -> None:
    client = log_in(viewer)
    assert client.get(LIST).status_code == 200
    assert client.get(f"{LIST}{book.pk}/{path}/").status_code == 403
    assert client.post(f"{LIST}{book.pk}/{path}/", PRESSED).status_code == 403
    chosen = {"action": "cancel_selected", "_selected_action": [str(book.pk)], "confirmed": "yes"}
    client.post(LIST, chosen)
    assert not Run.objects.get(pk=book.run_id).is_stopping


def test_action_is_done_for_who_may_change(charlie: User, book: Book) -> None:
    charlie.user_permissions.add(*Permission.objects.filter(codename__in=["view_book", "change_book"]))
    assert log_in(charlie).post(f"{LIST}{book.pk}/cancel/", PRESSED).status_code == 302
    assert Run.objects.get(pk=book.run_id).is_stopping


@pytest.mark.parametrize("person", ["alice", "charlie"])
def test_admin_of_books_is_closed_to_owners_and_to_staff_without_permission(
    alice: User, charlie: User, book: Book, person: str
) -> None:
    client = log_in({"alice": alice, "charlie": charlie}[person])
    assert client.get(LIST).status_code in (302, 403)
    assert client.post(f"{LIST}{book.pk}/cancel/", PRESSED).status_code in (302, 403)
    assert not Run.objects.get(pk=book.run_id).is_stopping


@pytest.mark.django_db(transaction=True)
def test_delete_in_the_admin_takes_the_file_and_refuses_active_books() -> None:
    admin = User.objects.create_superuser("admin@example.com", "x")
    active, ended = make_book(admin, title="Active", status="running"), make_book(admin, title="Ended")
    client = log_in(admin)
    page = client.get(f"{LIST}{active.pk}/delete/").content.decode()
    assert "is being processed: cancel it first" in page
    client.post(f"{LIST}{active.pk}/delete/", {"post": "yes"})
    client.post(f"{LIST}{ended.pk}/delete/", {"post": "yes"})
    assert list(Book.objects.all()) == [active]
    assert default_storage.exists(active.file.name)
    assert not default_storage.exists(ended.file.name)
    chosen = {"action": "delete_selected", "_selected_action": [str(active.pk)], "post": "yes"}
    client.post(LIST, chosen)
    assert Book.objects.filter(pk=active.pk).exists()
