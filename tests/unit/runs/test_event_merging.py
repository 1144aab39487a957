"""What one flush makes of many events."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from runs.connections import CHANGES_KEY, redis_client, stream_key
from runs.events import EventSink, read_events
from runs.following import START, Extent, parse_cursor
from runs.models import Run

pytestmark = pytest.mark.usefixtures("redis_server")
RUN = uuid4()


@pytest.fixture
def sink() -> EventSink:
    """It is flushed by the test and by nobody else."""
    made = EventSink()
    made._thread = made  # type: ignore[assignment]
    redis_client().delete(stream_key(RUN))
    return made


def told(sink: EventSink) -> list[tuple[str, Any]]:
    before = len(read_events(RUN))
    sink.flush_events()
    return [
        (event["type"], event["data"].get("text") or event["data"].get("data") or event["data"].get("done"))
        for event in read_events(RUN)[before:]
    ]


def test_tokens_of_one_message_are_one_event_for_each_flush(sink: EventSink) -> None:
    for number in range(10_000):
        sink.token(RUN, "m1", "n", "n:1", f"{number} ")
        if number % 2:
            sink.token(RUN, "m2", "n", "n:1", "x")
    first, second = told(sink)
    assert first == ("token", "".join(f"{number} " for number in range(10_000)))
    assert second == ("token", "x" * 5_000)
    sink.token(RUN, "m1", "n", "n:1", "more")
    assert told(sink) == [("token", "more")]


def test_tokens_are_not_put_across_what_their_node_says_between_them(sink: EventSink) -> None:
    def say(text: str) -> None:
        sink.token(RUN, "m", "n", "n:1", text)

    say("a")
    say("b")
    sink.emit(RUN, "custom", {"node": "other", "namespace": "other:1", "data": 1})
    say("c")
    sink.emit(RUN, "custom", {"node": "n", "namespace": "n:1", "data": 2})
    say("d")
    assert told(sink) == [("token", "abc"), ("custom", 1), ("custom", 2), ("token", "d")]


def test_latest_progress_of_a_flush_stands_for_all(sink: EventSink) -> None:
    run_ids = [RUN, uuid4()]
    for done in range(100):
        for run_id in run_ids:
            sink.progress(run_id, 1, done, 100)
    sink._activities.clear()
    assert told(sink) == [("progress", 99)]


def test_list_of_all_runs_is_told_of_what_it_shows_alone(sink: EventSink) -> None:
    redis_client().delete(CHANGES_KEY)
    sink.know(Run(id=RUN, graph="g", root_id=RUN, owner_id=None))
    sink.stop(RUN, "delivered")
    sink.token(RUN, "m", "n", "n:1", "text")
    sink.child(RUN, uuid4(), "child", "key")
    sink.flush_events()
    entries: Any = redis_client().xrange(CHANGES_KEY)
    assert [fields[b"type"] for _, fields in entries] == [b"run.stop", b"child.spawned"]
    assert [fields[b"run"].decode() for _, fields in entries] == [str(RUN)] * 2


def test_values_that_are_no_plain_json_cost_no_other_event(sink: EventSink) -> None:
    for value in (1, 2**70, "x" * 300_000, 2):
        sink.emit(RUN, "custom", {"node": "n", "namespace": "n:1", "data": value})
    first, big, long, last = told(sink)
    assert (first, big, last) == (("custom", 1), ("custom", 2**70), ("custom", 2))
    assert long[1].startswith("left out: 300")


@pytest.mark.parametrize(
    ("extent", "position", "holds"),
    [
        (Extent(True, (5, 0), (9, 0), is_complete=True), START, True),
        (Extent(True, (5, 0), (9, 0), is_complete=False), START, False),
        (Extent(True, (5, 0), (9, 0), is_complete=False), (5, 0), True),
        (Extent(True, (5, 0), (9, 0), is_complete=True), (4, 9), False),
        (Extent(True, (5, 0), (9, 0), is_complete=True), (9, 1), False),
        (Extent(True, None, (9, 0), is_complete=False), (9, 0), True),
        (Extent(True, None, (9, 0), is_complete=False), (8, 0), False),
        (Extent(False, None, (9, 0), is_complete=True), START, False),
        (Extent(False, None, (9, 0), is_complete=True), (8, 0), False),
    ],
)
def test_cursor_is_good_if_nothing_behind_it_is_missing(extent: Extent, position: Any, holds: bool) -> None:
    assert extent.holds_all_after(position) is holds


def test_position_that_was_taken_without_a_stream_is_good_while_all_is_there() -> None:
    assert Extent(False, None, (9, 0), is_complete=True).holds_all_after((8, 0), is_new=True)
    assert Extent(True, (9, 0), (9, 0), is_complete=True).holds_all_after((8, 0), is_new=True)
    assert not Extent(True, (9, 5), (9, 9), is_complete=False).holds_all_after((8, 0), is_new=True)


@pytest.mark.parametrize(("text", "position"), [("0", START), ("0-0", START), ("17-3", (17, 3)), ("17", (17, 0))])
def test_cursor_is_read(text: str, position: Any) -> None:
    assert parse_cursor(text) == position
