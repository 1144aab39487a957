"""`--as USER`: alice owns, bob may see and stop all, carol is an outsider. And `cancel --dry-run`, and `workers`."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from authentication.models import User
from graduation_backend.control_tasks import exits
from runs import control
from runs.models import NodeExecution, Run, Worker
from runs.states import StopMode
from tests.unit.control_tasks.test_command import claim, refused, run_command

pytestmark = pytest.mark.usefixtures("redis_server", "db")

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"


@pytest.fixture
def cast() -> dict[str, User]:
    people = {email: User.objects.create_user(email) for email in (ALICE, BOB, CAROL)}
    people[BOB].user_permissions.set(Permission.objects.filter(codename__in=["view_run", "stop_any_run"]))
    return people


@pytest.fixture
def run(cast: dict[str, User]) -> Run:
    return claim(control.submit("quick", {}, owner=cast[ALICE]))


def listed(*words: str) -> list[str]:
    return [run["id"] for run in json.loads(run_command("list", "--json", *words))["runs"]]


def test_list_as_shows_what_that_account_may_see(run: Run) -> None:
    nobodys = control.submit("quick", {})

    assert listed() == listed("--as", BOB) == [str(nobodys.id), str(run.id)]
    assert listed("--as", "Alice@example.com") == [str(run.id)]
    assert listed("--as", CAROL) == []


def test_status_as_outsider_is_as_if_there_were_no_run(run: Run) -> None:
    assert str(run.id) in run_command("status", f"--task-id={run.id}", "--as", ALICE)
    for action in ("status", "cancel"):
        code, message = refused(action, f"--task-id={run.id}", "--as", CAROL)
        assert (code, f"there is no run {run.id}" in message) == (exits.NOT_FOUND, True)
    assert control.get(run.id).display_status == "running"


def test_cancel_as_is_kept_with_the_run(run: Run, cast: dict[str, User]) -> None:
    run_command("cancel", f"--task-id={run.id}", "--as", ALICE)

    stopped = control.get(run.id)
    assert (stopped.stop_by, stopped.stop_actor) == (cast[ALICE], f"{ALICE} ({control.cli_actor()})")


def test_cancel_as_takes_the_permissions(run: Run, cast: dict[str, User]) -> None:
    cast[BOB].user_permissions.remove(Permission.objects.get(codename="stop_any_run"))

    for words in ([], ["--dry-run"], ["--node=only"]):
        code, message = refused("cancel", f"--task-id={run.id}", "--as", BOB, *words)
        assert (code, "runs.stop_any_run" in message) == (exits.FAILED, True), message
    for words in (["--force"], ["--grace=0"], ["--grace=0.1", "--interrupt"], ["--grace=0", "--node=only"]):
        code, message = refused("cancel", f"--task-id={run.id}", "--as", ALICE, *words)
        assert (code, "runs.kill_run" in message) == (exits.FAILED, True), message
    assert control.get(run.id).stop_mode == ""
    cast[ALICE].user_permissions.add(Permission.objects.get(codename="kill_run"))
    run_command("cancel", f"--task-id={run.id}", "--as", ALICE, "--force")
    assert control.get(run.id).stop_mode == StopMode.KILL


@pytest.mark.parametrize("action", [["list"], ["status", "--task-id=x"], ["cancel", "--task-id=x"]])
def test_as_unknown_or_inactive_account_is_refused(action: list[str], cast: dict[str, User]) -> None:
    code, message = refused(*action, "--as", "nobody@example.com")
    assert (code, "there is no account nobody@example.com" in message) == (exits.USAGE, True)
    User.objects.filter(email=CAROL).update(is_active=False)
    code, message = refused(*action, "--as", CAROL)
    assert (code, f"the account {CAROL} is not active" in message) == (exits.USAGE, True)


# --- cancel --dry-run -------------------------------------------------------------------------------------


def test_dry_run_tells_what_each_run_is_doing(settings: Any) -> None:
    settings.RUNS_INTERRUPT_AFTER_SECONDS, settings.RUNS_GRACE_SECONDS = 20, 30
    parent = claim(control.submit("parent", {}))
    child = claim(control.submit("polling", {}, parent=parent.id, grace_seconds=60))
    waiting = control.submit("quick", {}, parent=parent.id)
    left = claim(control.submit("quick", {}, parent=parent.id, on_parent_stop="abandon"))
    Run.objects.filter(id=child.id).update(current_call="model gpt\x1b[2J")
    since = timezone.now() - timedelta(minutes=3)
    NodeExecution.objects.create(id=uuid4(), run=child, attempt=1, node="poll", status="running", started_at=since)

    told = run_command("cancel", f"--task-id={parent.id}", "--dry-run")

    assert "Would stop 3 runs:" in told
    assert f"    {child.id}  polling  ● running  in node poll for 3 min, calling model gpt [2J\n" in told
    assert f"    {waiting.id}  quick  ○ queued\n" in told
    assert "What executes would be interrupted in 20 s, killed in 1 min unless it stops before." in told
    assert "1 run below would go on." in told
    assert "It would be killed now." in run_command("cancel", f"--task-id={left.id}", "--dry-run", "--force")
    quicker = run_command("cancel", f"--task-id={left.id}", "--dry-run", "--interrupt", "--grace=5")
    assert "It would be interrupted now, killed in 5 s unless it stops before." in quicker
    shown = json.loads(run_command("cancel", f"--task-id={parent.id}", "--dry-run", "--json"))
    assert [node["node"] for member in shown["would_stop"] for node in member["nodes"]] == ["poll"]
    assert [member["id"] for member in shown["goes_on"]] == [str(left.id)]
    assert not Run.objects.exclude(stop_mode="").exists()


# --- workers ----------------------------------------------------------------------------------------------


def test_workers_tells_who_is_silent() -> None:
    assert "There is no worker" in run_command("workers")
    now = timezone.now()
    usual = {"pid": 7, "pool": "prefork", "concurrency": 2, "started_at": now - timedelta(hours=2)}
    silent = Worker.objects.create(
        id="w2@box#1", hostname="w2@box", heartbeat_at=now - timedelta(minutes=5), is_stopping=True, **usual
    )
    run = claim(control.submit("quick", {}))
    Run.objects.filter(id=run.id).update(worker=silent.id)

    (told,) = json.loads(run_command("workers", "--json"))
    lines = run_command("workers").splitlines()

    assert (told["hostname"], told["pid"], told["state"], told["slots"]) == ("w2@box", 7, "silent", 2)
    assert [(held["id"], held["graph"], held["status"]) for held in told["runs"]] == [(str(run.id), "quick", "running")]
    assert told["heartbeat_age_seconds"] >= 300
    assert lines[1].split()[:6] == ["w2", "box", "7", "silent", "2", "1"]
    assert "5 min ago" in lines[1]
