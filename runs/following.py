"""Follows the event streams for everybody in this process who watches one.

One `Follower` belongs to one event loop. One connection waits for news in all the streams that its feeds need, and
each entry becomes one text that all of them share. A `Feed` is what one subscriber gets of one stream: replayed from
its cursor in pages, then live, each entry once and in order. Where the stream does not hold what follows the cursor
(it was trimmed, has expired, or Redis was emptied) the feed says so, and goes on from now.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import redis.asyncio

from runs.connections import ACCESS_KEY, RedisError, async_redis

logger = logging.getLogger(__name__)

PAGE = 500  # entries read at once, of one stream
QUEUE_LENGTH = 2_000  # entries that wait for one subscriber; beyond that it reads the stream again
BLOCK_SECONDS = 5.0
WATCH_SECONDS = 1.0  # between two looks whether Redis still has what it had
MARK_SECONDS = 60  # after which Redis forgets a follower that has not looked
LONGEST_BACKOFF_SECONDS = 2.0
COMMAND_CONNECTIONS = 8

Position: TypeAlias = tuple[int, int]

_CURSOR = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?", re.ASCII)
START: Position = (0, 0)


class BadCursor(ValueError):
    """Not the id of an entry."""


def parse_cursor(text: str) -> Position:
    """The entry that a cursor names; `0` is before the first.

    Raises:
        BadCursor.
    """
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise BadCursor(f"{text[:50]!r} is no cursor; allowed is the `cursor` of an event, or 0")
    return int(match[1]), int(match[2] or 0)


def as_cursor(position: Position) -> str:
    return f"{position[0]}-{position[1]}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One event: `text` is the JSON message; `owner` is empty if the run has none."""

    position: Position
    kind: str
    text: str
    owner: str

    @property
    def cursor(self) -> str:
        return as_cursor(self.position)


@dataclass(frozen=True, slots=True)
class Extent:
    """What a stream held at one moment; where there was none, `last` is before whatever comes."""

    exists: bool
    first: Position | None
    last: Position
    is_complete: bool

    def holds_all_after(self, position: Position, *, is_new: bool = False) -> bool:
        """Whether nothing that came behind a position is missing.

        Args:
            is_new: the position was taken when there was no stream.
        """
        if is_new and (not self.exists or self.is_complete):
            return True
        if not self.exists or position > self.last:
            return False
        if position == START:
            return self.is_complete
        return position == self.last or (self.first is not None and position >= self.first)


@dataclass(eq=False)
class Stream:
    """One stream that is followed: how far it has been read, and for whom."""

    position: Position
    is_new: bool = False  # the stream was not there when its position was taken
    feeds: set[Feed] = field(default_factory=set)


