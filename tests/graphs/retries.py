"""Graphs that fail, or are cancelled, until the test mends what is wrong with them; then they are retried."""

from __future__ import annotations

import operator
import os
import signal
import time
from typing import Annotated, Any
from uuid import UUID

from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from runs import join, raise_if_cancelled, spawn
from tests.graphs import toys
from tests.graphs.toys import State, mark, step


class RetryState(State, total=False):
    number: int
    numbers: list[int]
    started: list[str]
    results: Annotated[list[Any], operator.add]


def chain(*nodes: tuple[str, Any], name: str) -> Any:
    return toys.chain(*nodes, name=name, schema=RetryState)


def is_open(state: RetryState, gate: str) -> bool:
    return os.path.exists(f"{state['marks']}.{gate}")


def fails_until_mended(state: RetryState) -> RetryState:
    mark(state, "n5")
    if not is_open(state, "mended"):
        raise ValueError("not mended yet")
    return {"values": ["n5"]}


def dies_once(state: RetryState) -> RetryState:
    """Takes its process along, once, at the place that the test names by a gate."""
    if is_open(state, "die") and not is_open(state, "died"):
        open(f"{state['marks']}.died", "x").close()
        mark(state, "dying")
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    return fails_until_mended(state)


def dies_after(state: RetryState) -> RetryState:
    if is_open(state, "die_late") and not is_open(state, "died"):
        open(f"{state['marks']}.died", "x").close()
        mark(state, "dying")
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    mark(state, "n6")
    return {"values": ["n6"]}


eight = chain(
    *(step(f"n{number}") for number in range(1, 5)),
    ("n5", dies_once),
    ("n6", dies_after),
    step("n7"),
    step("n8"),
    name="eight",
)


async def fails_async(state: RetryState) -> RetryState:
    return fails_until_mended(state)


async_eight = chain(
    *(step(f"n{number}") for number in range(1, 5)),
    ("n5", fails_async),
    *(step(f"n{number}") for number in range(6, 9)),
    name="async_eight",
)


# --- parallel branches ---

_branches = StateGraph(RetryState)
_branches.add_node("left", step("left")[1])
_branches.add_node("n5", fails_until_mended)
_branches.add_node("after", step("after")[1])
_branches.add_edge(START, "left")
_branches.add_edge(START, "n5")
_branches.add_edge(["left", "n5"], "after")
_branches.add_edge("after", END)
one_branch_fails = _branches.compile(name="one_branch_fails")


# --- children ---


def part_node(state: RetryState) -> RetryState:
    """Waits until the test opens its gate; stops when it is told to."""
    name = f"part.{state['number']}"
    mark(state, f"{name}.begun")
    while not is_open(state, name):
        raise_if_cancelled()
        time.sleep(0.005)
    if is_open(state, f"{name}.broken") and not is_open(state, "mended"):
        raise ValueError(f"{name} is broken")
    mark(state, f"{name}.ended")
    return {"results": [state["number"]]}


part = chain(("first", lambda state: mark(state, f"first.{state['number']}")), ("part", part_node), name="part")


def part_input(state: RetryState, number: int) -> dict[str, Any]:
    return {"marks": state["marks"], "number": number}


def numbers_of(results: Any) -> list[Any]:
    return [result.output["results"][0] if result.completed else result.status for result in results]


def keyed_parts(state: RetryState) -> RetryState:
    mark(state, "keyed.begun")
    children = [spawn("part", part_input(state, number), key=str(number)) for number in state["numbers"]]
    mark(state, "keyed.spawned")
    results = join(children)
    mark(state, "keyed.joined")
    return {"results": numbers_of(results)}


parts = chain(step("before"), ("keyed", keyed_parts), step("after"), name="parts")


def start_parts(state: RetryState) -> RetryState:
    mark(state, "started")
    return {"started": [str(spawn("part", part_input(state, number))) for number in state["numbers"]]}


def await_parts(state: RetryState) -> RetryState:
    mark(state, "awaited")
    results = join([UUID(child) for child in state["started"]])
    return {"results": numbers_of(results)}


split_parts = chain(("start", start_parts), ("await", await_parts), step("after"), name="split_parts")


def asks_then_fails(state: RetryState) -> RetryState:
    answer = interrupt({"question": "go on?"})
    children = [spawn("part", part_input(state, number), key=str(number)) for number in state["numbers"]]
    results = join(children)
    return {"results": [answer, *numbers_of(results)]}


asks_and_has_parts = chain(("asks", asks_then_fails), step("after"), name="asks_and_has_parts")


# --- LangGraph's functional API ---


@task
def one_step(state: RetryState, name: str) -> str:
    mark(state, name)
    if name == "n5" and not is_open(state, "mended"):
        raise ValueError("not mended yet")
    return name


@entrypoint()
def functional_steps(state: RetryState) -> dict[str, Any]:
    return {"values": [one_step(state, f"n{number}").result() for number in range(3, 7)]}
