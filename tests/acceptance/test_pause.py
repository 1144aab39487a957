"""Pause and resume with a real worker: the slot is free meanwhile, and no finished node is repeated."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from runs import control, dispatch
from runs.errors import RunAlreadyEnded, RunNotPaused
from runs.models import Run
from tests.acceptance.test_control_tasks import FAILED, NOT_FOUND, command
from tests.graphs.rolling import FINISHED
from tests.services import Marks, WorkerProcess, wait_for_status, wait_until

StartWorker = Callable[..., WorkerProcess]


def submit(graph: str, marks: Marks, **values: object) -> Run:
    return control.submit(graph, {"marks": str(marks), **values})


def test_paused_run_frees_its_slot_and_goes_on_where_it_was(
    start_worker: StartWorker, marks: Marks, tmp_path: Path
) -> None:
    start_worker(concurrency=1)
    run = submit("pausable", marks)
    marks.wait_for("call.begun")

    control.pause(run.id, reason="later")
    assert control.get(run.id).display_status == "pausing"
    marks.wait_for("call.draining")
    marks.open("call")
    paused = wait_for_status(run, "paused")
    assert (paused.attempt, paused.lease_expires_at) == (1, None)
    assert control.wait(control.submit("quick", {}).id, timeout_seconds=30).status == "completed"
    done = ["before", "call.begun", "call.draining", "call.ended"]
    assert marks.names() == done

    control.resume(run.id)
    ended = control.wait(run.id, timeout_seconds=30)
    assert (ended.status, ended.attempt, ended.resurrections, ended.pause_requested_at) == ("completed", 2, 0, None)
    assert marks.names() == [*done, "after"]
    statuses = list(ended.status_changes.values_list("status", flat=True))
    assert statuses == ["queued", "running", "paused", "queued", "running", "completed"]


def test_pause_is_found_without_a_doorbell(
    worker: WorkerProcess, marks: Marks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "ring_look", lambda: None)
    run = submit("pausable", marks)
    marks.wait_for("call.begun")
    control.pause(run.id)
    marks.wait_for("call.draining", seconds=5)
    marks.open("call")
    wait_for_status(run, "paused")


def test_pause_takes_a_subgraph_at_its_next_step(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("pausable_nested", marks)
    marks.wait_for("call.begun")
    control.pause(run.id)
    marks.wait_for("call.draining")
    marks.open("call")
    wait_for_status(run, "paused")
    control.resume(run.id)
    ended = control.wait(run.id, timeout_seconds=30)
    assert ended.status == "completed"
    assert marks.names() == ["before", "call.begun", "call.draining", "call.ended", "after", "beyond"]
    # The node around the subgraph had not finished, and was no failure.
    assert [node.status for node in ended.nodes.filter(node="inner")] == ["suspended", "finished"]


def test_paused_tree_is_resumed_as_a_whole(worker: WorkerProcess, marks: Marks) -> None:
    parent = submit("family", marks, graphs=["pausable", "pausable"])
    marks.wait_for("call.begun", 2)
    wait_for_status(parent, "waiting")

    result = control.pause(parent.id)
    assert (len(result.reached), result.settled) == (3, [parent.id])
    marks.wait_for("call.draining", 2)
    marks.open("call")
    for child in parent.children.all():
        wait_for_status(child, "paused")
    assert "after" not in marks.names()

    control.resume(parent.id)
    ended = control.wait(parent.id, timeout_seconds=30)
    assert ended.status == "completed"
    assert ended.output["values"] == ["pausable completed", "pausable completed", "after"]
    assert marks.names().count("family.joined") == 1
    assert marks.names().count("before") == 2


def test_child_started_while_its_parent_pauses_is_born_paused(worker: WorkerProcess, marks: Marks) -> None:
    parent = submit("spawns_late", marks)
    marks.wait_for("call.begun")
    control.pause(parent.id)
    control.look_at(parent.id)  # its supervisor has looked, and told it
    marks.open("call")
    wait_for_status(parent, "paused")
    (child,) = parent.children.all()
    assert (child.status, child.attempt) == ("paused", 0)

    control.resume(parent.id)
    assert control.wait(parent.id, timeout_seconds=15, tree=True).status == "completed"


def test_paused_run_survives_the_end_of_its_worker(start_worker: StartWorker, marks: Marks) -> None:
    first = start_worker(concurrency=1)
    run = submit("pausable", marks)
    marks.wait_for("call.begun")
    control.pause(run.id)
    marks.wait_for("call.draining")
    marks.open("call")
    wait_for_status(run, "paused")
    first.stop()
    assert control.get(run.id).status == "paused"

    second = start_worker(concurrency=1)
    control.resume(run.id)
    ended = control.wait(run.id, timeout_seconds=30)
    assert ended.status == "completed"
    assert ended.worker.startswith(second.mark)
    assert marks.names().count("before") == 1


def test_cancel_of_a_pausing_run_cancels_it(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("pausable", marks)
    marks.wait_for("call.begun")
    control.pause(run.id)
    marks.wait_for("call.draining")
    control.cancel(run.id)
    wait_until(lambda: control.get(run.id).stop_delivered_at, "the stop is delivered")
    marks.open("call")
    assert control.wait(run.id, timeout_seconds=30).status == "cancelled"
    assert "after" not in marks.names()


@pytest.mark.slow
def test_pauses_and_resumes_at_random_lose_nothing_and_repeat_nothing(worker: WorkerProcess, marks: Marks) -> None:
    chance = random.Random(7)
    submitted = [
        submit(graph, marks) for graph in ("rolling_tree", "rolling_steps", "rolling_deep_tree") for _ in range(3)
    ]
    asked = Counter[str]()
    ends = time.monotonic() + 15
    while time.monotonic() < ends and (active := control.list_active()):
        run = chance.choice(active)
        pauses, cascades = chance.random() < 0.5, chance.random() < 0.7
        with suppress(RunAlreadyEnded, RunNotPaused):
            if pauses:
                asked["pause"] += len(control.pause(run.id, cascade=cascades).reached)
            else:
                resumed = control.resume(run.id, cascade=cascades)
                asked["resume"] += len(resumed.resumed)
                asked["withdrawn"] += len(resumed.withdrawn)
        time.sleep(chance.random() * 0.05)

    def all_have_ended() -> bool:
        active = control.list_active()
        control.resume_runs([run.id for run in active])
        return not active

    wait_until(all_have_ended, "all have ended", 120)
    assert min(asked["pause"], asked["resume"]) > 0, asked
    runs = list(Run.objects.all())
    assert len(runs) == len(submitted) + 3 * 3 + 3 * (1 + 3)
    assert {(run.status, run.resurrections) for run in runs} == {("completed", 0)}
    done = Counter(marks.names())
    for run in runs:
        assert {name: done[f"{run.id} {name}.finished"] for name in FINISHED[run.graph]} == dict.fromkeys(
            FINISHED[run.graph], 1
        )
    assert [what for what, number in done.items() if number > 1] == []


# --- the command ------------------------------------------------------------------------------------------


def test_command_pauses_shows_and_resumes(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("pausable", marks)
    marks.wait_for("call.begun")
    asked = command("pause", "--task-id", str(run.id), "--reason", "the disk is full").out
    assert asked == "Asked 1 run to pause; still executing: it leaves at its next step.\n"
    assert command("list", "--status", "pausing", "--json").json["runs"][0]["id"] == str(run.id)
    marks.wait_for("call.draining")
    assert "is pausing already" in command("pause", "--task-id", str(run.id)).out
    marks.open("call")
    told = command("pause", "--task-id", str(run.id), "--wait", "--json").json
    assert (told["reached"], told["run"]["status"]) == ([], "paused")
    assert told["run"]["pause"]["reason"] == "the disk is full"
    shown = command("status", "--task-id", str(run.id)).out
    assert "paused" in shown
    assert "the disk is full" in shown

    resumed = command("resume", "--task-id", str(run.id), "--json").json
    assert resumed["resumed"] == [str(run.id)]
    assert resumed["run"]["pause"] is None
    assert control.wait(run.id, timeout_seconds=30).status == "completed"


def test_command_says_why_it_can_not(worker: WorkerProcess, marks: Marks) -> None:
    run = control.wait(submit("quick", marks).id, timeout_seconds=30)
    ended = command("pause", "--task-id", str(run.id), expect=FAILED).error
    assert ended == f"run {run.id} had already ended: completed; nothing was changed"
    not_paused = command("resume", "--task-id", str(run.id), expect=FAILED).error
    assert not_paused.endswith("only a run that is paused or pausing can be resumed; nothing was changed")
    unknown = "00000000-0000-0000-0000-000000000000"
    assert command("pause", "--task-id", unknown, expect=NOT_FOUND).error.startswith(f"there is no run {unknown}")


def test_command_that_waits_tells_of_a_run_that_ended_instead(worker: WorkerProcess, marks: Marks) -> None:
    run = submit("ends_by_itself", marks)
    marks.wait_for("call.begun")
    control.pause(run.id)
    marks.open("call")
    ended = command("pause", "--task-id", str(run.id), "--wait", expect=FAILED)
    assert "completed" in ended.out + ended.err
