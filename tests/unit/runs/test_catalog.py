"""Graphs of a foreign project, as its langgraph.json names them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from runs import catalog, checks
from runs.errors import CatalogUnreadable, GraphImportFailed, GraphNotFound

AGENT = """
import os
from typing import TypedDict
from langgraph.graph import START, StateGraph
from foreign_helpers import answer

class State(TypedDict, total=False):
    text: str

def node(state):
    return {"text": answer() + os.environ.get("FOREIGN_SUFFIX", "")}

async def anode(state):
    return {"text": answer()}

builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
graph = builder.compile()
async_graph = StateGraph(State).add_node("node", anode).add_edge(START, "node").compile()

def factory():
    return builder

def config_factory(config):
    return graph if config else None

def optional_config_factory(config=None):
    return graph

async def async_factory(config):
    return graph

def wrong_factory():
    return 42

number = 42
"""


@pytest.fixture
def project(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project elsewhere with a package, a helper module and an environment."""
    (tmp_path / "foreign_package").mkdir()
    (tmp_path / "foreign_package" / "__init__.py").touch()
    (tmp_path / "foreign_package" / "agent.py").write_text(AGENT)
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "agent.py").write_text(AGENT)
    (tmp_path / "foreign_helpers.py").write_text("def answer():\n    return 'hello'\n")
    (tmp_path / ".env").write_text("FOREIGN_SUFFIX=' from .env'\nFOREIGN_GIVEN=file\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("FOREIGN_GIVEN", "outside")
    settings.RUNS_LANGGRAPH_JSON = tmp_path / "langgraph.json"
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("foreign_", "langgraph_catalog_")):
            del sys.modules[name]
    os.environ.pop("FOREIGN_SUFFIX", None)


def write(project: Path, graphs: dict[str, Any], **more: Any) -> None:
    (project / "langgraph.json").write_text(
        json.dumps({"dependencies": ["."], "graphs": graphs, "env": ".env", **more})
    )


def call(name: str, config: dict[str, Any] | None = None) -> Any:
    async def main() -> Any:
        found = catalog.load(name)
        async with AsyncExitStack() as stack:
            graph = await catalog.open_async(name, found, config or {"configurable": {}}, stack)
            return await graph.ainvoke({"text": ""})

    found = catalog.load(name)
    return asyncio.run(main()) if catalog.is_factory(found) else asyncio.run(found.ainvoke({"text": ""}))


@pytest.mark.parametrize("where", ["./foreign_package/agent.py", "foreign_package.agent", "./loose/agent.py"])
@pytest.mark.parametrize("attribute", ["graph", "builder", "factory", "config_factory", "async_factory"])
def test_graph_is_found_by_file_and_by_module(project: Path, where: str, attribute: str) -> None:
    write(project, {"agent": f"{where}:{attribute}"})
    assert call("agent") == {"text": "hello from .env"}


@pytest.mark.parametrize("attribute", ["async_graph", "optional_config_factory"])
def test_graph_is_found_whatever_it_is(project: Path, attribute: str) -> None:
    write(project, {"agent": f"./loose/agent.py:{attribute}"})
    assert call("agent")["text"].startswith("hello")


def test_file_in_a_package_is_imported_under_its_name_once(project: Path) -> None:
    write(project, {"one": "./foreign_package/agent.py:graph", "two": "foreign_package.agent:graph"})
    assert catalog.load("one") is catalog.load("two")


def test_builder_is_compiled_once(project: Path) -> None:
    write(project, {"agent": "./loose/agent.py:builder"})
    assert catalog.load("agent") is catalog.load("agent")


def test_environment_of_the_process_comes_before_the_file(project: Path) -> None:
    write(project, {"agent": "./loose/agent.py:graph"})
    catalog.load("agent")
    assert os.environ["FOREIGN_GIVEN"] == "outside"


def test_environment_may_be_written_in_the_catalog(project: Path) -> None:
    write(project, {"agent": "./loose/agent.py:graph"}, env={"FOREIGN_SUFFIX": " from json"})
    assert call("agent") == {"text": "hello from json"}


