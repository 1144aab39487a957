"""Small graphs for tests and benchmarks. They leave marks in the file that the input names, so that a test sees from
outside what was executed, when and where."""

from __future__ import annotations

import json
import operator
import os
import threading
import time
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph

from runs import asleep, join, progress, should_stop, sleep, spawn


class State(TypedDict, total=False):
    marks: str  # path of the file that takes the marks
    seconds: float
    children: int
    child_graph: str
    values: Annotated[list[str], operator.add]


def mark(state: State, what: str) -> None:
    if state.get("marks"):
        line = {
            "what": what,
            "at": time.time(),
            "pid": os.getpid(),
            "thread": threading.current_thread().name,
        }
        with open(state["marks"], "a") as file:
            file.write(json.dumps(line) + "\n")


def gate(state: State, name: str) -> None:
    """Wait until the test opens the gate, deaf to every stop; tells when a stop has arrived meanwhile."""
    mark(state, f"{name}.begun")
    told = False
    while not os.path.exists(f"{state['marks']}.{name}"):
        if should_stop() and not told:
            told = True
            mark(state, f"{name}.told")
        time.sleep(0.005)
    mark(state, f"{name}.ended")


def chain(*nodes: tuple[str, Any], name: str, schema: Any = State) -> Any:
    graph = StateGraph(schema)
    for node_name, node in nodes:
        graph.add_node(node_name, node)
    names = [node_name for node_name, _ in nodes]
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph.compile(name=name)


def step(name: str) -> Any:
    def node(state: State) -> State:
        mark(state, name)
        return {"values": [name]}

    return name, node


ten_nodes = chain(*(step(f"n{number}") for number in range(10)), name="ten_nodes")
quick = chain(step("only"), name="quick")


def poll(state: State) -> State:
    """Asks every 20 ms, as the documentation tells node authors to."""
    mark(state, "poll.begun")
    ends = time.monotonic() + state.get("seconds", 600)
    try:
        while time.monotonic() < ends and not should_stop():
            mark(state, "tick")
            time.sleep(0.02)
    finally:
        mark(state, "poll.finally")
    return {"values": ["poll"]}


polling = chain(("poll", poll), step("after"), name="polling")


def nap(state: State) -> State:
    mark(state, "nap.begun")
    try:
        sleep(state.get("seconds", 600))
        mark(state, "nap.ended")
    finally:
        mark(state, "nap.finally")
    return {"values": ["nap"]}


napping = chain(step("before"), ("nap", nap), step("after"), name="napping")


def deaf(state: State) -> State:
    """Never asks: only a kill ends it."""
    mark(state, "deaf.begun")
    time.sleep(state.get("seconds", 600))
    mark(state, "deaf.ended")
    return {"values": ["deaf"]}


deaf_graph = chain(("deaf", deaf), step("after"), name="deaf")


async def anap(state: State) -> State:
    mark(state, "anap.begun")
    try:
        await asleep(state.get("seconds", 600))
        mark(state, "anap.ended")
    finally:
        mark(state, "anap.finally")
    return {"values": ["anap"]}


async_napping = chain(("anap", anap), step("after"), name="async_napping")


def fail(state: State) -> State:
    mark(state, "fail")
    raise ValueError("this node fails on purpose")


failing = chain(("fail", fail), name="failing")


def spawn_and_join(state: State) -> State:
    mark(state, "parent.begun")
    graph = state.get("child_graph", "quick")
    child_input = {"marks": state.get("marks", ""), "seconds": state.get("seconds", 600)}
    children = [spawn(graph, child_input) for _ in range(state.get("children", 5))]
    mark(state, "parent.joins")
    results = join(children)
    mark(state, "parent.joined")
    progress(len(results), len(results))
    return {"values": [result.status for result in results]}


parent = chain(("family", spawn_and_join), step("after"), name="parent")
