"""The Content-Security-Policy of every kind of answer."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from authentication.models import User
from tests.environment import ROOT
from tests.unit.web.conftest import log_in

pytestmark = pytest.mark.django_db


INLINE = r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)(?![^>]*application/json)"
PATHS = ["/", "/accounts/login/", "/accounts/keys/", "/api/docs", "/api/runs", "/nothing", "/healthz"]


@pytest.mark.parametrize("path", PATHS)
def test_pages_execute_only_what_is_the_site_s(alice: User, path: str) -> None:
    for client in (Client(), log_in(alice)):
        policy = client.get(path)["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert re.findall(r"frame-ancestors ([^;]*)", policy) == ["'none'"]


def test_only_the_admin_gets_what_unfold_needs(admin: User) -> None:
    policy = log_in(admin).get("/admin/")["Content-Security-Policy"]
    assert "script-src 'self' 'unsafe-inline' 'unsafe-eval'" in policy
    assert "object-src 'none'" in policy


def test_templates_of_the_pages_have_nothing_inline() -> None:
    for template in ROOT.glob("*/templates/**/*.html"):
        if {"admin", "mail"} & set(template.parts):
            continue
        assert not re.search(INLINE, template.read_text()), template
