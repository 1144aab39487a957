"""The live views of `control_tasks` drawn without a terminal, and what a follower tells of a run."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError, OutputWrapper
from django.utils import timezone
from rich.console import Console

from graduation_backend.control_tasks import exits, watching
from graduation_backend.control_tasks.acting import Acting
from graduation_backend.control_tasks.feeds import Panel, in_words
from graduation_backend.control_tasks.following import follow
from graduation_backend.control_tasks.news import Follower
from graduation_backend.control_tasks.terminal import Screen
from graduation_backend.control_tasks.watching import Lookout, Page, Sight
from runs import control, events, registry
from runs.connections import redis_client, stream_key
from runs.models import NodeExecution, Run
from runs.registry import Claimant
from runs.states import Status

pytestmark = pytest.mark.usefixtures("redis_server", "db")

HOSTILE = "\x1b[31mred\x1b]0;owned\x07\u202e\x9b2J"


@pytest.fixture
def screen() -> Screen:
    return Screen(OutputWrapper(StringIO()), OutputWrapper(StringIO()))


def claim(run: Run, **columns: Any) -> Run:
    registry.claim(run.id, Claimant("celery@box#1", 4_321, 1.0), lease_seconds=60)
    Run.objects.filter(id=run.id).update(**columns)
    return control.get(run.id)


def drawn(page: Page | Panel, width: int, height: int) -> list[str]:
    console = Console(record=True, width=width, height=height, file=io.StringIO(), force_terminal=True)
    console.print(page.render(width, height))
    return console.export_text().splitlines()


def family() -> tuple[Run, Run]:
    parent = claim(control.submit("parent", {}), progress_done=3, progress_total=10, current_node="family")
    child = claim(
        control.submit("polling", {}, parent=parent.id), current_node=f"poll{HOSTILE}", current_call="model gpt"
    )
    return parent, child


# --- list --watch -----------------------------------------------------------------------------------------


def test_watch_draws_the_tree_and_counts_down(screen: Screen) -> None:
    parent, child = family()
    page = Page(screen)
    control.cancel(child.id, grace_seconds=30, interrupt_after_seconds=20)
    plan = control.get(child.id).stop_plan
    assert plan is not None
    now = plan.kill_at - timedelta(seconds=30)
    page.show(Sight(control.list_runs(slim=True)), now)

    lines = drawn(page, 200, 20)

    assert len(lines) == 20
    assert lines[0].startswith("control_tasks 2 runs: 1 running, 1 cancelling")
    assert lines[2].split()[:6] == ["GRAPH", "STATUS", "NODE", "CALL", "PROGRESS", "ELAPSED"]
    above, below = lines[4], lines[5]
    assert above.startswith("parent")
    assert "● running" in above
    assert "━━━─────── 3/10" in above
    assert str(parent.id) in above
    assert below.startswith("└ polling")
    assert "interrupted in 20 s" in below
    assert "model gpt" in below
    assert not any(character in "".join(lines) for character in "\x1b\x07\u202e\x9b")
    page.show(Sight(control.list_runs(slim=True)), now + timedelta(seconds=25))
    assert "killed in 5 s" in drawn(page, 200, 20)[5]
    page.show(Sight(control.list_runs(slim=True)), now + timedelta(seconds=31))
    assert "being killed" in drawn(page, 200, 20)[5]


@pytest.mark.parametrize(("width", "height"), [(200, 50), (100, 20), (60, 10), (20, 5), (5, 3)])
def test_watch_fits_the_terminal(width: int, height: int, screen: Screen) -> None:
    for _ in range(9):
        family()
    page = Page(screen)
    page.show(Sight(control.list_runs(slim=True), workers="1 worker, 2 of 2 slots busy"), timezone.now())

    lines = drawn(page, width, height)

    assert max(map(len, lines)) <= width
    assert len(lines) <= max(height, 7)
    assert ("18 runs" in lines[0]) == (width >= 60)


def test_watch_scrolls(screen: Screen) -> None:
    for _ in range(9):
        family()
    page = Page(screen)
    page.show(Sight(control.list_runs(slim=True)), timezone.now())
    assert "1 to 6 of 18" in drawn(page, 100, 12)[-1]

    page.scroll("down")
    assert "2 to 7 of 18" in drawn(page, 100, 12)[-1]
    page.scroll("page down")
    assert "8 to 13 of 18" in drawn(page, 100, 12)[-1]
    page.scroll("end")
    assert "13 to 18 of 18" in drawn(page, 100, 12)[-1]
    page.scroll("home")
    assert "1 to 6 of 18" in drawn(page, 100, 12)[-1]


def test_watch_keeps_what_ended_for_some_seconds(screen: Screen) -> None:
    options = {"status": [], "graph": None, "all": False, "limit": None, "json": False, "as_user": None}
    lookout, page = Lookout(options), Page(screen)
    run = control.submit("quick", {})
    page.show(lookout.look(), timezone.now())
    control.cancel(run.id)

    now = timezone.now()
    page.show(lookout.look(), now)
    assert any("⊘ cancelled" in line and "it was not executing" in line for line in drawn(page, 120, 10))
    page.show(lookout.look(), now + timedelta(seconds=watching.ENDED_SHOWN_SECONDS + 1))
    assert "nothing is running" in drawn(page, 120, 10)[0]
    assert not any("cancelled" in line for line in drawn(page, 120, 10))


class Steps:
    """Stands for the time between two looks: something happens, and in the end Ctrl+C is pressed."""

    def __init__(self, *steps: Any) -> None:
        self._steps = list(steps)

    def __call__(self, _seconds: float) -> None:
        if not self._steps:
            raise KeyboardInterrupt
        self._steps.pop(0)()


def watched(monkeypatch: pytest.MonkeyPatch, words: list[str], *steps: Any) -> str:
    monkeypatch.setattr(watching.time, "sleep", Steps(*steps))
    out = StringIO()
    call_command("control_tasks", "list", "--watch", *words, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_watch_prints_json_lines_only_at_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Run] = []

    def begin() -> None:
        made.append(control.submit("quick", {"text": HOSTILE}))

    def nothing() -> None:
        Run.objects.update(lease_expires_at=None)

    printed = watched(monkeypatch, ["--json"], begin, nothing, lambda: control.cancel(made[0].id), nothing, nothing)

    documents = [json.loads(line) for line in printed.splitlines()]
    assert [[run["status"] for run in document["runs"]] for document in documents] == [[], ["queued"], []]
    assert [[run["status"] for run in document["ended"]] for document in documents] == [[], [], ["cancelled"]]
    assert documents[1]["runs"][0]["input"] == {"text": HOSTILE}
    assert all(character.isprintable() or character == "\n" for character in printed)


def test_watch_prints_tables_only_at_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    run = control.submit("quick", {})

    printed = watched(monkeypatch, [], lambda: None, lambda: claim(run, current_node="only"), lambda: None)

    assert printed.count("ID ") == 2
    assert [line[10:] for line in printed.splitlines() if " run: " in line] == ["1 run: 1 queued", "1 run: 1 running"]


def test_interval_belongs_to_watch() -> None:
    for words in (["--interval", "1"], ["--watch", "--interval", "0.01"]):
        with pytest.raises(CommandError) as refusal:
            call_command("control_tasks", "list", *words)
        assert refusal.value.returncode == exits.USAGE


# --- --follow ---------------------------------------------------------------------------------------------


@pytest.fixture
def stream() -> Iterator[Any]:
    """Puts events into the streams as a worker does."""
    used = []

    def emit(run: Run, kind: str, **data: Any) -> None:
        used.append(run.id)
        events.sink().emit(run.id, kind, data)
        events.sink().flush()

    yield emit
    for run_id in set(used):
        redis_client().delete(stream_key(run_id))


def told(follower: Follower, screen: Screen) -> list[str]:
    return [in_words(line, screen).plain[9:] for line in follower.look(0.05).lines]


def test_follower_merges_the_words_of_a_message(screen: Screen, stream: Any) -> None:
    run = claim(control.submit("quick", {}))
    follower = Follower(run, from_start=True)
    told(follower, screen)
    for text in ("A quiet", f" word{HOSTILE}", ".\nThe", " next"):
        stream(run, "token", message_id="m1", node="speak", text=text)
    stream(run, "custom", node="speak", data={"page": HOSTILE})

    lines = told(follower, screen)

    assert lines[0].strip().startswith("speak: A quiet word [31mred")
    assert lines[1].strip().startswith('speak: {"page": ')
    assert len(lines) == 2
    assert [speech.part for speech in follower.speeches.values()] == ["The next"]
    assert all(character.isprintable() for line in lines for character in line)
    stream(run, "node.finished", node="speak")
    assert [line.strip() for line in told(follower, screen)] == ["speak: The next"]
    assert not follower.speeches


def test_follower_tells_nodes_steps_of_a_stop_and_children_once(screen: Screen) -> None:
    run = claim(control.submit("parent", {}))
    follower = Follower(run, from_start=True)
    child = control.submit("polling", {}, parent=run.id)
    NodeExecution.objects.create(
        id=uuid4(), run=run, attempt=1, node="plan", status="finished", started_at=run.created_at,
        finished_at=timezone.now(),
    )  # fmt: skip

    first = told(follower, screen)
    follower._looked_at = 0
    assert told(follower, screen) == []
    control.cancel(run.id, reason=f"too\ndear{HOSTILE}", actor="bob")
    registry.settle(run.id, 1, Status.CANCELLED)
    follower._looked_at = 0
    second = told(follower, screen)

    assert "● running on celery@box#1" in first
    assert f"○ polling {str(child.id)[-6:]}: queued" in first
    assert any(line.startswith("✓ plan  finished") for line in first)
    assert any(line.startswith("◌ stop asked by bob: too dear [31mred") for line in second)
    assert "⊘ cancelled: it stopped by itself" in second
    assert f"⊘ polling {str(child.id)[-6:]}: cancelled: it was not executing" in second


def test_follower_without_redis_tells_what_the_database_knows(screen: Screen, settings: Any) -> None:
    settings.RUNS_REDIS_URL = "redis://127.0.0.1:1/0"
    run = claim(control.submit("quick", {}))
    follower = Follower(run, from_start=True)

    news = follower.look(0.01)

    assert news.problem == "Redis is away: what models say is missing"
    assert [line.text for line in news.lines] == ["running on celery@box#1"]
    registry.settle(run.id, 1, Status.COMPLETED)
    follower._looked_at = 0
    assert [line.text for line in follower.look(0.01).lines] == ["completed"]
    assert follower.is_over


def test_panel_shows_what_is_said_and_fits(screen: Screen, stream: Any) -> None:
    run, _ = family()
    for _ in range(30):
        control.submit("quick", {}, parent=run.id)
    follower = Follower(run, from_start=True)
    stream(run, "token", message_id="m1", node=f"speak{HOSTILE}", text=HOSTILE + "word " * 100)
    panel = Panel(screen)
    panel.update(follower.look(0.05), follower.speeches.values())

    for width, height in ((120, 40), (50, 12), (10, 4)):
        lines = drawn(panel, width, height)
        assert max(map(len, lines)) <= width
        assert lines[0].startswith("speak ")
        assert all(character.isprintable() for line in lines for character in line)
    assert any("more: 32 runs" in line for line in drawn(panel, 120, 40))


def test_live_views_without_unicode_print_ascii(stream: Any) -> None:
    class Ascii(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    raw = io.BytesIO()
    out = OutputWrapper(Ascii(raw, encoding="ascii"))
    screen = Screen(out, OutputWrapper(StringIO()))
    run, _ = family()
    Run.objects.filter(id=run.id).update(graph="Möwe" + "x" * 100)
    stream(run, "custom", node="speak", data={"said": "Möwe"})

    with pytest.raises(CommandError, match="goes on"):
        follow(run, {"json": False, "timeout": 0.01}, screen, Acting(), from_start=True)
    page = Page(screen)
    page.show(Sight(control.list_runs(slim=True)), timezone.now())
    screen.console(100).print(page.render(100, 10))
    out.flush()

    assert "M?we" in raw.getvalue().decode("ascii")


@pytest.mark.parametrize(("outcome", "code"), [(Status.COMPLETED, None), (Status.FAILED, exits.FAILED)])
def test_follow_exits_as_the_run_ended(outcome: Status, code: int | None, screen: Screen) -> None:
    run = claim(control.submit("quick", {}))
    registry.settle(run.id, 1, outcome, error={"type": "ValueError", "message": HOSTILE})

    def end() -> int:
        return follow(control.get(run.id), {"json": False}, screen, Acting(), from_start=False)

    if code is None:
        assert end() == exits.DONE
        return
    with pytest.raises(CommandError, match=r"failed: ValueError:  \[31mred") as error:
        end()
    assert error.value.returncode == code


def test_follow_json_is_events_between_two_snapshots(stream: Any) -> None:
    run = claim(control.submit("quick", {}))
    stream(run, "custom", node="speak", data={"page": HOSTILE})
    registry.settle(run.id, 1, Status.COMPLETED, output={"values": []})
    out = StringIO()
    screen = Screen(OutputWrapper(out), OutputWrapper(StringIO()))

    follow(control.get(run.id), {"json": True}, screen, Acting(), from_start=True)

    first, *between, last = [json.loads(line) for line in out.getvalue().splitlines()]
    assert (first["type"], last["type"], last["data"]["run"]["status"]) == ("snapshot", "snapshot", "completed")
    (custom,) = [event for event in between if event["type"] == "custom"]
    assert (custom["run_id"], custom["data"]["data"]) == (str(run.id), {"page": HOSTILE})
    assert all(character.isprintable() or character == "\n" for character in out.getvalue())


def test_follow_times_out_with_4(screen: Screen) -> None:
    run = control.submit("quick", {})

    with pytest.raises(CommandError, match=f"it is queued; run {run.id} goes on") as error:
        follow(run, {"json": False, "timeout": 0.1}, screen, Acting(), from_start=True)
    assert error.value.returncode == exits.TIMED_OUT
