"""Addresses of the whole site."""

from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView

import runs.api
from graduation_backend import health
from graduation_backend.api import api


def page_not_found(request: HttpRequest, *_: Any) -> HttpResponse:
    raise Http404


urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    # Browsers ask for it wherever a page does not name its icon.
    path("favicon.ico", RedirectView.as_view(url=static("favicon.svg"))),
    path("admin/", admin.site.urls),
    path("api/", runs.api.urls(api)),
    path("accounts/", include("authentication.urls")),
    # There are no phone numbers here, and allauth's routes for them fail without.
    re_path(r"^_allauth/(app|browser)/v1/(account|auth)/phone(/.*)?$", page_not_found),
    path("_allauth/", include("allauth.headless.urls")),
    path("runs/", include("runs.pages.urls")),
    path("", include("books.urls")),
]
