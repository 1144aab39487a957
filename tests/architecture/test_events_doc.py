"""`docs/events.md` is made from the types of the events."""

from __future__ import annotations

from scripts.event_schema import DOCUMENT, make_document


def test_document_of_the_events_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == make_document(), "run python -m scripts.event_schema"
