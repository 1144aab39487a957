"""The sockets in this process: who may, from where they go on, and with which code they end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings as project_settings
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.test import Client

from authentication.models import User
from graduation_backend.asgi import application
from runs import control, events
from runs.connections import CHANGES_KEY, redis_client, stream_key
from runs.models import Run
from tests.integration.engine import make_running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker", "redis_server")]

ORIGIN = b"http://localhost"


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice@example.com")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob@example.com")


def cookie_of(user: User | None) -> bytes:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client.cookies.output(attrs=[], header="", sep=";").strip().encode()


class Browser:
    """One socket as a browser holds it."""

    def __init__(self, path: str, cookie: bytes, origin: bytes = ORIGIN) -> None:
        headers = [(b"origin", origin), (b"cookie", cookie), (b"host", b"localhost")]
        self.socket = WebsocketCommunicator(application, path, headers=headers)
        self.code: int | None = None

    async def __aenter__(self) -> Browser:
        self.is_accepted, _ = await self.socket.connect(timeout=10)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.socket.disconnect(timeout=10)

    async def next(self) -> dict[str, Any]:
        """The next message that is no heartbeat; `{"closed": code}` at the end."""
        while True:
            output = await self.socket.receive_output(timeout=10)
            if output["type"] == "websocket.close":
                return {"closed": output["code"]}
            message: dict[str, Any] = json.loads(output["text"])
            if message["type"] != "heartbeat":
                return message
            await self.say({"action": "alive"})

    async def say(self, message: Any) -> None:
        await self.socket.send_to(text_data=json.dumps(message))

    async def until(self, kind: str) -> dict[str, Any]:
        while (message := await self.next()).get("type") != kind:
            assert "closed" not in message, message
        return message


def tell(run: Run, *numbers: int) -> None:
    for number in numbers:
        events.sink().emit(run.id, "custom", {"node": "n", "namespace": "n:1", "data": number})
    events.sink().flush()


def numbers_of(messages: list[dict[str, Any]]) -> list[Any]:
    return [message["data"]["data"] for message in messages]


async def in_thread(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    from runs.watching import in_database

    return await in_database(call, *args, **kwargs)


def test_without_a_cursor_there_is_a_snapshot_and_then_what_happens(alice: User) -> None:
    run = make_running(owner=alice)
    tell(run, 1)
    cookie = cookie_of(alice)

    async def watch() -> None:
        async with Browser(f"/ws/runs/{run.id}/", cookie) as browser:
            snapshot = await browser.next()
            assert (snapshot["type"], snapshot["data"]["run"]["id"]) == ("snapshot", str(run.id))
            await in_thread(tell, run, 2, 3)
            assert numbers_of([await browser.next(), await browser.next()]) == [2, 3]

    asyncio.run(watch())


def test_whole_stream_is_replayed_and_followed_without_a_gap(alice: User) -> None:
    run = make_running(owner=alice)
    tell(run, *range(1_200))
    cookie = cookie_of(alice)

    async def watch() -> None:
        async with Browser(f"/ws/runs/{run.id}/?after=0", cookie) as browser:
            telling = asyncio.create_task(in_thread(tell, run, *range(1_200, 2_400)))
            got = [await browser.next() for _ in range(2_400)]
            await telling
            assert numbers_of(got) == list(range(2_400))
        async with Browser(f"/ws/runs/{run.id}/?after={got[2_000]['cursor']}", cookie) as browser:
            assert numbers_of([await browser.next() for _ in range(399)]) == list(range(2_001, 2_400))

    asyncio.run(watch())


@pytest.mark.parametrize(
    ("who", "path", "code"),
    [
        (None, "/ws/runs/{id}/", 4401),
        (None, "/ws/runs/", 4401),
        ("bob", "/ws/runs/{id}/", 4404),
        ("alice", "/ws/runs/{other}/", 4404),
        ("alice", "/ws/runs/{id}/?after=yesterday", 4400),
        ("alice", "/ws/runs/{id}/?after=1-2-3", 4400),
    ],
)
def test_socket_is_refused_with_the_code_that_says_why(
    alice: User, bob: User, who: str | None, path: str, code: int
) -> None:
    run = make_running(owner=alice)
    user = {None: None, "alice": alice, "bob": bob}[who]
    cookie = cookie_of(user)

    async def watch() -> None:
        async with Browser(path.format(id=run.id, other=uuid4()), cookie) as browser:
            assert await browser.next() == {"closed": code}

    asyncio.run(watch())


def test_another_site_is_refused(alice: User) -> None:
    run = make_running(owner=alice)
    cookie = cookie_of(alice)

    async def watch() -> None:
        async with Browser(f"/ws/runs/{run.id}/", cookie, origin=b"https://evil.example") as browser:
            assert not browser.is_accepted

    asyncio.run(watch())


@pytest.mark.skipif(not project_settings.REDIS_IS_EMBEDDED, reason="that Redis is not the test run's own")
def test_emptied_redis_gives_one_snapshot_and_goes_on(alice: User) -> None:
    run = make_running(owner=alice)
    tell(run, 1)
    cookie = cookie_of(alice)

    async def watch() -> None:
        async with Browser(f"/ws/runs/{run.id}/?after=0", cookie) as browser:
            old = await browser.next()
            assert numbers_of([old]) == [1]
            await asyncio.to_thread(redis_client().flushall)
            assert (await browser.next())["type"] == "snapshot"
            await in_thread(tell, run, 2)
            new = await browser.next()
            assert numbers_of([new]) == [2]
        async with Browser(f"/ws/runs/{run.id}/?after={old['cursor']}", cookie) as browser:
            assert (await browser.next())["type"] == "snapshot"
        async with Browser(f"/ws/runs/{run.id}/?after={new['cursor']}", cookie) as browser:
            await in_thread(tell, run, 3)
            assert numbers_of([await browser.next()]) == [3]

    asyncio.run(watch())


def test_cursor_that_was_trimmed_away_gives_a_snapshot(alice: User) -> None:
    run = make_running(owner=alice)
    tell(run, *range(300))
    first = events.read_events(run.id)[0]["cursor"]
    redis_client().xtrim(stream_key(run.id), maxlen=100, approximate=False)
    cookie = cookie_of(alice)

    async def watch() -> None:
        for after in ("0", first):
            async with Browser(f"/ws/runs/{run.id}/?after={after}", cookie) as browser:
                snapshot = await browser.next()
                assert snapshot["type"] == "snapshot"
                await in_thread(tell, run, 1)
                assert numbers_of([await browser.next()]) == [1]

    asyncio.run(watch())


def test_list_shows_the_runs_of_its_user_alone(alice: User, bob: User) -> None:
    redis_client().delete(CHANGES_KEY)
    mine = make_running(owner=alice)
    cookies = cookie_of(alice), cookie_of(bob)
    bob.user_permissions.add(Permission.objects.get(codename="view_run"))
    # Bob may see all, Alice hers.

    async def watch() -> None:
        async with Browser("/ws/runs/", cookies[0]) as hers, Browser("/ws/runs/", cookies[1]) as his:
            assert [run["id"] for run in (await hers.next())["data"]["runs"]] == [str(mine.id)]
            assert [run["id"] for run in (await his.next())["data"]["runs"]] == [str(mine.id)]
            other = await in_thread(control.submit, "quick", {}, owner=bob, ring=False)
            await in_thread(control.cancel, mine.id, reason="enough")
            await in_thread(events.sink().flush)
            seen = [await hers.next() for _ in range(2)]
            assert {message["run_id"] for message in seen} == {str(mine.id)}
            assert [message["type"] for message in seen] == ["run.stop", "run.status"]
            assert seen[0]["data"]["graph"] == "quick"
            assert seen[1]["data"]["displayed"] == "cancelling"
            assert [(await his.next())["run_id"] for _ in range(3)] == [str(other.id), str(mine.id), str(mine.id)]

    asyncio.run(watch())


def test_cancel_by_message_asks_for_the_same_permissions_as_the_api(alice: User, bob: User) -> None:
    run = make_running(owner=alice)
    bob.user_permissions.add(Permission.objects.get(codename="view_run"))
    cookies = cookie_of(alice), cookie_of(bob)

    async def watch() -> None:
        async with Browser(f"/ws/runs/{run.id}/", cookies[1]) as browser:
            await browser.say({"action": "cancel"})
            reply = await browser.until("reply")
            assert reply["data"] == {"action": "cancel", "ok": False, "error": "You may not stop this run."}
        async with Browser(f"/ws/runs/{run.id}/", cookies[0]) as browser:
            await browser.say({"action": "cancel", "mode": "kill"})
            assert "runs.kill_run" in (await browser.until("reply"))["data"]["error"]
            await browser.say({"action": "cancel", "mode": "softly"})
            assert "allowed" in (await browser.until("reply"))["data"]["error"]
            await browser.say({"action": "cancel", "mode": "interrupt", "reason": "enough"})
            assert (await browser.until("reply"))["data"] == {"action": "cancel", "ok": True}
            await browser.say({"action": "destroy"})
            while "closed" not in (message := await browser.next()):
                assert message["type"] in ("run.stop", "run.status")
            assert message == {"closed": 4400}

    asyncio.run(watch())
    stopped = Run.objects.get(id=run.id)
    assert (stopped.stop_mode, stopped.stop_reason, stopped.stop_by) == ("interrupt", "enough", alice)


@pytest.mark.parametrize(
    "sent", ["no json", '"a text"', '{"action": "cancel", "reason": "%s"}' % ("x" * 5_000), "[" * 4_000]
)
def test_message_that_is_no_request_ends_the_socket(alice: User, sent: str) -> None:
    run = make_running(owner=alice)
    cookie = cookie_of(alice)

    async def watch() -> None:
        async with Browser(f"/ws/runs/{run.id}/", cookie) as browser:
            await browser.until("snapshot")
            await browser.socket.send_to(text_data=sent)
            assert await browser.next() == {"closed": 4400}

    asyncio.run(watch())
    assert Run.objects.get(id=run.id).stop_requested_at is None


@pytest.mark.parametrize(
    ("path", "loss", "code"),
    [
        ("/ws/runs/{id}/", "permission", 4403),
        ("/ws/runs/", "permission", 4403),
        ("/ws/runs/{id}/", "session", 4401),
        ("/ws/runs/", "account", 4401),
        ("/ws/runs/{id}/", "run", 4404),
    ],
)
def test_socket_ends_when_its_user_may_no_longer_watch(
    alice: User, bob: User, settings: Any, path: str, loss: str, code: int
) -> None:
    settings.RUNS_SOCKET_HEARTBEAT_SECONDS = 0.1
    run = make_running(owner=alice)
    bob.user_permissions.add(Permission.objects.get(codename="view_run"))
    cookie = cookie_of(bob)
    losses: dict[str, Callable[[], Any]] = {
        "permission": lambda: bob.user_permissions.clear(),
        "session": lambda: Session.objects.all().delete(),
        "account": lambda: User.objects.filter(pk=bob.pk).update(is_active=False),
        "run": lambda: Run.objects.filter(pk=run.pk).delete(),
    }

    async def watch() -> None:
        async with Browser(path.format(id=run.id), cookie) as browser:
            await browser.until("snapshot")
            await in_thread(losses[loss])
            assert await browser.next() == {"closed": code}

    asyncio.run(watch())


@pytest.mark.parametrize(("loss", "code"), [("logout", 4401), ("permission", 4403), ("account", 4401)])
def test_socket_hears_at_once_that_its_user_has_lost_a_right(alice: User, bob: User, loss: str, code: int) -> None:
    run = make_running(owner=alice)
    bob.user_permissions.add(Permission.objects.get(codename="view_run"))
    client = Client()
    client.force_login(bob)
    cookie = client.cookies.output(attrs=[], header="", sep=";").strip().encode()

    def lose() -> None:
        if loss == "logout":
            client.logout()
        elif loss == "permission":
            bob.user_permissions.clear()
        else:
            bob.is_active = False
            bob.save()

    async def watch() -> None:
        async with Browser(f"/ws/runs/{run.id}/", cookie) as browser:
            await browser.until("snapshot")
            await in_thread(tell, run, 1)
            assert numbers_of([await browser.next()]) == [1]  # so it follows by now
            await in_thread(lose)
            assert await browser.next() == {"closed": code}

    asyncio.run(watch())


def test_client_that_does_not_read_is_dropped_and_goes_on_with_its_cursor(alice: User, settings: Any) -> None:
    settings.RUNS_SLOW_SOCKET_SECONDS = 0.2
    run = make_running(owner=alice)
    cookie = cookie_of(alice)
    for number in range(400):
        events.sink().emit(run.id, "custom", {"node": "n", "namespace": "n:1", "data": str(number) + "x" * 10_000})
    events.sink().flush()

    async def watch() -> None:
        async with Browser(f"/ws/runs/{run.id}/?after=0", cookie) as browser:
            got = []
            while (output := await browser.socket.receive_output(timeout=10))["type"] != "websocket.close":
                got.append(json.loads(output["text"]))  # and no heartbeat is answered
            assert output["code"] == 4408
        got = [message for message in got if message["type"] == "custom"]
        assert 50 < len(got) < 300
        async with Browser(f"/ws/runs/{run.id}/?after={got[-1]['cursor']}", cookie) as browser:
            rest = [await browser.next() for _ in range(400 - len(got))]
        assert [int(str(value).rstrip("x")) for value in numbers_of(got + rest)] == list(range(400))

    asyncio.run(watch())


def test_client_that_answers_no_heartbeat_is_dropped(alice: User, settings: Any) -> None:
    settings.RUNS_SOCKET_HEARTBEAT_SECONDS = 0.1
    cookie = cookie_of(alice)

    async def watch() -> None:
        async with Browser("/ws/runs/", cookie) as browser:
            while (output := await browser.socket.receive_output(timeout=10))["type"] != "websocket.close":
                assert json.loads(output["text"])["type"] in ("snapshot", "heartbeat")
            assert output["code"] == 4408

    asyncio.run(watch())


def test_socket_without_redis_is_told_to_come_later(alice: User, settings: Any) -> None:
    run = make_running(owner=alice)
    cookie = cookie_of(alice)
    settings.RUNS_REDIS_URL = "redis://127.0.0.1:1/0"

    async def watch() -> None:
        async with Browser(f"/ws/runs/{run.id}/", cookie) as browser:
            assert await browser.next() == {"closed": 4013}

    asyncio.run(watch())
