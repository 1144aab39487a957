"""Programs with an API key on the sockets and on an event stream."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Permission

from authentication import keys
from authentication.keys import Scope
from authentication.models import ApiKey, User
from graduation_backend.asgi import application
from runs.models import Run
from tests.integration.engine import make_running
from tests.integration.test_sockets import Browser, cookie_of, in_thread, numbers_of, tell

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_worker", "redis_server")]

DAY = timedelta(days=1)


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice@example.com")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob@example.com")


def make(user: User, *scopes: Scope, lasts: timedelta = DAY) -> tuple[ApiKey, bytes]:
    key, secret = keys.make(user, "a program", scopes, lasts=lasts)
    return key, secret.encode()


class Program(Browser):
    """One socket as a program holds it: it sends no origin."""

    def __init__(self, path: str, *headers: tuple[bytes, bytes]) -> None:
        self.socket = WebsocketCommunicator(application, path, headers=[(b"host", b"localhost"), *headers])
        self.code: int | None = None


def bearer(secret: bytes) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + secret


@pytest.mark.parametrize("header", [b"authorization", b"x-api-key"])
@pytest.mark.parametrize("path", ["/ws/runs/{}/", "/ws/runs/"])
def test_key_opens_what_is_its_owner_s(alice: User, bob: User, header: bytes, path: str) -> None:
    run = make_running(owner=alice)
    (_, of_alice), (_, of_bob) = make(alice, Scope.READ), make(bob, Scope.READ)

    def say(secret: bytes) -> tuple[bytes, bytes]:
        return bearer(secret) if header == b"authorization" else (header, secret)

    async def watch() -> None:
        async with Program(path.format(run.id), say(of_alice)) as program:
            assert str(run.id) in str(await program.until("snapshot"))
        async with Program(path.format(run.id), say(of_bob)) as program:
            message = await program.next()
            assert str(run.id) not in str(message)
            assert message.get("closed") == (None if path == "/ws/runs/" else 4404)

    asyncio.run(watch())


def test_key_that_is_not_valid_opens_nothing_whoever_is_logged_in(alice: User) -> None:
    run = make_running(owner=alice)
    revoked, secret = make(alice, Scope.READ)
    keys.revoke(revoked)
    _, expired = make(alice, Scope.READ, lasts=-DAY)
    _, wrong = make(alice, Scope.RUN, Scope.STOP)
    cookie = cookie_of(alice)

    async def watch() -> None:
        for sent, code in ((secret, 4401), (expired, 4401), (b"gbk_unknown", 4401), (b"", 4401), (wrong, 4403)):
            headers = bearer(sent), (b"cookie", cookie), (b"origin", b"http://localhost")
            async with Program(f"/ws/runs/{run.id}/", *headers) as program:
                assert await program.next() == {"closed": code}

    asyncio.run(watch())


def test_key_in_the_address_opens_nothing(alice: User) -> None:
    run = make_running(owner=alice)
    _, secret = make(alice, Scope.READ)

    async def watch() -> None:
        for name in ("key", "token", "api_key", "X-API-Key", "authorization"):
            async with Program(f"/ws/runs/{run.id}/?{name}={secret.decode()}") as program:
                assert not program.is_accepted

    asyncio.run(watch())


def test_cancel_takes_the_scope_stop(alice: User) -> None:
    run = make_running(owner=alice)
    (_, reading), (_, stopping) = make(alice, Scope.READ), make(alice, Scope.READ, Scope.STOP)

    async def watch() -> None:
        async with Program(f"/ws/runs/{run.id}/", bearer(reading)) as program:
            await program.say({"action": "cancel"})
            assert "the scope stop" in (await program.until("reply"))["data"]["error"]
            assert await in_thread(Run.objects.filter(stop_requested_at=None).count) == 1
        async with Program(f"/ws/runs/{run.id}/", bearer(stopping)) as program:
            await program.say({"action": "cancel", "mode": "kill"})
            assert "runs.kill_run" in (await program.until("reply"))["data"]["error"]
            await program.say({"action": "cancel"})
            assert (await program.until("reply"))["data"] == {"action": "cancel", "ok": True}

    asyncio.run(watch())
    assert Run.objects.get(id=run.id).stop_by == alice


def test_only_the_scope_admin_takes_the_permissions_along(alice: User, bob: User) -> None:
    run = make_running(owner=alice)
    bob.user_permissions.add(Permission.objects.get(codename="view_run"))
    (_, reading), (_, full) = make(bob, Scope.READ), make(bob, Scope.READ, Scope.ADMIN)

    async def watch() -> None:
        async with Program(f"/ws/runs/{run.id}/", bearer(reading)) as program:
            assert await program.next() == {"closed": 4404}
        async with Program(f"/ws/runs/{run.id}/", bearer(full)) as program:
            assert str(run.id) in str(await program.until("snapshot"))

    asyncio.run(watch())


@pytest.mark.parametrize("loss", ["revoked", "expired", "account"])
@pytest.mark.parametrize("path", ["/ws/runs/{}/", "/ws/runs/"])
def test_socket_ends_with_its_key(alice: User, settings: Any, path: str, loss: str) -> None:
    settings.RUNS_SOCKET_HEARTBEAT_SECONDS = 0.1
    run = make_running(owner=alice)
    key, secret = make(alice, Scope.READ)

    async def watch() -> None:
        async with Program(path.format(run.id), bearer(secret)) as program:
            await program.until("snapshot")
            await in_thread(lose, loss, key)
            assert await program.next() == {"closed": 4401}

    asyncio.run(watch())


def lose(loss: str, key: ApiKey) -> None:
    if loss == "revoked":
        keys.revoke(key)
    elif loss == "expired":
        ApiKey.objects.filter(pk=key.pk).update(expires_at=key.created_at)
    else:
        User.objects.filter(pk=key.user_id).update(is_active=False)


class Stream:
    """`GET …/events` as a program reads it."""

    def __init__(self, path: str, *headers: tuple[bytes, bytes]) -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"localhost"), *headers],
        }
        self.http = ApplicationCommunicator(application, scope)

    async def begin(self) -> int:
        await self.http.send_input({"type": "http.request", "body": b""})
        return int((await self.http.receive_output(timeout=10))["status"])

    async def until(self, text: bytes) -> None:
        while text not in (message := await self.http.receive_output(timeout=10)).get("body", b""):
            assert message.get("more_body"), "the stream has ended"

    async def until_the_end(self) -> None:
        while (await self.http.receive_output(timeout=10)).get("more_body"):
            continue


def test_event_stream_goes_on_beyond_a_heartbeat_and_ends_with_its_key(alice: User, settings: Any) -> None:
    settings.RUNS_SOCKET_HEARTBEAT_SECONDS = 0.1
    run = make_running(owner=alice)
    (key, secret), (_, wrong) = make(alice, Scope.READ), make(alice, Scope.STOP)

    async def watch() -> None:
        assert await Stream(f"/api/runs/{run.id}/events", bearer(wrong)).begin() == 403
        stream = Stream(f"/api/runs/{run.id}/events", bearer(secret))
        assert await stream.begin() == 200
        await stream.until(b"event: snapshot")
        for _ in range(3):
            await stream.until(b": alive")
        await in_thread(tell, run, 1)
        await stream.until(b"event: custom")
        await in_thread(keys.revoke, key)
        await stream.until_the_end()

    asyncio.run(watch())


def test_socket_with_a_key_follows(alice: User) -> None:
    run = make_running(owner=alice)
    _, secret = make(alice, Scope.READ)

    async def watch() -> None:
        async with Program(f"/ws/runs/{run.id}/", (b"x-api-key", secret)) as program:
            await program.until("snapshot")
            await in_thread(tell, run, 1, 2)
            assert numbers_of([await program.next(), await program.next()]) == [1, 2]

    asyncio.run(watch())
