from __future__ import annotations

import pytest

from runs.states import ACTIVE, IDLE, TERMINAL, TRANSITIONS, Status


def test_statuses_are_active_or_terminal() -> None:
    assert set(Status) == ACTIVE | TERMINAL
    assert not ACTIVE & TERMINAL
    assert IDLE < ACTIVE
    assert Status.RUNNING not in IDLE


def test_transitions_name_every_status() -> None:
    assert set(TRANSITIONS) == set(Status)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_terminal_status_is_left_by_no_transition(status: Status) -> None:
    assert not TRANSITIONS[status]
    assert status.is_terminal


@pytest.mark.parametrize("status", sorted(ACTIVE))
def test_active_status_can_become_cancelled(status: Status) -> None:
    assert Status.CANCELLED in TRANSITIONS[status]
    assert not status.is_terminal


def test_only_a_queued_run_begins_to_run() -> None:
    assert [source for source, targets in TRANSITIONS.items() if Status.RUNNING in targets] == [Status.QUEUED]


def test_every_terminal_status_is_reached() -> None:
    reached: set[Status] = {Status.QUEUED}
    while True:
        further = reached.union(*(TRANSITIONS[status] for status in reached))
        if further == reached:
            break
        reached = further
    assert reached == set(Status)
