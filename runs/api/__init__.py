"""The engine over HTTP: a router for django-ninja, to be added to a project's own API with its own authentication."""

from runs.api.problems import install, urls
from runs.api.routes import router

__all__ = ["install", "router", "urls"]
