"""Addresses of the whole site."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

import runs.api
from graduation_backend import health
from graduation_backend.api import api

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    # Browsers ask for it wherever a page does not name its icon.
    path("favicon.ico", RedirectView.as_view(url=static("favicon.svg"))),
    path("admin/", admin.site.urls),
    path("api/", runs.api.urls(api)),
    path("accounts/", include("authentication.urls")),
    path("runs/", include("runs.pages.urls")),
    path("", include("books.urls")),
]
