"""`GET /runs/{id}/events`: what the WebSocket sends, as Server-Sent Events, or as a page of JSON."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from ninja import Router
from ninja.errors import HttpError
from ninja.params.functions import Header, Query

from runs import control, policy, watching
from runs.conf import runs_settings
from runs.connections import RedisError, stream_key
from runs.errors import RunNotFound
from runs.events import read_events
from runs.following import BadCursor, Feed, end_tasks, parse_cursor

logger = logging.getLogger(__name__)

router = Router(tags=["runs"])

PAGE_SIZE, MAX_PAGE_SIZE = 200, 1_000

After = Annotated[str | None, Query(description="The `cursor` of the last event that you have; 0 is from the first")]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", description="As `after`; a browser sends it")]


@router.get(
    "/runs/{run_id}/events",
    openapi_extra={
        "responses": {
            200: {
                "description": "Server-Sent Events: `id` is the cursor, `event` the type, `data` the JSON of the event "
                "as in `docs/events.md`. With `follow=false` one page of the events that are kept, as JSON.",
                "content": {
                    "text/event-stream": {"schema": {"type": "string"}},
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "properties": {
                                "items": {"type": "array", "items": {"type": "object"}},
                                "next": {"type": "string", "nullable": True},
                            },
                        }
                    },
                },
            }
        }
    },
)
def follow_events(
    request: HttpRequest,
    run_id: UUID,
    after: After = None,
    follow: bool = True,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE)] = PAGE_SIZE,
    last_event_id: LastEventId = None,
) -> Any:
    """What happens in a run, as it happens; without `after` a snapshot first.

    It goes on for as long as the caller may see the run.
    """
    run = control.get(run_id)
    if not policy.may_view(request.user, run):
        raise RunNotFound(run_id)
    cursor = last_event_id or after
    try:
        parse_cursor(cursor or "0")
    except BadCursor as error:
        raise HttpError(400, str(error)) from None
    if not follow:
        return _page(run_id, cursor or "0", limit)
    return _stream(request, run_id, cursor)


def _page(run_id: UUID, cursor: str, limit: int) -> HttpResponse:
    try:
        found = read_events(run_id, cursor if parse_cursor(cursor) > (0, 0) else "0", limit + 1)
    except RedisError:
        raise HttpError(503, "The event streams are away, ask again later.") from None
    body = {"items": found[:limit], "next": found[limit - 1]["cursor"] if len(found) > limit else None}
    return HttpResponse(json.dumps(body), content_type="application/json")


def _stream(request: HttpRequest, run_id: UUID, cursor: str | None) -> HttpResponseBase:
    answer = StreamingHttpResponse(_follow(request, run_id, cursor), content_type="text/event-stream")
    answer["Cache-Control"] = "no-store"
    answer["X-Accel-Buffering"] = "no"  # nginx would keep events back
    return answer


async def _follow(request: HttpRequest, run_id: UUID, cursor: str | None) -> AsyncIterator[bytes]:
    feed = Feed(stream_key(run_id), cursor)
    coming: asyncio.Task[Any] | None = None
    loop = asyncio.get_running_loop()
    beats_at = loop.time() + runs_settings().socket_heartbeat_seconds
    try:
        yield b": it begins\n\n"  # the headers go out with it
        while True:
            if loop.time() >= beats_at:
                beats_at = loop.time() + runs_settings().socket_heartbeat_seconds
                if not await watching.in_database(_may_go_on, request, run_id):
                    return
                yield b": alive\n\n"
            coming = coming or asyncio.create_task(feed.next())
            done, _ = await asyncio.wait([coming], timeout=beats_at - loop.time())
            if not done:
                continue
            entries, coming = coming.result(), None
            if entries is None:
                text = (await watching.in_database(watching.run_snapshot, run_id, feed.cursor)).decode()
                yield _as_sse(feed.cursor, "snapshot", text)
            for entry in entries or ():
                yield _as_sse(entry.cursor, entry.kind, entry.text)
    except (RedisError, OSError) as error:
        logger.warning("an event stream ends, Redis is away: %s", error)
        yield b"retry: 5000\n\n"
    except RunNotFound:
        return
    finally:
        if coming is not None:
            await end_tasks([coming])
        await feed.close()


def _may_go_on(request: HttpRequest, run_id: UUID) -> bool:
    run = control.find(run_id)
    find = getattr(request, "find_user", None)  # by another kind of authentication
    user = find() if find else watching.find_session_user(request.session)
    return run is not None and user is not None and policy.may_view(user, run)


def _as_sse(cursor: str, kind: str, text: str) -> bytes:
    return f"id: {cursor}\nevent: {kind}\ndata: {text}\n\n".encode()
