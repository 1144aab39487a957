"""Tables that leave columns out rather than cut an id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from graduation_backend.control_tasks.terminal import Screen, printable

if TYPE_CHECKING:
    from rich.table import Table

COLUMN_GAP = 2


def print_table(screen: Screen, columns: Sequence[str], least_needed: Sequence[str], rows: list[list[Any]]) -> None:
    """Print rows below the names of their columns.

    Args:
        least_needed: the columns that are left out where the terminal is too narrow, the first of them first.
    """
    table, needed = lay_out(columns, least_needed, rows, screen.width, is_plain=not screen.is_terminal)
    screen.show(table, least_width=needed)


def lay_out(
    columns: Sequence[str], least_needed: Sequence[str], rows: list[list[Any]], room: int, *, is_plain: bool = False
) -> tuple[Table, int]:
    """The table, and the width that it needs. A column without a value is left out."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    cells = [[cell if isinstance(cell, Text) else Text(_on_one_line(cell)) for cell in row] for row in rows]
    widths = {
        name: max([len(name), *(row[index].cell_len for row in cells)]) + COLUMN_GAP
        for index, name in enumerate(columns)
    }
    kept = [name for index, name in enumerate(columns) if any(row[index].plain for row in cells)]
    kept = _choose(kept, least_needed, widths, room)
    table = Table(
        box=None if is_plain else SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, COLUMN_GAP if is_plain else COLUMN_GAP - 1, 0, 0),  # the box adds one
        header_style="" if is_plain else "bold",
        show_edge=False,
    )
    for name in kept:
        table.add_column(name.upper(), no_wrap=True)
    indexes = [columns.index(name) for name in kept]
    for row in cells:
        table.add_row(*(row[index] for index in indexes))
    return table, sum(widths[name] for name in kept)


def _choose(names: list[str], least_needed: Sequence[str], widths: dict[str, int], room: int) -> list[str]:
    left_out: list[str] = []
    for name in least_needed:
        if name in names and sum(widths[one] for one in names if one not in left_out) > room:
            left_out.append(name)
    # A wide one that had to go may leave room for some that went before it.
    for name in reversed(left_out):
        if sum(widths[one] for one in names if one not in left_out) + widths[name] <= room:
            left_out.remove(name)
    return [name for name in names if name not in left_out]


def branch(screen: Screen, depth: int) -> str:
    """What stands before a name in a tree."""
    return "  " * (depth - 1) + ("└ " if screen.has_unicode else "- ") if depth else ""


def _on_one_line(cell: str) -> str:
    # The indentation of a tree is kept.
    indentation = len(cell) - len(cell.lstrip(" "))
    return " " * indentation + printable(cell)
