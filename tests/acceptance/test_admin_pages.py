"""The admin as an operator sees it: a real browser, Daphne and a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from authentication.models import User
from runs import brake, control
from runs.models import Run
from tests.browser import PASSWORD, Site, Visitor
from tests.services import Marks, WorkerProcess, wait_for_status

LIST = "/admin/runs/run/"
PATIENCE = 20_000  # milliseconds


@pytest.fixture
def admin_worker(start_worker: Callable[..., WorkerProcess]) -> WorkerProcess:
    # The variable is for this process, which drives the browser, and not for a worker.
    return start_worker(DJANGO_ALLOW_ASYNC_UNSAFE="")


@pytest.fixture
def page(browser: Browser, site: Site, admin_worker: WorkerProcess) -> Iterator[Page]:
    """A page on which an operator is logged in to the admin."""
    visitor = Visitor(browser, site.address, viewport={"width": 1500, "height": 900})
    page = visitor.enter(User.objects.create_superuser("olga@example.com", PASSWORD))
    page.set_default_timeout(PATIENCE)
    page.goto("/admin/runs/freeze/")
    yield page
    visitor.context.close()
    assert visitor.complaints == []


def row(page: Page, run: Run) -> Locator:
    return page.locator("tr", has=page.locator(f'[data-run="{run.pk}"]'))


def expect_status(page: Page, run: Run, status: str) -> None:
    expect(row(page, run).locator('[data-live="status"]')).to_have_text(status, timeout=PATIENCE)


def test_brake_live_list_and_cancel(page: Page, marks: Marks) -> None:
    banner = page.locator(".brake-banner")
    expect(banner).to_be_hidden()
    page.get_by_role("link", name="Pull the brake").click()
    page.get_by_label("Reason").fill("the model is down")
    page.get_by_role("button", name="Freeze").click()
    expect(banner).to_contain_text("the model is down")

    run = control.submit("napping", {"marks": str(marks), "seconds": 600})
    expect(page.locator('[data-live="queued"]')).to_have_text("1", timeout=PATIENCE)  # without a reload

    # Two pages side by side: on one the brake is lifted, the other one shows what comes of it.
    other = page.context.new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(LIST)
    expect_status(other, run, "queued")
    expect(other.locator(".brake-banner")).to_be_visible()
    assert control.get(run.id).attempt == 0
    other.evaluate("window.notReloaded = true")
    page.get_by_role("link", name="Lift the brake").click()
    page.get_by_role("button", name="Lift the brake").click()
    expect(page.get_by_text("The brake is lifted")).to_be_visible()

    expect_status(other, run, "running")
    expect(other.locator(".brake-banner")).to_be_hidden(timeout=PATIENCE)
    expect(row(other, run).locator('[data-live="node"]')).to_have_text("nap", timeout=PATIENCE)
    assert other.evaluate("window.notReloaded") is True
    assert brake.list_standing() == []

    # The button of the row was made by the script; it leads to the question for a reason.
    page.goto(LIST)
    expect_status(page, run, "running")
    row(other, run).get_by_role("link", name="Cancel").click()
    other.get_by_label("Reason").fill("enough")
    other.get_by_role("button", name="Cancel 1 run").click()
    expect(other.get_by_text("1 run asked to stop")).to_be_visible()
    assert wait_for_status(run, "cancelled").stop_reason == "enough"
    expect_status(page, run, "cancelled")
    expect(row(page, run).get_by_role("link", name="Retry")).to_be_visible(timeout=PATIENCE)
