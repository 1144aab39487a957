"""The pages of books as a person sees them: a real browser, Daphne, a worker and the server of a language model."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from books.models import Book
from books.workflow import SAMPLE
from runs import control
from tests.acceptance.library import SAMPLE_TITLE, about_hester, assert_cancelled, footprint, wait_until_told
from tests.browser import Site, Visitor, make_alice
from tests.openai_server import OpenAIServer, Reply
from tests.services import WorkerProcess

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 500


@pytest.fixture
def page(browser: Browser, site: Site, model_worker: WorkerProcess) -> Iterator[Page]:
    """A page on which alice has logged in; the test fails if it says anything on the browser's console."""
    make_alice()
    visitor = Visitor(browser, site.address)
    yield visitor.log_in("Alice@example.com")
    visitor.context.close()
    # The browser's own line for a form that was refused is none.
    assert [text for text in visitor.complaints if "400 (Bad Request)" not in text] == []


def upload_sample(page: Page) -> Book:
    """Upload the sample book and go to its page."""
    page.get_by_label("Choose one or more books").set_input_files(SAMPLE)
    page.get_by_role("button", name="Upload only").click()
    expect(page.get_by_text("Your book was added.")).to_be_visible()
    page.get_by_role("link", name="the-keeper-of-gull-rock").click()
    expect(pill(page, "new")).to_have_text("not started")
    return Book.objects.get()


def pill(page: Page, status: str) -> object:
    return page.locator(f".status-card .pill.{status}")


def mark(page: Page) -> None:
    """Leave something in the page that a reload would lose."""
    page.evaluate("window.wasNotReloaded = true")


def was_not_reloaded(page: Page) -> bool:
    return bool(page.evaluate("window.wasNotReloaded === true"))


def shoot(page: Page, folder: Path, name: str) -> None:
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def press(page: Page, name: str) -> None:
    page.locator("#book-live").get_by_role("button", name=name, exact=True).click()


def test_page_of_a_book_fills_in_live_until_its_report(page: Page, server: OpenAIServer, tmp_path: Path) -> None:
    answer_now = threading.Event()
    server.default = Reply(answer=about_hester, hold=answer_now)
    server.queue(*[Reply(answer=about_hester)] * 3)
    book = upload_sample(page)
    mark(page)
    analysed = page.locator(".chapter:not(.pending)")

    press(page, "Process")

    expect(analysed).to_have_count(3, timeout=60_000)
    expect(page.locator(".chapter.pending")).to_have_count(7)
    expect(page.locator(".chapter .pill.running")).to_have_count(2)
    expect(page.locator(".chapter .pill.queued")).to_have_count(5)
    expect(pill(page, "waiting")).to_be_visible()
    expect(page.locator(".status-card .count")).to_have_text("3/10 chapters")
    expect(page.get_by_role("heading", level=1)).to_have_text(SAMPLE_TITLE)
    shoot(page, tmp_path, "three-of-ten")

    answer_now.set()

    expect(pill(page, "completed")).to_be_visible(timeout=20_000)
    expect(analysed).to_have_count(10)
    expect(page.locator(".status-card .count")).to_have_text("10/10 chapters")
    expect(page.locator("#announcement")).to_have_text("completed, 10 of 10 chapters")
    expect(page.locator(".message.error")).to_have_count(0)
    assert was_not_reloaded(page)
    assert page.locator("#book-live").get_attribute("hx-trigger") is None  # it asks no more
    shoot(page, tmp_path, "completed")

    page.get_by_role("link", name="Read the report").click()

    expect(page.get_by_role("heading", level=1)).to_have_text(SAMPLE_TITLE)
    expect(page.get_by_text("Hester finds the oil.")).to_be_visible()
    people = page.get_by_role("region", name="People", exact=True)
    expect(people.get_by_role("rowheader", name="Hester Calloway")).to_be_visible()
    expect(page.locator(".tones tbody tr")).to_have_count(10)
    shoot(page, tmp_path, "report")
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    book.refresh_from_db()
    assert book.report is not None
    assert f'"summary": "{book.report["summary"]}"' in Path(download.value.path()).read_text("utf-8")


