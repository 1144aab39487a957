"""`control_tasks` called in this process: what it refuses and how it exits. No worker is alive."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from authentication.models import User
from graduation_backend.control_tasks import exits
from runs import control, registry
from runs.errors import RunAlreadyEnded, RunNotFound, WaitTimedOut
from runs.models import NodeExecution, Run, new_run_id
from runs.registry import Claimant
from runs.states import Status

pytestmark = pytest.mark.usefixtures("redis_server", "db")


def run_command(*words: str) -> str:
    out = StringIO()
    call_command("control_tasks", *words, stdout=out, stderr=StringIO())
    return out.getvalue()


def refused(*words: str) -> tuple[int, str]:
    with pytest.raises(CommandError) as error:
        run_command(*words)
    assert "\n" not in str(error.value)
    return error.value.returncode, str(error.value)


def claim(run: Run) -> Run:
    registry.claim(run.id, Claimant("celery@box#1", 4_321, 1.0), lease_seconds=60)
    return control.get(run.id)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what to do: list, start"),
        (["fly"], "invalid choice: 'fly'"),
        (["start", "quick", "--input", "{"], "line 1 column 2"),
        (["start", "nope"], "there is no graph 'nope'; known are: "),
        (["start", "quick", "--priority", "12"], "allowed is 0 to 9"),
        (["start", "quick", "--owner", "nobody@example.com"], "no account nobody@example.com"),
        (["start", "quick", "--timeout", "3"], "--timeout needs --wait"),
        (["list", "--limit", "0"], "whole number"),
        (["list", "--status", "odd"], "invalid choice: 'odd'"),
        (["cancel", "--task-id", "x", "--grace", "-1"], "number of seconds"),
        (["cancel", "--task-id", "x", "--grace", "nan"], "number of seconds"),
        (["cancel", "--task-id", "x", "--force", "--grace", "3"], "not allowed with"),
        (["cancel", "--task-id", "x", "--interrupt", "--interrupt-after", "3"], "not allowed with --force or"),
        (["cancel", "--task-id", "x", "--every"], "--every needs --node"),
        (["cancel", "--task-id", "x", "--node", "n", "--dry-run"], "--dry-run is not allowed with --node"),
        (["cancel", "--task-id", "x", "--node", "n", "--no-cascade"], "--no-cascade is not allowed with --node"),
        (["start", "quick", "--max-seconds", "0"], "max_seconds is 0"),
        (["cancel"], "--task-id"),
        (["cancel-all", "--yes", "--tasks", "--graph", "quick"], "--tasks has no --graph"),
        (["cancel-all"], "--yes"),
        (["cancel-all", "--yes", "--force", "--interrupt"], "not allowed with"),
    ],
)
def test_wrong_usage_exits_with_2(words: list[str], said: str) -> None:
    code, message = refused(*words)

    assert (code, said in message) == (exits.USAGE, True), message
    assert not Run.objects.exists()


def cancelled_run() -> Run:
    run = control.submit("quick", {"values": ["input"]})
    control.cancel(run.id)
    return control.get(run.id)


def test_retry_prints_the_new_run_and_status_shows_both_tries() -> None:
    old = cancelled_run()

    made = json.loads(run_command("retry", "--task-id", str(old.id), "--from-start", "--reason", "mended", "--json"))

    assert (made["retry_of"], made["status"], made["input"]) == (str(old.id), "queued", {"values": ["input"]})
    shown = json.loads(run_command("status", "--task-id", made["id"], "--json"))
    assert shown["retry"]["from_start"] is True
    assert shown["retry"]["reason"] == "mended"
    assert "@" in shown["retry"]["by"]
    assert json.loads(run_command("status", "--task-id", str(old.id), "--json"))["retried_by"] == made["id"]
    assert made["id"] in run_command("status", "--task-id", str(old.id))
    assert f"{old.id}, from the start" in run_command("status", "--task-id", made["id"])


def test_retry_that_is_refused_says_what_to_do() -> None:
    old = cancelled_run()
    active = control.submit("quick", {})
    newest = run_command("retry", "--task-id", str(old.id)).strip()

    assert refused("retry", "--task-id", str(active.id)) == (
        exits.FAILED,
        f"run {active.id} can't be retried: it is queued, cancel it first",
    )
    code, message = refused("retry", "--task-id", str(old.id))
    assert (code, f"run {newest}, is queued; retry that one" in message) == (exits.FAILED, True), message
    assert refused("retry", "--task-id", str(new_run_id()))[0] == exits.NOT_FOUND
    assert refused("retry")[0] == exits.USAGE


@pytest.mark.parametrize("action", ["status", "cancel"])
def test_unknown_id_exits_with_3(action: str) -> None:
    for task_id in (str(new_run_id()), "not-an-id", ""):
        code, message = refused(action, f"--task-id={task_id}")
        assert (code, "no worker holds a task with this id" in message) == (exits.NOT_FOUND, True)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda run: RunNotFound(run.id), 3),
        (lambda run: RunAlreadyEnded(run.id, "completed"), 1),
        (lambda run: WaitTimedOut(run.id, "running", 3), 4),
    ],
)
def test_errors_have_one_code_each(make: Callable[[Run], Any], code: int) -> None:
    assert exits.as_error(make(control.submit("quick", {}))).returncode == code


def test_start_thread_that_is_busy_is_refused() -> None:
    run_command("start", "quick", "--thread", "t")

    code, message = refused("start", "quick", "--thread", "t")

    assert (code, "thread t already has a run" in message) == (exits.FAILED, True)


def test_start_keeps_the_times_of_the_run() -> None:
    run_command("start", "quick", "--grace", "5", "--interrupt-after", "2", "--max-seconds", "60")

    run = Run.objects.get()
    assert (run.grace_seconds, run.interrupt_after_seconds, run.max_seconds) == (5, 2, 60)
    assert "stopped after 1 min, interrupted 2.0 s after a stop" in run_command("status", f"--task-id={run.id}")


def test_cancel_node_says_which_there_are() -> None:
    run = claim(control.submit("quick", {}))

    assert refused("cancel", f"--task-id={new_run_id()}", "--node=a")[0] == exits.NOT_FOUND
    code, message = refused("cancel", f"--task-id={run.id}", "--node=a")
    assert (code, "has executed no node 'a'; running now: none" in message) == (exits.NOT_FOUND, True)
    first, second = (execute(run, namespace=f"a:{number}") for number in range(2))

    code, message = refused("cancel", f"--task-id={run.id}", "--node=a")
    assert (code, str(first.id) in message, "with --every" in message) == (exits.USAGE, True, True)
    told = json.loads(run_command("cancel", f"--task-id={run.id}", f"--node={first.id}", "--reason=dear", "--json"))
    assert [(stop["execution_id"], stop["reason"], stop["outcome"]) for stop in told["stops"]] == [
        (str(first.id), "dear", None)
    ]
    assert str(second.id) in run_command("cancel", f"--task-id={run.id}", "--node=a", "--every")
    control.cancel(run.id)
    code, message = refused("cancel", f"--task-id={run.id}", "--node=a")
    assert (code, "is being stopped, and all its nodes" in message) == (exits.FAILED, True)


def execute(run: Run, **columns: Any) -> NodeExecution:
    usual = {"node": "a", "status": "running", "is_stoppable": True, "attempt": run.attempt}
    return NodeExecution.objects.create(id=uuid4(), run=run, started_at=timezone.now(), **usual, **columns)


def test_cancel_all_is_narrowed_by_owner() -> None:
    alice, bob = (User.objects.create_user(f"{name}@example.com") for name in ("alice", "bob"))
    own, foreign = control.submit("quick", {}, owner=alice), control.submit("quick", {}, owner=bob)

    run_command("cancel-all", "--owner", "ALICE@example.com", "--yes")

    assert (control.get(own.id).status, control.get(foreign.id).status) == ("cancelled", "queued")


class Typed(StringIO):
    def isatty(self) -> bool:
        return True


def ask_to_cancel_all(answer: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    asked = StringIO()
    monkeypatch.setattr("sys.stdin", Typed(answer))
    call_command("control_tasks", "cancel-all", *words, stdout=StringIO(), stderr=asked)
    return asked.getvalue()


def test_cancel_all_asks_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = claim(control.submit("quick", {}))
    child = control.submit("quick", {}, parent=parent.id)

    assert "Cancel 2 runs? [y/N]" in ask_to_cancel_all("y\n", monkeypatch)

    assert control.get(child.id).status == "cancelled"


@pytest.mark.parametrize("answer", ["\n", "n\n", ""])
def test_cancel_all_without_a_yes_cancels_nothing(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = control.submit("quick", {})

    with pytest.raises(CommandError, match="nothing was cancelled") as refusal:
        ask_to_cancel_all(answer, monkeypatch)

    assert refusal.value.returncode == exits.FAILED
    assert control.get(run.id).status == "queued"


def test_dry_run_changes_nothing_and_names_what_goes_on() -> None:
    parent = claim(control.submit("quick", {}))
    taken = control.submit("quick", {}, parent=parent.id)
    left = control.submit("napping", {}, parent=parent.id, on_parent_stop="abandon")

    told = run_command("cancel", f"--task-id={parent.id}", "--dry-run")

    assert "Would stop 2 runs:" in told
    assert str(taken.id) in told
    assert str(left.id) not in told
    assert {run.display_status for run in control.list_active()} == {"running", "queued"}
    assert "goes on when its parent is stopped" in run_command("status", f"--task-id={parent.id}")


def test_list_statuses_are_those_that_people_see() -> None:
    running, stopping, ended = (control.submit("quick", {}) for _ in range(3))
    claim(running)
    claim(stopping)
    control.cancel(stopping.id)
    control.cancel(ended.id)

    def found(*words: str) -> set[str]:
        return {run["id"] for run in json.loads(run_command("list", "--json", *words))["runs"]}

    assert found() == {str(running.id), str(stopping.id)}
    assert found("--status", "running") == {str(running.id)}
    assert found("--status", "cancelling", "--status", "cancelled") == {str(stopping.id), str(ended.id)}
    assert found("--all", "--limit", "1") == {str(ended.id)}


def test_list_all_shows_fifty_and_says_so() -> None:
    for _ in range(52):
        control.cancel(control.submit("quick", {}).id)
    err = StringIO()
    out = StringIO()

    call_command("control_tasks", "list", "--all", stdout=out, stderr=err)

    assert len(out.getvalue().splitlines()) == 51
    assert "Only the newest 50 are shown" in err.getvalue()


def test_tree_puts_children_below_their_parents() -> None:
    first = claim(control.submit("quick", {}))
    second = control.submit("napping", {})
    child = claim(control.submit("polling", {}, parent=first.id))
    grandchild = control.submit("deaf", {}, parent=child.id)

    ordered = control.in_tree_order(control.list_active())

    assert [(run.id, depth) for run, depth in ordered] == [
        (second.id, 0),
        (first.id, 0),
        (child.id, 1),
        (grandchild.id, 2),
    ]


def test_status_of_a_stopped_run_tells_who_and_how() -> None:
    run = claim(control.submit("quick", {"text": "x" * 2_000}))
    control.cancel(run.id, reason="too\ndear", actor="bob", source="page")
    Run.objects.filter(id=run.id).update(stop_requested_at=run.created_at - timedelta(seconds=30))

    told = run_command("status", f"--task-id={run.id}")
    assert "by bob (web page)" in told
    assert "too dear" in told
    assert "characters, all of it with --json" in told
    assert "killed at" in told

    registry.settle(run.id, 1, Status.CANCELLED)
    assert "it stopped by itself" in run_command("status", f"--task-id={run.id}")


def test_cancel_says_which_rung_follows_when_and_climbs(settings) -> None:
    settings.RUNS_INTERRUPT_AFTER_SECONDS, settings.RUNS_GRACE_SECONDS = 20, 300
    run = claim(control.submit("quick", {}))
    cancel = ("cancel", f"--task-id={run.id}")

    assert "still executing: interrupted in 20 s, killed in 5 min unless it stops before." in run_command(*cancel)
    again = run_command(*cancel)
    assert "already (interrupted in 20 s, killed in 5 min); --interrupt or --force is quicker." in again
    assert "1 run that was stopping: interrupted now, killed in 5 min unless it" in run_command(*cancel, "--interrupt")
    assert "--force kills it at once." in run_command(*cancel)
    assert "1 run that was stopping: killed now." in run_command(*cancel, "--force")
    assert "its process is being killed." in run_command(*cancel)


def test_cancel_all_interrupt_begins_at_the_interrupt() -> None:
    runs = [claim(control.submit("quick", {})) for _ in range(2)]
    waiting = control.submit("quick", {})

    told = run_command("cancel-all", "--interrupt", "--yes")

    assert "Asked 3 runs to stop (1 cancelled at once): interrupted now, killed in 3 s unless they stop" in told
    assert {control.get(run.id).stop_mode for run in runs} == {"interrupt"}
    assert control.get(waiting.id).status == "cancelled"
