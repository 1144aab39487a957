"""Runs followed over real sockets: Daphne, a worker and Redis, and what happens when one of them goes away."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from authentication.models import User
from graduation_backend import embedded_redis
from runs import control, events
from runs.connections import redis_client
from runs.event_types import any_event
from runs.models import Run
from tests.acceptance.test_web_shutdown import WebProcess
from tests.environment import DATA_DIR
from tests.integration.engine import make_running
from tests.services import Marks, WorkerProcess, wait_for_status, wait_until


@pytest.fixture
def alice(transactional_db: None) -> User:
    return User.objects.create_user("alice@example.com")


class Web:
    """One Daphne for all tests of the module, and another one after it was killed."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process: WebProcess | None = None

    def ensure(self) -> WebProcess:
        if self.process is None or self.process.process.poll() is not None:
            self.process = WebProcess(self.log, WEB_ON_SHUTDOWN="leave")
        return self.process

    def kill(self) -> None:
        if self.process is not None:
            self.process.destroy()
            self.process = None


@pytest.fixture(scope="module")
def web(redis_server: None, django_db_setup: None) -> Iterator[Web]:
    web = Web(DATA_DIR / "live-daphne.log")
    yield web
    web.kill()


@pytest.fixture
def daphne(web: Web, transactional_db: None) -> WebProcess:
    return web.ensure()


def cookie_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}"


def open_socket(daphne: WebProcess, user: User, path: str, origin: str = "") -> ClientConnection:
    address = f"127.0.0.1:{daphne.port}"
    headers = {"Cookie": cookie_of(user)}
    return connect(
        f"ws://{address}{path}", origin=origin or f"http://{address}", additional_headers=headers, max_size=None
    )


def receive(socket: ClientConnection) -> dict[str, Any]:
    """The next message that is no heartbeat."""
    while True:
        message: dict[str, Any] = json.loads(socket.recv(timeout=20))
        if message["type"] != "heartbeat":
            return message
        socket.send('{"action": "alive"}')


def receive_until(socket: ClientConnection, **data: Any) -> list[dict[str, Any]]:
    """Messages up to the first whose data have these values."""
    messages = [receive(socket)]
    while not data.items() <= messages[-1]["data"].items():
        messages.append(receive(socket))
    return messages


def submit(graph: str, owner: User, **values: Any) -> Run:
    """Submit a run whose first event can be read by now."""
    run = control.submit(graph, values, owner=owner)
    events.sink().flush()
    return run


