"""A book from the upload to its report with a real worker: whole, broken, deleted, and stopped in each phase."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from authentication.models import User
from books import workflow
from books.models import Book
from books.progress import find_error, progress_of
from books.tasks import process_book_workflow
from runs import control
from runs.models import Run
from tests.acceptance.library import (
    SAMPLE_TITLE,
    HeldFile,
    assert_cancelled,
    chapters_of,
    finish,
    footprint,
    is_empty,
    people_of,
    process,
    real_book,
    replace_file,
    shown,
    small_text,
    upload,
    wait_until_told,
)
from tests.environment import ROOT
from tests.services import Marks, WorkerProcess, process_environment, wait_for_status, wait_until
from tests.unit.books.builders import epub_files, ncx, pack, pdf, small_epub
from tests.unit.books.test_gutenberg import ADVENTURES

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89" + b"\0" * 500
ENCRYPTION = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" xmlns:enc="http://www.w3.org/2001/04/xmlenc#">'
    '<enc:EncryptedData><enc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/>'
    '<enc:CipherData><enc:CipherReference URI="OEBPS/c1.xhtml"/></enc:CipherData></enc:EncryptedData></encryption>'
)
LETTERS_AND_CHAPTERS = [f"Letter {n}" for n in range(1, 5)] + [f"Chapter {n}" for n in range(1, 25)]
ONE_CHAPTER = {"c1.xhtml": "<h2>Chapter 1</h2><p>It was a bright cold day in spring.</p>"}


@pytest.fixture
def alice(worker: WorkerProcess) -> User:
    return User.objects.create_superuser("alice@example.com", "correct horse battery")


@pytest.fixture
def sample(alice: User) -> Book:
    return workflow.add_sample_book(alice)


# --- whole books ------------------------------------------------------------------------------------------


def test_sample_book_is_read_analysed_and_reported(sample: Book) -> None:
    result = process_book_workflow.delay(str(sample.pk))
    run = control.wait(result.id, timeout_seconds=60, tree=True)

    sample.refresh_from_db()
    assert (run.status, run.graph, run.owner, run.error) == ("completed", "book", sample.owner, None)
    assert sample.run_id == run.id
    assert (sample.title, sample.format, sample.error) == (SAMPLE_TITLE, "txt", None)
    assert sample.analysed_at is not None
    assert sample.report is not None
    assert run.output["report"] == sample.report
    assert sample.report["statistics"]["chapters"] == 10
    assert [item["number"] for item in sample.report["tone_by_chapter"]] == list(range(1, 11))
    assert people_of(sample)[:3] == ["Hester Calloway", "Agnes Rowe", "Jem Nancarrow"]
    assert {"Silas Penhale", "Caleb Stroud", "Archibald Lorimer"} <= set(people_of(sample))
    assert sample.report["meetings"][0]["passages"] > 0
    assert sample.report["summary"]
    assert (run.progress_done, run.progress_total) == (10, 10)


def test_sample_book_has_one_run_for_each_chapter(sample: Book) -> None:
    run = finish(sample)

    chapters = chapters_of(sample)
    children = {child.id: child for child in run.children.all()}
    assert [chapter.number for chapter in chapters] == list(range(1, 11))
    assert {chapter.run_id for chapter in chapters} == set(children)
    assert len(children) == 10
    for chapter in chapters:
        child = children[chapter.run_id]
        assert (child.graph, child.status, child.owner_id) == ("chapter", "completed", sample.owner_id)
        assert child.input["number"] == chapter.number
        assert child.metadata["chapter"] == chapter.title
        assert chapter.analysis is not None
        assert child.output["analysis"] == chapter.analysis
        assert (chapter.analysis["number"], chapter.analysis["title"]) == (chapter.number, chapter.title)
        assert [node.node for node in child.nodes.order_by("started_at")] == ["analyse", "store"]
    assert [(node.node, node.status) for node in run.nodes.order_by("started_at")] == [
        ("read", "finished"),
        ("start_chapters", "finished"),
        ("await_chapters", "suspended"),
        ("await_chapters", "finished"),
        ("write_report", "finished"),
    ]


@pytest.mark.parametrize(
    ("name", "titles", "people"),
    [
        ("pg1661-sherlock-holmes.epub", ADVENTURES, {"Sherlock Holmes", "Dr. Watson", "Irene Adler"}),
        ("pg84-frankenstein.epub", LETTERS_AND_CHAPTERS, {"Victor", "Elizabeth Lavenza", "Henry Clerval"}),
    ],
    ids=["holmes", "frankenstein"],
)
def test_real_book_has_its_chapters_and_its_people(alice: User, name: str, titles: list[str], people: set[str]) -> None:
    book = upload(alice, real_book(name).read_bytes(), name)

    run = finish(book)

    book.refresh_from_db()
    chapters = chapters_of(book)
    assert (run.status, run.children.count()) == ("completed", len(titles))
    assert [chapter.title for chapter in chapters] == titles
    assert all(chapter.analysis for chapter in chapters)
    assert people <= set(people_of(book))
    assert book.report is not None
    assert book.report["statistics"]["chapters"] == len(titles)


def test_book_processed_twice_has_the_same_report(sample: Book) -> None:
    first = finish(sample)
    sample.refresh_from_db()
    report, chapters = sample.report, [chapter.analysis for chapter in chapters_of(sample)]

    second = finish(sample)

    sample.refresh_from_db()
    assert second.id != first.id
    assert sample.run_id == second.id
    assert sample.report == report
    assert [chapter.analysis for chapter in chapters_of(sample)] == chapters


def test_book_processed_again_replaces_what_was_found(alice: User) -> None:
    book = upload(alice, small_text(3, hero="Anna Karlsson"))
    first = finish(book)
    before = footprint(first)
    replace_file(book, small_text(2, hero="Clara Holm"))

    second = finish(book)

    book.refresh_from_db()
    assert (first.status, second.status) == ("completed", "completed")
    assert [chapter.number for chapter in chapters_of(book)] == [1, 2]
    assert "Clara Holm" in people_of(book)
    assert "Anna Karlsson" not in people_of(book)
    assert {chapter.run_id for chapter in chapters_of(book)} == {child.id for child in second.children.all()}
    assert footprint(first) == before


def test_book_processed_by_several_at_once_has_one_run(sample: Book) -> None:
    together = threading.Barrier(4)
    found: list[str] = []

    def press() -> None:
        try:
            together.wait(10)
            found.append(process_book_workflow.delay(str(sample.pk)).id)
        finally:
            connection.close()

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(found) == 4
    assert len(set(found)) == 1
    assert control.wait(found[0], timeout_seconds=60, tree=True).status == "completed"
    assert Run.objects.filter(graph="book").count() == 1
    assert Run.objects.filter(graph="chapter").count() == 10


# --- from a terminal --------------------------------------------------------------------------------------


def add_book(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "add_book", *arguments],
        cwd=ROOT,
        env=process_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )


def test_add_book_process_wait_prints_the_report(alice: User) -> None:
    ended = add_book(str(workflow.SAMPLE), "--process", "--wait")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(SAMPLE_TITLE)
    assert "10 chapters" in ended.stdout
    assert re.search(r"^ *\d+  Hester Calloway", ended.stdout, re.M)
    assert Book.objects.get().report is not None


def test_add_book_json_is_what_is_stored(alice: User) -> None:
    ended = add_book(str(workflow.SAMPLE), "--process", "--wait", "--json")

    assert ended.returncode == 0, ended.stderr
    printed = json.loads(ended.stdout)
    book = Book.objects.get()
    assert (printed["id"], printed["run_id"]) == (str(book.pk), str(book.run_id))
    assert (printed["status"], printed["error"]) == ("completed", None)
    assert book.report is not None
    assert {name: printed[name] for name in book.report} == book.report


def test_add_book_of_a_bad_file_exits_with_1_and_says_why(alice: User, tmp_path: Path) -> None:
    picture, good = tmp_path / "cover.png", tmp_path / "mill.txt"
    picture.write_bytes(PNG)
    good.write_bytes(small_text())

    ended = add_book(str(picture), str(good), "--process", "--wait", "--json")

    assert ended.returncode == 1
    assert "“cover” failed: The file looks like" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [(book["status"], bool(book["error"])) for book in json.loads(ended.stdout)] == [
        ("failed", True),
        ("completed", False),
    ]


# --- bad files --------------------------------------------------------------------------------------------


def encrypted_epub() -> bytes:
    return pack({**epub_files(ONE_CHAPTER), "META-INF/encryption.xml": ENCRYPTION})


def zip_bomb() -> bytes:
    return pack({**epub_files(ONE_CHAPTER), "OEBPS/picture.bmp": bytes(60_000_000)})


def ten_thousand_chapters() -> bytes:
    body = "".join(f'<h2 id="c{n}">Chapter {n}</h2><p>Some words.</p>' for n in range(10_000))
    contents = ncx([(f"Chapter {n}", f"all.xhtml#c{n}") for n in range(10_000)])
    return pack({**epub_files({"all.xhtml": body}), "OEBPS/toc.ncx": contents})


def broken_xml() -> bytes:
    return pack({**epub_files(ONE_CHAPTER), "OEBPS/content.opf": "<package><manifest><item id="})


BAD_FILES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "empty": (lambda: b"", "empty", "The file is empty."),
    "picture": (lambda: PNG, "not_a_book", "not a book"),
    "encrypted EPUB": (encrypted_epub, "encrypted", "copy-protected"),
    "encrypted PDF": (lambda: pdf([["Chapter 1", "Words."]], password="secret"), "encrypted", "password"),
    "zip bomb": (zip_bomb, "too_large", "200 times"),
    "10,000 chapters": (ten_thousand_chapters, "too_many_chapters", "10,000"),
    "broken XML": (broken_xml, "malformed", "damaged"),
    "half an EPUB": (lambda: small_epub()[:700], "malformed", "damaged"),
    "wrong encoding": (lambda: b"Once upon a time. " + bytes(range(1, 32)) * 40, "encoding", "UTF-8"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_file_fails_with_a_clear_error_and_leaves_nothing(worker: WorkerProcess, alice: User, kind: str) -> None:
    make, reason, words = BAD_FILES[kind]
    pids = set(worker.children())
    book = upload(alice, make(), "book")

    run = finish(book)

    book.refresh_from_db()
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == "BookUnreadable"
    assert words in run.error["message"]
    assert book.error == {"type": reason, "message": run.error["message"]}
    assert find_error(shown(book)) == book.error
    assert is_empty(book)
    assert not run.children.exists()
    assert [(node.node, node.status) for node in run.nodes.all()] == [("read", "failed")]

    assert finish(upload(alice, small_epub(), "good.epub")).status == "completed"
    assert set(worker.children()) == pids


def test_bad_file_that_is_replaced_by_a_good_one_can_be_processed(alice: User) -> None:
    book = upload(alice, PNG)
    assert finish(book).status == "failed"
    replace_file(book, small_text())

    assert finish(book).status == "completed"

    book.refresh_from_db()
    assert book.error is None
    assert len(chapters_of(book)) == 2


def test_good_book_that_becomes_bad_keeps_what_was_found(sample: Book) -> None:
    finish(sample)
    sample.refresh_from_db()
    report = sample.report
    replace_file(sample, PNG)

    run = finish(sample)

    sample.refresh_from_db()
    assert run.status == "failed"
    assert sample.error is not None
    assert sample.error["type"] == "not_a_book"
    assert sample.report == report
    assert len(chapters_of(sample)) == 10


def test_book_whose_file_is_gone_says_so_without_its_place(alice: User) -> None:
    book = upload(alice, small_text())
    place = Path(book.file.path)
    place.unlink()

    run = finish(book)

    book.refresh_from_db()
    assert run.status == "failed"
    assert book.error is not None
    assert book.error["type"] == "file_gone"
    assert str(place.parent) not in book.error["message"]
    assert is_empty(book)


# --- deleted meanwhile ------------------------------------------------------------------------------------


def test_book_deleted_while_it_is_read_fails_its_run(worker: WorkerProcess, alice: User) -> None:
    pids = set(worker.children())
    book = upload(alice, small_text())
    file = HeldFile(book)
    run = process(book)
    file.wait_for_reader()

    Book.objects.filter(pk=book.pk).delete()
    file.feed()
    ended = control.wait(run.id, timeout_seconds=10, tree=True)

    assert ended.status == "failed"
    assert ended.error == {"type": "BookGone", "message": "The book was deleted while it was processed."}
    assert not ended.children.exists()
    assert finish(upload(alice, small_text())).status == "completed"
    assert set(worker.children()) == pids


def test_book_deleted_while_it_waits_for_its_chapters_fails_its_run(
    worker: WorkerProcess, alice: User, tmp_path: Path
) -> None:
    book = upload(alice, small_text(4))
    run, let_go = wait_with_queued_chapters(book, tmp_path)

    Book.objects.filter(pk=book.pk).delete()
    let_go()
    ended = control.wait(run.id, timeout_seconds=20, tree=True)

    assert ended.status == "failed"
    assert ended.error == {"type": "BookGone", "message": "The book was deleted while it was processed."}
    assert {child.status for child in ended.children.all()} == {"failed"}
    assert {child.error["type"] for child in ended.children.all() if child.error} == {"BookGone"}


def test_owner_deleted_while_the_book_is_read_fails_its_run(alice: User) -> None:
    bob = User.objects.create_user("bob@example.com")
    book = upload(bob, small_text())
    file = HeldFile(book)
    run = process(book)
    file.wait_for_reader()

    bob.delete()
    file.feed()
    ended = control.wait(run.id, timeout_seconds=10, tree=True)

    assert (ended.status, ended.owner_id) == ("failed", None)
    assert ended.error is not None
    assert ended.error["type"] == "BookGone"


# --- stopped in each phase --------------------------------------------------------------------------------


def hold_slots(marks: list[Marks]) -> list[Run]:
    return [control.submit("before_node", {"marks": str(mark)}) for mark in marks]


def let_slots_go(marks: list[Marks], held: list[Run]) -> None:
    for mark in marks:
        mark.open("call")
    for run in held:
        assert control.wait(run.id, timeout_seconds=30).status == "completed"


def wait_with_queued_chapters(book: Book, tmp_path: Path) -> tuple[Run, Callable[[], None]]:
    """Bring the book to where it waits and every chapter is queued: other runs hold both slots until let go."""
    marks = [Marks(tmp_path / f"slot-{number}.jsonl") for number in range(2)]
    file = HeldFile(book)
    held = hold_slots(marks[:1])
    marks[0].wait_for("call.begun")
    run = process(book)
    file.wait_for_reader()
    held += hold_slots(marks[1:])  # in the queue before the chapters
    file.feed()
    file.restore()
    marks[1].wait_for("call.begun")
    waiting = wait_for_status(run, "waiting")
    assert {child.status for child in waiting.children.all()} == {"queued"}
    return waiting, lambda: let_slots_go(marks, held)


def assert_nothing_follows(run: Run, book: Book) -> None:
    """Process the book again, by which every message of the cancelled run has passed, and see that it stayed so."""
    before = footprint(run)
    again = finish(book)
    book.refresh_from_db()
    assert (again.status, again.error) == ("completed", None)
    assert book.run_id == again.id
    assert book.report is not None
    assert all(chapter.analysis for chapter in chapters_of(book))
    assert footprint(run) == before


def test_cancel_of_a_queued_book_never_reads_it(alice: User, tmp_path: Path) -> None:
    marks = [Marks(tmp_path / f"slot-{number}.jsonl") for number in range(2)]
    held = hold_slots(marks)
    for mark in marks:
        mark.wait_for("call.begun")
    book = upload(alice, small_text())
    run = process(book)

    result = control.cancel(run.id, reason="wrong book")

    assert result.settled == [run.id]
    ended = control.get(run.id)
    assert (ended.status, ended.attempt, ended.stop_reason) == ("cancelled", 0, "wrong book")
    let_slots_go(marks, held)
    assert is_empty(book)
    assert_nothing_follows(run, book)
    assert not ended.nodes.exists()


def test_cancel_while_the_book_is_read_stores_nothing_of_it(alice: User) -> None:
    book = upload(alice, small_text())
    file = HeldFile(book)
    run = process(book)
    file.wait_for_reader()

    control.cancel(run.id, grace_seconds=60)
    wait_until_told(run)
    assert progress_of(shown(book)).is_stopping
    with pytest.raises(workflow.BookIsStopping):
        process(book)
    file.feed()
    ended = control.wait(run.id, timeout_seconds=10, tree=True)

    assert (ended.stop_rung, ended.attempt) == (0, 1)
    assert assert_cancelled(run) == [ended]
    assert [(node.node, node.status) for node in ended.nodes.all()] == [("read", "cancelled")]
    book.refresh_from_db()
    assert is_empty(book)
    assert book.error is None
    file.restore()
    assert_nothing_follows(run, book)


def test_cancel_while_the_book_is_read_and_does_not_end_kills_its_process(worker: WorkerProcess, alice: User) -> None:
    pids = set(worker.children())
    book = upload(alice, small_text())
    file = HeldFile(book)
    run = process(book)
    file.wait_for_reader()

    control.cancel(run.id, mode="kill")
    ended = control.wait(run.id, timeout_seconds=10, tree=True)

    assert ended.stop_rung == 2
    assert_cancelled(run)
    with pytest.raises(BrokenPipeError):
        file.feed()
    file.restore()
    assert is_empty(book)
    assert_nothing_follows(run, book)
    wait_until(lambda: len(worker.children()) == 2, "the pool has two processes again")
    assert len(pids - set(worker.children())) == 1


def test_cancel_while_chapters_are_started_starts_no_more_of_them(alice: User) -> None:
    book = upload(alice, small_text(1_500))
    run = process(book)
    wait_until(run.children.exists, "the first chapter is started", 30)

    with transaction.atomic():
        # Nobody can start a child of this run meanwhile; on SQLite, nobody can write.
        Run.objects.select_for_update().get(pk=run.pk)
        started = run.children.count()
        control.cancel(run.id, grace_seconds=60)
    ended = control.wait(run.id, timeout_seconds=30, tree=True)

    assert 0 < started < 1_500
    assert run.children.count() == started
    assert ended.stop_rung == 0
    assert_cancelled_but_for_what_was_done(run)
    node = ended.nodes.get(node="start_chapters")
    assert node.status == "cancelled"
    book.refresh_from_db()
    assert book.report is None
    replace_file(book, small_text())
    assert_nothing_follows(run, book)


def assert_cancelled_but_for_what_was_done(run: Run) -> list[Run]:
    """The same for chapters that had time to complete before the stop."""
    tree = control.list_tree(run.id)
    asked = next(member.stop_requested_at for member in tree)
    for member in tree:
        assert member.status == "cancelled" or (member.status == "completed" and member.finished_at <= asked)
    assert tree[0].status == "cancelled"
    return tree


def test_cancel_while_the_book_waits_cancels_every_queued_chapter(alice: User, tmp_path: Path) -> None:
    book = upload(alice, small_text(6))
    run, let_go = wait_with_queued_chapters(book, tmp_path)

    result = control.cancel(run.id, reason="enough")

    assert len(result.settled) == 7
    tree = assert_cancelled(run)
    assert [child.attempt for child in tree[1:]] == [0] * 6
    let_go()
    assert [chapter.analysis for chapter in chapters_of(book)] == [None] * 6
    book.refresh_from_db()
    assert (book.report, book.error) == (None, None)
    assert_nothing_follows(run, book)


def test_cancel_of_one_chapter_fails_the_book_and_says_which(alice: User, tmp_path: Path) -> None:
    book = upload(alice, small_text(3))
    run, let_go = wait_with_queued_chapters(book, tmp_path)
    lost = run.children.order_by("id")[1]

    control.cancel(lost.id)
    let_go()
    ended = control.wait(run.id, timeout_seconds=20, tree=True)

    book.refresh_from_db()
    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error["type"] == "ChaptersFailed"
    assert "1 of 3 chapters" in ended.error["message"]
    assert book.error == {"type": "chapters_failed", "message": ended.error["message"]}
    assert book.report is None
    assert [bool(chapter.analysis) for chapter in chapters_of(book)] == [True, False, True]
    assert finish(book).status == "completed"


def test_continue_after_a_lost_chapter_analyses_that_one_alone(alice: User, tmp_path: Path) -> None:
    book = upload(alice, small_text(3))
    run, let_go = wait_with_queued_chapters(book, tmp_path)
    lost = run.children.order_by("id")[1]
    control.cancel(lost.id)
    let_go()
    assert control.wait(run.id, timeout_seconds=20, tree=True).status == "failed"
    book.refresh_from_db()
    kept = [chapter.run_id for chapter in chapters_of(book)]

    again = control.wait(workflow.continue_processing(book, by=alice).id, timeout_seconds=30)

    book.refresh_from_db()
    assert (again.status, again.retry_of_id, book.run_id) == ("completed", run.id, again.id)
    (child,) = again.children.all()
    assert child.retry_of_id == lost.id
    assert [chapter.run_id for chapter in chapters_of(book)] == [kept[0], child.id, kept[2]]
    assert all(chapter.analysis for chapter in chapters_of(book))
    assert book.report is not None
    assert book.error is None
    assert set(again.nodes.values_list("node", flat=True)) == {"await_chapters", "write_report"}
    assert (again.progress_done, again.progress_total) == (3, 3)


def test_cancel_of_an_analysed_book_changes_nothing(sample: Book) -> None:
    run = finish(sample)
    before = footprint(run)

    workflow.stop_processing(sample, by=None, source="page")

    sample.refresh_from_db()
    assert footprint(run) == before
    assert sample.report is not None
    assert progress_of(shown(sample)).status == "completed"


def test_cancelled_book_can_be_stopped_and_processed_again_and_again(alice: User, tmp_path: Path) -> None:
    book = upload(alice, small_text(2))
    stopped: list[Any] = []
    for _ in range(3):
        file = HeldFile(book)
        run = process(book)
        file.wait_for_reader()
        control.cancel(run.id, grace_seconds=60)
        wait_until_told(run)
        file.feed()
        file.restore()
        assert control.wait(run.id, timeout_seconds=10, tree=True).status == "cancelled"
        stopped.append((run, footprint(run)))

    assert finish(book).status == "completed"
    assert [footprint(run) for run, _ in stopped] == [before for _, before in stopped]