class Follower:
    """Reads the streams of one event loop's feeds. Everything here happens in that loop."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}
        self._mark = _new_mark()  # a stream that wakes the reader, and proves Redis' memory
        self._mark_position: Position = START
        self._access_position: Position = START
        self._commands: redis.asyncio.Redis | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._waking: asyncio.Task[None] | None = None
        self._checking = asyncio.Lock()

    @property
    def commands(self) -> redis.asyncio.Redis:
        """For what answers at once; the reader has a connection of its own."""
        if self._commands is None:
            self._commands = async_redis(timeout_seconds=2.0, connections=COMMAND_CONNECTIONS)
        return self._commands

    def add(self, key: str, feed: Feed, position: Position, *, is_new: bool) -> Position:
        """Give a feed what comes to a stream from now on.

        Args:
            position: up to which the caller has read.
            is_new: there was no stream.

        Returns:
            Up to where the stream has been read for the others; what lies between the two the caller reads itself.
        """
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = Stream(position, is_new)
            self._wake()
        stream.feeds.add(feed)
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._read_for_ever()), asyncio.create_task(self._watch_for_ever())]
        return stream.position

    async def remove(self, key: str, feed: Feed) -> None:
        stream = self._streams.get(key)
        if stream is None:
            return
        stream.feeds.discard(feed)
        if not stream.feeds:
            del self._streams[key]
        if not self._streams:
            await self._rest()

    async def _rest(self) -> None:
        """Nobody is left: give the connections back."""
        tasks, self._tasks = self._tasks, []
        if self._waking is not None:
            tasks.append(self._waking)
            self._waking = None
        commands, self._commands = self._commands, None
        mark, self._mark, self._mark_position = self._mark, _new_mark(), START
        await end_tasks(tasks)
        if commands is not None:
            with suppress(RedisError, OSError):
                await commands.delete(mark)
            await commands.aclose()

    def _wake(self) -> None:
        if self._tasks and (self._waking is None or self._waking.done()):
            self._waking = asyncio.create_task(self._ring())

    async def _ring(self) -> None:
        with suppress(RedisError, OSError):  # then the reader comes back by itself
            await self.commands.xadd(self._mark, {"wake": ""}, maxlen=1)

    async def _read_for_ever(self) -> None:
        pause = 0.1
        while True:
            client = async_redis(timeout_seconds=BLOCK_SECONDS + 5.0, connections=1)
            try:
                await self._check_memory(client)
                await self._check_positions(client)
                newest: Any = await client.xrevrange(ACCESS_KEY, count=1)
                self._access_position = parse_cursor(newest[0][0].decode()) if newest else START
                self._tell_access(None)
                pause = 0.1
                while True:
                    await self._read(client)
            except (RedisError, OSError) as error:
                logger.warning("the event streams are away, they are looked for again: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_BACKOFF_SECONDS)
            except Exception:
                logger.exception("an event could not be read")
                await asyncio.sleep(pause)
            finally:
                with suppress(RedisError, OSError):
                    await client.aclose()

    async def _read(self, client: redis.asyncio.Redis) -> None:
        loop = asyncio.get_running_loop()
        asked: dict[Any, Any] = {key: as_cursor(stream.position) for key, stream in self._streams.items()}
        asked[self._mark] = as_cursor(self._mark_position)
        asked[ACCESS_KEY] = as_cursor(self._access_position)
        began = loop.time()
        answer: Any = await client.xread(asked, count=PAGE, block=int(BLOCK_SECONDS * 1_000))
        if loop.time() - began > BLOCK_SECONDS * 2:
            await self._check_positions(client)  # this process was frozen: what it has not read may be gone
        pairs = answer.items() if isinstance(answer, Mapping) else answer or ()
        for raw_key, rows in pairs:
            key = raw_key.decode()
            if key == self._mark:
                self._mark_position = parse_cursor(rows[-1][0].decode())
            elif key == ACCESS_KEY:
                self._access_position = parse_cursor(rows[-1][0].decode())
                self._tell_access({fields[b"user"].decode() for _, fields in rows})
            elif stream := self._streams.get(key):
                self._hand_out(stream, rows)

    def _tell_access(self, user_ids: Collection[str] | None) -> None:
        """The rights of these users may have changed; None is anybody's, because nobody has listened until now."""
        for stream in self._streams.values():
            for feed in stream.feeds:
                feed.on_access(user_ids)

    def _hand_out(self, stream: Stream, rows: Any) -> None:
        entries = [entry for row in rows if (entry := read_entry(row)).position > stream.position]
        if entries:
            stream.position, stream.is_new = entries[-1].position, False
            for feed in stream.feeds:
                feed.take(entries)

    async def _check_memory(self, client: redis.asyncio.Redis) -> None:
        """Find out whether Redis has lost what it had; then nobody's cursor means anything."""
        async with self._checking:
            if await client.expire(self._mark, MARK_SECONDS):
                return
            is_first = self._mark_position == START
            made: Any = await client.xadd(self._mark, {"begun": ""}, maxlen=1)
            await client.expire(self._mark, MARK_SECONDS)
            self._mark_position = parse_cursor(made.decode())
            if not is_first:
                logger.warning("Redis has lost its streams, whoever follows one gets a snapshot")
                await self._check_positions(client, are_lost=True)

    async def _check_positions(self, client: redis.asyncio.Redis, *, are_lost: bool = False) -> None:
        """Find the streams that no longer hold what has not been read."""
        for key, stream in list(self._streams.items()):
            extent, _ = await read_page(client, key, stream.position, count=1)
            if are_lost or not extent.holds_all_after(stream.position, is_new=stream.is_new):
                stream.position = extent.last if extent.exists else START
                stream.is_new = not extent.exists
                for feed in stream.feeds:
                    feed.lose()

    async def _watch_for_ever(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self._check_memory(self.commands)
            except (RedisError, OSError):
                continue  # the reader sees it, too


class Feed:
    """What one subscriber gets of one stream. Close it in the end."""

    def __init__(self, key: str, after: str | None, *, length: int = QUEUE_LENGTH) -> None:
        """Begin behind a cursor; None is now, with a snapshot first.

        Raises:
            BadCursor.
        """
        self.key = key
        self._position = START if after is None else parse_cursor(after)
        self._is_lost = after is None
        self._is_new = False  # the stream was not there when it was looked for, so nothing of it can be missing
        self._must_read = True
        self._queue: deque[Entry] = deque()
        self._length = length
        self._filled = asyncio.Event()
        # Told of users whose permissions or sessions may have changed; None is anybody.
        self.on_access: Callable[[Collection[str] | None], None] = lambda user_ids: None
        self._follower = follower()

    @property
    def cursor(self) -> str:
        return as_cursor(self._position)

    async def next(self) -> list[Entry] | None:
        """The next entries, as soon as there are some.

        Returns:
            None if the stream does not hold what comes next: take a snapshot, which `cursor` belongs to, and go on.

        Raises:
            RedisError: Redis is away.
        """
        while True:
            if self._is_lost:
                await self._skip_to_now()
                return None
            if self._must_read:
                if page := await self._read():
                    return page
                continue
            await self._filled.wait()
            self._filled.clear()
            if not self._is_lost and not self._must_read and (entries := self._take_queued()):
                return entries

    async def close(self) -> None:
        await self._follower.remove(self.key, self)

    def take(self, entries: Iterable[Entry]) -> None:
        """From the follower: what is new in the stream."""
        if not self._must_read:
            self._queue.extend(entries)
            if len(self._queue) > self._length:
                self._queue.clear()
                self._must_read = True
        self._filled.set()

    def lose(self) -> None:
        """From the follower: something is missing in the stream."""
        self._is_lost = True
        self._queue.clear()
        self._filled.set()

    def _take_queued(self) -> list[Entry]:
        entries = [entry for entry in self._queue if entry.position > self._position]
        self._queue.clear()
        if entries:
            self._position, self._is_new = entries[-1].position, False
        return entries

    async def _skip_to_now(self) -> None:
        extent, _ = await read_page(self._follower.commands, self.key, START, count=1)
        self._is_lost, self._is_new, self._must_read = False, not extent.exists, True
        self._position = extent.last
        self._queue.clear()

    async def _read(self) -> list[Entry]:
        """One page. Afterwards it is live, unless more is left or came to the others before it was with them."""
        extent, page = await read_page(self._follower.commands, self.key, self._position, count=PAGE)
        if not extent.holds_all_after(self._position, is_new=self._is_new):
            self._is_lost = True
            return []
        if page:
            self._position, self._is_new = page[-1].position, False
        read = page[-1].position if len(page) == PAGE else max(extent.last, self._position)
        reached = self._follower.add(self.key, self, read, is_new=not extent.exists)
        self._must_read = len(page) == PAGE or reached > read
        return page


async def read_page(
    client: redis.asyncio.Redis, key: str, after: Position, *, count: int
) -> tuple[Extent, list[Entry]]:
    """What a stream holds, and its first entries behind a position, at one moment."""
    async with client.pipeline(transaction=True) as pipeline:
        pipeline.xinfo_stream(key)
        pipeline.xrange(key, min=f"({as_cursor(after)}", count=count)
        pipeline.time()
        info, rows, now = await pipeline.execute(raise_on_error=False)
    for answer in (rows, now):
        if isinstance(answer, Exception):
            raise answer
    if isinstance(info, redis.ResponseError):  # there is no such stream
        # Whatever comes has a later id: entries are named by Redis' clock.
        return Extent(False, None, (now[0] * 1_000 + now[1] // 1_000 - 1, 0), True), []
    if isinstance(info, Exception):
        raise info
    first = info["first-entry"]
    extent = Extent(
        exists=True,
        first=parse_cursor(first[0].decode()) if first else None,
        last=parse_cursor(info["last-generated-id"].decode()),
        is_complete=info["entries-added"] == info["length"],
    )
    return extent, [read_entry(row) for row in rows]


def read_entry(row: Any) -> Entry:
    """One entry as the message that every subscriber gets; its data are JSON already, and are not read."""
    raw_cursor, fields = row
    cursor, kind = raw_cursor.decode(), fields[b"type"].decode()
    run_id, at, data = fields.get(b"run", b"").decode(), fields[b"at"].decode(), fields[b"data"].decode()
    text = f'{{"cursor":"{cursor}","run_id":"{run_id}","type":"{kind}","at":"{at}","data":{data}}}'
    return Entry(parse_cursor(cursor), kind, text, fields.get(b"owner", b"").decode())


def _new_mark() -> str:
    return f"runs:follower:{uuid.uuid4().hex}"


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for their ends.

    Source: `asyncio.wait_for`, with which redis-py reads, swallows a cancel that comes together with its result
    (Python before 3.12), so one is not always enough.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.5)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # has been told, or belongs to nobody any more


_followers: WeakKeyDictionary[asyncio.AbstractEventLoop, Follower] = WeakKeyDictionary()


def follower() -> Follower:
    """The follower of the running event loop."""
    loop = asyncio.get_running_loop()
    made = _followers.get(loop)
    if made is None:
        made = _followers[loop] = Follower()
    return made
