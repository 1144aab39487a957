"""`control_tasks cancel-all --freeze` and `control_tasks unfreeze`. No worker is alive."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import call_command

from authentication.models import User
from graduation_backend.control_tasks import exits
from runs import brake, control
from tests.unit.control_tasks.test_command import ask_to_cancel_all, refused, run_command

pytestmark = pytest.mark.usefixtures("redis_server", "db")


def test_cancel_all_with_freeze_cancels_and_holds_back_what_comes() -> None:
    run = control.submit("quick", {})
    said = run_command("cancel-all", "--freeze", "--yes", "--reason", "too dear")

    assert control.get(run.id).status == "cancelled"
    assert "Frozen: all runs; nothing new of it begins until: manage.py control_tasks unfreeze" in said
    [freeze] = brake.list_standing()
    assert (freeze.reason, freeze.source) == ("too dear", "cli")
    assert freeze.actor


def test_freeze_of_a_graph_and_of_an_owner_are_lifted_by_name() -> None:
    alice = User.objects.create_user("alice@example.com")
    told = json.loads(run_command("cancel-all", "--freeze", "--yes", "--graph", "quick", "--json"))
    assert told["freeze"]["graph"] == "quick"
    run_command("cancel-all", "--freeze", "--yes", "--owner", "Alice@example.com")
    assert brake.is_frozen(graph="other", owner_id=alice.pk)

    said = run_command("unfreeze", "--graph", "quick")
    assert said.splitlines() == [
        "Lifted: graph quick may begin again.",
        "Still frozen: runs of alice@example.com; to lift it: "
        "manage.py control_tasks unfreeze --owner alice@example.com",
    ]
    assert len(json.loads(run_command("unfreeze", "--json"))["lifted"]) == 1
    assert brake.list_standing() == []


def test_start_while_frozen_queues_and_says_so() -> None:
    brake.freeze(actor="alice")
    said = StringIO()
    call_command("control_tasks", "start", "quick", stdout=StringIO(), stderr=said)

    assert (
        "Frozen: all runs; nothing new of it begins until: manage.py control_tasks unfreeze. The run" in said.getvalue()
    )
    assert [run.status for run in control.list_active()] == ["queued"]


def test_unfreeze_of_nothing_and_freeze_of_both_are_refused() -> None:
    User.objects.create_user("alice@example.com")
    assert refused("unfreeze") == (exits.FAILED, "nothing was frozen")
    both = ("--graph", "quick", "--owner", "alice@example.com")
    assert refused("cancel-all", "--freeze", "--yes", *both)[0] == exits.USAGE
    assert refused("unfreeze", *both)[0] == exits.USAGE
    assert brake.list_standing() == []


def test_freeze_asks_on_a_terminal_also_if_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Freeze everything? [y/N]" in ask_to_cancel_all("y\n", monkeypatch, "--freeze")
    assert len(brake.list_standing()) == 1
    control.submit("quick", {})
    assert "Freeze everything and cancel 1 run? [y/N]" in ask_to_cancel_all("y\n", monkeypatch, "--freeze")
