"""The list and the page of a book: what they show in each state, how they refresh, what their buttons do."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.test import TestCase
from django.utils import timezone

from authentication.models import User
from books.models import Book
from runs.models import Run
from tests.unit.web.conftest import log_in
from tests.unit.web.shelf import HOSTILE, add_chapters, make_book, make_report, make_run

ACTIVE = ["queued", "running", "waiting", "pausing", "paused", "cancelling"]
ENDED = [None, "completed", "failed", "cancelled"]
HTMX = {"HX-Request": "true"}


def find_state(page: str) -> str:
    found = re.search(r"state=(\w+)", page)
    assert found, "the page does not poll"
    return found[1]


@pytest.mark.parametrize("status", [*ACTIVE, *ENDED])
@pytest.mark.parametrize("address", ["/", "/books/{}/"])
def test_page_shows_the_status_as_a_pill_with_icon_and_word(alice: User, status: str | None, address: str) -> None:
    book = make_book(alice, status=status)
    page = log_in(alice).get(address.format(book.pk)).content.decode()
    name = status or "new"
    pill = re.search(rf'<span class="pill {name}">.*?</span></span>', page, re.DOTALL)
    assert pill
    assert f"icons.svg#{name}" in pill[0]
    assert (status or "not started") in pill[0]


@pytest.mark.parametrize(("status", "polls"), [*((s, True) for s in ACTIVE), *((s, False) for s in ENDED)])
@pytest.mark.parametrize("address", ["/", "/books/{}/"])
def test_page_refreshes_itself_only_while_something_is_active(
    alice: User, status: str | None, polls: bool, address: str
) -> None:
    book = make_book(alice, status=status)
    page = log_in(alice).get(address.format(book.pk)).content.decode()
    assert ("hx-trigger" in page) is polls
    assert ('<noscript><meta http-equiv="refresh"' in page) is polls


@pytest.mark.parametrize(
    ("status", "button"),
    [
        (None, "process"),
        ("completed", "process"),
        ("failed", "process"),
        ("cancelled", "process"),
        ("queued", "stop"),
        ("running", "stop"),
        ("waiting", "stop"),
        ("pausing", "stop"),
        ("paused", "stop"),
        ("cancelling", None),
    ],
)
@pytest.mark.parametrize("address", ["/", "/books/{}/"])
def test_page_has_the_one_button_that_fits(alice: User, status: str | None, button: str | None, address: str) -> None:
    book = make_book(alice, status=status)
    page = log_in(alice).get(address.format(book.pk)).content.decode()
    for name in ("process", "stop"):
        assert (f'action="/books/{book.pk}/{name}"' in page) is (name == button)
    assert ("Stopping…" in page) is (button is None)


def test_stopping_book_says_what_is_awaited(alice: User) -> None:
    book = make_book(alice, status="cancelling", run_fields={"current_node": "read"})
    page = log_in(alice).get(f"/books/{book.pk}/").content.decode()
    assert "It stops after the current step (read)." in page
    assert re.search(r"<button[^>]* disabled>.*?Stopping…", page, re.DOTALL)


def make_stopping(owner: User, *, asked: float, interrupt: float, kill: float) -> Book:
    """A book that is being stopped; the times in seconds from now, those that have been are negative."""
    now = timezone.now()
    times = {"stop_requested_at": asked, "stop_interrupt_at": interrupt, "stop_deadline": kill}
    fields = {name: now + timedelta(seconds=seconds) for name, seconds in times.items()}
    return make_book(owner, status="cancelling", run_fields=fields)


@pytest.mark.parametrize(
    ("asked", "interrupt", "kill", "mode", "label"),
    [
        (-0.1, 19.9, 29.9, None, "Stopping…"),  # the second half of a double click
        (-5, 15, 25, "interrupt", "Stop now"),
        (-5, -0.2, 25, None, "Stopping…"),
        (-25, -5, 5, "kill", "Force stop"),
        (-35, -15, -5, None, "Stopping…"),
    ],
)
@pytest.mark.parametrize("address", ["/", "/books/{}/"])
def test_stop_button_of_a_stopping_book_climbs(
    admin: User, asked: float, interrupt: float, kill: float, mode: str | None, label: str, address: str
) -> None:
    book = make_stopping(admin, asked=asked, interrupt=interrupt, kill=kill)
    page = log_in(admin).get(address.format(book.pk)).content.decode()
    found = re.search(r'name="mode" value="(\w+)"', page)
    assert (found[1] if found else None) == mode
    assert f"{label}</button>" in page


def test_owner_without_the_permission_to_kill_sees_when_it_is_killed_and_no_button(alice: User) -> None:
    book = make_stopping(alice, asked=-25, interrupt=-5, kill=60)
    page = log_in(alice).get(f"/books/{book.pk}/").content.decode()
    assert "Stopping…</button>" in page
    assert "Force stop" not in page
    assert re.search(r"If it takes longer, it is killed in (1 min|5\d s)\.", page)


def test_countdown_is_of_the_runs_that_still_execute(alice: User) -> None:
    book = make_book(alice, status="cancelled")
    now = timezone.now()
    for interrupt, kill in ((100, 200), (40, 300)):
        make_run(
            "cancelling",
            alice,
            parent=book.run,
            stop_interrupt_at=now + timedelta(seconds=interrupt),
            stop_deadline=now + timedelta(seconds=kill),
        )
    page = log_in(alice).get(f"/books/{book.pk}/").content.decode()
    assert re.search(r"it is interrupted in 1 min (40|3\d) s, killed in (5 min|4 min 5\d s)\.", page)


def test_countdown_moves_alone_so_that_no_click_is_lost(alice: User) -> None:
    book = make_stopping(alice, asked=-5, interrupt=15, kill=25)
    client = log_in(alice)
    state = find_state(client.get(f"/books/{book.pk}/").content.decode())
    answer = client.get(f"/books/{book.pk}/live?page=1&state={state}", headers=HTMX)
    assert answer.status_code == 200
    assert answer.headers["HX-Reswap"] == "none"
    text = answer.content.decode()
    assert re.search(r'<p [^>]*id="stop-outlook" hx-swap-oob="true">If it takes longer, it is interrupted in 1', text)
    assert "button" not in text
    Run.objects.filter(pk=book.run_id).update(stop_interrupt_at=timezone.now() - timedelta(seconds=5))
    answer = client.get(f"/books/{book.pk}/live?page=1&state={state}", headers=HTMX)
    assert "HX-Reswap" not in answer.headers
    assert 'id="book-live"' in answer.content.decode()


def test_stop_pressed_again_interrupts_and_keeps_the_first_reason(alice: User) -> None:
    book = make_stopping(alice, asked=-5, interrupt=15, kill=25)
    Run.objects.filter(pk=book.run_id).update(stop_reason="first")
    log_in(alice).post(f"/books/{book.pk}/stop", {"mode": "interrupt"})
    run = Run.objects.get(pk=book.run_id)
    assert (run.stop_mode, run.stop_reason) == ("interrupt", "first")
    assert run.stop_interrupt_at <= timezone.now() < run.stop_deadline


def test_stop_pressed_twice_at_once_does_not_climb(alice: User) -> None:
    book = make_book(alice, status="running")
    client = log_in(alice)
    for _ in range(2):
        client.post(f"/books/{book.pk}/stop", {"mode": "cancel"})
    run = Run.objects.get(pk=book.run_id)
    assert run.stop_mode == "cancel"
    assert run.stop_interrupt_at > timezone.now()


def test_book_whose_chapters_are_still_stopping_is_not_yet_cancelled(alice: User) -> None:
    book = make_book(alice, status="cancelled")
    chapter = make_run("cancelling", alice, parent=book.run)
    client = log_in(alice)
    page = client.get(f"/books/{book.pk}/").content.decode()
    assert "It stops after the current step of 1 chapter." in page
    assert 'class="pill cancelling"' in page
    answer = client.post(f"/books/{book.pk}/process", headers=HTMX).content.decode()
    assert "is still stopping" in answer
    book.refresh_from_db()
    assert Run.objects.filter(parent=None).count() == 1
    Run.objects.filter(pk=chapter.pk).update(status="cancelled", finished_at=chapter.created_at, lease_expires_at=None)
    assert 'class="pill cancelled"' in client.get(f"/books/{book.pk}/").content.decode()


def test_failed_book_shows_its_own_clear_error_before_that_of_the_run(alice: User) -> None:
    book = make_book(
        alice,
        status="failed",
        run_fields={"error": {"type": "X", "message": "technical"}},
        error={"type": "encrypted", "message": f"It is encrypted. {HOSTILE}"},
    )
    page = log_in(alice).get(f"/books/{book.pk}/").content.decode()
    assert "It is encrypted. &lt;script&gt;" in page
    assert "technical" not in page


def test_failed_book_without_a_clear_error_shows_that_of_the_run(alice: User) -> None:
    book = make_book(alice, status="failed", run_fields={"error": {"type": "WorkerLost", "message": "worker lost"}})
    assert "worker lost" in log_in(alice).get(f"/books/{book.pk}/").content.decode()


def test_chapters_fill_in_as_they_finish(alice: User) -> None:
    book = make_book(alice, status="waiting", run_fields={"progress_done": 1, "progress_total": 3})
    add_chapters(book, 3, analysed=1)
    client = log_in(alice)
    page = client.get(f"/books/{book.pk}/").content.decode()
    assert "1/3" in page
    assert page.count("Anna meets Boris at the mill.") == 1
    assert "Part 3" in page
    assert "1,500" in page
    assert "Anna" in page


def test_live_part_answers_nothing_while_nothing_changed_and_the_part_when_something_did(alice: User) -> None:
    book = make_book(alice, status="waiting")
    add_chapters(book, 2)
    client = log_in(alice)
    state = find_state(client.get(f"/books/{book.pk}/").content.decode())
    address = f"/books/{book.pk}/live?page=1&state={state}"
    assert client.get(address, headers=HTMX).status_code == 204
    section = book.sections.get(number=2)
    section.analysis = {**make_report(), "tone": {"score": 0.1, "label": "mixed"}, "length": {"words": 5}}
    section.save()
    answer = client.get(address, headers=HTMX)
    assert answer.status_code == 200
    assert find_state(answer.content.decode()) != state
    assert "<html" not in answer.content.decode()


def test_live_part_of_a_deleted_book_ends_the_polling(alice: User) -> None:
    book = make_book(alice, status="running")
    pk = book.pk
    book.delete()
    answer = log_in(alice).get(f"/books/{pk}/live", headers=HTMX)
    assert answer.status_code == 286
    assert "This book is gone" in answer.content.decode()


def test_rows_answer_nothing_while_nothing_changed(alice: User) -> None:
    book = make_book(alice, status="running")
    client = log_in(alice)
    state = find_state(client.get("/").content.decode())
    assert client.get(f"/books/rows?state={state}", headers=HTMX).status_code == 204
    Run.objects.filter(pk=book.run_id).update(progress_total=9)
    assert client.get(f"/books/rows?state={state}", headers=HTMX).status_code == 200


@pytest.mark.parametrize(("origin", "part"), [("list", 'id="book-rows"'), ("page", 'id="book-live"')])
def test_button_pressed_with_htmx_answers_with_its_part_of_the_page(alice: User, origin: str, part: str) -> None:
    book = make_book(alice)
    answer = log_in(alice).post(f"/books/{book.pk}/process", {"from": origin}, headers=HTMX)
    page = answer.content.decode()
    assert part in page
    assert "<html" not in page
    assert 'class="pill queued"' in page


@pytest.mark.parametrize(("origin", "target"), [("list", "/"), ("page", "/books/{}/")])
def test_button_pressed_without_javascript_leads_back_to_its_page(alice: User, origin: str, target: str) -> None:
    book = make_book(alice)
    client = log_in(alice)
    answer = client.post(f"/books/{book.pk}/process", {"from": origin})
    assert answer.headers["Location"] == target.format(book.pk)
    client.post(f"/books/{book.pk}/stop", {"from": origin})
    book.refresh_from_db()
    assert book.run is not None
    assert book.run.status == "cancelled"
    assert (book.run.stop_source, book.run.stop_by) == ("page", alice)


def test_process_pressed_twice_starts_one_run(alice: User) -> None:
    book = make_book(alice)
    client = log_in(alice)
    client.post(f"/books/{book.pk}/process")
    client.post(f"/books/{book.pk}/process")
    assert Run.objects.count() == 1


def test_process_again_starts_a_new_run(alice: User) -> None:
    book = make_book(alice, status="cancelled")
    before = book.run_id
    log_in(alice).post(f"/books/{book.pk}/process")
    book.refresh_from_db()
    assert book.run_id != before


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_continue_retries_the_last_run_once(alice: User, status: str) -> None:
    book = make_book(alice, status=status)
    before, client = book.run_id, log_in(alice)
    assert f'action="/books/{book.pk}/continue"' in client.get(f"/books/{book.pk}/").content.decode()
    client.post(f"/books/{book.pk}/continue")
    client.post(f"/books/{book.pk}/continue")
    book.refresh_from_db()
    assert book.run is not None
    assert (book.run.retry_of_id, book.run.retry_actor, book.error) == (before, str(alice), None)
    assert Run.objects.count() == 2


@pytest.mark.parametrize("status", [None, "running", "completed"])
def test_continue_is_not_offered_for_what_is_not_left_halfway(alice: User, status: str | None) -> None:
    book = make_book(alice, status=status)
    client = log_in(alice)
    assert f'action="/books/{book.pk}/continue"' not in client.get(f"/books/{book.pk}/").content.decode()
    client.post(f"/books/{book.pk}/continue", follow=True)
    book.refresh_from_db()
    assert (book.run and book.run.retry_of_id) is None


@pytest.mark.parametrize("status", ENDED)
def test_stop_of_what_is_not_active_says_so_and_changes_nothing(alice: User, status: str | None) -> None:
    book = make_book(alice, status=status)
    client = log_in(alice)
    page = client.post(f"/books/{book.pk}/stop", follow=True).content.decode()
    assert "was not being processed any more" in page
    book.refresh_from_db()
    assert (book.run.status if book.run else None) == status


def test_stop_by_another_person_with_the_permission_names_them(alice: User, admin: User) -> None:
    book = make_book(alice, status="running")
    log_in(admin).post(f"/books/{book.pk}/stop")
    run = Run.objects.get(pk=book.run_id)
    assert run.is_stopping
    assert run.stop_by == admin


def test_list_has_pages_and_stays_on_its_page(alice: User) -> None:
    for number in range(51):
        make_book(alice, title=f"Number {number}", status="running" if number == 0 else None)
    client = log_in(alice)
    first, second = client.get("/").content.decode(), client.get("/?page=2").content.decode()
    assert "Number 50<" in first
    assert "Number 0<" not in first
    assert "Number 0<" in second
    assert "/books/rows?page=2&amp;state=" in second
    assert client.get("/?page=nonsense").status_code == 200


def test_pages_cost_few_queries_however_many_books_and_chapters(alice: User) -> None:
    for _ in range(20):
        book = make_book(alice, status="waiting")
    add_chapters(book, 50)
    client = log_in(alice)
    case = TestCase()
    with case.assertNumQueries(7):  # one of them for the banner of the emergency brake
        client.get("/")
    with case.assertNumQueries(8):
        client.get(f"/books/{book.pk}/")


# --- Deleting -----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_delete_asks_first_and_then_deletes_the_book_with_its_file() -> None:
    alice = User.objects.create_user("alice@example.com", "x")
    book = make_book(alice, status="completed")
    add_chapters(book, 2)
    client = log_in(alice)
    assert "deleted for good" in client.get(f"/books/{book.pk}/delete").content.decode()
    assert Book.objects.exists()
    assert client.post(f"/books/{book.pk}/delete").headers["Location"] == "/"
    assert not Book.objects.exists()
    assert not default_storage.exists(book.file.name)


@pytest.mark.parametrize("status", ACTIVE)
def test_delete_of_an_active_book_is_refused_clearly(alice: User, status: str) -> None:
    book = make_book(alice, status=status)
    client = log_in(alice)
    assert "Stop “The Mill” first." in client.get(f"/books/{book.pk}/delete").content.decode()
    page = client.post(f"/books/{book.pk}/delete", follow=True).content.decode()
    assert "Stop it first, then delete it." in page
    assert Book.objects.filter(pk=book.pk).exists()
    assert default_storage.exists(book.file.name)


# --- The whole site ---------------------------------------------------------------------------------------


def test_hostile_title_author_and_chapter_are_escaped_everywhere(alice: User, admin: User) -> None:
    report = make_report(HOSTILE)
    report["people"][0]["name"] = report["meetings"][0]["a"] = report["summary"] = report["keywords"][0] = HOSTILE
    book = make_book(alice, title=HOSTILE, author=HOSTILE, status="completed", report=report)
    add_chapters(book, 1, analysed=1)
    section = book.sections.get()
    section.title = HOSTILE
    section.analysis = {**section.analysis, "summary": HOSTILE, "people": [{"name": HOSTILE, "mentions": 1}]}
    section.save()
    addresses = ["/", *(f"/books/{book.pk}/{page}" for page in ("", "live", "report", "delete"))]
    addresses += ["/admin/books/book/", f"/admin/books/book/{book.pk}/change/"]
    for address in addresses:
        page = log_in(admin).get(address).content.decode()
        assert "<script>alert" not in page, address
        assert "&lt;script&gt;alert" in page, address


@pytest.mark.parametrize("address", ["/", "/books/{}/", "/books/{}/report", "/accounts/password/", "/nothing"])
def test_page_has_no_inline_script_or_style_and_nothing_from_elsewhere(alice: User, address: str) -> None:
    book = make_book(alice, status="completed", report=make_report())
    page = log_in(alice).get(address.format(book.pk)).content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert 'src="/static/django_htmx/htmx-2.min.js"' in page


def test_page_that_is_not_there_says_so(alice: User) -> None:
    page = log_in(alice).get("/nothing")
    assert page.status_code == 404
    assert "There is nothing here" in page.content.decode()


def test_error_page_needs_nothing(rf) -> None:
    from django.views.defaults import server_error

    page = server_error(rf.get("/"))
    assert page.status_code == 500
    assert b"Something went wrong" in page.content
    assert b"site.css" in page.content


def test_every_icon_that_a_page_uses_exists(alice: User) -> None:
    from django.contrib.staticfiles import finders

    sprite = Path(finders.find("icons.svg")).read_text()
    names = set(re.findall(r'<symbol id="(\w+)"', sprite))
    used = set()
    for status in [*ACTIVE, *ENDED]:
        book = make_book(alice, status=status, report=make_report())
        used |= set(re.findall(r"icons\.svg#(\w*)", log_in(alice).get(f"/books/{book.pk}/").content.decode()))
    used |= set(re.findall(r"icons\.svg#(\w*)", log_in(alice).get("/").content.decode()))
    assert used <= names
