"""`manage.py add_book`: what the upload page does, from a terminal."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.live import Live
from rich.text import Text

from authentication.models import User
from books import documents, workflow
from books.analysis.results import BookReport
from books.forms import max_upload_bytes, megabytes
from books.models import Book
from books.progress import Progress, find_error, progress_of, with_runs

DONE, FAILED, USAGE, TIMED_OUT, INTERRUPTED = 0, 1, 2, 4, 130
LOOK_EVERY_SECONDS = 0.5


class Command(BaseCommand):
    help = (
        "Add books, and with --process analyse them. Exit codes: 0 done, 1 a book failed or was cancelled, "
        "2 usage, 4 --wait timed out (the runs go on)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="EPUB, PDF, HTML or plain text")
        parser.add_argument("--owner", metavar="EMAIL", help="whose book it is (default: the first superuser)")
        parser.add_argument("--process", action="store_true", help="analyse it at once")
        parser.add_argument("--wait", action="store_true", help="with --process: wait, and print the report")
        parser.add_argument(
            "--timeout",
            type=float,
            metavar="SECONDS",
            help="with --wait: how long at most (default: for ever)",
        )
        parser.add_argument(
            "--json", action="store_true", help="print JSON: an object for one FILE, a list for several"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["wait"] and not options["process"]:
            raise CommandError("--wait needs --process.", returncode=USAGE)
        timeout_seconds: float | None = options["timeout"]
        if timeout_seconds is not None and (not options["wait"] or timeout_seconds <= 0):
            raise CommandError("--timeout needs --wait and more than 0 seconds.", returncode=USAGE)
        owner = _get_owner(options["owner"])
        for path in options["files"]:
            _check_file(path)

        books = [_add(path, owner) for path in options["files"]]
        if options["process"]:
            for book in books:
                workflow.start_processing(book, by=owner)
        has_timed_out = options["wait"] and not self._wait(books, timeout_seconds)
        books = _fresh(books)
        if options["json"]:
            found = [_as_json(book) for book in books]
            self.stdout.write(json.dumps(found[0] if len(found) == 1 else found, ensure_ascii=False, indent=2))
        else:
            for book in books:
                self._print(book, is_waited_for=options["wait"])
        if options["wait"]:
            _exit(books, has_timed_out, timeout_seconds)

    def _wait(self, books: Sequence[Book], timeout_seconds: float | None) -> bool:
        """Show how far the books are until none is active; False if the time was up first."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        try:
            with _progress_line(self.stderr) as show:
                while True:
                    current = _fresh(books)
                    show(" · ".join(_describe(book, progress_of(book)) for book in current))
                    if not any(progress_of(book).is_active for book in current):
                        return True
                    if deadline is not None and time.monotonic() >= deadline:
                        return False
                    time.sleep(LOOK_EVERY_SECONDS)
        except KeyboardInterrupt:
            for book in _fresh(books):
                if progress_of(book).is_active:
                    self.stderr.write(
                        f"“{documents.printable(book.title)}” is still being processed. "
                        f"Cancel it with: manage.py control_tasks cancel --task-id {book.run_id}"
                    )
            sys.exit(INTERRUPTED)

    def _print(self, book: Book, *, is_waited_for: bool) -> None:
        progress = progress_of(book)
        title = documents.printable(book.title)
        if is_waited_for and progress.status == "completed" and progress.has_report:
            self.stdout.write(documents.as_text(BookReport.model_validate(book.report)))
            self.stdout.write("")
        elif progress.is_new:
            self.stdout.write(f"Added “{title}” as {book.pk}.")
        elif not is_waited_for:
            self.stdout.write(f"Added “{title}” as {book.pk}; it is processed by run {book.run_id}.")


def _get_owner(email: str | None) -> User:
    if email is None:
        owner = User.objects.filter(is_superuser=True, is_active=True).order_by("date_joined").first()
        if owner is None:
            raise CommandError(
                "No superuser can own the book. Make one (manage.py createsuperuser), or use --owner.",
                returncode=USAGE,
            )
        return owner
    owner = User.objects.filter(email__iexact=email).first()
    if owner is None:
        raise CommandError(f"There is no account {email}.", returncode=USAGE)
    return owner


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise CommandError(f"{path} is not a file.", returncode=USAGE)
    size, limit = path.stat().st_size, max_upload_bytes()
    if size == 0:
        raise CommandError(f"{path} is empty.", returncode=USAGE)
    if size > limit:
        raise CommandError(f"{path} has {megabytes(size)}; {megabytes(limit)} is the most.", returncode=USAGE)


def _add(path: Path, owner: User) -> Book:
    try:
        with path.open("rb") as file:
            return workflow.add_book(File(file, name=path.name), owner=owner, file_name=path.name)
    except PermissionError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}.", returncode=USAGE) from error


def _fresh(books: Sequence[Book]) -> list[Book]:
    found = with_runs(Book.objects.all()).in_bulk([book.pk for book in books])
    return [found[book.pk] for book in books if book.pk in found]


def _describe(book: Book, progress: Progress) -> str:
    chapters = f" {progress.done}/{progress.total} chapters" if progress.total else ""
    return f"{documents.printable(book.title)[:40]}: {progress.status}{chapters}"


def _as_json(book: Book) -> dict[str, Any]:
    """The report's own keys, and beside them what is known of the book and its run."""
    progress = progress_of(book)
    return {
        "id": str(book.pk),
        "run_id": str(book.run_id) if book.run_id else None,
        "status": progress.status,
        "error": find_error(book),
        "file_name": book.file_name,
        **(book.report if progress.status == "completed" and book.report else {"title": book.title}),
    }


def _exit(books: Sequence[Book], has_timed_out: bool, timeout_seconds: float | None) -> None:
    problems = []
    for book in books:
        title, status = documents.printable(book.title), progress_of(book).status
        if error := find_error(book):
            problems.append(f"“{title}” failed: {documents.printable(str(error.get('message')))}")
        elif status == "cancelled":
            problems.append(f"“{title}” was cancelled.")
    if has_timed_out:
        problems.append(f"Still not done after {timeout_seconds:g} seconds. What is being processed goes on.")
    if problems:
        raise CommandError("\n".join(problems), returncode=TIMED_OUT if has_timed_out else FAILED)


@contextmanager
def _progress_line(stream: Any) -> Iterator[Any]:
    """A function that shows one line: always in the same place on a terminal, else each time it changes."""
    if stream.isatty():
        console = Console(file=stream._out, highlight=False)
        with Live(console=console, transient=True, refresh_per_second=4) as live:
            yield lambda line: live.update(Text(line, no_wrap=True, overflow="ellipsis"))
        return
    shown = [""]

    def show(line: str) -> None:
        if line != shown[0]:
            shown[0] = line
            stream.write(line)

    yield show
