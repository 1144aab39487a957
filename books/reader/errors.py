"""The one error of the reader: a book that can't be read, and why."""

from typing import Literal

Reason = Literal[
    "empty",
    "not_a_book",
    "encrypted",
    "too_large",
    "too_many_chapters",
    "malformed",
    "encoding",
    "no_text",
]


class BookUnreadable(Exception):
    """The file can't become a book; the message is for the person who uploaded it."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)
        self.reason: Reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message
