"""Sign up, confirm, log in and reset the password as a person does it: a real browser, Daphne, a worker and the mail
server that it sends to."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from authentication.models import OutgoingMail, User
from tests.acceptance.test_books_pages import CHROMIUM, QUIET
from tests.environment import DATA_DIR, ROOT
from tests.services import WorkerProcess, process_environment, wait_until

EVE = "eve@example.com"
PASSWORD, NEW_PASSWORD = "correct horse battery", "a new long secret"


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the mails of this module are delivered to, as files."""
    return tmp_path_factory.mktemp("mails")


@pytest.fixture(scope="module")
def site(redis_server: None, django_db_setup: None) -> Iterator[str]:
    """The address of a real Daphne."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with (DATA_DIR / "daphne-accounts.log").open("ab") as log:
        daphne = subprocess.Popen(
            [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "graduation_backend.asgi:application"],
            cwd=ROOT,
            env={**process_environment(), "PUBLIC_URL": address},
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def answers() -> bool:
        assert daphne.poll() is None, (DATA_DIR / "daphne-accounts.log").read_text()
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=5) as answer:  # noqa: S310 - our own address
                return bool(answer.status == 200)
        except urllib.error.URLError:
            return False

    try:
        wait_until(answers, "Daphne answers", 30)
        yield address
    finally:
        daphne.terminate()
        daphne.wait(20)


@pytest.fixture
def browser(site: str) -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patch:
        # Playwright leaves an event loop in this thread, and Django would refuse to look into the database here.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """A page; the test fails if it says anything on the browser's console."""
    context = browser.new_context(base_url=site)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


class Mailbox:
    """The mails that a worker really sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def wait_for(self, subject: str) -> str:
        """The text of the one mail with this subject."""
        [message] = wait_until(lambda: self._with_subject(subject), f"a mail {subject!r} arrives", 30)
        assert message["To"] == EVE
        assert message.get_body(("html",)) is not None
        return str(message.get_body(("plain",)).get_content())

    def _with_subject(self, subject: str) -> list[Any]:
        raw = [part for path in self.folder.iterdir() for part in self._mails(path)]
        read = [message_from_bytes(part.encode(), policy=policy.default) for part in raw]
        return [message for message in read if message["Subject"] == subject]

    @staticmethod
    def _mails(path: Path) -> list[str]:
        # Django's file backend ends each mail with a line of dashes.
        return [part.lstrip("\n") for part in path.read_text().split(f"\n{'-' * 79}\n")[:-1]]


def link(text: str, site: str) -> str:
    found = re.search(rf"{re.escape(site)}/accounts/(?:confirm|reset)/\S+", text)
    assert found, text
    return found[0]


def test_person_signs_up_confirms_logs_in_and_resets_the_password(
    page: Page, site: str, mails: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    start_worker(EMAIL_URL=f"file://{mails}", PUBLIC_URL=site, concurrency=1)
    mailbox = Mailbox(mails)

    page.goto("/accounts/login/")
    page.get_by_role("link", name="Make an account").click()
    page.get_by_label("E-mail address").fill(EVE)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()

    confirm = mailbox.wait_for("Confirm your e-mail address for graduation_backend")
    page.goto(link(confirm, site))
    page.get_by_role("button", name="Yes, confirm it").click()
    expect(page.get_by_text("Your address is confirmed.")).to_be_visible()
    assert "is ready" in mailbox.wait_for("Welcome to graduation_backend")

    log_in(page, PASSWORD)
    page.locator(".menu summary").click()
    page.get_by_role("button", name="Log out").click()

    page.get_by_role("link", name="I forgot my password").click()
    page.get_by_label("E-mail address").fill(EVE)
    page.get_by_role("button", name="Send the link").click()
    page.goto(link(mailbox.wait_for("Choose a new password for graduation_backend"), site))
    page.get_by_label("New password", exact=True).fill(NEW_PASSWORD)
    page.get_by_label("New password once more").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Save the password").click()
    page.get_by_role("link", name="Log in").click()
    log_in(page, NEW_PASSWORD)
    mailbox.wait_for("Your password was changed")

    assert User.objects.get(email=EVE).check_password(NEW_PASSWORD)
    assert not OutgoingMail.objects.exists()


def log_in(page: Page, password: str) -> None:
    page.get_by_label("E-mail address").fill(EVE)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="My books")).to_be_visible()
