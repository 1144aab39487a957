"""Django's cache in the project's Redis, for the limits that allauth counts in it.

Django's own clears the whole database of the server, where also the events and messages of runs are, reads pickles,
and fails with the server. This one clears its own keys, reads JSON, and is empty while Redis is away, so that nobody
is locked out.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import redis
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.redis import RedisCache
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

PREFIX = "cache"
LIMITS = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}  # seconds


class Json:
    """A number is kept as it is, so that Redis can count with it."""

    def dumps(self, value: Any) -> Any:
        return value if type(value) is int else json.dumps(value)

    def loads(self, kept: Any) -> Any:
        return json.loads(kept)


class SharedCache(RedisCache):
    def __init__(self, server: str, params: dict[str, Any]) -> None:
        options = {"serializer": Json, **LIMITS, "retry": Retry(NoBackoff(), 0), **params.get("OPTIONS", {})}
        super().__init__(server, {**params, "KEY_PREFIX": PREFIX, "OPTIONS": options})

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        try:
            return bool(super().add(key, value, timeout, version))
        except redis.RedisError as error:
            _tell(error)
            return True

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        try:
            return super().get(key, default, version)
        except redis.RedisError as error:
            _tell(error)
            return default

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        try:
            super().set(key, value, timeout, version)
        except redis.RedisError as error:
            _tell(error)

    def delete(self, key: Any, version: int | None = None) -> bool:
        try:
            return bool(super().delete(key, version))
        except redis.RedisError as error:
            _tell(error)
            return False

    def clear(self) -> None:
        """Forget what this cache keeps, and nothing else."""
        client = self._cache.get_client(None, write=True)
        for key in client.scan_iter(match=f"{PREFIX}:*", count=1_000):
            client.delete(key)


def _tell(error: redis.RedisError) -> None:
    logger.warning("the cache is empty, Redis is away: %s", error)
