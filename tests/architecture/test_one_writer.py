"""`runs.registry` is the only writer of a run's status and of a stop."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environment import ROOT

GUARDED = {"status", "attempt", "stop_requested_at", "stop_mode", "stop_deadline", "finished_at"}
OTHERS = {"self", "execution", "child"}  # objects with an attribute of that name that are no rows of this table
EXPLAINED = {("events.py", "update")}  # the node and the progress of a running attempt, in a dictionary
WRITERS = {"update", "create", "update_or_create", "bulk_update"}
SOURCES = sorted(
    path
    for package in ("runs", "books", "authentication", "celery_tasks", "graduation_backend", "benchmarks", "scripts")
    for path in (ROOT / package).rglob("*.py")
    if "migrations" not in path.parts and ROOT / "runs" / "registry" not in path.parents
)


def root_of(node: ast.AST) -> str:
    """The name with which a chain of attributes and calls begins."""
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return ""
    return node.id


def writes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((node.lineno, ast.unparse(target)) for target in targets if _is_column(target))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and root_of(node) == "Run":
            names = {keyword.arg for keyword in node.keywords}
            if node.func.attr in WRITERS and (names & GUARDED or None in names):
                yield node.lineno, node.func.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "UPDATE runs_run" in node.value:
            yield node.lineno, "SQL"


def _is_column(target: ast.AST) -> bool:
    return isinstance(target, ast.Attribute) and target.attr in GUARDED and root_of(target) not in OTHERS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_status_is_written_by_the_registry_alone(path: Path) -> None:
    found = [
        write for write in writes(ast.parse(path.read_text(encoding="utf-8"))) if (path.name, write[1]) not in EXPLAINED
    ]
    assert found == []


def test_the_check_finds_what_it_is_for() -> None:
    bad = "run.status = 'x'\nRun.objects.filter(id=1).update(status='x')\nRun.objects.create(**columns)\n"
    assert [line for line, _ in writes(ast.parse(bad))] == [1, 2, 3]
    assert not list(writes(ast.parse("execution.status = 'x'\nRun.objects.filter(status='x').update(rung_at=None)")))


def test_node_stops_are_written_by_their_own_module_alone() -> None:
    found = [
        (path.name, node.lineno)
        for path in SOURCES
        if path != ROOT / "runs" / "node_stops.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and root_of(node) == "NodeStop"
        if node.func.attr in {*WRITERS, "get_or_create", "bulk_create", "delete"}
    ]
    assert found == []