def test_graph_may_have_a_description(project: Path) -> None:
    write(project, {"agent": {"path": "./loose/agent.py:graph", "description": "Says hello."}, "b": "x:y"})
    assert [(entry.name, entry.description) for entry in catalog.list_graphs()] == [("agent", "Says hello."), ("b", "")]


def test_graph_that_fails_to_import_is_told_by_name_and_the_others_work(project: Path) -> None:
    (project / "raises.py").write_text("raise ValueError('no key')\n")
    (project / "syntax.py").write_text("def\n")
    write(
        project,
        {
            "good": "./loose/agent.py:graph",
            "raises": "./raises.py:graph",
            "syntax": "./syntax.py:graph",
            "absent_file": "./absent.py:graph",
            "absent_module": "absent.module:graph",
            "absent_name": "./loose/agent.py:absent",
        },
    )
    assert len(catalog.list_graphs()) == 6
    for name, cause in {
        "raises": "ValueError: no key",
        "syntax": "SyntaxError",
        "absent_file": "there is no file ./absent.py",
        "absent_module": "ModuleNotFoundError: No module named 'absent'",
        "absent_name": "has no absent",
    }.items():
        with pytest.raises(GraphImportFailed) as failed:
            catalog.load(name)
        assert failed.value.name == name
        assert cause in str(failed.value)
        assert repr(name) in str(failed.value)
    assert call("good")["text"].startswith("hello")


@pytest.mark.parametrize(("attribute", "cause"), [("wrong_factory", "made a int"), ("number", "neither a graph")])
def test_what_is_no_graph_is_told(project: Path, attribute: str, cause: str) -> None:
    write(project, {"agent": f"./loose/agent.py:{attribute}"})
    with pytest.raises(GraphImportFailed, match=cause) as failed:
        call("agent")
    assert "agent" in str(failed.value)


def test_import_that_failed_is_tried_again(project: Path) -> None:
    (project / "raises.py").write_text("raise ValueError('not yet')\n")
    write(project, {"agent": "./raises.py:graph"})
    with pytest.raises(GraphImportFailed):
        catalog.load("agent")
    (project / "raises.py").write_text(AGENT)
    assert call("agent")["text"].startswith("hello")


def test_changed_catalog_is_read_again(project: Path) -> None:
    write(project, {"one": "x:y"})
    assert [entry.name for entry in catalog.list_graphs()] == ["one"]
    write(project, {"one": "x:y", "two": "x:y"})
    os.utime(project / "langgraph.json", ns=(1, 1))
    assert [entry.name for entry in catalog.list_graphs()] == ["one", "two"]


def test_unknown_graph_is_told_with_those_there_are(project: Path) -> None:
    write(project, {"one": "x:y", "two": "x:y"})
    with pytest.raises(GraphNotFound) as missing:
        catalog.get_entry("three")
    assert missing.value.known == ["one", "two"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"graphs": []}',
        '{"graphs": {"a": 1}}',
        '{"graphs": {"a": "x.py"}}',
        '{"graphs": {"a": ":x"}}',
    ],
)
def test_unreadable_catalog_is_told_with_its_path(project: Path, text: str) -> None:
    (project / "langgraph.json").write_text(text)
    with pytest.raises(CatalogUnreadable) as unreadable:
        catalog.list_graphs()
    assert str(project / "langgraph.json") in str(unreadable.value)
    assert [error.id for error in checks.check_catalog()] == ["runs.E001"]


def test_catalog_that_is_no_text_is_told(project: Path) -> None:
    (project / "langgraph.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CatalogUnreadable):
        catalog.list_graphs()


def test_catalog_that_is_missing_or_a_directory_is_told(project: Path) -> None:
    with pytest.raises(CatalogUnreadable, match="LANGGRAPH_JSON"):
        catalog.list_graphs()
    (project / "langgraph.json").mkdir()
    with pytest.raises(CatalogUnreadable, match="LANGGRAPH_JSON"):
        catalog.list_graphs()
