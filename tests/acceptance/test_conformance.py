"""Every hostile graph is stopped in every mode: in time, with nothing left, by a worker that goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runs.testing import conformance
from runs.testing.conformance import MODES, WorkerUnderTest
from tests.environment import ROOT
from tests.services import process_environment

GRACE_SECONDS = 1.0


@pytest.fixture
def hostile_worker(redis_server: None, transactional_db: None, settings, tmp_path: Path) -> Iterator[WorkerUnderTest]:
    settings.RUNS_LANGGRAPH_JSON = conformance.HOSTILE_JSON
    settings.RUNS_INTERRUPT_AFTER_SECONDS = 0.3
    environment = {**process_environment(), "LANGGRAPH_JSON": str(conformance.HOSTILE_JSON)}
    with conformance.worker_under_test("graduation_backend", tmp_path, environment) as worker:
        yield worker


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_stop_of_every_hostile_graph_leaves_nothing(hostile_worker: WorkerUnderTest, mode: str) -> None:
    measured = conformance.measure_all(
        hostile_worker, list(conformance.list_graphs()), [mode], grace_seconds=GRACE_SECONDS
    )

    assert len(measured) > 18
    assert {row.graph: row.problems for row in measured if not row.is_passed} == {}
    assert {row.graph: row.took for row in measured if row.graph.endswith("_process") and not row.took} == {}
    pool = psutil.Process(hostile_worker.process.pid).children(recursive=True)
    assert [process for process in pool if process.status() == psutil.STATUS_ZOMBIE] == []


FOREIGN_GRAPH = """
import subprocess, time
from langgraph.graph import StateGraph, START

def node(state: dict) -> dict:
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    for _ in range(state["count"]):
        time.sleep(0.01)
    return {}

graph = StateGraph(dict).add_node("node", node).add_edge(START, "node")
"""


def stop_conformance(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "stop_conformance", *words],
        cwd=ROOT,
        env={**process_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=90,
    )


def test_command_measures_the_graph_of_a_foreign_catalog(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(FOREIGN_GRAPH)
    (tmp_path / "langgraph.json").write_text(
        json.dumps({"dependencies": ["."], "graphs": {"mine": "./agent.py:graph"}})
    )
    page = tmp_path / "page.md"

    done = stop_conformance(
        *("--graph", "mine", "--input", '{"count": 100000}', "--mode", "interrupt", "--mode", "kill"),
        *("--grace", "2", "--json", "--markdown", str(page)),
        LANGGRAPH_JSON=str(tmp_path / "langgraph.json"),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads(done.stdout)
    assert [(one["mode"], one["status"], one["rung"], one["took"], one["left"]) for one in measured] == [
        ("interrupt", "cancelled", 1, ["sleep"], []),
        ("kill", "cancelled", 2, ["sleep"], []),
    ]
    assert "| `mine` |" in page.read_text()
    assert str(tmp_path) not in page.read_text()


def test_command_says_that_a_graph_ended_before_it_could_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text(FOREIGN_GRAPH)
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": {"mine": "./agent.py:graph"}}))

    done = stop_conformance("--graph", "mine", "--mode", "kill", LANGGRAPH_JSON=str(tmp_path / "langgraph.json"))

    assert done.returncode == 1
    assert "failed before it could be stopped: KeyError: 'count'" in done.stderr


def test_command_refuses_a_graph_that_is_not_in_the_catalog() -> None:
    done = stop_conformance("--graph", "nowhere")

    assert done.returncode == 2
    assert "nowhere" in done.stderr
