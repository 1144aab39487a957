"""What is known of a stop: while it lasts, and after a kill."""

from __future__ import annotations

import json
import subprocess
import sys

from runs import control, receipts
from runs.representation import receipt_as_json
from tests.environment import ROOT
from tests.services import Marks, WorkerProcess, process_environment


def test_look_at_stopping_run_shows_the_line_it_stands_in(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("stubborn_one_long_sleep", {"marks": str(marks)})
    marks.wait_for("begun")
    control.cancel(run.id, grace_seconds=60)

    receipt = control.look_at(run.id)

    assert receipt is not None
    assert receipt.pid == marks.all()[0]["pid"]
    assert "in one_long_sleep" in receipt.stacks
    assert "stubborn.py" in receipt.stacks
    assert receipt.exit_signal is None


def test_look_at_process_that_keeps_the_interpreter_shows_it_all_the_same(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("holds_gil", {"marks": str(marks)})
    marks.wait_for("hostile.begun")

    receipt = control.look_at(run.id)

    assert receipt is not None
    assert "in hold_the_gil" in receipt.stacks


def test_kill_leaves_a_receipt_with_stacks_and_what_died_with_it(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("stubborn_starts_subprocess", {"marks": str(marks)})
    marks.wait_for("begun")

    control.cancel(run.id, mode="kill", reason="enough", actor="tester")
    ended = control.wait(run.id, timeout_seconds=30)

    receipt = receipts.find(run.id)
    assert receipt is not None
    assert (receipt.pid, receipt.exit_signal) == (marks.all()[0]["pid"], 9)
    assert [process["name"] for process in receipt.killed] == ["sleep"]
    assert "in starts_subprocess" in receipt.stacks
    whole = receipt_as_json(ended, receipt)
    assert whole["stop"]["rung"] == 2
    assert (whole["stop"]["by"], whole["stop"]["reason"]) == ("tester", "enough")
    assert whole["stop"]["gone_at"] >= whole["stop"]["requested_at"]


def test_why_prints_what_a_stopping_run_is_doing(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("stubborn_one_long_sleep", {"marks": str(marks)})
    marks.wait_for("begun")
    control.cancel(run.id, reason="enough", grace_seconds=60)
    command = [sys.executable, "manage.py", "control_tasks", "why", "--task-id", str(run.id)]

    plain = subprocess.run(command, cwd=ROOT, env=process_environment(), capture_output=True, text=True, timeout=30)
    as_json = subprocess.run(
        [*command, "--json"], cwd=ROOT, env=process_environment(), capture_output=True, text=True, timeout=30
    )

    assert plain.returncode == 0, plain.stderr
    assert "cancelling" in plain.stdout
    assert "in one_long_sleep" in plain.stdout
    assert json.loads(as_json.stdout)["stop"]["reason"] == "enough"


def test_interrupt_from_the_command_line_stops_a_node_that_never_asks(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("stubborn_short_sleeps", {"marks": str(marks)})
    marks.wait_for("begun")
    command = ["manage.py", "control_tasks", "cancel", "--task-id", str(run.id), "--interrupt", "--wait"]

    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=process_environment(), capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 0, done.stderr
    assert control.get(run.id).stop_rung == 1
