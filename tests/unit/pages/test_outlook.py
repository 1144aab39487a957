"""What a stopping run is waiting for, and what one more press asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runs.models import Run
from runs.pages.outlook import find_outlook

ASKED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def make(**fields: Any) -> Run:
    return Run(status="running", attempt=1, **fields)


def stopping(**fields: Any) -> Run:
    times = {"stop_interrupt_at": ASKED + timedelta(seconds=20), "stop_deadline": ASKED + timedelta(seconds=30)}
    return make(stop_requested_at=ASKED, stop_mode="cancel", **{**times, **fields})


def after(seconds: float) -> datetime:
    return ASKED + timedelta(seconds=seconds)


def test_run_that_nobody_stops_has_none() -> None:
    assert find_outlook(make(), [], ASKED) is None


@pytest.mark.parametrize(
    ("call", "node", "words"),
    [
        ("model gpt-5", "write", "Stopping… after the current LLM call (gpt-5)"),
        ("tool search", "write", "Stopping… after the current tool call (search)"),
        ("", "write", "Stopping… after the current step (write)"),
        ("", "", "Stopping… after the current step"),
    ],
)
def test_words_name_what_may_still_end(call: str, node: str, words: str) -> None:
    found = find_outlook(stopping(current_call=call, current_node=node), [], after(2))

    assert found is not None
    assert found.words == words


def test_presses_climb_and_the_double_click_does_not() -> None:
    run = stopping()
    seen = [find_outlook(run, [], after(seconds)) for seconds in (0.3, 2, 20.2, 22, 31)]

    assert [one and one.mode for one in seen] == [None, "interrupt", None, "kill", None]
    assert [one and one.is_fresh for one in seen] == [True, False, True, False, False]
    assert [one and one.words.partition(" ")[0] for one in seen] == [
        "Stopping…",
        "Stopping…",
        "Interrupting…",
        "Interrupting…",
        "Ending",
    ]


def test_countdown_is_to_the_next_rung() -> None:
    run = stopping()

    first, second = find_outlook(run, [], after(2)), find_outlook(run, [], after(25))

    assert first is not None
    assert second is not None
    assert (first.change, first.changes_at) == ("It is interrupted", run.stop_interrupt_at)
    assert (second.change, second.changes_at) == ("Its process is ended", run.stop_deadline)


def test_cancelled_parent_waits_for_its_children() -> None:
    parent = Run(status="cancelled", stop_requested_at=ASKED, stop_mode="cancel")

    one = find_outlook(parent, [stopping()], after(2))
    two = find_outlook(parent, [stopping(), stopping()], after(2))

    assert one is not None
    assert two is not None
    assert one.words == "Stopping… after the current step of the run below it"
    assert two.words == "Stopping… after the current step of 2 runs below it"
