"""What `control_tasks` reads and prints, without a process."""

from __future__ import annotations

import io
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import OutputWrapper

from graduation_backend.control_tasks.arguments import parse_input
from graduation_backend.control_tasks.listing import LEAST_NEEDED, RUN_COLUMNS, print_table
from graduation_backend.control_tasks.terminal import Screen, printable, shortened
from runs.ladder import Schedule
from runs.words import count, duration, how_it_stopped, node_path, rungs_ahead, signal_name

ID = "0190c6f2-0000-7000-8000-000000000000"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def printed(stream: io.StringIO, rows: list[list[Any]], monkeypatch: pytest.MonkeyPatch, columns: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen(OutputWrapper(stream), OutputWrapper(io.StringIO()))
    print_table(screen, RUN_COLUMNS, LEAST_NEEDED, rows)
    return stream.getvalue().splitlines()


ROW = [ID, "book", "● running", "read", "3/10", "alice@example.com", "12 s", "celery@box#12345678"]


@pytest.mark.parametrize("columns", [200, 90, 60, 20])
def test_table_on_a_narrow_terminal_keeps_the_id(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    head, *_, row = printed(Terminal(), [ROW], monkeypatch, columns)

    assert row.startswith(f"{ID}  book   ● running")
    assert ("WORKER" in head, "NODE" in head) == (columns > 110, columns > 80)
    assert "…" not in row


def test_table_uses_the_room_that_a_wide_column_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    row = [ID, "book", "● running", "n" * 60, "3/10", "alice@example.com", "12 s", "celery@box#12345678"]

    head, *_ = printed(Terminal(), [row], monkeypatch, 90)

    assert [name for name in RUN_COLUMNS if name.upper() in head] == ["id", "graph", "status", "progress", "age"]


def test_table_for_a_program_is_one_plain_line_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = [ID, "[red]book[/red]\x1b[31m\n", "● running", "x" * 300, "", "", "", ""]

    lines = printed(io.StringIO(), [hostile], monkeypatch, 40)

    assert len(lines) == 2
    assert lines[0].split() == ["ID", "GRAPH", "STATUS", "NODE"]
    assert "[red]book[/red]" in lines[1]
    assert "x" * 300 in lines[1]
    assert "\x1b" not in lines[1]


def test_screen_without_unicode_prints_ascii() -> None:
    raw = io.BytesIO()
    out = OutputWrapper(io.TextIOWrapper(raw, encoding="ascii"))
    screen = Screen(out, out)

    screen.line(str(screen.status("running")))
    screen.json({"title": "Möwe"})
    screen.note("“done”")
    out.flush()

    assert raw.getvalue().decode() == 'running\n{\n  "title": "M\\u00f6we"\n}\n?done?\n'


@pytest.mark.parametrize(
    ("text", "value"), [("{}", {}), ('[1, "é"]', [1, "é"]), ("null", None), ("3", 3), ('"x"', "x")]
)
def test_input_is_any_json(text: str, value: object) -> None:
    assert parse_input(text) == value


def test_input_from_a_file_and_from_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "input.json"
    file.write_text('\ufeff{"a": 1}', encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"b": 2}'))

    assert parse_input(f"@{file}") == {"a": 1}
    assert parse_input("-") == {"b": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "line 1 column 2"),
        ('{"a": 1,\n "b": nope}', "line 2 column 7, near 'nope}'"),
        ("", "line 1 column 1"),
        ('{"a": NaN}', "NaN is no JSON value"),
        ("@/nowhere/x.json", "/nowhere/x.json can't be read: No such file"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_wrong_input_says_where(text: str, said: str) -> None:
    with pytest.raises(ArgumentTypeError, match=said.replace("(", r"\(")):
        parse_input(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (184, "3 min 4 s"),
        (3_600, "1 h"),
        (7_500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_words_for_people() -> None:
    assert (count(1, "run"), count(1_200, "run")) == ("1 run", "1,200 runs")
    assert printable("a\x1b[31m\u202eb\n") == "a [31m b"
    assert shortened({"a": "x" * 600}).endswith("… (609 characters, all of it with --json)")


@pytest.mark.parametrize(
    ("namespace", "path"), [("", "write"), ("write:1-2", "write"), ("review:1-2|write:3", "review/write")]
)
def test_node_path_names_the_subgraphs(namespace: str, path: str) -> None:
    assert node_path(namespace, "write") == path


@pytest.mark.parametrize(
    ("interrupt_in", "kill_in", "words"),
    [
        (12, 22, "interrupted in 12 s, killed in 22 s"),
        (3.2, 90, "interrupted in 4 s, killed in 1 min 30 s"),
        (-1, 22, "killed in 22 s"),
        (5, 5, "killed in 5 s"),
        (-9, -1, ""),
    ],
)
def test_rungs_ahead_are_told_in_their_order(interrupt_in: float, kill_in: float, words: str) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    plan = Schedule(noon + timedelta(seconds=interrupt_in), noon + timedelta(seconds=kill_in))

    assert rungs_ahead(plan, noon) == words


def test_end_of_a_stop_in_words() -> None:
    assert (signal_name(9), signal_name(11), signal_name(200)) == ("SIGKILL", "SIGSEGV", "signal 200")
    assert how_it_stopped(None) == "it was not executing"
    assert how_it_stopped(1) == "it was interrupted"
