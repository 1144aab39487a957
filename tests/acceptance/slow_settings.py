"""The project's settings, with a page that does not answer."""

from __future__ import annotations

from graduation_backend.settings import *  # noqa: F403

ROOT_URLCONF = "tests.acceptance.slow_site"
