"""Errors that any page can meet, as answers to the browser."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import render

from runs.api.problems import problem
from runs.errors import ShuttingDown


class RefusalMiddleware:
    """A server that is about to end answers 503 to what would start a run; a client may ask the next one.

    An address of the API with a NUL, which no database takes, is answered by 400; the pages pass over it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        has_nul = "\x00" in request.path_info or "%00" in request.META.get("QUERY_STRING", "")
        if has_nul and request.path.startswith("/api/"):
            return problem(HTTPStatus.BAD_REQUEST, "bad-request", "No address may hold a NUL character.")
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, RecursionError) and request.path.startswith("/_allauth/"):
            return HttpResponseBadRequest("The JSON is nested too deep.")  # allauth catches only what is no JSON
        if not isinstance(exception, ShuttingDown):
            return None
        answer = render(request, "503.html", status=503)
        answer["Retry-After"] = "10"  # seconds
        return answer
