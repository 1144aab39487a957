"""The pages of runs as a person sees them: a real browser, Daphne, a worker and Redis."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Permission
from playwright.sync_api import Browser, Locator, Page, expect

from authentication.models import User
from runs import control
from runs.models import Run
from tests.browser import Site, Visitor, make_alice
from tests.conftest import SharedWorker
from tests.environment import DATA_DIR
from tests.services import Marks, WorkerProcess, wait_for_status
from tests.unit.web.shelf import add_chapters, make_book, make_report

LONG = 20_000  # milliseconds
NO_SERVER = re.compile("WebSocket connection|net::ERR_|htmx:(sendError|afterRequest)")  # what a browser says of it
WCAG_AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

Open = Callable[..., Visitor]


@pytest.fixture(scope="module")
def speaking_worker(shared_worker: SharedWorker, redis_server: None, django_db_setup: None) -> Iterator[WorkerProcess]:
    """The worker of this module; it streams what models say."""
    shared_worker.remove()
    worker = WorkerProcess(DATA_DIR / "speaking.log", RUNS_STREAM_MODES="messages,custom")
    yield worker
    worker.destroy()


@pytest.fixture
def worker(speaking_worker: WorkerProcess, site: Site, transactional_db: None) -> Iterator[WorkerProcess]:
    yield speaking_worker.wait_ready()
    control.cancel_all(mode="kill", reason="the test is over")
    for run in control.list_active():
        control.wait(run.id, timeout_seconds=15)


@pytest.fixture
def alice(worker: WorkerProcess) -> User:
    return make_alice()


@pytest.fixture
def visit(alice: User, browser: Browser, site: Site) -> Iterator[Open]:
    """Open browsers on which alice has logged in; the test fails if one says anything on its console."""
    visitors: list[Visitor] = []

    def visit(**options: Any) -> Visitor:
        visitors.append(Visitor(browser, site.address, **options))
        visitors[-1].enter(alice)
        return visitors[-1]

    yield visit
    complaints = [text for visitor in visitors for text in visitor.complaints]
    for visitor in visitors:
        visitor.context.close()
    assert complaints == []


@pytest.fixture
def page(visit: Open) -> Page:
    return visit().page


def pill(page: Page, status: str) -> Locator:
    return page.locator(f"#head-card .pill.{status}")


def node(page: Page, path: str, state: str) -> Locator:
    return page.locator(f'.graph .node.{state}[data-node="{path}"]')


def is_live(page: Page) -> None:
    expect(page.locator("#live-state")).to_have_text("Live", timeout=LONG)


def start(page: Page, graph: str, marks: Marks) -> Run:
    """Start a run by its form, and go to its page."""
    page.goto("/runs/")
    page.get_by_role("link", name="Start a run").click()
    page.get_by_role("link", name=graph, exact=True).click()
    page.get_by_label("marks").fill(str(marks))
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text(f"{graph} was started.")).to_be_visible(timeout=LONG)
    return control.get(page.url.rstrip("/").rpartition("/")[2])


def colour_of(locator: Locator) -> str:
    return str(locator.evaluate("element => getComputedStyle(element).color"))


def test_run_is_started_watched_and_stopped_in_two_browsers_in_step(visit: Open, marks: Marks) -> None:
    page, other = visit().page, visit().page
    other.goto("/runs/")
    is_live(other)
    run = start(page, "using_tool", marks)
    row = other.locator(f"#live-{run.id}")
    is_live(page)

    expect(node(page, "speak", "running")).to_be_visible(timeout=LONG)
    expect(pill(page, "running")).to_be_visible(timeout=LONG)
    expect(page.locator(".gantt rect.running")).to_have_count(1, timeout=LONG)
    expect(row.locator(".pill.running")).to_be_visible(timeout=LONG)
    marks.wait_for("call.begun")

    page.get_by_role("button", name="Stop", exact=True).click()

    expect(pill(page, "cancelling")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("Stopping… after the current tool call (look_up)")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("It is interrupted in")).to_be_visible(timeout=LONG)
    expect(row.locator(".pill.cancelling")).to_be_visible(timeout=LONG)
    marks.open("call")

    expect(pill(page, "cancelled")).to_be_visible(timeout=LONG)
    expect(row.locator(".pill.cancelled")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("It was stopped by alice@example.com.")).to_be_visible(timeout=LONG)
    expect(page.locator(".message.error")).to_have_count(0, timeout=LONG)
    assert colour_of(pill(page, "cancelled")) == "rgb(86, 91, 98)"  # neutral, and no colour of alarm
    expect(page.get_by_role("heading", name="Receipt of the stop")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("it stopped by itself")).to_be_visible(timeout=LONG)
    expect(page.locator(".gantt rect.running")).to_have_count(0, timeout=LONG)
    ended = control.get(run.id)
    assert (ended.status, ended.stop_source) == ("cancelled", "page")


def test_pressing_stop_again_climbs_to_the_kill(page: Page, alice: User, marks: Marks) -> None:
    alice.user_permissions.add(Permission.objects.get(codename="kill_run"))
    run = start(page, "deaf", marks)
    marks.wait_for("deaf.begun")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Stopping… after the current step (deaf)")).to_be_visible(timeout=LONG)

    page.get_by_role("button", name="Interrupt now").click()

    expect(page.get_by_text("Interrupting…")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("Its process is ended in")).to_be_visible(timeout=LONG)

    page.get_by_role("button", name="Force stop").click()

    expect(pill(page, "cancelled")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("its process was killed")).to_be_visible(timeout=LONG)
    assert control.get(run.id).stop_rung == 2


def test_what_the_model_says_and_the_output_come_while_one_watches(page: Page, marks: Marks) -> None:
    start(page, "speaking", marks)

    expect(page.locator("#said")).to_contain_text("a quiet word", timeout=LONG)
    expect(pill(page, "completed")).to_be_visible(timeout=LONG)
    expect(page.locator("#part-outcome pre")).to_contain_text("a quiet word", timeout=LONG)
    page.reload()
    expect(page.locator("#said .speech")).to_have_count(1, timeout=LONG)
    expect(page.locator("#said")).to_contain_text("a quiet word", timeout=LONG)


def test_page_reconnects_to_a_web_server_that_was_killed(site: Site, visit: Open, marks: Marks) -> None:
    visitor = visit()
    page = visitor.page
    run = start(page, "using_tool", marks)
    is_live(page)
    expect(node(page, "speak", "running")).to_be_visible(timeout=LONG)
    expect(pill(page, "running")).to_be_visible(timeout=LONG)

    site.kill()
    try:
        expect(page.locator("#live-state")).to_contain_text("Reconnecting…", timeout=LONG)
        marks.wait_for("call.begun")
        marks.open("call")
        wait_for_status(run, "completed")
        expect(pill(page, "running")).to_be_visible(timeout=LONG)
    finally:
        site.start()

    is_live(page)
    expect(pill(page, "completed")).to_be_visible(timeout=LONG)
    page.locator("#events-section summary").click()
    assert page.locator("#events li", has_text="node.finished").count() == 1  # none missed, none twice
    assert page.locator("#events li", has_text="run.status").count() == 3
    visitor.complaints[:] = [text for text in visitor.complaints if not NO_SERVER.search(text)]


CONNECT = """([path, login]) => new Promise(async (tell) => {
    const { Live } = await import("/static/runs/live.js");
    const live = new Live({ path, login });
    live.addEventListener("state", ({ detail }) => detail.state === "live" || tell(detail));
    live.start();
})"""


def test_refused_socket_is_not_tried_again(visit: Open, browser: Browser, site: Site) -> None:
    page = visit().page
    page.goto("/runs/")
    told = page.evaluate(CONNECT, ["/ws/runs/01a1feb5-4351-7500-8503-15934db7fbf5/", ""])
    assert (told["state"], told["words"]) == ("refused", "This run is not there any more.")

    stranger = Visitor(browser, site.address)
    stranger.page.goto("/accounts/login/")
    stranger.page.evaluate(f"arguments => void ({CONNECT})(arguments)", ["/ws/runs/", "/accounts/login/"])
    stranger.page.wait_for_url("**/accounts/login/?next=%2Faccounts%2Flogin%2F")
    stranger.context.close()


def press_until(page: Page, target: Locator) -> None:
    """Press Tab until the focus is there."""
    for _ in range(60):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the keyboard does not reach {target}")


def test_tree_is_looked_at_and_stopped_by_keyboard_alone(page: Page, alice: User, marks: Marks) -> None:
    family = {"graphs": ["napping", "quick"], "marks": str(marks)}
    run = control.submit("family", family, owner=alice)
    marks.wait_for("nap.begun")
    page.goto("/runs/")
    press_until(page, page.locator(f"#children-{run.id} summary"))
    page.keyboard.press("Enter")
    expect(page.locator(".nested .run-row")).to_have_count(2, timeout=LONG)
    press_until(page, page.get_by_label(re.compile("Select napping")))
    page.keyboard.press("Shift+Tab")
    page.goto(f"/runs/{run.id}/")
    press_until(page, page.get_by_role("link", name="Stop…"))
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("Stop 2 runs?")
    expect(page.get_by_role("rowheader", name="nap")).to_be_visible(timeout=LONG)
    press_until(page, page.get_by_label("Reason"))
    page.keyboard.type("no <b>longer</b> needed")
    page.keyboard.press("Enter")

    expect(pill(page, "cancelled")).to_be_visible(timeout=LONG)
    expect(page.locator(".receipt")).to_contain_text("no <b>longer</b> needed", timeout=LONG)
    expect(page.locator("#tree .pill.cancelled")).to_have_count(2, timeout=LONG)
    assert control.get(run.id).stop_reason == "no <b>longer</b> needed"


def check(page: Page, path: str) -> None:
    page.goto(path)
    found = Axe().run(page, options={"runOnly": WCAG_AA, "resultTypes": ["violations"]})
    assert found.violations_count == 0, f"{path}: {found.generate_report()}"
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{path} scrolls sideways by {wide} px"


def test_pages_are_accessible(visit: Open, alice: User, marks: Marks) -> None:
    book = make_book(alice, status="completed", report=make_report())
    add_chapters(book, 3, analysed=2)
    failed = control.submit("failing", {}, owner=alice)
    stopped = control.submit("quick", {}, owner=alice, ring=False)
    control.cancel(stopped.id, by=alice, reason="a test")
    family = control.submit("family", {"graphs": ["napping"], "marks": str(marks)}, owner=alice)
    control.wait(failed.id, timeout_seconds=15)
    marks.wait_for("nap.begun", seconds=60)
    child = control.list_tree(family.id)[1]
    runs = [f"/runs/{run.id}/" for run in (family, child, failed, stopped)]
    books = [f"/books/{book.pk}/", f"/books/{book.pk}/report"]
    forms = ["/runs/start/", "/runs/start/family", f"{runs[0]}stop"]
    light = visit(viewport={"width": 1100, "height": 900}, reduced_motion="reduce").page
    for path in ("/runs/", *runs, *forms, *books):
        check(light, path)
    dark = visit(color_scheme="dark", viewport={"width": 360, "height": 900}, reduced_motion="reduce").page
    for path in ("/runs/", runs[0], forms[2], *books):
        check(dark, path)
