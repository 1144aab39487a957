"""Runs over HTTP: started, looked at, stopped, and who may."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from authentication.models import User
from runs import control, registry
from runs.models import NodeExecution, NodeStop, Run
from runs.states import Status
from tests.integration.engine import claim, stop_request

pytestmark = pytest.mark.django_db


def start(owner: User, graph: str = "quick", **options: Any) -> Run:
    return control.submit(graph, {"text": "x"}, owner=owner, ring=False, **options)


# --- starting ---------------------------------------------------------------------------------------------


def test_graphs_are_listed(api: Any, alice: User) -> None:
    assert "quick" in [graph["name"] for graph in api(alice).get("graphs").json()]


def test_start_makes_a_run_of_the_caller(api: Any, alice: User) -> None:
    answer = api(alice).post("graphs/quick/runs", {"input": {"text": "x"}, "priority": 7, "metadata": {"for": "me"}})
    assert answer.status_code == 201
    shown = answer.json()
    run = Run.objects.get(id=shown["id"])
    assert (run.owner, run.priority, run.metadata, run.input) == (alice, 7, {"for": "me"}, {"text": "x"})
    assert (shown["status"], shown["owner"]) == ("queued", "alice@example.com")
    assert api(alice).client.get(answer["Location"]).json()["id"] == shown["id"]


def test_start_with_the_same_key_gives_the_same_run(api: Any, alice: User, bob: User) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = api(alice).post("graphs/quick/runs", {"input": {}}, **headers)
    again = api(alice).post("graphs/quick/runs", {"input": {}}, **headers)
    other = api(bob).post("graphs/quick/runs", {"input": {}}, **headers)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 201)
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]


@pytest.mark.parametrize(
    ("graph", "body", "status", "kind", "said"),
    [
        ("nothing", {"input": {}}, 404, "graph-not-found", "known are"),
        ("quick", {"input": {}, "priority": 10}, 422, "invalid-request", "body.body.priority"),
        ("quick", {"inputs": {}}, 422, "invalid-request", "inputs"),
        ("quick", {"input": {}, "thread_id": "x" * 201}, 422, "invalid-request", "thread_id"),
    ],
)
def test_start_refuses_what_is_wrong(
    api: Any, alice: User, graph: str, body: Any, status: int, kind: str, said: str
) -> None:
    answer = api(alice).post(f"graphs/{graph}/runs", body)
    problem = answer.json()
    assert (answer.status_code, answer["Content-Type"], problem["kind"]) == (status, "application/problem+json", kind)
    assert said in problem["detail"]
    assert not Run.objects.exists()


def test_start_on_a_busy_thread_says_so(api: Any, alice: User) -> None:
    start(alice, thread_id="t")
    answer = api(alice).post("graphs/quick/runs", {"input": {}, "thread_id": "t"})
    assert (answer.status_code, answer.json()["kind"]) == (409, "thread-busy")


def test_body_that_is_no_json_or_too_large_is_a_problem(api: Any, alice: User, settings: Any) -> None:
    client = api(alice).client
    broken = client.post("/api/graphs/quick/runs", "{", content_type="application/json")
    assert (broken.status_code, broken["Content-Type"]) == (400, "application/problem+json")
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000
    large = client.post("/api/graphs/quick/runs", '{"input": "%s"}' % ("x" * 2_000), content_type="application/json")
    assert (large.status_code, large.json()["kind"]) == (413, "too-large")


# --- looking ----------------------------------------------------------------------------------------------


def test_list_is_paged_filtered_and_only_of_the_caller(api: Any, alice: User, bob: User) -> None:
    runs = [start(alice) for _ in range(5)]
    start(bob)
    registry.request_stop([runs[0].id], stop_request())
    seen, cursor = [], ""
    while True:
        page = api(alice).get(f"runs?limit=2{cursor}").json()
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == [str(run.id) for run in reversed(runs)]
    cancelled = api(alice).get("runs?status=cancelled&status=failed").json()["items"]
    assert [item["id"] for item in cancelled] == [str(runs[0].id)]
    assert "input" not in cancelled[0]
    wrong = api(alice).get("runs?status=dead")
    assert (wrong.status_code, wrong.json()["errors"][0]["where"]) == (422, "query.status.0")


def test_run_has_an_etag(api: Any, alice: User) -> None:
    run = start(alice)
    first = api(alice).get(f"runs/{run.id}")
    assert first.json()["input"] == {"text": "x"}
    same = api(alice).get(f"runs/{run.id}", **{"If-None-Match": first["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    registry.request_stop([run.id], stop_request())
    changed = api(alice).get(f"runs/{run.id}", **{"If-None-Match": first["ETag"]})
    assert changed.json()["stop"]["reason"] == "enough"


def test_tree_and_nodes(api: Any, alice: User) -> None:
    parent = start(alice)
    claim(parent)
    child = start(alice, parent=parent.id, child_key="a")
    assert [item["id"] for item in api(alice).get(f"runs/{parent.id}/tree").json()] == [str(parent.id), str(child.id)]
    assert api(alice).get(f"runs/{parent.id}/nodes").json() == []


def test_receipt_tells_who_stopped_it(api: Any, alice: User) -> None:
    run = start(alice)
    api(alice).post(f"runs/{run.id}/cancel", {"reason": "wrong book"})
    receipt = api(alice).get(f"runs/{run.id}/receipt").json()
    assert (receipt["status"], receipt["stop"]["by"], receipt["stop"]["source"]) == (
        "cancelled",
        "alice@example.com",
        "api",
    )
    assert receipt["stop"]["reason"] == "wrong book"


# --- stopping ---------------------------------------------------------------------------------------------


def test_cancel_of_a_running_run_is_accepted_and_said_again(api: Any, alice: User) -> None:
    run = start(alice)
    claim(run)
    answer = api(alice).post(f"runs/{run.id}/cancel", {"reason": "first"})
    assert (answer.status_code, answer.json()["run"]["status"]) == (202, "cancelling")
    assert answer.json()["reached"] == [str(run.id)]
    again = api(alice).post(f"runs/{run.id}/cancel", {"reason": "second", "mode": "interrupt"})
    assert (again.status_code, again.json()["escalated"]) == (202, [str(run.id)])
    assert again.json()["run"]["stop"]["reason"] == "first"


def test_cancel_without_a_body_and_of_a_cancelled_run(api: Any, alice: User) -> None:
    run = start(alice)
    first, again = (api(alice).post(f"runs/{run.id}/cancel") for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["reached"] == []


def test_cancel_of_a_completed_run_is_a_conflict(api: Any, alice: User) -> None:
    run = claim(start(alice))
    registry.settle(run.id, 1, Status.COMPLETED)
    answer = api(alice).post(f"runs/{run.id}/cancel")
    assert (answer.status_code, answer.json()["kind"], answer.json()["run_status"]) == (
        409,
        "run-already-ended",
        "completed",
    )


def test_cancel_waits_no_longer_than_asked(api: Any, alice: User) -> None:
    run = start(alice)
    claim(run)
    answer = api(alice).post(f"runs/{run.id}/cancel?wait=0.05")
    assert (answer.status_code, answer.json()["run"]["status"]) == (202, "cancelling")
    assert api(alice).post(f"runs/{run.id}/cancel?wait=61").status_code == 422


def test_cancel_many_reaches_what_the_caller_may_stop(api: Any, alice: User, bob: User) -> None:
    mine, other = [start(alice) for _ in range(3)], start(bob)
    by_id = api(alice).post("runs/cancel", {"ids": [str(mine[0].id), str(other.id)]})
    assert (by_id.status_code, by_id.json()["reached"]) == (202, [str(mine[0].id)])
    rest = api(alice).post("runs/cancel", {})
    assert set(rest.json()["reached"]) == {str(run.id) for run in mine[1:]}
    assert Run.objects.get(id=other.id).status == "queued"


def test_aliases_of_cancel(api: Any, alice: User) -> None:
    one, two, three = (start(alice) for _ in range(3))
    assert api(alice).post(f"runs/{one.id}/stop").status_code == 202
    answer = api(alice).post(f"graphs/quick/executions/{two.id}/stop")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert api(alice).post(f"graphs/other/executions/{three.id}/stop").status_code == 404
    assert Run.objects.get(id=three.id).status == "queued"


# --- nodes, pauses, retries -------------------------------------------------------------------------------


def test_cancel_of_a_node_is_kept_and_told(api: Any, alice: User) -> None:
    run = claim(start(alice))
    first, _ = (execute_node(run, namespace=f"review:{number}") for number in range(2))
    several = api(alice).post(f"runs/{run.id}/nodes/review/cancel")
    assert (several.status_code, several.json()["kind"]) == (409, "node-ambiguous")
    one = api(alice).post(f"runs/{run.id}/nodes/{first.id}/cancel", {"reason": "dear", "grace_seconds": 60})
    assert (one.status_code, [stop["reason"] for stop in one.json()]) == (202, ["dear"])
    every = api(alice).post(f"runs/{run.id}/nodes/review/cancel", {"every": True})
    assert len(every.json()) == 2
    missing = api(alice).post(f"runs/{run.id}/nodes/nothing/cancel")
    assert (missing.status_code, missing.json()["kind"]) == (404, "node-not-found")
    nodes = api(alice).get(f"runs/{run.id}/nodes").json()
    assert [node["is_stoppable"] for node in nodes] == [True, True]


def execute_node(run: Run, **columns: Any) -> NodeExecution:
    return NodeExecution.objects.create(
        id=uuid.uuid4(),
        run=run,
        attempt=run.attempt,
        node="review",
        status="running",
        started_at=timezone.now(),
        is_stoppable=True,
        **columns,
    )


def test_pause_and_resume(api: Any, alice: User) -> None:
    run = start(alice)
    paused = api(alice).post(f"runs/{run.id}/pause", {"reason": "night"})
    assert (paused.status_code, paused.json()["run"]["status"]) == (200, "paused")
    assert paused.json()["run"]["pause"]["reason"] == "night"
    resumed = api(alice).post(f"runs/{run.id}/resume")
    assert (resumed.status_code, resumed.json()["resumed"]) == (200, [str(run.id)])
    again = api(alice).post(f"runs/{run.id}/resume")
    assert (again.status_code, again.json()["kind"]) == (409, "run-not-paused")
    claim(run)
    draining = api(alice).post(f"runs/{run.id}/pause")
    assert (draining.status_code, draining.json()["run"]["status"]) == (202, "pausing")


def test_retry_is_a_new_run(api: Any, alice: User) -> None:
    run = start(alice)
    early = api(alice).post(f"runs/{run.id}/retry")
    assert (early.status_code, early.json()["kind"]) == (409, "retry-refused")
    api(alice).post(f"runs/{run.id}/cancel")
    retried = api(alice).post(f"runs/{run.id}/retry", {"from_start": True})
    assert (retried.status_code, retried.json()["retry_of"]) == (201, str(run.id))
    twice = api(alice).post(f"runs/{run.id}/retry")
    assert (twice.status_code, twice.json()["kind"]) == (409, "already-retried")


def test_start_keeps_its_own_times(api: Any, alice: User) -> None:
    body = {"input": {}, "grace_seconds": 5, "interrupt_after_seconds": 2, "max_seconds": 60}
    shown = api(alice).post("graphs/quick/runs", body).json()
    assert shown["limits"] == {"grace_seconds": 5, "interrupt_after_seconds": 2, "max_seconds": 60}


# --- who may ----------------------------------------------------------------------------------------------

READS = ("runs/{}", "runs/{}/tree", "runs/{}/nodes", "runs/{}/receipt")
STOPS = ("runs/{}/pause", "runs/{}/resume", "runs/{}/cancel", "runs/{}/stop", "graphs/quick/executions/{}/stop")
OTHERS = ("runs/{}/retry", "runs/{}/nodes/review/cancel")


@pytest.mark.parametrize(
    ("name", "of_read", "of_stop"),
    [("alice", 200, 200), ("bob", 404, 404), ("charlie", 404, 404), ("viewing", 200, 403), (None, 401, 401)],
)
def test_who_may_read_and_stop(
    request: pytest.FixtureRequest, api: Any, alice: User, name: str | None, of_read: int, of_stop: int
) -> None:
    run = start(alice)
    caller = api(request.getfixturevalue(name) if name else None)
    for path in READS:
        assert caller.get(path.format(run.id)).status_code == of_read, path
    for path in STOPS:
        code = caller.post(path.format(run.id)).status_code
        assert code == of_stop or (of_stop == 200 and code == 202), path
    assert Run.objects.get(id=run.id).status == ("cancelled" if of_stop == 200 else "queued")
    for path in OTHERS if of_stop != 200 else ():
        assert caller.post(path.format(run.id)).status_code == of_stop, path
    listed = caller.get("runs")
    assert listed.status_code == (401 if name is None else 200)
    if name is not None:
        assert (str(run.id) in [item["id"] for item in listed.json()["items"]]) == (of_read == 200)


def test_kill_takes_its_own_permission(api: Any, alice: User) -> None:
    run = start(alice)
    claim(run)
    refused = api(alice).post(f"runs/{run.id}/cancel", {"mode": "kill"})
    many = api(alice).post("runs/cancel", {"mode": "kill"})
    assert (refused.status_code, many.status_code) == (403, 403)
    assert Run.objects.get(id=run.id).stop_requested_at is None
    alice.user_permissions.add(Permission.objects.get(codename="kill_run"))
    allowed = api(User.objects.get(id=alice.pk)).post(f"runs/{run.id}/cancel", {"mode": "kill"})
    assert (allowed.status_code, allowed.json()["run"]["stop"]["mode"]) == (202, "kill")


@pytest.mark.parametrize("path", ["runs/{}/cancel", "runs/cancel", "runs/{}/nodes/review/cancel"])
@pytest.mark.parametrize("mode", ["cancel", "interrupt"])
def test_grace_shorter_than_the_run_s_own_is_a_kill(api: Any, alice: User, path: str, mode: str, settings: Any) -> None:
    settings.RUNS_GRACE_SECONDS = 30
    run = claim(start(alice, grace_seconds=5))
    claim(start(alice, parent=run.id, child_key="a"))  # keeps the 30 s of the settings
    execute_node(run, namespace="review:1")
    least = 5 if "nodes" in path else 30
    for grace in (0, 0.001, least - 1):
        refused = api(alice).post(path.format(run.id), {"mode": mode, "grace_seconds": grace})
        assert refused.status_code == 403
        assert "runs.kill_run; allowed to you are " + f"{least} s or more" in refused.json()["detail"]
        assert Run.objects.filter(stop_requested_at__isnull=False).count() == 0
        assert not NodeStop.objects.exists()
    soon = {"mode": mode, "grace_seconds": least, "interrupt_after_seconds": 0}
    assert api(alice).post(path.format(run.id), soon).status_code == 202
    alice.user_permissions.add(Permission.objects.get(codename="kill_run"))
    at_once = {"mode": mode, "grace_seconds": 0}
    assert api(User.objects.get(id=alice.pk)).post(path.format(run.id), at_once).status_code == 202


def test_grace_of_one_s_own_choice_is_taken(api: Any, alice: User) -> None:
    run = api(alice).post("graphs/quick/runs", {"input": {}, "grace_seconds": 0}).json()
    claim(Run.objects.get(id=run["id"]))
    assert api(alice).post(f"runs/{run['id']}/cancel", {"grace_seconds": 0}).status_code == 202


def test_unknown_run_and_page_are_problems(api: Any, alice: User) -> None:
    unknown = api(alice).get(f"runs/{uuid.uuid4()}")
    assert (unknown.status_code, unknown.json()["kind"]) == (404, "run-not-found")
    assert api(alice).get("runs/no-uuid").json()["kind"] == "invalid-request"


def test_cross_site_post_with_a_session_is_refused(alice: User) -> None:
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    run = start(alice)
    answer = client.post(f"/api/runs/{run.id}/cancel", "{}", content_type="application/json")
    assert (answer.status_code, answer["Content-Type"]) == (403, "application/problem+json")
    assert Run.objects.get(id=run.id).status == "queued"


def test_schema_is_served_with_examples(api: Any) -> None:
    schema = api().get("openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    assert "/api/runs/{run_id}/cancel" in schema["paths"]
    assert schema["components"]["schemas"]["Start"]["examples"]
    page = api().get("docs")
    assert page.status_code == 200
    assert b"https://" not in page.content
