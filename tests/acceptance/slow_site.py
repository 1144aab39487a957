"""The addresses of the project, and a page that does not answer: what may be left when Daphne ends."""

from __future__ import annotations

import time

from django.http import HttpRequest, HttpResponse
from django.urls import path

from graduation_backend.urls import urlpatterns as project_urlpatterns


def slow(request: HttpRequest) -> HttpResponse:
    print("slow page begun", flush=True)
    time.sleep(120)
    return HttpResponse("at last")


urlpatterns = [path("slow", slow), *project_urlpatterns]
