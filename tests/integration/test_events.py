"""What a sink does with what it can't write."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django.utils import timezone

from graduation_backend import embedded_redis
from runs import registry
from runs.events import Activity, EventSink, NodeActivity, read_events
from runs.models import NodeExecution, Run
from runs.states import NodeStatus
from tests.environment import DATA_DIR
from tests.integration.engine import make_running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker")]


def node_of(run: Run, **values: Any) -> NodeActivity:
    known = {"node": "n", "namespace": "", "step": 1, "started_at": timezone.now(), **values}
    return NodeActivity(id=values.pop("id", uuid4()), run_id=run.id, attempt=run.attempt, **known)


def away(execute: Any, sql: str, *args: Any) -> Any:
    if "runs_nodeexecution" in sql:
        raise OperationalError("the database is away")
    return execute(sql, *args)


def finish(node: NodeActivity) -> NodeActivity:
    node.status, node.finished_at = NodeStatus.FINISHED, timezone.now()
    return node


def test_nodes_that_the_database_did_not_take_are_stored_later() -> None:
    run = make_running()
    sink = EventSink()
    sink._thread = sink  # type: ignore[assignment]  # it is flushed here and nowhere else
    first, second = node_of(run), node_of(run)
    with sink._lock:
        sink._activity(run.id, 1).nodes |= {first.id: first, second.id: second}
    with connection.execute_wrapper(away):
        sink.store_nodes(run.id)
    with sink._lock:
        sink._activity(run.id, 1).nodes[first.id] = finish(first)

    sink.flush()

    stored = {node.id: node.status for node in NodeExecution.objects.filter(run=run)}
    assert stored == {first.id: "finished", second.id: "running"}
    assert sink._activities == {}


def test_nodes_of_an_attempt_before_are_kept_too() -> None:
    run = make_running()
    sink = EventSink()
    lost = finish(node_of(run))
    sink._keep({run.id: Activity(1, nodes={lost.id: lost})})

    activity = sink._activity(run.id, 2)

    assert (activity.attempt, list(activity.nodes)) == (2, [lost.id])


def test_what_the_database_refuses_is_not_tried_for_ever() -> None:
    run = make_running()
    sink = EventSink()
    node = finish(node_of(run))
    with sink._lock:
        sink._activity(run.id, 1).nodes[node.id] = node
    Run.objects.filter(id=run.id).delete()

    sink.store_nodes(run.id)

    assert sink._activities == {}


@pytest.mark.skipif(not settings.REDIS_IS_EMBEDDED, reason="that Redis is not the test run's own")
def test_event_that_redis_is_slow_to_take_is_in_the_stream_once(redis_server: None) -> None:
    run = make_running()
    sink = EventSink()
    sink._thread = sink  # type: ignore[assignment]  # it is flushed here and nowhere else
    sink.emit(run.id, "custom", {"number": 1})
    sink.flush()  # the connection is open
    server = embedded_redis.server_pid(DATA_DIR)
    assert server is not None
    os.kill(server, signal.SIGSTOP)
    # It goes on after the client has given up, and before it has given up a second time.
    waking = threading.Timer(1.5, os.kill, (server, signal.SIGCONT))
    waking.start()
    sink.emit(run.id, "custom", {"number": 2})
    sink.flush()
    waking.join()

    assert [event["data"]["number"] for event in read_events(run.id)] == [1, 2]


def test_stale_attempt_opens_no_row() -> None:
    run = make_running()
    sink = EventSink()
    sink._thread = sink  # type: ignore[assignment]  # it is flushed here and nowhere else
    begun, ended = node_of(run), finish(node_of(run))
    sink.node_changed(ended)
    sink.node_changed(begun)
    registry.requeue(run.id, run.attempt, resurrect=True)

    sink.flush()

    assert [node.id for node in NodeExecution.objects.filter(run=run)] == [ended.id]
