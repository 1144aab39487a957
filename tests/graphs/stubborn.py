"""Graphs whose nodes never ask: they come to no boundary, and only an interrupt or a kill ends them."""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from runs import critical, on_cancel, raise_if_cancelled
from tests.graphs.toys import State, mark


def short_sleeps(state: State) -> State:
    mark(state, "begun")
    try:
        while True:
            time.sleep(0.01)
    finally:
        mark(state, "finally")


def cpu_loop(state: State) -> State:
    mark(state, "begun")
    number = 0
    while True:
        number += 1


def swallows_exceptions(state: State) -> State:
    mark(state, "begun")
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            mark(state, "swallowed")


def swallows_twice(state: State) -> State:
    """Swallows everything two times, and gives in at the third."""
    mark(state, "begun")
    for _ in range(2):
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            mark(state, "swallowed")
    while True:
        time.sleep(0.01)


def swallows_everything(state: State) -> State:
    mark(state, "begun")
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            mark(state, "swallowed")


def one_long_sleep(state: State) -> State:
    mark(state, "begun")
    time.sleep(600)
    return {}


def starts_subprocess(state: State) -> State:
    process = subprocess.Popen(["sleep", "600"])
    mark(state, "begun")
    process.wait()
    return {}


async def awaits(state: State) -> State:
    mark(state, "begun")
    try:
        await asyncio.sleep(600)
    finally:
        mark(state, "finally")
    return {}


async def shields(state: State) -> State:
    """Swallows its cancellation once, as a careless `except` around an await does."""
    mark(state, "begun")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        mark(state, "swallowed")
    await asyncio.sleep(600)
    return {}


def after(state: State) -> State:
    mark(state, "after")
    return {"values": ["after"]}


def single(node: Any) -> Any:
    graph = StateGraph(State).add_node("node", node).add_node("after", after)
    return graph.add_edge(START, "node").add_edge("node", "after").add_edge("after", END).compile()


def parallel() -> Any:
    graph = StateGraph(State).add_node("branch", short_sleeps).add_node("after", after)
    graph.add_conditional_edges(START, lambda state: [Send("branch", state) for _ in range(3)], ["branch"])
    return graph.add_edge("branch", "after").add_edge("after", END).compile()


def nested() -> Any:
    outer = StateGraph(State).add_node("inner", single(short_sleeps)).add_node("after", after)
    return outer.add_edge(START, "inner").add_edge("inner", "after").add_edge("after", END).compile()


def sync_in_async() -> Any:
    """A sync node beside an async one: LangGraph runs it in the loop's executor."""

    async def first(state: State) -> State:
        return {"values": ["first"]}

    graph = StateGraph(State).add_node("first", first).add_node("node", short_sleeps).add_node("after", after)
    graph.add_edge(START, "first").add_edge("first", "node").add_edge("node", "after").add_edge("after", END)
    return graph.compile()


short_sleeps_graph = single(short_sleeps)
cpu_loop_graph = single(cpu_loop)
swallows_exceptions_graph = single(swallows_exceptions)
swallows_twice_graph = single(swallows_twice)
swallows_everything_graph = single(swallows_everything)
one_long_sleep_graph = single(one_long_sleep)
starts_subprocess_graph = single(starts_subprocess)
awaits_graph = single(awaits)
shields_graph = single(shields)
parallel_graph = parallel()
nested_graph = nested()
sync_in_async_graph = sync_in_async()


def charges_a_card(state: State) -> State:
    """Asks at every step, but not while it charges: that takes a second, whatever comes."""
    on_cancel(lambda: mark(state, "cleaned up"))
    mark(state, "begun")
    with critical("charge card", max_seconds=20):
        mark(state, "charging")
        ends = time.monotonic() + state.get("seconds", 1.0)
        while time.monotonic() < ends:
            time.sleep(0.01)
            raise_if_cancelled()
        mark(state, "charged")
    mark(state, "went on")
    return {}


def overstays(state: State) -> State:
    mark(state, "begun")
    with critical("for ever", max_seconds=1.5):
        mark(state, "charging")
        while True:
            time.sleep(0.01)


def cleans_up(state: State) -> State:
    on_cancel(lambda: mark(state, "cleaned up"))
    mark(state, "begun")
    time.sleep(600)
    return {}


charges_a_card_graph = single(charges_a_card)
overstays_graph = single(overstays)
cleans_up_graph = single(cleans_up)
