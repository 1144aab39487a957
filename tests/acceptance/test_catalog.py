"""A worker runs the graphs of a project that knows nothing of this one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import control
from runs.errors import GraphNotFound
from tests.services import Marks, WorkerProcess
from tests.unit.runs.test_catalog import AGENT


@pytest.fixture
def catalog_path(tmp_path: Path, settings: Any) -> Path:
    folder = tmp_path / "foreign project"
    folder.mkdir()
    (folder / "agent.py").write_text(AGENT)
    (folder / "foreign_helpers.py").write_text("def answer():\n    return 'hello'\n")
    graphs = {name: f"./agent.py:{name}" for name in ("graph", "builder", "async_graph", "factory", "async_factory")}
    graphs["broken"] = "./agent.py:absent"
    path = folder / "langgraph.json"
    path.write_text(json.dumps({"dependencies": ["."], "graphs": graphs, "env": {"FOREIGN_SUFFIX": "!"}}))
    settings.RUNS_LANGGRAPH_JSON = path
    return path


def test_graphs_of_a_foreign_project_run_and_a_broken_one_is_told(
    start_worker: Callable[..., WorkerProcess], catalog_path: Path, marks: Marks
) -> None:
    start_worker(LANGGRAPH_JSON=str(catalog_path))

    for name in ("graph", "builder", "async_graph", "factory", "async_factory"):
        ended = control.wait(control.submit(name, {"text": ""}).id, timeout_seconds=30)
        assert (ended.status, ended.error) == ("completed", None)
        assert ended.output["text"] in ("hello!", "hello")
    ended = control.wait(control.submit("broken", {"text": ""}).id, timeout_seconds=30)
    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error["type"] == "GraphImportFailed"
    assert "'broken'" in ended.error["message"]
    with pytest.raises(GraphNotFound):
        control.submit("quick", {})
