"""The WebSockets: one run, and the list of all that the user may see. Both replay from a cursor and go on live.

A socket is one coroutine with three tasks: one sends events, one answers the client, one sends heartbeats and looks
whether the user still may. What the server has taken for a client that does not read lies in memory, so a socket
sends only so far ahead of the last heartbeat that the client has answered.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import parse_qs
from uuid import UUID

import orjson
from django.urls import path
from django.utils import timezone

from runs import control, policy, watching
from runs.conf import runs_settings
from runs.connections import CHANGES_KEY, RedisError, stream_key
from runs.errors import RunNotFound, RunsError
from runs.following import BadCursor, Entry, Feed, end_tasks
from runs.states import StopSource

logger = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

LOG_IN_FIRST, FORBIDDEN, NOT_FOUND, BAD_REQUEST, TOO_SLOW = 4401, 4403, 4404, 4400, 4408
# As 1011, 1012 and 1013, which Daphne can't send: an application has 4000 to 4999.
BUG, SERVER_ENDS, TRY_LATER = 4011, 4012, 4013

MESSAGE_BYTES = 4_096  # the longest message of a client
WINDOW_BYTES = 1_048_576  # sent since the last heartbeat that the client has answered
UNANSWERED_BEATS = 1.5  # how long, in heartbeats, a client may leave one unanswered
ACCESS_SECONDS = 0.5  # Django tells of a log-out before it ends the session
LEAVE_SECONDS = 0.1  # for Daphne to write the close, before it drops every connection
ASK_BYTES = WINDOW_BYTES // 4  # sent since the last heartbeat, after which another one is sent


class Close(Exception):
    """Ends a socket with a code that tells the client what to do."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Socket:
    """One client. `RunSocket` and `ListSocket` say what it follows and what it may."""

    source = StopSource.PAGE

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.user: Any = None
        self._sent = 0  # bytes
        self._asked_at = 0  # bytes that had been sent at the last heartbeat
        # The same, and when it was sent, for every heartbeat that is not answered yet.
        self._beats: deque[tuple[int, float]] = deque()
        self._answered_at = 0
        self._answered = asyncio.Event()
        self._access_changed = asyncio.Event()

    async def run(self) -> None:
        if (await self._receive())["type"] != "websocket.connect":
            return
        await self._send({"type": "websocket.accept"})
        try:
            await self._serve()
        except Close as close:
            await self._close(close.code, close.reason)
        except asyncio.CancelledError:
            with suppress(Exception):
                await self._close(SERVER_ENDS, "the server ends, reconnect with your cursor")
                await asyncio.sleep(LEAVE_SECONDS)
            raise
        except Exception:
            logger.exception("a socket failed")
            await self._close(BUG, "it is our fault, and it was logged")

    async def _serve(self) -> None:
        self.user = await self.find_user()
        await self.check()
        feed = self._open_feed()
        feed.on_access = self._hear_access
        tasks = [asyncio.create_task(work) for work in (self._follow(feed), self._listen(), self._beat())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end_tasks(tasks)
            await feed.close()

    async def _close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason[:120]})

    # --- who may ---

    async def find_user(self) -> Any:
        """Who it is now: by the session, or by what a middleware has put into the scope as `find_user`.

        Raises:
            Close: nobody, or nobody any more.
        """
        find = self.scope.get("find_user") or partial(watching.find_session_user, self.scope.get("session"))
        user = await watching.in_database(find)
        if user is None:
            raise Close(LOG_IN_FIRST, "log in first")
        return user

    async def check(self) -> None:
        """Look whether the user may see what this socket shows.

        Raises:
            Close.
        """
        raise NotImplementedError

    # --- server to client ---

    def _open_feed(self) -> Feed:
        query = parse_qs(self.scope.get("query_string", b"").decode("ascii", "replace"))
        try:
            return Feed(self.key, query["after"][-1] if "after" in query else None)
        except BadCursor as error:
            raise Close(BAD_REQUEST, str(error)) from None

    @property
    def key(self) -> str:
        """The stream that it follows."""
        raise NotImplementedError

    def shows(self, entry: Entry) -> bool:
        """Whether the user may see one event of the stream."""
        return True

    async def make_snapshot(self, cursor: str) -> bytes:
        raise NotImplementedError

    async def _follow(self, feed: Feed) -> None:
        while True:
            try:
                entries = await feed.next()
            except (RedisError, OSError) as error:
                logger.warning("a socket is closed, Redis is away: %s", error)
                raise Close(TRY_LATER, "the event streams are away, reconnect later") from None
            if entries is None:
                await self._write((await self.make_snapshot(feed.cursor)).decode())
                continue
            for entry in entries:
                if self.shows(entry):
                    await self._write(entry.text)

    async def _write(self, text: str) -> None:
        if self._sent - self._answered_at > WINDOW_BYTES:
            await self._await_answer()
        await self._send({"type": "websocket.send", "text": text})
        self._sent += len(text)
        if self._sent - self._asked_at > ASK_BYTES:
            await self._send_heartbeat()

    async def _await_answer(self) -> None:
        """Wait until the client has read some of what was sent."""
        try:
            async with asyncio.timeout(runs_settings().slow_socket_seconds):
                while self._sent - self._answered_at > WINDOW_BYTES:
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            raise Close(TOO_SLOW, "too slow, reconnect with your cursor") from None

    async def _beat(self) -> None:
        seconds = runs_settings().socket_heartbeat_seconds
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._access_changed.wait(), seconds)
                await asyncio.sleep(ACCESS_SECONDS)
            self._access_changed.clear()
            self.user = await self.find_user()
            await self.check()
            if self._beats and time.monotonic() - self._beats[0][1] > seconds * UNANSWERED_BEATS:
                raise Close(TOO_SLOW, "heartbeats are not answered, reconnect with your cursor")
            await self._send_heartbeat()

    def _hear_access(self, user_ids: Collection[str] | None) -> None:
        if user_ids is None or str(self.user.pk) in user_ids:
            self._access_changed.set()

    async def _send_heartbeat(self) -> None:
        self._asked_at = self._sent
        self._beats.append((self._sent, time.monotonic()))
        await self._send_json({"type": "heartbeat", "at": timezone.now().isoformat()})

    async def _send_json(self, message: dict[str, Any]) -> None:
        await self._send({"type": "websocket.send", "text": orjson.dumps(message, default=str).decode()})

    # --- client to server ---

    async def _listen(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return
            if message["type"] == "websocket.receive":
                await self._answer(message.get("text"))

    async def _answer(self, text: str | None) -> None:
        if text is None or len(text) > MESSAGE_BYTES:
            raise Close(BAD_REQUEST, f"a message is a text of at most {MESSAGE_BYTES} characters")
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise Close(BAD_REQUEST, "a message is JSON") from None
        action = message.get("action") if isinstance(message, dict) else None
        if action == "alive":
            if self._beats:
                self._answered_at, _ = self._beats.popleft()
                self._answered.set()
            return
        await self.act(action, message)

    async def act(self, action: Any, message: Any) -> None:
        """Do what the client asks.

        Raises:
            Close: it asks for nothing that there is.
        """
        raise Close(BAD_REQUEST, "there is no such action")


class RunSocket(Socket):
    """`/ws/runs/{id}/`: one run, which the client may also cancel."""

    @property
    def run_id(self) -> UUID:
        return UUID(str(self.scope["url_route"]["kwargs"]["run_id"]))

    @property
    def key(self) -> str:
        return stream_key(self.run_id)

    async def check(self) -> None:
        run = await watching.in_database(control.find, self.run_id)
        if run is not None and await watching.in_database(policy.may_view, self.user, run):
            self._was_visible = True
            return
        if run is not None and getattr(self, "_was_visible", False):
            raise Close(FORBIDDEN, "you may not see this run any more")
        raise Close(NOT_FOUND, "there is no such run")

    async def make_snapshot(self, cursor: str) -> bytes:
        try:
            return await watching.in_database(watching.run_snapshot, self.run_id, cursor)
        except RunNotFound:
            raise Close(NOT_FOUND, "there is no such run any more") from None

    async def act(self, action: Any, message: Any) -> None:
        if action != "cancel":
            raise Close(BAD_REQUEST, "there is no such action; allowed are alive and cancel")
        self.user = await self.find_user()
        error = await watching.in_database(self._cancel, message.get("mode", "cancel"), message.get("reason", ""))
        reply: dict[str, Any] = {"action": "cancel", "ok": error is None}
        if error is not None:
            reply["error"] = error
        await self._send_json({"type": "reply", "data": reply})

    def _cancel(self, mode: Any, reason: Any) -> str | None:
        """What is wrong with it; None if it was accepted."""
        find_refusal = self.scope.get("find_refusal")  # of another kind of authentication
        if find_refusal is not None and (refusal := find_refusal()) is not None:
            return str(refusal)
        run = control.find(self.run_id)
        if run is None or not policy.may_stop(self.user, run):
            return "You may not stop this run."
        if not isinstance(mode, str) or not isinstance(reason, str):
            return "mode and reason are texts."
        refusal = policy.refusal_of_stop(self.user, [run.id], mode, None)
        if refusal is not None:
            return refusal
        try:
            control.cancel(run.id, by=self.user, source=self.source, mode=mode, reason=reason)
        except RunsError as error:
            return str(error)
        return None


class ListSocket(Socket):
    """`/ws/runs/`: the changes of all runs that the user may see."""

    may_view_any: bool | None = None

    @property
    def key(self) -> str:
        return CHANGES_KEY

    async def check(self) -> None:
        may = await watching.in_database(policy.may_view_any, self.user)
        if self.may_view_any and not may:
            raise Close(FORBIDDEN, "you may not see all runs any more, reconnect to see yours")
        self.may_view_any = may

    def shows(self, entry: Entry) -> bool:
        return bool(self.may_view_any) or (entry.owner != "" and entry.owner == str(self.user.pk))

    async def make_snapshot(self, cursor: str) -> bytes:
        return await watching.in_database(watching.list_snapshot, self.user, cursor)


async def follow_run(scope: Scope, receive: Receive, send: Send) -> None:
    await RunSocket(scope, receive, send).run()


async def follow_list(scope: Scope, receive: Receive, send: Send) -> None:
    await ListSocket(scope, receive, send).run()


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """For any other address: close before accepting, which a browser sees as a refusal."""
    await receive()
    await send({"type": "websocket.close"})


# For Channels' URLRouter.
websocket_urlpatterns: list[Any] = [
    path("ws/runs/", follow_list),  # type: ignore[arg-type]
    path("ws/runs/<uuid:run_id>/", follow_run),  # type: ignore[arg-type]
]