def assert_valid(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        any_event.validate_json(json.dumps(message))


def test_run_is_followed_from_its_first_event_to_its_end(
    daphne: WebProcess, worker: WorkerProcess, alice: User
) -> None:
    with open_socket(daphne, alice, "/ws/runs/") as everything:
        assert receive(everything)["type"] == "snapshot"
        run = submit("parent", alice, children=2, child_graph="saying")
        with open_socket(daphne, alice, f"/ws/runs/{run.id}/?after=0") as socket:
            messages = receive_until(socket, status="completed")
        changes = receive_until(everything, root_id=str(run.id), status="completed", parent_id=None)
    assert_valid([*messages, *changes])
    statuses = [message["data"]["status"] for message in messages if message["type"] == "run.status"]
    assert statuses == ["queued", "running", "waiting", "queued", "running", "completed"]
    spawned = [message["data"] for message in messages if message["type"] == "child.spawned"]
    assert {child["run_id"] for child in spawned} == {str(child.id) for child in Run.objects.filter(parent=run)}
    assert {"node.started", "node.finished", "node.suspended"} <= {message["type"] for message in messages}
    assert {change["data"]["root_id"] for change in changes} == {str(run.id)}
    assert "token" not in {change["type"] for change in changes}

    child = spawned[0]["run_id"]
    with open_socket(daphne, alice, f"/ws/runs/{child}/?after=0") as socket:
        said = receive_until(socket, status="completed")
    assert_valid(said)
    assert {"token", "custom", "log"} <= {message["type"] for message in said}


def test_each_step_of_a_stop_is_told(daphne: WebProcess, worker: WorkerProcess, alice: User, marks: Marks) -> None:
    run = submit("stubborn_swallows_everything", alice, marks=str(marks))
    with open_socket(daphne, alice, f"/ws/runs/{run.id}/?after=0") as socket:
        receive_until(socket, status="running")
        wait_until(lambda: control.get(run.id).current_node, "its node is executed")
        socket.send(json.dumps({"action": "cancel", "mode": "interrupt", "reason": "enough"}))
        messages = receive_until(socket, action="cancel") + receive_until(socket, step="interrupting")
        control.cancel(run.id, mode="kill", reason="now")
        messages += receive_until(socket, status="cancelled")
    assert_valid([message for message in messages if message["type"] != "reply"])
    stops = [message["data"] for message in messages if message["type"] == "run.stop"]
    steps = [stop["step"] for stop in stops]
    assert steps[0] == "requested"
    assert set(steps) >= {"delivered", "interrupting", "killing", "gone"}
    assert steps[-1] == "gone"
    assert (stops[0]["by"], stops[0]["reason"], stops[0]["mode"]) == ("alice@example.com", "enough", "interrupt")
    displayed = [message["data"]["displayed"] for message in messages if message["type"] == "run.status"]
    assert displayed == ["cancelling", "cancelled"]


def test_killed_daphne_costs_no_event_and_repeats_none(
    web: Web, worker: WorkerProcess, alice: User, marks: Marks
) -> None:
    run = submit("before_node", alice, marks=str(marks))
    with open_socket(web.ensure(), alice, f"/ws/runs/{run.id}/?after=0") as socket:
        got = receive_until(socket, status="running")
        web.kill()
        with suppress(ConnectionClosed):
            while True:
                got.append(receive(socket))
    marks.open("call")
    wait_for_status(run, "completed")
    with open_socket(web.ensure(), alice, f"/ws/runs/{run.id}/?after={got[-1]['cursor']}") as socket:
        got += receive_until(socket, status="completed")
    assert [message["cursor"] for message in got] == [event["cursor"] for event in events.read_events(run.id)]


def test_daphne_that_ends_says_so(web: Web, alice: User, transactional_db: None) -> None:
    process = web.ensure()
    with open_socket(process, alice, "/ws/runs/") as socket:
        receive(socket)
        # Daphne forgets the request that became the socket at its next look, and can't end its sockets before.
        wait_until(lambda: "WSCONNECT /ws/runs/" in process.log.read_text(), "Daphne has the socket")
        time.sleep(2.5)
        process.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            receive(socket)
    process.assert_ended()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4012


@pytest.mark.skipif(not settings.REDIS_IS_EMBEDDED, reason="that Redis is not the test run's own")
def test_restarted_redis_that_has_kept_its_streams_is_followed_again(daphne: WebProcess, alice: User) -> None:
    run = make_running(owner=alice)
    say(run, 1)
    with open_socket(daphne, alice, f"/ws/runs/{run.id}/?after=0") as socket:
        assert receive(socket)["data"]["data"] == 1
        embedded_redis.stop(DATA_DIR)
        embedded_redis.ensure_running(DATA_DIR)
        say(run, 2)
        assert receive(socket)["data"]["data"] == 2


def test_other_site_is_refused(daphne: WebProcess, alice: User) -> None:
    with pytest.raises(InvalidStatus):
        open_socket(daphne, alice, "/ws/runs/", origin="https://evil.example")


def test_server_sent_events_go_on_behind_the_last_one(daphne: WebProcess, alice: User) -> None:
    run = make_running(owner=alice)
    say(run, 1, 2)
    first, second = (event["cursor"] for event in events.read_events(run.id))
    connection = http.client.HTTPConnection("127.0.0.1", daphne.port, timeout=20)
    headers = {"Cookie": cookie_of(alice), "Last-Event-ID": first, "Accept": "text/event-stream"}
    connection.request("GET", f"/api/runs/{run.id}/events", headers=headers)
    answer = connection.getresponse()
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert next_event(answer)["id"] == second
    say(run, 3)
    event = next_event(answer)
    assert (event["event"], json.loads(event["data"])["data"]["data"]) == ("custom", 3)
    assert list(followers())
    # The connection's file belongs to the answer.
    answer.close()
    connection.close()
    wait_until(lambda: not followers(), "nobody follows any more")


def say(run: Run, *numbers: int) -> None:
    for number in numbers:
        events.sink().emit(run.id, "custom", {"node": "n", "namespace": "n:1", "data": number})
    events.sink().flush()


def next_event(answer: http.client.HTTPResponse) -> dict[str, str]:
    event: dict[str, str] = {}
    while not event or answer.fp is None:
        while line := answer.readline().decode().rstrip("\n"):
            name, _, value = line.partition(": ")
            if name:
                event[name] = value
    return event


def followers() -> list[bytes]:
    """What web processes that follow anything keep in Redis."""
    return list(redis_client().keys("runs:follower:*"))
