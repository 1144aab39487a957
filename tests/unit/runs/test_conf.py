"""The engine's settings in a project that does not read them from the environment."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from runs.conf import runs_settings
from runs.states import OnShutdown


def test_wrong_on_shutdown_is_named_with_its_value_and_what_is_allowed(settings: Any) -> None:
    settings.RUNS_ON_SHUTDOWN = "kill"
    with pytest.raises(ImproperlyConfigured, match="RUNS_ON_SHUTDOWN='kill': allowed are cancel, requeue, leave"):
        runs_settings()
    settings.RUNS_ON_SHUTDOWN = "requeue"
    assert runs_settings().on_shutdown is OnShutdown.REQUEUE
    settings.RUNS_ON_SHUTDOWN = None
    assert runs_settings().on_shutdown is OnShutdown.CANCEL
