"""A book analysed by a language model: a real worker asks a real server that speaks OpenAI's protocol."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from authentication.models import User
from books import workflow
from books.models import Book
from books.progress import find_error, progress_of
from runs import control
from runs.models import Run
from tests.acceptance.library import (
    MODEL,
    about_hester,
    assert_cancelled,
    chapters_of,
    finish,
    footprint,
    process,
    shown,
    small_text,
    upload,
    wait_until_told,
)
from tests.openai_server import OpenAIServer, Reply
from tests.services import WorkerProcess, wait_for_status, wait_until


@pytest.fixture
def alice(transactional_db: None) -> User:
    return User.objects.create_user("alice@example.com")


@pytest.fixture
def book(alice: User) -> Book:
    return upload(alice, small_text(4))


def is_answered(server: OpenAIServer) -> bool:
    """Whether every request got its whole answer; the server may learn so a moment after the client has it."""
    server.wait_until(lambda server: all(request.ended_at for request in server.requests))
    return not any(request.disconnected for request in server.requests)


# --- answers ----------------------------------------------------------------------------------------------


def test_sample_book_is_analysed_by_the_model(model_worker: WorkerProcess, server: OpenAIServer, alice: User) -> None:
    server.default = Reply(answer=about_hester)
    sample = workflow.add_sample_book(alice)

    run = finish(sample)

    sample.refresh_from_db()
    assert (run.status, run.children.count()) == ("completed", 10)
    assert len(server.requests) == 11
    assert all(request.streaming for request in server.requests)
    assert all(request.body["response_format"]["type"] == "json_schema" for request in server.requests)
    assert {request.body["model"] for request in server.requests} == {"gpt-test"}
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer test-key"}
    asked = [request.text for request in server.requests]
    for chapter in chapters_of(sample):
        assert sum(f"Chapter: {chapter.title}\n" in text for text in asked) == 1
        assert chapter.analysis is not None
        assert chapter.analysis["summary"] == "Hester counts the stairs."
    assert "Book: The Keeper of Gull Rock" in asked[-1]
    assert sample.report is not None
    assert sample.report["summary"] == "Hester finds the oil."
    hester = sample.report["people"][0]
    assert hester["name"] == "Hester Calloway"
    assert hester["mentions"] > 50  # counted in the text, not by the model


def test_model_that_is_busy_is_asked_again(model_worker: WorkerProcess, server: OpenAIServer, book: Book) -> None:
    server.queue(Reply(status=429), Reply(status=429))

    run = finish(book)

    book.refresh_from_db()
    assert (run.status, book.error) == ("completed", None)
    assert book.report is not None
    assert len(server.requests) == 2 + 4 + 1


def test_model_that_answers_nonsense_once_is_asked_again(
    model_worker: WorkerProcess, server: OpenAIServer, book: Book
) -> None:
    server.queue(Reply(answer="this is no JSON"))

    assert finish(book).status == "completed"
    assert len(server.requests) == 1 + 4 + 1


# --- what goes wrong --------------------------------------------------------------------------------------


def assert_failed(book: Book, run: Run, *words: str) -> None:
    book.refresh_from_db()
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == "ChaptersFailed"
    assert book.error == {"type": "chapters_failed", "message": run.error["message"]}
    assert find_error(shown(book)) == book.error
    for word in words:
        assert word in run.error["message"]
    assert "test-key" not in str(run.error)
    assert book.report is None
    assert not any(chapter.analysis for chapter in chapters_of(book))
    assert {child.status for child in run.children.all()} == {"failed"}
    assert {child.error["type"] for child in run.children.all() if child.error} == {"AnalysisFailed"}


def test_wrong_key_fails_the_book_and_says_so(model_worker: WorkerProcess, server: OpenAIServer, book: Book) -> None:
    server.default = Reply(status=401)
    pids = set(model_worker.children())

    run = finish(book)

    assert_failed(book, run, "4 of 4 chapters", "chapter 1", "rejects the key (401)", "OPENAI_API_KEY")
    assert len(server.requests) == 4
    server.default = Reply()
    assert finish(book).status == "completed"
    assert set(model_worker.children()) == pids


def test_wrong_key_for_the_report_keeps_the_chapters(
    model_worker: WorkerProcess, server: OpenAIServer, book: Book
) -> None:
    server.queue(*[Reply()] * 4, Reply(status=401))

    run = finish(book)

    book.refresh_from_db()
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["type"] == "AnalysisFailed"
    assert "rejects the key (401)" in run.error["message"]
    assert find_error(shown(book))["message"] == run.error["message"]  # type: ignore[index]
    assert all(chapter.analysis for chapter in chapters_of(book))
    assert book.report is None


def test_answer_that_breaks_off_fails_the_book_and_says_so(
    model_worker: WorkerProcess, server: OpenAIServer, alice: User
) -> None:
    def break_off(body: dict[str, Any]) -> str:
        raise ConnectionResetError  # when the head of the answer has been sent

    server.default = Reply(answer=break_off)
    book = upload(alice, small_text(1))

    run = finish(book)

    assert_failed(book, run, "1 of 1 chapters", MODEL)
    assert [request.disconnected for request in server.requests] == [True]


# --- stopped ----------------------------------------------------------------------------------------------


def test_cancel_while_chapters_ask_lets_the_answers_come_and_asks_no_more(
    model_worker: WorkerProcess, server: OpenAIServer, alice: User
) -> None:
    answer_now = threading.Event()
    server.default = Reply(hold=answer_now, hold_after=4)
    sample = workflow.add_sample_book(alice)
    run = process(sample)
    server.wait_until(lambda server: [request.chunks_sent for request in server.requests] == [4, 4], 30)
    wait_for_status(run, "waiting")
    asking = list(run.children.filter(status="running"))

    result = control.cancel(run.id, grace_seconds=60)

    assert len(asking) == 2
    assert len(result.settled) == 9  # the book, which waits, and the eight chapters in the queue
    wait_until_told(*asking)
    assert {control.get(child.id).display_status for child in asking} == {"cancelling"}
    progress = progress_of(shown(sample))
    assert (progress.status, progress.awaited) == ("cancelling", "after the current step of 2 chapters")
    with pytest.raises(workflow.BookIsStopping):
        process(sample)

    answer_now.set()
    ended = control.wait(run.id, timeout_seconds=10, tree=True)

    assert ended.status == "cancelled"
    tree = assert_cancelled(run)
    assert {member.stop_rung for member in tree if member.attempt} <= {0, None}
    assert len(server.requests) == 2
    assert is_answered(server)
    assert [chapter.analysis for chapter in chapters_of(sample)] == [None] * 10
    assert progress_of(shown(sample)).status == "cancelled"
    for child in asking:
        assert [node.node for node in child.nodes.all()] == ["analyse"]

    assert_nothing_follows(run, sample, server)
    assert len(server.requests) == 2 + 11


def assert_nothing_follows(run: Run, book: Book, server: OpenAIServer) -> None:
    """Process the book again, which every message of the cancelled run precedes, and see that it stayed so."""
    before = footprint(run)
    server.default = Reply()
    assert finish(book).status == "completed"
    book.refresh_from_db()
    assert book.report is not None
    assert all(chapter.analysis for chapter in chapters_of(book))
    assert footprint(run) == before


def test_continue_of_a_cancelled_book_asks_the_model_only_for_what_is_missing(
    model_worker: WorkerProcess, server: OpenAIServer, alice: User
) -> None:
    book, answer_now = upload(alice, small_text(6)), threading.Event()
    server.queue(Reply(), Reply(), Reply(hold=answer_now), Reply(hold=answer_now))
    run = process(book)
    server.wait_for_requests(4, 30)
    wait_until(lambda: run.children.filter(status="completed").count() == 2, "two chapters are finished")
    wait_for_status(run, "waiting")
    control.cancel(run.id, grace_seconds=60)
    wait_until_told(*run.children.filter(status="running"))
    answer_now.set()
    control.wait(run.id, timeout_seconds=20, tree=True)
    book.refresh_from_db()
    assert [bool(chapter.analysis) for chapter in chapters_of(book)].count(True) == 2

    again = control.wait(workflow.continue_processing(book, by=alice).id, timeout_seconds=30)

    book.refresh_from_db()
    assert (again.status, again.retry_of_id, book.run_id) == ("completed", run.id, again.id)
    assert (again.children.count(), again.adopted.count()) == (4, 2)
    assert (again.progress_done, again.progress_total) == (6, 6)
    assert all(chapter.analysis for chapter in chapters_of(book))
    assert book.report is not None
    assert [chapter["number"] for chapter in book.report["tone_by_chapter"]] == [1, 2, 3, 4, 5, 6]
    assert len(server.requests) == 4 + 4 + 1


def test_cancel_while_the_report_is_asked_for_stores_no_report(
    model_worker: WorkerProcess, server: OpenAIServer, book: Book
) -> None:
    answer_now = threading.Event()
    server.queue(*[Reply()] * 4, Reply(hold=answer_now))
    run = process(book)
    server.wait_for_requests(5, 30)
    wait_until(lambda: control.get(run.id).current_node == "write_report", "the report is being written")

    control.cancel(run.id, reason="enough", grace_seconds=60)
    wait_until_told(run)
    assert progress_of(shown(book)).awaited == "after the current call (model ChatOpenAI)"
    answer_now.set()
    ended = control.wait(run.id, timeout_seconds=10, tree=True)

    assert (ended.status, ended.stop_rung, ended.stop_reason) == ("cancelled", 0, "enough")
    assert {child.status for child in ended.children.all()} == {"completed"}
    assert ended.nodes.get(node="write_report").status == "cancelled"
    assert len(server.requests) == 5
    assert is_answered(server)
    book.refresh_from_db()
    assert (book.report, book.analysed_at, book.error) == (None, None, None)
    assert all(chapter.analysis for chapter in chapters_of(book))

    assert_nothing_follows(run, book, server)
    assert len(server.requests) == 5 + 5


def test_cancel_while_an_answer_is_tried_again_asks_no_more(
    model_worker: WorkerProcess, server: OpenAIServer, alice: User
) -> None:
    nonsense_now = threading.Event()
    server.queue(Reply(answer="this is no JSON", hold=nonsense_now))
    book = upload(alice, small_text(1))
    run = process(book)
    server.wait_for_requests(1, 30)
    wait_for_status(run, "waiting")
    control.cancel(run.id, grace_seconds=60)
    wait_until_told(run.children.get())

    nonsense_now.set()
    control.wait(run.id, timeout_seconds=10, tree=True)

    assert_cancelled(run)
    assert len(server.requests) == 1
    assert is_answered(server)


def test_cancel_while_the_model_never_answers_kills_the_chapters(
    model_worker: WorkerProcess, server: OpenAIServer, book: Book
) -> None:
    server.default = Reply(hold=threading.Event())
    run = process(book)
    server.wait_for_requests(2, 30)
    wait_for_status(run, "waiting")

    control.cancel(run.id, grace_seconds=0.5)
    control.wait(run.id, timeout_seconds=15, tree=True)

    tree = assert_cancelled(run)
    assert sorted(member.stop_rung for member in tree if member.graph == "chapter" and member.attempt) == [2, 2]
    server.wait_until(lambda server: all(request.disconnected for request in server.requests))
    assert len(server.requests) == 2
    wait_until(lambda: len(model_worker.children()) == 2, "the pool has two processes again")
    assert_nothing_follows(run, book, server)


# --- a worker of its own ----------------------------------------------------------------------------------


def test_server_that_is_gone_fails_the_book_and_says_so(lost_model_worker: WorkerProcess, book: Book) -> None:
    run = finish(book)

    assert_failed(book, run, "4 of 4 chapters", "can't be reached", "OPENAI_BASE_URL")
