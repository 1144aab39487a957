"""Stops on the way from the caller to the database: who is told, and what is read for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from runs import control, events, executions, registry, stops
from runs.models import Run
from runs.queries import LARGE_FIELDS
from runs.states import Status
from tests.integration.engine import claim, has_stop, make_run, make_running, status_of, stop_request

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_server", "no_worker")]


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[UUID]]:
    """The runs for whose stop the supervisors were rung."""
    ids: list[UUID] = []
    monkeypatch.setattr("runs.dispatch.ring_stops", lambda run_ids, reason="": ids.extend(run_ids))
    yield ids
    events.sink().flush()


def types_of(run: Run) -> list[str]:
    events.sink().flush()
    return [event["type"] for event in events.read_events(run.id)]


def test_children_of_a_failed_run_are_stopped_and_everybody_is_told(rung: list[UUID]) -> None:
    parent = make_running()
    running, queued = claim(make_run(parent=parent)), make_run(parent=parent)
    below, outlives = make_run(parent=running), make_run(parent=parent, on_parent_stop="abandon")
    settled = registry.settle(parent.id, parent.attempt, Status.FAILED)
    assert settled is not None

    executions.announce(settled)

    assert rung == [running.id]
    assert has_stop(running)
    assert [status_of(run) for run in (queued, below, outlives)] == ["cancelled", "cancelled", "queued"]
    for run in (running, queued, below):
        assert "run.stop" in types_of(run)
    assert "run.status" in types_of(below)


def test_child_that_is_stopping_already_keeps_its_times(rung: list[UUID]) -> None:
    parent = make_running()
    child = claim(make_run(parent=parent))
    registry.request_stop([child.id], stop_request("first", grace_seconds=600))
    before = Run.objects.get(id=child.id)

    stops.stop_children(Run.objects.filter(parent=parent), stop_request("second", grace_seconds=0))

    after = Run.objects.get(id=child.id)
    assert (after.stop_reason, after.stop_deadline) == ("first", before.stop_deadline)
    assert rung == []


def test_cancel_all_reads_nothing_large(rung: list[UUID]) -> None:
    owner: Any = get_user_model().objects.create_user("owner@example.com", "correct horse battery")
    mine, other = make_run(owner=owner), make_run()

    with CaptureQueriesContext(
        connection,
    ) as queries:
        result = control.cancel_all(owner=owner)

    assert (result.reached, status_of(mine), status_of(other)) == ([mine.id], "cancelled", "queued")
    for query in queries:
        assert not any(f'"runs_run"."{name}"' in query["sql"] for name in LARGE_FIELDS)
