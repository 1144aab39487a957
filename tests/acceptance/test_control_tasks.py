"""`manage.py control_tasks` as a person or a script uses it: real processes, a real worker, exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app

from authentication.models import User
from runs import control
from tests.environment import ROOT
from tests.graphs.plain_tasks import doze
from tests.services import Marks, WorkerProcess, process_environment, wait_for_status, wait_until

DONE, FAILED, USAGE, NOT_FOUND, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 4, 130


def begin(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "control_tasks", *arguments],
        cwd=ROOT,
        env={**process_environment(), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


class Ended:
    """How a command ended; fails unless it ended with the expected code."""

    def __init__(self, process: subprocess.Popen[str], expected: int) -> None:
        self.out, self.err = process.communicate(timeout=60)
        assert process.returncode == expected, f"{process.returncode}\n{self.out}\n{self.err}"

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line that says what is wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("Error: ")


def command(*arguments: str, expect: int = DONE, **environment: str) -> Ended:
    return Ended(begin(*arguments, **environment), expect)


@pytest.fixture
def doze_ids() -> Iterator[list[str]]:
    """Ids of the plain tasks that a test sends; whatever it leaves is ended after it."""
    ids: list[str] = []
    yield ids
    if ids:
        control.cancel_celery_tasks(ids, kill=True)
        wait_until(lambda: not held_ids() & set(ids), "the plain tasks are gone")


def send_doze(ids: list[str], seconds: float = 300, **options: Any) -> str:
    ids.append(doze.apply_async((seconds,), **options).id)
    return ids[-1]


def held(state: str) -> set[str]:
    return {task.id for task in control.list_celery_tasks() if task.state == state}


def held_ids() -> set[str]:
    return {task.id for task in control.list_celery_tasks()}


# --- start ------------------------------------------------------------------------------------------------


def test_start_prints_the_id_alone(worker: WorkerProcess) -> None:
    started = command("start", "quick", "--input", "{}")

    run = control.wait(started.out.strip(), timeout_seconds=30)
    assert started.out == f"{run.id}\n"
    assert run.status == "completed"


def test_start_wait_json_gives_the_output(worker: WorkerProcess) -> None:
    User.objects.create_user("alice@example.com")

    options = ["--owner", "Alice@example.com", "--thread", "thread 7", "--priority", "9", "--key", "once"]
    run = command("start", "quick", "--input", "{}", *options, "--wait", "--json").json

    assert (run["status"], run["output"]["values"]) == ("completed", ["only"])
    assert (run["owner"], run["thread_id"], run["priority"]) == ("alice@example.com", "thread 7", 9)
    again = command("start", "quick", "--input", "{}", "--owner", "alice@example.com", "--key", "once")
    assert again.out.strip() == run["id"]
    assert "The key was used before" in again.err


def test_start_wait_failed_run_exits_with_1(worker: WorkerProcess) -> None:
    ended = command("start", "failing", "--wait", expect=FAILED)

    assert "this node fails on purpose" in ended.error
    assert re.match(r"[0-9a-f-]{36}\n", ended.out)


def test_start_wait_times_out_with_4_and_the_run_goes_on(worker: WorkerProcess, marks: Marks) -> None:
    ended = command(
        "start",
        "polling",
        "--input",
        json.dumps({"marks": str(marks)}),
        "--wait",
        "--timeout=1",
        expect=TIMED_OUT,
    )

    run_id = ended.out.split()[0]
    assert f"cancel --task-id {run_id}" in ended.error
    assert not control.get(run_id).is_terminal


def test_start_wait_interrupted_says_how_to_cancel(worker: WorkerProcess, marks: Marks) -> None:
    process = begin("start", "polling", "--input", json.dumps({"marks": str(marks)}), "--wait")
    marks.wait_for("tick", seconds=30)

    process.send_signal(signal.SIGINT)
    ended = Ended(process, INTERRUPTED)

    run_id = ended.out.split()[0]
    assert f"run {run_id} goes on; to cancel it: manage.py control_tasks cancel --task-id {run_id}" in ended.err
    assert "Traceback" not in ended.err
    assert control.get(run_id).status == "running"


def test_start_cancelled_meanwhile_exits_with_1(worker: WorkerProcess, marks: Marks) -> None:
    waiting = begin("start", "polling", "--input", json.dumps({"marks": str(marks)}), "--wait")
    marks.wait_for("tick", seconds=30)
    (run,) = control.list_active()

    command("cancel", "--task-id", str(run.id), "--reason", "not needed", "--wait")

    assert "was cancelled (not needed)" in Ended(waiting, FAILED).error


# --- cancel -----------------------------------------------------------------------------------------------


def test_cancel_waits_for_the_whole_tree(worker: WorkerProcess, marks: Marks) -> None:
    parent = control.submit("parent", {"marks": str(marks), "children": 2, "child_graph": "polling", "seconds": 600})
    marks.wait_for("poll.begun", 2)
    wait_for_status(parent, "waiting")

    would = command("cancel", "--task-id", str(parent.id), "--dry-run", "--json").json["would_stop"]
    assert {(run["graph"], run["status"]) for run in would} == {("parent", "waiting"), ("polling", "running")}
    assert control.get(parent.id).status == "waiting"

    answer = command("cancel", "--task-id", str(parent.id), "--reason", "enough", "--wait", "--json").json

    assert (len(answer["reached"]), answer["settled"]) == (3, [str(parent.id)])
    stop = answer["run"]["stop"]
    assert (stop["reason"], stop["source"], stop["by"]) == ("enough", "cli", control.cli_actor())
    assert [run.status for run in control.list_tree(parent.id)] == ["cancelled"] * 3


def test_cancel_force_climbs_for_a_run_that_is_stopping(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("deaf", {"marks": str(marks)})
    marks.wait_for("deaf.begun")

    ended = command("cancel", f"--task-id={run.id}", "--grace=600", "--wait", "--timeout=0.5", expect=TIMED_OUT)
    assert "cancelling" in ended.error
    assert f"cancel --force --task-id {run.id}" in ended.error
    again = command("cancel", f"--task-id={run.id}", "--grace=600")
    assert "has been stopping for" in again.out

    forced = command("cancel", f"--task-id={run.id}", "--force", "--wait", "--json").json

    assert (forced["reached"], forced["escalated"]) == ([], [str(run.id)])
    assert (forced["run"]["status"], forced["run"]["stop"]["rung"]) == ("cancelled", 2)
    assert "cancelled already" in command("cancel", f"--task-id={run.id}", "--force").out


def test_cancel_no_cascade_leaves_children(worker: WorkerProcess, marks: Marks) -> None:
    parent = control.submit("parent", {"marks": str(marks), "children": 1, "child_graph": "polling"})
    marks.wait_for("poll.begun")
    wait_for_status(parent, "waiting")

    command("cancel", f"--task-id={parent.id}", "--no-cascade", "--wait")

    assert [run.status for run in control.list_tree(parent.id)] == ["cancelled", "running"]


def test_cancel_completed_run_is_refused(worker: WorkerProcess) -> None:
    run = control.submit("quick", {})
    control.wait(run.id, timeout_seconds=30)

    ended = command("cancel", f"--task-id={run.id}", expect=FAILED)

    assert ended.error == f"run {run.id} had already ended: completed; nothing was changed"


def test_cancel_unknown_id_exits_with_3(worker: WorkerProcess) -> None:
    ended = command("cancel", "--task-id", "0190c6f2-0000-7000-8000-000000000000", "--json", expect=NOT_FOUND)

    assert "no worker holds a task with this id" in ended.error
    assert ended.out == ""


def test_cancel_all_stops_what_matches(worker: WorkerProcess, marks: Marks) -> None:
    naps = [control.submit("napping", {"marks": str(marks)}) for _ in range(3)]
    other = control.submit("quick", {}, queue="nobody-listens")
    marks.wait_for("nap.begun", 2)

    unasked = command("cancel-all", expect=USAGE)
    assert "--yes" in unasked.error
    answer = command("cancel-all", "--graph=napping", "--yes", "--reason=evening", "--wait", "--json").json

    assert set(answer["reached"]) == {str(run.id) for run in naps}
    assert len(answer["settled"]) == 1
    assert {control.get(run.id).status for run in naps} == {"cancelled"}
    assert control.get(other.id).status == "queued"
    assert command("cancel-all", "--yes").out == "Asked 1 run to stop (1 cancelled at once).\n"
    assert command("cancel-all", "--yes").out == "There was nothing to cancel.\n"


# --- list and status --------------------------------------------------------------------------------------


def test_retry_wait_goes_on_where_the_run_was_left(worker: WorkerProcess, marks: Marks) -> None:
    failed = command("start", "eight", "--input", json.dumps({"marks": str(marks)}), "--wait", expect=FAILED)
    old = failed.out.strip()
    marks.open("mended")

    shown = command("retry", "--task-id", old, "--reason", "mended", "--wait", "--json").json

    assert (shown["status"], shown["retry_of"]) == ("completed", old)
    assert shown["output"]["values"] == [f"n{number}" for number in range(1, 9)]
    assert marks.names().count("n4") == 1
    assert re.search(f"retried as +{shown['id']}", command("status", "--task-id", old).out)
    assert shown["id"] in command("retry", "--task-id", old, expect=FAILED).error
    assert "it has completed" in command("retry", "--task-id", shown["id"], expect=FAILED).error


def test_list_shows_active_runs_as_a_tree(worker: WorkerProcess, marks: Marks) -> None:
    parent = control.submit("parent", {"marks": str(marks), "children": 2, "child_graph": "polling"})
    done = control.submit("quick", {}, queue="nobody-listens")
    marks.wait_for("poll.begun", 2)
    wait_for_status(parent, "waiting")
    control.cancel(done.id)

    runs = command("list", "--json").json["runs"]
    lines = command("list", "--tree", COLUMNS="40").out.splitlines()

    assert [run["graph"] for run in runs] == ["polling", "polling", "parent"]
    assert lines[0].split()[:3] == ["ID", "GRAPH", "STATUS"]
    assert re.match(rf"{parent.id}  parent +◔ waiting ", lines[1])
    assert [re.sub("^[0-9a-f-]{36}", "ID", line)[:13] for line in lines[2:]] == ["ID  └ polling"] * 2
    assert "\x1b" not in "".join(lines)
    with_ended = command("list", "--all", "--limit=2", "--json")
    assert len(with_ended.json["runs"]) == 2
    assert "--limit" in with_ended.err
    cancelled = command("list", "--status=cancelled", "--json").json["runs"]
    assert [run["id"] for run in cancelled] == [str(done.id)]
    assert command("list", "--graph=quick").out == "Nothing found.\n"


def test_status_tells_nodes_children_and_error(worker: WorkerProcess, marks: Marks) -> None:
    parent = control.submit("parent", {"marks": str(marks), "children": 1, "child_graph": "failing"})
    control.wait(parent.id, timeout_seconds=30)
    (child,) = control.list_tree(parent.id)[1:]

    told = command("status", f"--task-id={parent.id}", "--json").json

    assert (told["status"], told["error"]["type"]) == ("failed", "ChildFailed")
    assert [node["status"] for node in told["nodes"]] == ["suspended", "failed"]
    assert all(node["seconds"] >= 0 for node in told["nodes"])
    assert [run["id"] for run in told["children"]] == [str(child.id)]
    words = command("status", f"--task-id={parent.id}").out
    assert re.search(r"^  family +suspended +[0-9.]+ s$", words, re.MULTILINE), words
    assert f"  {child.id}  failing  ✗ failed" in words
    assert "ValueError: this node fails on purpose" in command("status", f"--task-id={child.id}").out


def test_list_broker_away_still_lists_runs(redis_server: None, transactional_db: None) -> None:
    run = control.submit("quick", {}, queue="nobody-listens")

    begun = time.monotonic()
    ended = command("list", "--json", CELERY_BROKER_URL="redis://127.0.0.1:1/0")

    assert [found["id"] for found in ended.json["runs"]] == [str(run.id)]
    assert re.search("^Warning: the plain Celery tasks are not listed, .*broker is away", ended.err, re.MULTILINE)
    assert time.monotonic() - begun < 20


# --- plain Celery tasks -----------------------------------------------------------------------------------


def test_plain_tasks_are_listed_and_cancelled(worker: WorkerProcess, doze_ids: list[str]) -> None:
    active = {send_doze(doze_ids), send_doze(doze_ids)}
    wait_until(lambda: held("active") == active, "two plain tasks are active")
    reserved, scheduled = send_doze(doze_ids), send_doze(doze_ids, countdown=3_000)
    wait_until(lambda: (held("reserved"), held("scheduled")) == ({reserved}, {scheduled}), "reserved, scheduled")

    tasks = command("list", "--json").json["tasks"]
    assert {(task["id"], task["state"]) for task in tasks} == {
        *((task_id, "active") for task_id in active),
        (reserved, "reserved"),
        (scheduled, "scheduled"),
    }
    assert all(task_id in command("list").out for task_id in doze_ids)
    assert command("status", f"--task-id={scheduled}", "--json").json["eta"]

    for task_id, state in ((scheduled, "scheduled"), (reserved, "reserved")):
        assert "will not start" in command("cancel", f"--task-id={task_id}", "--wait", "--timeout=20").out, state
    first, second = sorted(active)
    answer = command("cancel", f"--task-id={first}", "--wait", "--timeout=20", "--json").json
    assert (answer["cancelled"], answer["task"]["state"]) == (True, "active")
    assert held_ids() == {second}

    everything = command("cancel-all", "--tasks", "--yes", "--wait", "--timeout=20", "--json").json
    assert everything["tasks"] == [second]
    assert not held_ids()
    # The slots are free again.
    assert control.wait(control.submit("quick", {}).id, timeout_seconds=30).status == "completed"


def test_runs_are_not_listed_twice(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("polling", {"marks": str(marks)})
    marks.wait_for("tick")
    assert any(task["id"] == str(run.id) for held in current_app.control.inspect().active().values() for task in held)

    listed = command("list", "--json").json

    assert ([found["id"] for found in listed["runs"]], listed["tasks"]) == ([str(run.id)], [])


def test_celery_inspection_ends_with_the_last_worker_s_answer(worker: WorkerProcess) -> None:
    begun = time.monotonic()
    control.list_celery_tasks(timeout_seconds=60)
    assert time.monotonic() - begun < 30


# --- graphs and wrong usage -------------------------------------------------------------------------------


def test_graphs_check_names_the_broken_one(redis_server: None, transactional_db: None) -> None:
    assert {graph["name"] for graph in command("graphs", "--json").json} >= {"quick", "broken", "book"}

    ended = command("graphs", "--check", "--json", expect=FAILED)

    problems = {graph["name"]: graph["error"] for graph in ended.json}
    assert [name for name, problem in problems.items() if problem] == ["broken"]
    assert ended.error.startswith("1 graph can't be imported: broken (")
