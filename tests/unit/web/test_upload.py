from __future__ import annotations

from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from authentication.models import User
from books.models import Book
from tests.unit.web.conftest import log_in
from tests.unit.web.shelf import HOSTILE

TEXT = b"Chapter One\n\nIt was a dark night."


def upload(client: Client, *files: SimpleUploadedFile, **fields: str):
    return client.post("/", {"file": list(files), **fields})


def test_upload_of_one_file_adds_a_book_and_processes_nothing(alice: User) -> None:
    client = log_in(alice)
    answer = upload(client, SimpleUploadedFile("mill.txt", TEXT))
    assert answer.headers["Location"] == "/"
    book = Book.objects.get()
    assert (book.owner, book.file_name, book.run) == (alice, "mill.txt", None)
    assert book.file.read() == TEXT
    assert "Your book was added." in client.get("/").content.decode()


def test_upload_of_several_files_adds_each(alice: User) -> None:
    client = log_in(alice)
    upload(client, SimpleUploadedFile("a.txt", TEXT), SimpleUploadedFile("b.txt", TEXT))
    assert set(Book.objects.values_list("file_name", flat=True)) == {"a.txt", "b.txt"}
    assert "2 books were added." in client.get("/").content.decode()


def test_upload_and_process_queues_a_run_of_the_owner(alice: User) -> None:
    upload(log_in(alice), SimpleUploadedFile("mill.txt", TEXT), process="yes")
    run = Book.objects.get().run
    assert run is not None
    assert (run.status, run.owner) == ("queued", alice)


def test_upload_without_a_file_says_so(alice: User) -> None:
    page = upload(log_in(alice))
    assert page.status_code == 400
    assert "Choose a file first." in page.content.decode()


def test_upload_of_an_empty_file_among_others_names_it_and_adds_nothing(alice: User) -> None:
    page = upload(log_in(alice), SimpleUploadedFile("a.txt", TEXT), SimpleUploadedFile("b.txt", b""))
    assert page.status_code == 400
    assert "“b.txt” is empty." in page.content.decode()
    assert not Book.objects.exists()


def test_upload_over_the_limit_says_both_sizes(alice: User, settings) -> None:
    settings.BOOKS_MAX_UPLOAD_BYTES = 2_000_000
    page = upload(log_in(alice), SimpleUploadedFile("big.txt", b"x" * 2_100_000))
    assert page.status_code == 400
    text = page.content.decode()
    assert "“big.txt” has 2.1 MB; 2 MB is the most." in text
    assert "up to 2 MB each" in text
    assert not Book.objects.exists()


def test_upload_of_exactly_the_limit_is_taken(alice: User, settings) -> None:
    settings.BOOKS_MAX_UPLOAD_BYTES = 1_000
    assert upload(log_in(alice), SimpleUploadedFile("a.txt", b"x" * 1_000)).status_code == 302


def test_page_names_the_limit_of_50_mb(alice: User) -> None:
    assert "up to 50 MB each" in log_in(alice).get("/").content.decode()


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "..\\..\\boot.ini",
        "a\x00b.txt",
        f"{HOSTILE}.txt",
        "\u202egnp.txt",
        "x" * 255,
        "é" * 120,
    ],
)
def test_upload_with_a_hostile_name_stays_in_its_place(alice: User, settings, name: str) -> None:
    client = log_in(alice)
    file = SimpleUploadedFile("x", TEXT)
    file._name = name  # as a client that is no browser would send it
    answer = upload(client, file)
    page = client.get("/").content.decode()
    assert "<script>alert" not in page
    if answer.status_code == 400:  # Django itself found no name in it
        return
    book = Book.objects.get()
    stored = Path(book.file.path).resolve()
    assert stored.is_relative_to(Path(settings.MEDIA_ROOT).resolve())
    assert stored.name == str(book.pk)
    assert "/" not in book.file_name
    assert "\x00" not in book.file_name
    assert client.get(f"/books/{book.pk}/").status_code == 200


def test_upload_with_html_in_its_name_is_escaped_on_every_page(alice: User) -> None:
    client = log_in(alice)
    upload(client, SimpleUploadedFile("<b>bold<b>.txt", TEXT))
    book = Book.objects.get()
    for address in ("/", f"/books/{book.pk}/", f"/books/{book.pk}/delete"):
        page = client.get(address).content.decode()
        assert "<b>" not in page
        assert "&lt;b&gt;bold" in page


def test_upload_with_a_name_too_long_says_so(alice: User) -> None:
    file = SimpleUploadedFile("x", TEXT)
    file._name = f"{'x' * 300}.txt"
    assert upload(log_in(alice), file).status_code in (302, 400)
    assert all(len(book.file_name) <= 255 for book in Book.objects.all())


def test_sample_book_is_offered_to_who_has_none_and_can_be_added(alice: User) -> None:
    client = log_in(alice)
    assert "Try it with a sample book" in client.get("/").content.decode()
    answer = client.post("/books/sample")
    book = Book.objects.get()
    assert answer.headers["Location"] == f"/books/{book.pk}/"
    assert "Try it with a sample book" not in client.get("/").content.decode()
