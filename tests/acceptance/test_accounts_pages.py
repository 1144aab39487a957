"""Sign up, confirm, log in and reset the password as a person does it: a real browser, Daphne, a worker and the mail
server that it sends to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from authentication.models import OutgoingMail, User
from tests.browser import Site, Visitor
from tests.services import WorkerProcess, wait_until

EVE = "eve@example.com"
PASSWORD, NEW_PASSWORD = "correct horse battery", "a new long secret"


@pytest.fixture
def mails(tmp_path: Path) -> Path:
    """Where the mails are delivered to, as files."""
    folder = tmp_path / "mails"
    folder.mkdir()
    return folder


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A page; the test fails if it says anything on the browser's console."""
    visitor = Visitor(browser, site.address)
    yield visitor.page
    visitor.context.close()
    assert visitor.complaints == []


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


def link(text: str, site: Site) -> str:
    found = re.search(rf"{re.escape(site.address)}/accounts/(?:confirm|reset)/\S+", text)
    assert found, text
    return found[0]


def test_person_signs_up_confirms_logs_in_and_resets_the_password(
    page: Page, site: Site, mails: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    start_worker(EMAIL_URL=f"file://{mails}", PUBLIC_URL=site.address, concurrency=1)
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
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("books", re.IGNORECASE))