def test_stop_button_shows_stopping_until_it_has_stopped(page: Page, server: OpenAIServer, tmp_path: Path) -> None:
    answer_now = threading.Event()
    server.default = Reply(answer=about_hester, hold=answer_now, hold_after=4)
    book = upload_sample(page)
    mark(page)
    press(page, "Process")
    server.wait_until(lambda server: [request.chunks_sent for request in server.requests] == [4, 4], 30)
    expect(page.locator(".chapter .pill.running")).to_have_count(2)

    press(page, "Stop")

    stopping = page.get_by_role("button", name="Stopping…")
    expect(stopping).to_be_disabled()
    expect(pill(page, "cancelling")).to_be_visible()
    expect(page.get_by_text("It stops after the current step of 2 chapters.")).to_be_visible()
    book.refresh_from_db()
    assert book.run is not None
    run = book.run
    wait_until_told(*run.children.filter(attempt=1))
    expect(page.locator(".chapter .pill.cancelling")).to_have_count(2)
    expect(page.locator(".chapter .pill.cancelled")).to_have_count(8)
    expect(stopping).to_be_disabled()
    shoot(page, tmp_path, "stopping")
    other_tab = page.context.new_page()
    other_tab.goto("/")
    expect(other_tab.locator(".book-row .pill.cancelling")).to_be_visible()
    shoot(other_tab, tmp_path, "stopping-in-the-list")

    answer_now.set()

    expect(pill(page, "cancelled")).to_be_visible()
    expect(page.get_by_text("It was stopped.")).to_be_visible()
    expect(other_tab.locator(".book-row .pill.cancelled")).to_be_visible()
    expect(page.locator(".message.error")).to_have_count(0)
    assert was_not_reloaded(page)
    assert len(server.requests) == 2
    assert not any(request.disconnected for request in server.requests)
    shoot(page, tmp_path, "cancelled")
    ended = assert_cancelled(run)[0]
    assert (ended.stop_source, ended.stop_actor) == ("page", "alice@example.com")
    before = footprint(run)

    press(page, "Process again")

    expect(pill(page, "completed")).to_be_visible(timeout=20_000)
    expect(page.locator(".chapter:not(.pending)")).to_have_count(10)
    expect(other_tab.locator(".book-row .pill.cancelled")).to_be_visible()  # it had stopped asking
    assert was_not_reloaded(page)
    assert len(server.requests) == 2 + 11
    assert footprint(run) == before
    assert control.get(run.id).status == "cancelled"


def test_bad_file_shows_what_is_wrong_with_it(page: Page, tmp_path: Path) -> None:
    cover = tmp_path / "cover.txt"
    cover.write_bytes(PNG)
    page.get_by_label("Choose one or more books").set_input_files(cover)
    page.get_by_role("button", name="Upload and process").click()

    expect(page.locator(".book-row .pill.failed")).to_be_visible(timeout=10_000)
    shoot(page, tmp_path, "failed-in-the-list")
    page.get_by_role("link", name="cover").click()

    expect(pill(page, "failed")).to_be_visible()
    expect(page.locator(".message.error")).to_have_text(re.compile("The file looks like .*, not a book"))
    expect(page.get_by_role("button", name="Process again")).to_be_enabled()
    shoot(page, tmp_path, "failed")


def test_empty_file_is_refused_on_the_page(page: Page, tmp_path: Path) -> None:
    empty = tmp_path / "nothing.txt"
    empty.touch()
    page.get_by_label("Choose one or more books").set_input_files(empty)
    page.get_by_role("button", name="Upload only").click()

    expect(page.get_by_role("alert")).to_contain_text("“nothing.txt” is empty.")
    assert not Book.objects.exists()
