"""The site's REST API: the engine's routes, and who may call them."""

from __future__ import annotations

from ninja import NinjaAPI
from ninja.security import django_auth

import runs.api

api = NinjaAPI(
    title="graduation_backend",
    version="1",
    description="Run LangGraph graphs, watch them, and stop them.",
    auth=[django_auth],
    urls_namespace="api",
)
runs.api.install(api)
api.add_router("", runs.api.router)
