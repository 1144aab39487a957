from collections.abc import Callable
from pathlib import Path

import pytest

from books.reader import BookText, BookUnreadable, Limits, read_book

Read = Callable[..., BookText]
Refuse = Callable[..., BookUnreadable]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write bytes to a file whose name says nothing and read it as a book."""

    def read_bytes(data: bytes, *, limits: Limits = Limits(), name: str = "upload") -> BookText:  # noqa: B008
        path = tmp_path / name
        path.write_bytes(data)
        return read_book(path, limits=limits)

    return read_bytes


@pytest.fixture
def refuse(read: Read) -> Refuse:
    """Read bytes that are no readable book and return why they were refused."""

    def refuse_bytes(data: bytes, **options: object) -> BookUnreadable:
        with pytest.raises(BookUnreadable) as caught:
            read(data, **options)
        assert caught.value.message.endswith((".", "book.")), "the message is a sentence"
        return caught.value

    return refuse_bytes
