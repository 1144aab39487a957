"""The events of a run over HTTP: a page, and a stream of Server-Sent Events."""

from __future__ import annotations

from typing import Any

import pytest

from authentication.models import User
from runs import events
from runs.models import Run
from tests.integration.engine import make_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_server")]


@pytest.fixture
def run(alice: User) -> Run:
    made = make_run(owner=alice)
    for number in range(5):
        events.sink().emit(made.id, "custom", {"node": "n", "namespace": "n:1", "data": number})
    events.sink().flush()
    return made


def test_kept_events_are_read_in_pages(api: Any, alice: User, run: Run) -> None:
    first = api(alice).get(f"runs/{run.id}/events?follow=false&limit=3").json()
    assert [event["data"]["data"] for event in first["items"]] == [0, 1, 2]
    second = api(alice).get(f"runs/{run.id}/events?follow=false&limit=3&after={first['next']}").json()
    assert [event["data"]["data"] for event in second["items"]] == [3, 4]
    assert second["next"] is None


def test_events_of_others_are_not_there(api: Any, bob: User, viewing: User, run: Run) -> None:
    assert api().get(f"runs/{run.id}/events").status_code == 401
    assert api(bob).get(f"runs/{run.id}/events").status_code == 404
    assert api(viewing).get(f"runs/{run.id}/events?follow=false").status_code == 200


def test_bad_cursor_is_refused(api: Any, alice: User, run: Run) -> None:
    assert api(alice).get(f"runs/{run.id}/events?after=yesterday").status_code == 400
    assert api(alice).get(f"runs/{run.id}/events", **{"Last-Event-ID": "1-x"}).status_code == 400


def test_stream_is_described(api: Any) -> None:
    described = api().get("openapi.json").json()["paths"]["/api/runs/{run_id}/events"]["get"]
    assert "text/event-stream" in described["responses"]["200"]["content"]
    assert {parameter["name"] for parameter in described["parameters"]} >= {"after", "Last-Event-ID", "follow"}
