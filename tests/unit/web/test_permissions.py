"""Who may open and do what: every page and action for everybody."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from authentication.models import User
from books.models import Book
from tests.unit.web.conftest import log_in
from tests.unit.web.shelf import make_book, make_report

PAGES = ("", "live", "delete", "report", "report.json", "report.md")
ACTIONS = ("process", "stop", "delete")


@pytest.fixture
def book(alice: User) -> Book:
    return make_book(alice, status="completed", report=make_report())


@pytest.fixture
def people(alice: User, bob: User, charlie: User, viewer: User, admin: User) -> dict[str, User]:
    return {"alice": alice, "bob": bob, "charlie": charlie, "viewer": viewer, "admin": admin}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("name", "code"), [("alice", 200), ("bob", 404), ("charlie", 404), ("viewer", 200), ("admin", 200)]
)
def test_page_of_a_book_is_for_its_owner_and_who_may_view_all(
    book: Book, people: dict[str, User], name: str, code: int, page: str
) -> None:
    if (name, page) == ("viewer", "delete"):
        code = 403
    if code == 404 and page == "live":
        code = 286  # the answer that ends htmx's polling, and says nothing of the book
    answer = log_in(people[name]).get(f"/books/{book.pk}/{page}")
    assert answer.status_code == code
    if code not in (200, 403):
        assert book.title not in answer.content.decode()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("name", "code"), [("alice", 302), ("bob", 404), ("charlie", 404), ("viewer", 403), ("admin", 302)]
)
def test_action_on_a_book_is_for_its_owner_and_who_may_change_all(
    book: Book, people: dict[str, User], name: str, code: int, action: str
) -> None:
    before = book.run_id
    assert log_in(people[name]).post(f"/books/{book.pk}/{action}").status_code == code
    if code != 302:
        book.refresh_from_db()
        assert book.run_id == before


@pytest.mark.parametrize("may_kill", [False, True])
@pytest.mark.parametrize(
    ("name", "of_interrupt", "of_kill"),
    [
        ("alice", 302, 403),
        ("bob", 404, 404),
        ("charlie", 404, 404),
        ("viewer", 403, 403),
        ("admin", 302, 302),
    ],
)
def test_who_may_climb_from_the_page_of_a_book(
    alice: User, people: dict[str, User], name: str, of_interrupt: int, of_kill: int, may_kill: bool
) -> None:
    book = make_book(alice, status="cancelling")
    if may_kill:
        people[name].user_permissions.add(Permission.objects.get(codename="kill_run"))
        of_kill = 302 if name == "alice" else of_kill  # the permission gives nothing for the books of others
    client = log_in(people[name])

    assert client.post(f"/books/{book.pk}/stop", {"mode": "interrupt"}).status_code == of_interrupt
    book.run.refresh_from_db()
    assert (book.run.stop_mode == "interrupt") is (of_interrupt == 302)
    assert client.post(f"/books/{book.pk}/stop", {"mode": "kill"}).status_code == of_kill
    book.run.refresh_from_db()
    assert (book.run.stop_mode == "kill") is (of_kill == 302)
    assert (book.run.stop_deadline <= timezone.now()) is (of_kill == 302)


def test_stop_of_an_unknown_mode_is_refused(book: Book, alice: User) -> None:
    assert log_in(alice).post(f"/books/{book.pk}/stop", {"mode": "explode"}).status_code == 400


@pytest.mark.parametrize("page", ["", "books/rows", *(f"books/{uuid.uuid4()}/{page}" for page in PAGES)])
def test_page_asked_by_a_stranger_leads_to_the_log_in_page(db: None, page: str) -> None:
    answer = Client().get(f"/{page}")
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/accounts/login/?next=/")


@pytest.mark.parametrize("action", ["", "books/sample", *(f"books/{uuid.uuid4()}/{action}" for action in ACTIONS)])
def test_action_by_a_stranger_leads_to_the_log_in_page(db: None, action: str) -> None:
    assert Client().post(f"/{action}").headers["Location"].startswith("/accounts/login/")


def test_part_of_a_page_polled_after_log_out_leads_the_whole_window_to_the_log_in_page(book: Book) -> None:
    answer = Client().get(f"/books/{book.pk}/live", headers={"HX-Request": "true"})
    assert answer.headers["HX-Redirect"] == "/accounts/login/"


@pytest.mark.parametrize("action", ["process", "stop"])
def test_action_is_never_done_by_opening_its_address(book: Book, alice: User, action: str) -> None:
    assert log_in(alice).get(f"/books/{book.pk}/{action}").status_code == 405


@pytest.mark.parametrize("action", ["", "books/sample", "books/{}/process", "books/{}/stop", "books/{}/delete"])
def test_action_without_csrf_token_is_refused(book: Book, alice: User, action: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    page = client.post("/" + action.format(book.pk))
    assert page.status_code == 403
    assert "open for too long" in page.content.decode()
    assert Book.objects.filter(pk=book.pk).exists()


def test_list_shows_mine_only(alice: User, bob: User, charlie: User) -> None:
    make_book(alice, title="Of Alice")
    make_book(bob, title="Of Bob")
    page = log_in(alice).get("/").content.decode()
    assert "Of Alice" in page
    assert "Of Bob" not in page
    assert "Of Alice" not in log_in(charlie).get("/").content.decode()


def test_list_for_who_may_view_all_names_the_owners_and_has_no_buttons(alice: User, viewer: User) -> None:
    make_book(alice, title="Of Alice")
    page = log_in(viewer).get("/").content.decode()
    assert "Of Alice" in page
    assert "Alice Liddell" in page
    assert "/process" not in page


def test_inactive_user_sees_nothing(alice: User, book: Book) -> None:
    client = log_in(alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert client.get(f"/books/{book.pk}/").status_code == 302
