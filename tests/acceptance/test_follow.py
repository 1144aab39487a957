"""`control_tasks` live, on a real terminal and with a real worker."""

from __future__ import annotations

import json

from runs import control
from tests.acceptance.test_control_tasks import DONE, FAILED, INTERRUPTED, Ended, begin, command
from tests.services import Marks, WorkerProcess, wait_for_status, wait_until
from tests.terminals import CTRL_C, control_tasks

ALTERNATE_SCREEN, USUAL_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


def test_follow_ctrl_c_asks_and_cancels(worker: WorkerProcess, marks: Marks) -> None:
    with control_tasks("start", "napping", "--input", json.dumps({"marks": str(marks)}), "--follow") as terminal:
        marks.wait_for("nap.begun", seconds=60)
        terminal.wait_for("before  finished")
        (run,) = control.list_active()

        terminal.press(CTRL_C)
        terminal.wait_for("(c)ancel it, (l)eave it running, (g)o on following?")
        terminal.press("g")
        terminal.wait_for("following? g")  # a Ctrl+C would throw away the key that nobody has read
        terminal.press(CTRL_C)
        wait_until(lambda: terminal.text.count("(c)ancel it") == 2, "it asks again")
        assert control.get(run.id).status == "running"
        terminal.press("c")

        assert terminal.wait_end() == FAILED
        assert f"run {run.id} was cancelled" in " ".join(terminal.text.split())
        assert "cancelled: it stopped by itself" in terminal.text
        assert terminal.is_as_before()
    ended = control.get(run.id)
    assert (ended.status, ended.stop_source, ended.stop_actor) == ("cancelled", "cli", control.cli_actor())


def test_follow_tells_nodes_and_children_to_the_end(worker: WorkerProcess, marks: Marks) -> None:
    given = json.dumps({"marks": str(marks), "children": 1})

    told = command("start", "parent", "--input", given, "--follow").out

    assert "✓ family  finished" in told
    assert ": only  finished" in told
    assert "completed after" in told
    assert "\x1b" not in told


def test_follow_without_a_terminal_ctrl_c_only_leaves(worker: WorkerProcess, marks: Marks) -> None:
    run = control.submit("polling", {"marks": str(marks)})
    marks.wait_for("tick")
    following = begin("status", "--task-id", str(run.id), "--follow", "--json")
    assert following.stdout is not None
    assert json.loads(following.stdout.readline())["type"] == "snapshot"

    following.send_signal(2)

    assert f"cancel --task-id {run.id}" in Ended(following, INTERRUPTED).err
    assert control.get(run.id).status == "running"


def test_watch_shows_a_run_begin_and_end(worker: WorkerProcess, marks: Marks) -> None:
    changes = begin("list", "--watch", "--json", "--interval=0.1")
    with control_tasks("list", "--watch", "--interval", "0.2") as terminal:
        terminal.wait_for("nothing is running")
        assert changes.stdout is not None
        assert json.loads(changes.stdout.readline())["runs"] == []

        run = control.submit("polling", {"marks": str(marks)})
        terminal.wait_for("1 run: 1 running")
        terminal.wait_for(str(run.id))
        terminal.resize(70, 12)
        seen = [json.loads(changes.stdout.readline())]
        while not seen[-1]["runs"]:  # a busy machine is looked at less often
            seen.append(json.loads(changes.stdout.readline()))
        control.cancel(run.id)
        wait_for_status(run, "cancelled")
        terminal.wait_for("⊘ cancelled")
        terminal.press("q")

        assert terminal.wait_end() == DONE
        assert ALTERNATE_SCREEN in terminal.raw
        assert terminal.raw.rindex(USUAL_SCREEN) > terminal.raw.rindex(ALTERNATE_SCREEN)
        assert terminal.is_as_before()
    while not seen[-1]["ended"]:
        seen.append(json.loads(changes.stdout.readline()))
    changes.send_signal(2)
    assert {document["runs"][0]["status"] for document in seen if document["runs"]} >= {"running"}
    assert [(ended["id"], ended["status"]) for ended in seen[-1]["ended"]] == [(str(run.id), "cancelled")]
    changes.communicate(timeout=30)
    assert changes.returncode == DONE
