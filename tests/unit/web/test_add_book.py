from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from authentication.models import User
from books.models import Book
from runs.models import Run
from tests.environment import ROOT
from tests.services import process_environment, wait_until
from tests.unit.web.shelf import make_report


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mill.txt"
    path.write_text("Chapter One\n\nIt was a dark night.")
    return path


def add_book(*arguments: Any) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("add_book", *map(str, arguments), stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def settle(
    status: str, *, report: dict[str, Any] | None = None, error: dict[str, Any] | None = None
) -> threading.Thread:
    """End the run of the next book as a worker would, from another thread."""

    def work() -> None:
        try:
            run = wait_until(lambda: Run.objects.first(), "a run is queued")
            Book.objects.update(report=report, error=error)
            stop = {"stop_requested_at": timezone.now(), "stop_mode": "cancel"} if status == "cancelled" else {}
            Run.objects.filter(pk=run.pk).update(status=status, finished_at=timezone.now(), **stop)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_add_book_belongs_to_the_first_superuser(admin: User, alice: User, file: Path) -> None:
    out, _ = add_book(file)
    book = Book.objects.get()
    assert book.owner == admin
    assert str(book.pk) in out
    assert book.run is None


def test_add_book_belongs_to_the_named_owner(alice: User, file: Path) -> None:
    add_book(file, "--owner", "ALICE@example.com")
    assert Book.objects.get().owner == alice


def test_add_book_with_process_names_the_run(admin: User, file: Path) -> None:
    out, _ = add_book(file, "--process")
    assert str(Book.objects.get().run_id) in out


def test_add_book_as_json_is_one_object_or_a_list(admin: User, file: Path) -> None:
    one = json.loads(add_book(file, "--json")[0])
    assert one["status"] == "new"
    assert one["id"] == str(Book.objects.get().pk)
    assert [found["file_name"] for found in json.loads(add_book(file, file, "--json")[0])] == ["mill.txt"] * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--owner", "nobody@example.com"], "no account nobody@example.com"),
        (["--wait"], "--wait needs --process"),
        (["--process", "--timeout", "3"], "--timeout needs --wait"),
        (["--process", "--wait", "--timeout", "0"], "more than 0"),
    ],
)
def test_add_book_used_wrongly_exits_2(admin: User, file: Path, arguments: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words) as error:
        add_book(file, *arguments)
    assert error.value.returncode == 2
    assert not Book.objects.exists()


def test_add_book_without_any_superuser_says_what_to_do(db: None, file: Path) -> None:
    with pytest.raises(CommandError, match="createsuperuser") as error:
        add_book(file)
    assert error.value.returncode == 2


@pytest.mark.parametrize("what", ["missing", "directory", "empty", "large"])
def test_add_book_with_a_wrong_file_adds_none(admin: User, file: Path, tmp_path: Path, settings, what: str) -> None:
    settings.BOOKS_MAX_UPLOAD_BYTES = 100
    wrong = tmp_path / "wrong.txt"
    if what == "directory":
        wrong.mkdir()
    elif what != "missing":
        wrong.write_bytes(b"x" * (0 if what == "empty" else 101))
    with pytest.raises(CommandError, match=r"wrong\.txt") as error:
        add_book(file, wrong)
    assert error.value.returncode == 2
    assert not Book.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_add_book_wait_prints_the_report(admin: User, file: Path) -> None:
    thread = settle("completed", report=make_report())
    out, err = add_book(file, "--process", "--wait", "--timeout", "20")
    thread.join()
    assert "Who meets whom" in out
    assert err.endswith("mill: completed\n")


@pytest.mark.django_db(transaction=True)
def test_add_book_wait_as_json_prints_the_report_alone(admin: User, file: Path) -> None:
    thread = settle("completed", report=make_report())
    out, _ = add_book(file, "--process", "--wait", "--json")
    thread.join()
    found = json.loads(out)
    assert found["status"] == "completed"
    assert found["people"] == make_report()["people"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("status", "error", "words"),
    [("failed", {"message": "It is encrypted."}, "It is encrypted"), ("cancelled", None, "was cancelled")],
)
def test_add_book_wait_for_what_does_not_complete_exits_1(
    admin: User, file: Path, status: str, error: dict[str, Any] | None, words: str
) -> None:
    thread = settle(status, error=error)
    with pytest.raises(CommandError, match=words) as raised:
        add_book(file, "--process", "--wait")
    thread.join()
    assert raised.value.returncode == 1


@pytest.mark.django_db(transaction=True)
def test_add_book_wait_that_takes_too_long_exits_4_and_the_run_goes_on(admin: User, file: Path) -> None:
    with pytest.raises(CommandError, match="goes on") as error:
        add_book(file, "--process", "--wait", "--timeout", "0.2")
    assert error.value.returncode == 4
    assert Run.objects.get().status == "queued"


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_add_book_interrupted_while_waiting_tells_how_to_cancel(admin: User, file: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "add_book", str(file), "--process", "--wait"],
        cwd=ROOT, env=process_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    run = wait_until(lambda: Run.objects.first(), "a run is queued", 30)
    assert process.stderr is not None
    assert "queued" in process.stderr.readline()
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert f"control_tasks cancel --task-id {run.pk}" in err
    assert "Traceback" not in err
    assert Run.objects.get().status == "queued"
