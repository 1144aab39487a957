"""The cast of the admin's tests on the pages: alice owns runs, bob operates all of them, charlie is an outsider."""

from __future__ import annotations

from tests.unit.admin.conftest import (  # noqa: F401 - fixtures
    alice,
    bob,
    charlie,
    log_in,
    start,
    submit,
)
