"""Photographs every page for docs/screenshots: `.venv/bin/python scripts/screenshots.py`, with Debian's Chromium.

Starts the services in a directory of its own with the graphs of the tests, and ends them again.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "screenshots"
EMAIL, PASSWORD = "admin@example.com", "a picture of everything"
RUN_HEIGHT = 1_500  # pixels
LOOKS = {
    "light-wide": {"color_scheme": "light", "viewport": {"width": 1100, "height": 900}},
    "dark-wide": {"color_scheme": "dark", "viewport": {"width": 1100, "height": 900}},
    "light-narrow": {"color_scheme": "light", "viewport": {"width": 390, "height": 900}},
    "dark-narrow": {"color_scheme": "dark", "viewport": {"width": 390, "height": 900}},
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="screenshots-") as folder:
        port = free_port()
        os.environ |= {
            "DATA_DIR": folder,
            "PORT": str(port),
            "LANGGRAPH_JSON": str(ROOT / "tests" / "graphs" / "langgraph.json"),
            "RUNS_STREAM_MODES": "messages,custom",
            "RUNS_INTERRUPT_AFTER_SECONDS": "60",
            "RUNS_GRACE_SECONDS": "90",
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            "DJANGO_SUPERUSER_EMAIL": EMAIL,
            "DJANGO_SETTINGS_MODULE": "graduation_backend.settings",
            "DJANGO_ALLOW_ASYNC_UNSAFE": "1",
        }
        command = [sys.executable, "manage.py", "start_services", "--concurrency", "3"]
        services = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(lambda: is_ready(address), "the services are ready", 90)
            take_all(address)
        finally:
            services.send_signal(signal.SIGINT)
            time.sleep(1)
            services.send_signal(signal.SIGINT)
            services.wait(60)


def take_all(address: str) -> None:
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    from playwright.sync_api import sync_playwright

    from authentication.models import User
    from books.models import Book
    from runs import control

    owner = User.objects.get(is_superuser=True)
    book = Book.objects.get()
    wait_for(lambda: Book.objects.filter(analysed_at__isnull=False).exists(), "the sample book is analysed", 120)
    for graph in ("quick", "failing", "ten_nodes"):
        control.submit(graph, {}, owner=owner)
    stopped = control.submit("polling", {}, owner=owner)
    wait_for(lambda: control.get(stopped.id).current_node == "poll", "there is something to stop")
    control.cancel(stopped.id, by=owner, source="page", reason="The question has changed.")
    family = control.submit("family", {"graphs": ["napping", "polling", "quick"], "marks": os.devnull}, owner=owner)
    wait_for(lambda: len(control.list_tree(family.id)) == 4, "the children have been started")
    research = control.submit("research", {"question": "Who kept the light?"}, owner=owner)
    wait_for(lambda: control.get(research.id).current_call, "the model is speaking", 60)
    pages = {
        "runs": "/runs/",
        "run": f"/runs/{research.id}/",
        "run-cancelled": f"/runs/{stopped.id}/",
        "run-tree": f"/runs/{family.id}/",
        "stop-preview": f"/runs/{family.id}/stop",
        "start": "/runs/start/research",
        "book": f"/books/{book.pk}/",
        "report": f"/books/{book.pk}/report",
        "books": "/",
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        opened = {look: open_page(browser, address, options) for look, options in LOOKS.items()}
        for name, path in pages.items():
            for look in LOOKS if name == "run" else ("light-wide", "dark-narrow"):
                take(opened[look], path, f"{name}-{look}")
        control.cancel(research.id, by=owner, source="page")
        time.sleep(1.5)  # after which the next rung is offered
        for look in ("light-wide", "dark-narrow"):
            take(opened[look], f"/runs/{research.id}/", f"run-stopping-{look}")
        browser.close()


def open_page(browser: Any, address: str, options: dict[str, Any]) -> Any:
    page = browser.new_context(base_url=address, reduced_motion="reduce", **options).new_page()
    page.goto("/")
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{address}/")
    return page


def take(page: Any, path: str, name: str) -> None:
    page.goto(path)
    page.wait_for_timeout(700)
    # Of a run's page more than a window shows, where there is room for it.
    size = page.viewport_size
    height = RUN_HEIGHT if path.startswith("/runs/0") and size["width"] > 1_000 else size["height"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": height}
    page.screenshot(path=FOLDER / f"{name}.png", full_page=True, clip=clip)
    print(f"{name}: {(FOLDER / f'{name}.png').stat().st_size // 1000} kB")


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/readyz", timeout=5) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError(f"not yet: {what}")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
