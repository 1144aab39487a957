"""A real Daphne and a real Chromium, for the tests of pages."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from authentication.models import User
from tests.environment import DATA_DIR, ROOT
from tests.services import process_environment, wait_until

CHROMIUM = Path("/usr/bin/chromium")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "correct horse battery"


class Site:
    """A Daphne with a port of its own, which it keeps when it is started again."""

    def __init__(self, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.environment = environment
        self.log = DATA_DIR / f"daphne-{self.port}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Site:
        command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "graduation_backend.asgi:application"],
                cwd=ROOT,
                env={**process_environment(), **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._answers, "Daphne answers", 30)
        return self

    def kill(self) -> None:
        """End it as a crash does, with every connection cut."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(f"{self.address}/healthz", timeout=5) as answer:  # noqa: S310 - our own address
                return bool(answer.status == 200)
        except urllib.error.URLError:
            return False


@contextmanager
def open_browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patch:
        # Playwright leaves an event loop in this thread, and Django would refuse to look into the database here.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


class Visitor:
    """Somebody with a browser window of their own, and what it has complained of on its console."""

    def __init__(self, browser: Browser, site: str, **options: object) -> None:
        defaults = {"base_url": site, "viewport": {"width": 1100, "height": 1400}}
        self.site = site
        self.context: BrowserContext = browser.new_context(**{**defaults, **options})  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self._hear(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, kind: str, text: str) -> None:
        if kind != "log":
            self.complaints.append(text)

    def enter(self, user: User) -> Page:
        """Be logged in, without the form."""
        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session.session_key, "url": self.site}
        self.context.add_cookies([cookie])  # type: ignore[list-item]
        return self.page

    def log_in(self, email: str) -> Page:
        self.page.goto("/")
        self.page.get_by_label("E-mail address").fill(email)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(re.compile("books", re.IGNORECASE))
        return self.page


def make_alice() -> User:
    return User.objects.create_user("alice@example.com", PASSWORD, full_name="Alice Liddell")
