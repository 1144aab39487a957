"""`RUNS_GRAPHS`: what it may say, and whose time holds."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from runs.errors import InputRefused
from runs.limits import NO_LIMITS, Limits, limits_of


def test_graph_without_a_setting_has_no_limits(settings: Any) -> None:
    settings.RUNS_GRAPHS = {"quick": {"max_seconds": 5}}

    assert limits_of("quick") == Limits(max_seconds=5)
    assert limits_of("napping") == NO_LIMITS


def test_own_time_goes_before_the_graph_s() -> None:
    assert Limits(grace_seconds=0).or_else(Limits(grace_seconds=9, max_seconds=8)) == Limits(0, None, 8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nobody": {"max_seconds": 5}}, "the graph 'nobody'; known are: "),
        ({"quick": {"seconds": 5}}, "RUNS_GRAPHS['quick'] has the key 'seconds'; allowed are: grace_seconds"),
        ({"quick": {"grace_seconds": -1}}, "RUNS_GRAPHS['quick']: grace_seconds is -1, allowed is 0 to 86400"),
        ({"quick": {"grace_seconds": "5"}}, "grace_seconds is '5'"),
        ({"quick": {"interrupt_after_seconds": True}}, "interrupt_after_seconds is True"),
        ({"quick": {"max_seconds": 0}}, "max_seconds is 0, allowed is more than 0"),
        ({"quick": 5}, "RUNS_GRAPHS['quick'] is 5, needed is"),
        (["quick"], "RUNS_GRAPHS is ['quick'], needed is"),
    ],
)
def test_wrong_setting_is_found_at_the_start(settings: Any, given: Any, said: str) -> None:
    settings.RUNS_GRAPHS = given

    (problem,) = [found for found in run_checks() if found.id == "runs.E002"]

    assert said in problem.msg
    if "nobody" not in said:
        with pytest.raises(ImproperlyConfigured):
            limits_of("quick")


def test_right_setting_is_no_problem(settings: Any) -> None:
    settings.RUNS_GRAPHS = {"quick": {"grace_seconds": 5, "interrupt_after_seconds": 2.5, "max_seconds": 3_600}}

    assert [found for found in run_checks() if found.id == "runs.E002"] == []


@pytest.mark.parametrize("given", [{"grace_seconds": float("nan")}, {"max_seconds": float("inf")}])
def test_no_number_of_seconds_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(InputRefused):
        Limits(**given)
