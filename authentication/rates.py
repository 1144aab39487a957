"""How often somebody may do something: counted in Redis, by all web processes together."""

from __future__ import annotations

import functools
import hashlib
import logging
import math
import time
from dataclasses import dataclass

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rate:
    """At most `limit` in each window of `seconds`. While Redis is away everything is allowed."""

    name: str
    limit: int
    seconds: int

    def take(self, who: str) -> int:
        """Count one more; 0 if it is allowed, else the seconds after which it will be."""
        now = time.time()
        key = self._key(who, now)
        try:
            pipeline = _client().pipeline()
            pipeline.incr(key)
            pipeline.expire(key, self.seconds)
            count: int = pipeline.execute()[0]
        except redis.RedisError as error:
            logger.warning("requests are not limited, Redis is away: %s", error)
            return 0
        return 0 if count <= self.limit else self.seconds_left(now)

    def look(self, who: str) -> int:
        """The same without counting."""
        now = time.time()
        try:
            count = int(_client().get(self._key(who, now)) or 0)
        except redis.RedisError:
            return 0
        return 0 if count < self.limit else self.seconds_left(now)

    def _key(self, who: str, now: float) -> str:
        # A hash, because who it is may be an address, and has any length.
        return f"rates:{self.name}:{int(now // self.seconds)}:{hashlib.sha256(who.encode()).hexdigest()[:32]}"

    def seconds_left(self, now: float | None = None) -> int:
        """Until the window ends."""
        return math.ceil(self.seconds - (time.time() if now is None else now) % self.seconds)


@functools.cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 0)
    )
