from __future__ import annotations

from typing import Any

import pytest

from runs.conf import RunsSettings, runs_settings


def test_defaults_are_those_of_the_design() -> None:
    defaults = RunsSettings()
    assert (defaults.grace_seconds, defaults.interrupt_after_seconds, defaults.lease_seconds) == (30, 20, 20)
    assert (defaults.heartbeat_seconds, defaults.supervisor_poll_seconds, defaults.max_resurrections) == (5, 1, 3)


@pytest.mark.parametrize("name", sorted(set(RunsSettings.__dataclass_fields__) - {"langgraph_json"}))
def test_setting_is_read_from_django(settings: Any, name: str) -> None:
    given = type(getattr(RunsSettings(), name))(7)
    setattr(settings, f"RUNS_{name.upper()}", given)
    assert getattr(runs_settings(), name) == given


def test_setting_that_is_none_keeps_the_default(settings: Any) -> None:
    settings.RUNS_GRACE_SECONDS = None
    assert runs_settings().grace_seconds == RunsSettings().grace_seconds


def test_supervisor_renews_a_lease_several_times_before_its_end() -> None:
    assert runs_settings().heartbeat_seconds * 2 < runs_settings().lease_seconds
