"""What the answers of the API carry, and what they cost."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.utils import timezone

from authentication.models import User
from runs import control, node_stops
from runs.models import NodeExecution, Run
from runs.queries import LARGE_FIELDS
from runs.states import NodeStopOutcome
from tests.integration.engine import claim

pytestmark = pytest.mark.django_db


def start(owner: User, **options: Any) -> Run:
    return control.submit("quick", {"text": "x" * 100}, owner=owner, ring=False, **options)


def test_lists_cost_no_query_for_each_run_and_read_nothing_large(
    api: Any, alice: User, django_assert_max_num_queries: Any
) -> None:
    caller = api(alice)
    parent = claim(start(alice))
    for number in range(20):
        start(alice, parent=parent.id, child_key=str(number))

    for path, of_items in (("runs", lambda answer: answer["items"]), (f"runs/{parent.id}/tree", list)):
        with django_assert_max_num_queries(6) as queries:
            items = of_items(caller.get(path).json())
        assert len(items) == 21
        assert not set(items[0]) & set(LARGE_FIELDS)
        of_lists = [query["sql"] for query in queries if '"runs_run"."graph"' in query["sql"]][-1]
        assert not any(f'"runs_run"."{name}"' in of_lists for name in LARGE_FIELDS)


def test_one_run_is_told_whole(api: Any, alice: User) -> None:
    run = start(alice, metadata={"for": "me"})
    shown = api(alice).get(f"runs/{run.id}").json()
    assert (shown["input"], shown["output"], shown["questions"]) == ({"text": "x" * 100}, None, {})
    assert shown["metadata"] == {"for": "me"}


def test_tree_of_a_run_begins_with_it_and_not_with_its_root(api: Any, alice: User) -> None:
    parent = claim(start(alice))
    child = claim(start(alice, parent=parent.id, child_key="a"))
    start(alice, parent=parent.id, child_key="b")
    below = start(alice, parent=child.id, child_key="c")
    tree = api(alice).get(f"runs/{child.id}/tree").json()
    assert [item["id"] for item in tree] == [str(child.id), str(below.id)]


def test_receipt_tells_of_the_nodes_that_were_stopped_alone(api: Any, alice: User) -> None:
    run = claim(start(alice))
    execution = NodeExecution.objects.create(
        id=uuid.uuid4(),
        run=run,
        attempt=1,
        node="review",
        namespace="review:1",
        status="running",
        started_at=timezone.now(),
        is_stoppable=True,
    )
    (asked,) = api(alice).post(f"runs/{run.id}/nodes/review/cancel", {"reason": "dear"}).json()
    assert (asked["pid"], asked["killed"], asked["stacks"], asked["outcome"]) == (None, [], "", None)
    seen = {"pid": 7, "stacks": "in review", "killed": [{"pid": 8, "name": "sleep", "started_at": 1.5}]}
    node_stops.settle(execution.pk, NodeStopOutcome.CANCELLED, rung=2, evidence=seen)

    (stop,) = api(alice).get(f"runs/{run.id}/receipt").json()["nodes"]
    assert (stop["node"], stop["reason"], stop["outcome"]) == ("review", "dear", "cancelled")
    assert {name: stop[name] for name in seen} == seen


@pytest.mark.parametrize("logged_in", [True, False])
def test_wrong_method_and_wrong_address_are_problems(api: Any, alice: User, logged_in: bool) -> None:
    client = api(alice if logged_in else None).client
    refused = client.delete("/api/runs")
    assert (refused.status_code, refused["Content-Type"]) == (405, "application/problem+json")
    assert (refused["Allow"], refused.json()["kind"]) == ("GET", "method-not-allowed")
    assert "DELETE" in refused.json()["detail"]
    for nowhere in (client.get("/api/nothing/here"), client.post("/api/nothing")):
        assert (nowhere.status_code, nowhere.json()["kind"]) == (404, "not-found")
