"""Addresses of the whole site."""

from django.contrib import admin
from django.urls import include, path

from graduation_backend import health

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("admin/", admin.site.urls),
    path("accounts/", include("authentication.urls")),
    path("", include("books.urls")),
]
