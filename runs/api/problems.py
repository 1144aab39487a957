"""Every error of the API as RFC 9457 problem JSON: what is wrong, where, and what to do."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

import orjson
from asgiref.sync import iscoroutinefunction
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, re_path
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from runs import errors

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"

# The most telling code first: the first class that fits is taken.
CODES: tuple[tuple[type[errors.RunsError], HTTPStatus], ...] = (
    (errors.RunNotFound, HTTPStatus.NOT_FOUND),
    (errors.GraphNotFound, HTTPStatus.NOT_FOUND),
    (errors.NodeNotFound, HTTPStatus.NOT_FOUND),
    (errors.ShuttingDown, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.InputRefused, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.GraphImportFailed, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.CatalogUnreadable, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.BrokerAway, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.WaitTimedOut, HTTPStatus.ACCEPTED),
    (errors.RunsError, HTTPStatus.CONFLICT),
)


def problem(status: HTTPStatus, kind: str, detail: str, **members: Any) -> HttpResponse:
    """One problem; `kind` names it for programs and stays the same, `detail` tells a person."""
    body = {
        "type": f"/api/docs#problem-{kind}",
        "title": status.phrase,
        "status": status.value,
        "kind": kind,
        "detail": detail,
        **members,
    }
    return HttpResponse(orjson.dumps(body, default=str), status=status, content_type=CONTENT_TYPE)


def install(api: NinjaAPI) -> None:
    """Answer every error of this API with a problem."""
    api.add_exception_handler(errors.RunsError, _of_engine)
    api.add_exception_handler(ValidationError, _of_validation)
    api.add_exception_handler(RequestDataTooBig, _of_size)
    api.add_exception_handler(AuthenticationError, _of_authentication)
    api.add_exception_handler(HttpError, _of_http)
    api.add_exception_handler(Http404, _of_missing)
    api.add_exception_handler(Exception, _of_bug)


def urls(api: NinjaAPI) -> tuple[list[URLPattern | URLResolver], str, str]:
    """The API's addresses for a project's `path`, with problems also for what django-ninja itself answers in plain
    text: a method that an address does not take, and an address that there is not."""
    patterns, app_name, namespace = api.urls
    telling: list[URLPattern | URLResolver] = [
        URLPattern(one.pattern, _telling(one.callback), one.default_args, one.name)
        if isinstance(one, URLPattern)
        else one
        for one in patterns
    ]
    return [*telling, re_path(r"", _nowhere)], app_name, namespace


def _telling(view: Callable[..., Any]) -> Callable[..., Any]:
    if iscoroutinefunction(view):

        @wraps(view)
        async def answer_later(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return _of_method(request, await view(request, *args, **kwargs))

        return answer_later

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return _of_method(request, view(request, *args, **kwargs))

    return answer


def _of_method(request: HttpRequest, answer: HttpResponseBase) -> HttpResponseBase:
    if not isinstance(answer, HttpResponseNotAllowed):
        return answer
    allowed = ", ".join(sorted(answer["Allow"].split(", ")))
    detail = f"{request.method} is not taken here, but {allowed}."
    told = problem(HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed", detail)
    told["Allow"] = allowed
    return told


@csrf_exempt
def _nowhere(request: HttpRequest) -> HttpResponse:
    return problem(HTTPStatus.NOT_FOUND, "not-found", "There is no such address; see /api/docs.")


def _of_engine(request: HttpRequest, error: Any) -> HttpResponse:
    code = next(code for known, code in CODES if isinstance(error, known))
    members = {name: value for name in ("run_id", "status", "thread_id") if (value := getattr(error, name, None))}
    if "status" in members:
        members["run_status"] = members.pop("status")
    return problem(code, _kebab(type(error).__name__), str(error), **members)


def _of_validation(request: HttpRequest, error: Any) -> HttpResponse:
    wrong = [{"where": ".".join(str(part) for part in item["loc"]), "what": item["msg"]} for item in error.errors]
    detail = "; ".join(f"{item['where']}: {item['what']}" for item in wrong[:5])
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail, errors=wrong)


def _of_size(request: HttpRequest, error: Any) -> HttpResponse:
    return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", "The request's body is too large.")


def _of_authentication(request: HttpRequest, error: Any) -> HttpResponse:
    answer = problem(HTTPStatus.UNAUTHORIZED, "not-logged-in", "Log in, or send an API key that is valid.")
    answer["WWW-Authenticate"] = "Session"
    return answer


def _of_http(request: HttpRequest, error: Any) -> HttpResponse:
    status = HTTPStatus(error.status_code)
    # Ninja tells only that the body can't be parsed; what it says is behind it.
    cause = error.__cause__
    detail = f"The body is no JSON: {cause}" if isinstance(cause, ValueError) else str(cause or error)
    return problem(status, _kebab(status.phrase), detail)


def _of_missing(request: HttpRequest, error: Any) -> HttpResponse:
    return problem(HTTPStatus.NOT_FOUND, "not-found", str(error) or "There is no such thing here.")


def _of_bug(request: HttpRequest, error: Any) -> HttpResponse:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", "It is our fault, and it was logged.")


def _kebab(name: str) -> str:
    """`RunNotFound` and `Not Found` as `run-not-found` and `not-found`."""
    return re.sub(r"[\s-]+|(?<=[a-z])(?=[A-Z])", "-", name).lower()
