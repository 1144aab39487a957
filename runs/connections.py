"""One Redis client for each process, and the names of what lies in it.

Redis holds doorbells and event streams, never the truth: a caller here goes on when it is away.
"""

from __future__ import annotations

import os
from functools import cache
from uuid import UUID

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from runs.conf import runs_settings

STOP_CHANNEL = "runs:stop"
CHANGES_KEY = "runs:changes"  # the stream of what the lists of all runs show
ACCESS_KEY = "runs:access"  # the stream of users whose permissions or sessions have changed

RedisError = redis.RedisError


def redis_client() -> redis.Redis:
    """A client that gives up after a second instead of holding its caller.

    Safe to call from any thread; a forked child gets a client of its own.
    """
    return _client(os.getpid(), runs_settings().redis_url)


@cache
def _client(_pid: int, url: str) -> redis.Redis:
    # A stale connection is opened again. What timed out is not sent again: Redis may have it, and would then have it
    # twice.
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    return redis.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0, retry=retry)


def subscriber() -> redis.client.PubSub:
    """A subscription to the doorbells of stops, on a connection of its own."""
    client = redis.Redis.from_url(runs_settings().redis_url, socket_connect_timeout=1.0)
    pubsub: redis.client.PubSub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    pubsub.subscribe(STOP_CHANNEL)
    return pubsub


def async_redis(*, timeout_seconds: float, connections: int) -> redis.asyncio.Redis:
    """A client for the running event loop, to be closed by its owner; it waits for a free one of its connections."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        runs_settings().redis_url,
        max_connections=connections,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=1.0,
        retry=AsyncRetry(NoBackoff(), 0),
    )
    return redis.asyncio.Redis.from_pool(pool)


def stream_key(run_id: UUID) -> str:
    return f"runs:events:{run_id}"
