"""What was measured, as a table for a terminal and as a page of Markdown."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from rich.table import Table
from rich.text import Text

from runs.ladder import Rung
from runs.testing.conformance import LATE_SECONDS, NEXT_SECONDS, Measured
from runs.words import count

NOTHING = "nothing"


def as_table(measured: Sequence[Measured]) -> Table:
    """One row a graph, one column a mode."""
    modes = _modes(measured)
    table = Table("graph", *modes, "left", "next run", box=None, pad_edge=False, header_style="bold")
    for graph, row in _rows(measured).items():
        cells = [_cell(row[mode]) if mode in row else Text("") for mode in modes]
        left = _left(row)
        left_cell = Text(left, style="" if left == NOTHING else "red")
        table.add_row(Text(graph), *cells, left_cell, Text(_next(row)))
    return table


def list_problems(measured: Sequence[Measured]) -> list[str]:
    return [f"{one.graph}, {one.mode}: {problem}" for one in measured for problem in one.problems]


def as_markdown(
    measured: Sequence[Measured],
    descriptions: Mapping[str, str],
    *,
    grace_seconds: float,
    interrupt_seconds: float,
    streams: Sequence[str] = (),
) -> str:
    """The page with what was measured, where, and how to read it."""
    modes = _modes(measured)
    rows = _rows(measured)
    passed = sum(all(one.is_passed for one in row.values()) for row in rows.values())
    lines = [
        "# Can it be stopped?" if not streams else f"# Can it be stopped while it streams {' and '.join(streams)}?",
        "",
        f"{passed} of {count(len(rows), 'graph')} stopped in time, every time, with nothing left. "
        f"Measured by `python manage.py stop_conformance{''.join(f' --stream {mode}' for mode in streams)}`",
        "with a real worker on "
        f"Python {platform.python_version()}, LangGraph {version('langgraph')}, Celery {version('celery')}, "
        f"{platform.system()} {platform.release().partition('-')[0]}.",
        "",
        "Each cell is the time from the request until the run is `cancelled`, and the rung that stopped it: 0 at a "
        "boundary, 1 by",
        "an exception raised inside the node, 2 by ending its process. A `cancel` climbs to rung 1 after "
        f"{interrupt_seconds:g} s and to rung 2 after",
        f"{grace_seconds:g} s here; an `interrupt` begins at rung 1; a `kill` is rung 2 at once.",
        "",
        f"| graph | what it does | {' | '.join(f'`{mode}`' for mode in modes)} | left | next run |",
        f"|---|---|{'--:|' * len(modes)}---|--:|",
    ]
    for graph, row in rows.items():
        cells = " | ".join(_cell(row[mode]).plain if mode in row else "" for mode in modes)
        lines.append(f"| `{graph}` | {descriptions.get(graph, '')} | {cells} | {_left(row)} | {_next(row)} |")
    problems = list_problems(measured)
    if problems:
        lines += ["", "What failed:", "", *(f"- {problem}" for problem in problems)]
    lines += [
        "",
        f"A row fails if a run needs more than {LATE_SECONDS:g} s beyond its grace; if, when it says `cancelled`, "
        "any process or OS",
        "thread that it started is alive; or if the worker can't run something else in each of its slots within "
        f"{NEXT_SECONDS:g} s. What",
        "is alive is not asked of the engine: it is found by a mark in the environment of everything that the worker "
        "started, by",
        "what was below the run before the stop, and by the stop's receipt.",
        "",
    ]
    return "\n".join(lines)


def _rows(measured: Sequence[Measured]) -> dict[str, dict[str, Measured]]:
    rows: dict[str, dict[str, Measured]] = {}
    for one in measured:
        rows.setdefault(one.graph, {})[one.mode] = one
    return rows


def _modes(measured: Sequence[Measured]) -> list[str]:
    return list(dict.fromkeys(one.mode for one in measured))


def _cell(one: Measured) -> Text:
    if one.seconds is None or one.rung is None:
        return Text(one.status, style="red")
    text = f"{as_time(one.seconds)} · {one.rung}"
    return Text(text if one.is_passed else f"{text} ✗", style="red" if not one.is_passed else _style(one.rung))


def _style(rung: int) -> str:
    return "yellow" if rung == Rung.KILL else "green"


def _left(row: Mapping[str, Measured]) -> str:
    if any(one.seconds is None for one in row.values()):
        return "not known"
    left = list(dict.fromkeys(name for one in row.values() for name in one.left))
    return ", ".join(left) or NOTHING


def _next(row: Mapping[str, Measured]) -> str:
    seconds = [one.next_seconds for one in row.values()]
    return as_time(max(second or 0.0 for second in seconds)) if None not in seconds else "no"


def as_time(seconds: float) -> str:
    """`14 ms`, `1.05 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.2f} s"
