"""Graphs that start others and wait for them, or for a person."""

from __future__ import annotations

import json
import operator
import time
from typing import Annotated, Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, interrupt

from runs import current_run, join, should_stop, spawn
from runs.errors import ChildFailed
from tests.graphs import toys
from tests.graphs.toys import State, gate, mark, step


class TreeState(State, total=False):
    depth: int
    graphs: list[str]  # of the children
    abandon: bool
    answers: Annotated[list[Any], operator.add]


def chain(*nodes: tuple[str, Any], name: str) -> Any:
    return toys.chain(*nodes, name=name, schema=TreeState)


def child_input(state: TreeState) -> dict[str, Any]:
    return {"marks": state["marks"], "seconds": state.get("seconds", 600)}


def mixed_family(state: TreeState) -> TreeState:
    """Children of the named graphs, joined without raising."""
    stop = "abandon" if state.get("abandon") else "cancel"
    children = [spawn(graph, child_input(state), on_parent_stop=stop) for graph in state["graphs"]]
    mark(state, "family.spawned")
    results = join(children, raise_on_failure=False)
    mark(state, "family.joined")
    return {"values": [f"{result.graph} {result.status}" for result in results]}


family = chain(("family", mixed_family), step("after"), name="family")


def strict_family(state: TreeState) -> TreeState:
    children = [spawn(graph, child_input(state)) for graph in state["graphs"]]
    try:
        join(children)
    except ChildFailed as error:
        mark(state, f"failed: {[child.graph for child in error.failed]}")
        raise
    return {}


strict = chain(("family", strict_family), step("after"), name="strict")


def fails_after_spawning(state: TreeState) -> TreeState:
    for graph in state["graphs"]:
        spawn(graph, child_input(state))
    gate(state, "call")
    raise ValueError("this parent fails on purpose")


failing_parent = chain(("family", fails_after_spawning), name="failing_parent")


def deeper(state: TreeState) -> TreeState:
    """A chain of runs, each waiting for the next; the last naps."""
    mark(state, f"depth.{state['depth']}")
    graph = "deep" if state["depth"] > 1 else "napping"
    join([spawn(graph, {**child_input(state), "depth": state["depth"] - 1})], raise_on_failure=False)
    return {}


deep = chain(("deeper", deeper), name="deep")


def one_child(name: str) -> Any:
    def node(state: TreeState) -> TreeState:
        mark(state, f"{name}.begun")
        (result,) = join([spawn("quick", child_input(state))])
        mark(state, f"{name}.joined")
        return {"values": [f"{name} {result.status}"]}

    return node


_branches = StateGraph(TreeState)
_branches.add_node("left", one_child("left"))
_branches.add_node("right", one_child("right"))
_branches.add_node("after", step("after")[1])
_branches.add_edge(START, "left")
_branches.add_edge(START, "right")
_branches.add_edge(["left", "right"], "after")
_branches.add_edge("after", END)
joins_in_branches = _branches.compile(name="joins_in_branches")


def joins_twice(state: TreeState) -> TreeState:
    first = join([spawn("quick", child_input(state))])
    second = join([spawn("quick", child_input(state)), spawn("ten_nodes", child_input(state))])
    return {"values": [result.status for result in first + second]}


twice = chain(("twice", joins_twice), step("after"), name="twice")


def subgraph(inner: Any, name: str) -> Any:
    built = StateGraph(TreeState)
    built.add_node("inner", inner)
    built.add_edge(START, "inner")
    return built.compile(name=name)


in_subgraph = chain(
    ("outer", subgraph(subgraph(one_child("deep"), "second"), "first")), step("after"), name="in_subgraph"
)


def fails_once_after_spawning(state: TreeState) -> TreeState:
    mark(state, "try")
    children = [spawn("quick", child_input(state)), spawn("quick", child_input(state), key="named")]
    gate(state, "call")
    open_once = f"{state['marks']}.tried"
    try:
        with open(open_once, "x"):
            pass
    except FileExistsError:
        pass
    else:
        raise ValueError("the first try fails")
    return {"values": [result.status for result in join(children)]}


_retried = StateGraph(TreeState)
_retried.add_node(
    "retried",
    fails_once_after_spawning,
    retry_policy=RetryPolicy(max_attempts=3, initial_interval=0.01, jitter=False, retry_on=ValueError),
)
_retried.add_edge(START, "retried")
retried = _retried.compile(name="retried")


def asks(state: TreeState) -> TreeState:
    mark(state, "asking")
    answer = interrupt({"question": "go on?"})
    mark(state, "answered")
    return {"answers": [answer]}


asking_human = chain(("asks", asks), step("after"), name="asking_human")


def asks_late(state: TreeState) -> TreeState:
    gate(state, "call")
    return asks(state)


asking_human_late = chain(("asks", asks_late), name="asking_human_late")

_both = StateGraph(TreeState)
_both.add_node("asks", asks)
_both.add_node("joins", one_child("child"))
_both.add_node("after", step("after")[1])
_both.add_edge(START, "asks")
_both.add_edge(START, "joins")
_both.add_edge(["asks", "joins"], "after")
asks_and_joins = _both.compile(name="asks_and_joins")


def asks_twice(state: TreeState) -> TreeState:
    return {"answers": [interrupt("first?"), interrupt("second?")]}


asking_twice = chain(("asks", asks_twice), name="asking_twice")

_two = StateGraph(TreeState)
for _name in ("one", "two"):
    _two.add_node(_name, asks)
    _two.add_edge(START, _name)
two_questions = _two.compile(name="two_questions")


def spawns_for_ever(state: TreeState) -> TreeState:
    number = 0
    while True:
        spawn("quick", child_input(state))
        number += 1
        mark(state, "spawned")


spawning = chain(("spawns", spawns_for_ever), step("after"), name="spawning")


def polls_and_spawns_late(state: TreeState) -> TreeState:
    """A node that goes on after the stop, and then tries to start a child all the same."""
    mark(state, "waiting")
    while not should_stop():
        time.sleep(0.005)
    try:
        spawn("quick", child_input(state))
        mark(state, "late child")
    except BaseException as error:
        mark(state, f"refused: {type(error).__name__}")
        raise
    return {}


late_spawner = chain(("late", polls_and_spawns_late), name="late_spawner")


async def async_family_node(state: TreeState) -> TreeState:
    children = [spawn("quick", child_input(state)) for _ in range(2)]
    mark(state, "family.spawned")
    return {"values": [result.status for result in join(children)]}


async_family = chain(("family", async_family_node), ("after", step("after")[1]), name="async_family")


def asks_project(state: TreeState) -> TreeState:
    """What any code in a worker may ask; it stops everything but itself."""
    from graduation_backend import celery

    seen = celery.get_active_graphs()
    others = [run_id for run_id in seen if run_id != str(current_run().id)]
    cancelled = [run_id for run_id in others if celery.cancel_graph_execution(run_id)]
    return {"values": [json.dumps(list(seen)), json.dumps(cancelled)]}


asks_the_project = chain(("asks", asks_project), name="asks_the_project")
