"""The site's REST API: the engine's routes, and who may call them."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from django.http import HttpRequest
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError
from ninja.parser import Parser
from ninja.security import APIKeyHeader, HttpBearer, django_auth
from ninja.throttling import BaseThrottle

import celery_tasks.api
import runs.api
from authentication import keys
from authentication.keys import Scope
from authentication.models import ApiKey, User
from authentication.rates import Rate

# What a key must be for, by the names of the routes. Looking needs `read`, and what is in neither table `admin`.
RUN_ROUTES = frozenset({"start", "resume", "retry", "retry_task"})
STOP_ROUTES = frozenset(
    {"cancel", "cancel_key", "cancel_many", "cancel_node", "cancel_task", "pause", "stop", "stop_execution"}
)


class Bearer(HttpBearer):
    """`Authorization: Bearer KEY`."""

    def authenticate(self, request: HttpRequest, token: str) -> ApiKey:
        return enter(request, token)


class KeyHeader(APIKeyHeader):
    """`X-API-Key: KEY`."""

    param_name = "X-API-Key"

    def authenticate(self, request: HttpRequest, key: str | None) -> ApiKey | None:
        return enter(request, key) if key else None


def enter(request: HttpRequest, secret: str) -> ApiKey:
    """Let a request in as the owner of its key, whoever its cookies say it is.

    Raises:
        AuthenticationError: the key is unknown, expired or revoked, or its account is not active.
        HttpError: 403, the key is not for this.
    """
    key = keys.find(secret)
    if key is None:
        raise AuthenticationError
    refusal = keys.refusal(key, scope_of(request))
    if refusal is not None:
        raise HttpError(403, refusal)
    request.user = keys.person_of(key)
    # An event stream asks again and again whether its caller still may.
    request.find_user = partial(_find_again, secret)  # type: ignore[attr-defined]
    return key


def _find_again(secret: str) -> User | None:
    key = keys.find(secret)
    return None if key is None else keys.person_of(key)


def scope_of(request: HttpRequest) -> Scope:
    if request.method in ("GET", "HEAD"):
        return Scope.READ
    route = request.resolver_match.url_name if request.resolver_match else None
    if route in RUN_ROUTES:
        return Scope.RUN
    return Scope.STOP if route in STOP_ROUTES else Scope.ADMIN


class Requests(BaseThrottle):
    """So many a minute for each account, all its keys together; a stop is never refused."""

    rate = Rate("api", 1_200, 60)

    def allow_request(self, request: HttpRequest) -> bool:
        if request.resolver_match is not None and request.resolver_match.url_name in STOP_ROUTES:
            return True
        return not self.rate.take(str(request.user.pk))

    def wait(self) -> float:
        return self.rate.seconds_left()


class Json(Parser):
    """JSON of a sensible depth, without NUL, which no database takes. Its size is limited by Django."""

    MOST_LEVELS = 64

    def parse_body(self, request: HttpRequest) -> Any:
        try:
            body = json.loads(request.body)
        except RecursionError:
            raise self._too_deep() from None
        level = [body]
        for _ in range(self.MOST_LEVELS + 1):
            if any(isinstance(part, str) and "\x00" in part for part in level):
                raise HttpError(400, "No text may hold a NUL character.")
            containers = [part for part in level if isinstance(part, dict | list)]
            if not containers:
                return body
            level = [part for container in containers for part in _parts(container)]
        raise self._too_deep()

    def _too_deep(self) -> HttpError:
        return HttpError(400, f"The JSON is nested more than {self.MOST_LEVELS} levels deep.")


def _parts(item: dict[str, Any] | list[Any]) -> list[Any]:
    return [*item.keys(), *item.values()] if isinstance(item, dict) else item


AUTHENTICATION: list[Any] = [Bearer(), KeyHeader(), django_auth]

api = NinjaAPI(
    title="graduation_backend",
    version="1",
    description="Run LangGraph graphs, watch them, and stop them.",
    auth=AUTHENTICATION,
    throttle=[Requests()],
    parser=Json(),
    urls_namespace="api",
)
runs.api.install(api)
celery_tasks.api.install(api)
api.add_router("", runs.api.router)
api.add_router("", celery_tasks.api.router)
