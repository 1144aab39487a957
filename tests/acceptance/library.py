"""Books for the acceptance tests: uploaded, held while they are read, and looked at as a tree of runs."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile

from authentication.models import User
from books import workflow
from books.models import Book, Section, SectionKind
from books.progress import with_runs
from books.tasks import process_book_workflow
from runs import control
from runs.models import NodeExecution, Run
from tests.environment import ROOT
from tests.services import wait_until

SAMPLE_TITLE = "The Keeper of Gull Rock"
MODEL = "openai:gpt-test"
SHARED_BOOKS = Path(os.environ.get("SHARED_BOOKS") or ROOT.parent / "shared" / "books")


def real_book(name: str) -> Path:
    path = SHARED_BOOKS / name
    if not path.exists():
        pytest.skip(f"{name} isn't beside the repository; set SHARED_BOOKS to its folder")
    return path


def small_text(chapters: int = 2, *, hero: str = "Anna Karlsson") -> bytes:
    """A plain text with this many short chapters, all of them about the hero."""
    parts = [
        f"CHAPTER {number}\n\n{hero} went to the mill on day {number}. It was cold, and {hero} was glad of the fire. "
        f"Nobody but Boris Lund was there. {hero} talked to Boris Lund all night.\n\n"
        for number in range(1, chapters + 1)
    ]
    return "\n".join(["The Mill\n\n", *parts]).encode()


def model_environment(url: str) -> dict[str, str]:
    """What a worker needs to ask the model at this address."""
    model = {"BOOKS_MODEL": MODEL, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "test-key"}
    return {**model, "DJANGO_ALLOW_ASYNC_UNSAFE": ""}  # which is for tests with a browser, not for a worker


def about_hester(question: dict[str, Any]) -> dict[str, Any]:
    """What the model says of a chapter of the sample book, and of all of them."""
    if "\nAuthor: " in question["messages"][-1]["content"]:
        return {"summary": "Hester finds the oil.", "keywords": ["oil"]}
    return {
        "summary": "Hester counts the stairs.",
        "keywords": ["Oil", "stairs"],
        "people": [
            {"name": "Hester Calloway", "aliases": ["Hester", "Miss Calloway"]},
            {"name": "Silas Penhale", "aliases": ["Silas", "Penhale"]},
        ],
        "places": ["Edinburgh"],
        "tone": -0.5,
    }


def upload(owner: User, data: bytes, file_name: str = "the_mill.txt") -> Book:
    return workflow.add_book(ContentFile(data), owner=owner, file_name=file_name)


def replace_file(book: Book, data: bytes) -> None:
    path = Path(book.file.path)
    path.unlink()
    path.write_bytes(data)


def process(book: Book) -> Run:
    """Queue the book as any Python code would, by the task, and return its run."""
    return control.get(process_book_workflow.delay(str(book.pk)).id)


def finish(book: Book, seconds: float = 60.0) -> Run:
    """Process the book and wait for the end of its whole tree."""
    return control.wait(process(book).id, timeout_seconds=seconds, tree=True)


def chapters_of(book: Book) -> list[Section]:
    return list(Section.objects.filter(book=book, kind=SectionKind.CHAPTER).order_by("position"))


def people_of(book: Book) -> list[str]:
    assert book.report is not None
    return [person["name"] for person in book.report["people"]]


def shown(book: Book) -> Book:
    """The book as the pages read it."""
    return with_runs(Book.objects.filter(pk=book.pk)).get()


def is_empty(book: Book) -> bool:
    """Whether nothing is stored of what the book's run has found."""
    return not book.sections.exists() and book.report is None and book.analysed_at is None


class HeldFile:
    """Makes the book's file a named pipe: whoever reads it waits until `feed`."""

    def __init__(self, book: Book) -> None:
        self.path = Path(book.file.path)
        self.data = self.path.read_bytes()
        self.path.unlink()
        os.mkfifo(self.path)
        self._pipe = -1

    def wait_for_reader(self) -> None:
        wait_until(self._has_reader, "somebody reads the book's file")

    def feed(self) -> None:
        """Give the reader the whole file."""
        with open(self._pipe, "wb") as pipe:
            pipe.write(self.data)

    def restore(self) -> None:
        """Make it a file again that can be read any number of times."""
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(self.data)

    def _has_reader(self) -> bool:
        try:
            self._pipe = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nobody has opened the other end
                return False
            raise
        os.set_blocking(self._pipe, True)
        return True


def end_all_runs() -> None:
    """Stop what a test has left running."""
    control.cancel_all(mode="kill", reason="the test is over")
    for run in control.list_active():
        control.wait(run.id, timeout_seconds=30)


def wait_until_told(*runs: Run) -> None:
    """Wait until the processes of these runs have been handed their stop."""
    wait_until(
        lambda: all(control.get(run.id).stop_delivered_at for run in runs), f"the stop has reached {len(runs)} runs"
    )


def assert_cancelled(run: Run) -> list[Run]:
    """See that the whole tree is cancelled and nothing of it executes; returns it."""
    tree = control.list_tree(run.id)
    assert {(member.graph, member.status) for member in tree} <= {("book", "cancelled"), ("chapter", "cancelled")}
    assert not _nodes(run).filter(status="running").exists()
    assert not _nodes(run).filter(run__attempt=0).exists()
    return tree


def footprint(run: Run) -> list[Any]:
    """Everything that an execution of this tree would change."""
    members = [
        (member.id, member.status, member.attempt, member.output, member.error, member.finished_at)
        for member in control.list_tree(run.id)
    ]
    return [*members, *_nodes(run).order_by("id").values_list("id", "node", "status", "attempt", "finished_at")]


def _nodes(run: Run) -> Any:
    return NodeExecution.objects.filter(run__root_id=run.root_id)
