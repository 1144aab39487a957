"""The Stop button of a book's page, pressed again and again, with a real worker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.test import Client

from authentication.models import User
from books.models import Book
from runs import control
from runs.models import Run
from tests.services import Marks, WorkerProcess, wait_until


@pytest.fixture
def alice(transactional_db: None, settings, tmp_path: Path) -> User:
    settings.MEDIA_ROOT = tmp_path / "media"
    # Nothing climbs by itself while a test looks on.
    settings.RUNS_INTERRUPT_AFTER_SECONDS, settings.RUNS_GRACE_SECONDS = 100, 200
    user = User.objects.create_user("alice@example.com")
    user.user_permissions.add(Permission.objects.get(codename="kill_run"))
    return user


class Page:
    """The page of a book whose run is a graph that does not ask whether it should stop."""

    def __init__(self, owner: User, graph: str, marks: Marks) -> None:
        self.run = control.submit(graph, {"marks": str(marks)}, owner=owner)
        book = Book(owner=owner, title="Stubborn", file_name="stubborn.txt", run=self.run)
        book.file.save("stubborn.txt", ContentFile(b"Chapter One"), save=False)
        book.save()
        self.address = f"/books/{book.pk}/"
        self.client = Client()
        self.client.force_login(owner)
        marks.wait_for("begun")

    def read(self) -> str:
        return self.client.get(self.address).content.decode()

    def press(self, label: str) -> None:
        """Send the form of the Stop button once it says this."""
        page = wait_until(lambda: text if f"{label}</button>" in (text := self.read()) else None, f"{label!r} is shown")
        (form,) = re.findall(r'<form method="post" action="([^"]+/stop)".*?</form>', page, re.DOTALL)
        (mode,) = re.findall(r'name="mode" value="(\w+)"', page)
        assert self.client.post(form, {"mode": mode, "from": "page"}).status_code == 302

    def wait(self) -> Run:
        return control.wait(self.run.id, timeout_seconds=30)


def test_second_stop_climbs_to_the_interrupt(worker: WorkerProcess, marks: Marks, alice: User) -> None:
    page = Page(alice, "stubborn_short_sleeps", marks)

    page.press("Stop")
    assert "it is interrupted in 1 min" in page.read()
    page.press("Stop now")
    ended = page.wait()

    assert (ended.status, ended.stop_rung, ended.stop_source) == ("cancelled", 1, "page")
    assert marks.all()[0]["pid"] in worker.children()
    assert "It was stopped." in page.read()


def test_third_stop_climbs_to_the_kill(worker: WorkerProcess, marks: Marks, alice: User) -> None:
    page = Page(alice, "stubborn_swallows_everything", marks)

    page.press("Stop")
    page.press("Stop now")
    page.press("Force stop")
    ended = page.wait()

    assert (ended.status, ended.stop_rung, ended.stop_by) == ("cancelled", 2, alice)
    assert marks.all()[0]["pid"] not in worker.children()


def test_look_from_the_admin_shows_the_line_in_which_it_stands(
    worker: WorkerProcess, marks: Marks, alice: User
) -> None:
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    page = Page(alice, "stubborn_one_long_sleep", marks)
    page.press("Stop")

    answer = page.client.post(f"/admin/runs/run/{page.run.pk}/look/", follow=True).content.decode()

    assert "Looked at its process at" in answer
    assert "in one_long_sleep" in answer
