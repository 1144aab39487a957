"""Runs of several nodes, for drains and rolling restarts. A mark names its run, so that a test sees what was done
twice."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

from langgraph.config import get_config
from langgraph.runtime import get_runtime

from runs import join, should_stop, spawn
from tests.graphs.toys import State, chain, mark, step

STEP_SECONDS = 0.15


def _mark(state: State, what: str) -> None:
    mark(state, f"{get_config()['configurable']['run_id']} {what}")


def working(name: str) -> tuple[str, Any]:
    def node(state: State) -> State:
        _mark(state, f"{name}.begun")
        time.sleep(STEP_SECONDS)
        _mark(state, f"{name}.finished")
        return {"values": [name]}

    return name, node


def with_process(state: State) -> State:
    _mark(state, "process.begun")
    subprocess.run(["sleep", str(STEP_SECONDS)], check=True)
    _mark(state, "process.finished")
    return {"values": ["process"]}


def with_children(state: State) -> State:
    """Executed again from its first line when the children have ended: it has finished once all the same."""
    children = [spawn("rolling_steps", {"marks": state["marks"]}) for _ in range(3)]
    results = join(children)
    _mark(state, "children.finished")
    return {"values": [result.status for result in results]}


def with_child(state: State) -> State:
    (result,) = join([spawn("rolling_tree", {"marks": state["marks"]})])
    _mark(state, "child.finished")
    return {"values": [result.status]}


inner = chain(working("i1"), working("i2"), name="inner")
steps = chain(working("a"), ("process", with_process), ("inner", inner), working("b"), name="rolling_steps")
tree = chain(working("a"), ("children", with_children), working("b"), working("c"), name="rolling_tree")
deep_tree = chain(working("a"), ("child", with_child), working("b"), name="rolling_deep_tree")

# Which nodes of a run must have finished, once.
FINISHED = {
    "rolling_steps": {"a", "process", "i1", "i2", "b"},
    "rolling_tree": {"a", "children", "b", "c"},
    "rolling_deep_tree": {"a", "child", "b"},
}


def gate_that_sees_drains(state: State) -> State:
    """Wait until the test opens the gate `call`; mark when this process has been told to drain."""
    mark(state, "call.begun")
    control = get_runtime().control
    told = False
    while not os.path.exists(f"{state['marks']}.call"):
        if control is not None and control.drain_requested and not told:
            told = True
            mark(state, "call.stopped" if should_stop() else "call.draining")
        time.sleep(0.005)
    mark(state, "call.ended")
    return {"values": ["held"]}


pausable = chain(step("before"), ("held", gate_that_sees_drains), step("after"), name="pausable")
pausable_nested = chain(("inner", pausable), step("beyond"), name="pausable_nested")
