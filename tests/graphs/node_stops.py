"""Graphs with a node that is stopped while the rest goes on: `branch`, beside `sibling` where there is one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy

from runs import asleep, on_cancelled, raise_if_cancelled, should_stop, sleep, spawn
from tests.graphs import stubborn
from tests.graphs.toys import State, gate, mark


def sibling(state: State) -> State:
    mark(state, "sibling.begun")
    return {"values": ["sibling"]}


def held_sibling(state: State) -> State:
    """Goes on until the test opens the gate; would not if it were told to stop."""
    mark(state, "sibling.begun")
    gate(state, "sibling")
    raise_if_cancelled()
    mark(state, "sibling.not told" if not should_stop() else "sibling.told")
    return {"values": ["sibling"]}


def after(state: State) -> State:
    mark(state, "after")
    return {"values": ["after"]}


WAYS = ("skipped", "other")
DECLARED = {"values": ["declared"]}


def parallel(branch: Any, *, beside: Any = held_sibling, name: str = "parallel", **options: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node("branch", branch, **options)
    graph.add_node("sibling", beside)
    graph.add_node("after", after)
    graph.add_edge(START, "branch")
    graph.add_edge(START, "sibling")
    graph.add_edge(["branch", "sibling"], "after")
    graph.add_edge("after", END)
    return graph.compile(name=name)


def naps(state: State) -> State:
    mark(state, "begun")
    try:
        sleep(600)
    finally:
        mark(state, "finally")
    return {"values": ["branch"]}


@on_cancelled(DECLARED)
def polls(state: State) -> State:
    mark(state, "begun")
    while not should_stop():
        time.sleep(0.01)
    raise_if_cancelled()
    return {"values": ["branch"]}


async def async_naps(state: State) -> State:
    mark(state, "begun")
    try:
        await asleep(600)
    finally:
        mark(state, "finally")
    return {"values": ["branch"]}


def made_of_its_input(state: State) -> State:
    return {"values": [f"made of {len(state['marks']) > 0}"]}


async def declared_later(state: State) -> State:
    await asyncio.sleep(0)
    return {"values": ["declared later"]}


async def async_sibling(state: State) -> State:
    return await asyncio.to_thread(held_sibling, state)


@on_cancelled(DECLARED)
def swallows_once(state: State) -> State:
    mark(state, "begun")
    try:
        while True:
            time.sleep(0.01)
    except BaseException:
        mark(state, "swallowed")
    return stubborn.short_sleeps({})


def tried_again(state: State) -> State:
    mark(state, "begun")
    try:
        sleep(600)
    except BaseException as error:
        raise ValueError("a careless node hides why it leaves") from error
    return {"values": ["branch"]}


def spawns(state: State) -> State:
    """Its children outlive the call; the last is started while it is being stopped."""
    spawn("napping", {"marks": state["marks"]})
    mark(state, "begun")
    sleep(600)
    return {"values": ["branch"]}


def at_the_end(state: State) -> State:
    """Held at its last line."""
    mark(state, "begun")
    gate(state, "call")
    return {"values": ["branch"]}


naps_graph = parallel(naps)
polls_graph = parallel(polls)
cpu_loop_graph = parallel(stubborn.cpu_loop, metadata={"on_cancelled": made_of_its_input})
one_c_call_graph = parallel(stubborn.one_long_sleep, beside=sibling, metadata={"on_cancelled": DECLARED})
async_naps_graph = parallel(async_naps, beside=async_sibling)
awaits_graph = parallel(stubborn.awaits, beside=async_sibling, metadata={"on_cancelled": declared_later})
sync_in_async_graph = parallel(stubborn.short_sleeps, beside=async_sibling)
swallows_once_graph = parallel(swallows_once)
careless_graph = parallel(tried_again, retry_policy=RetryPolicy(max_attempts=3, retry_on=Exception))
spawns_graph = parallel(spawns)
at_the_end_graph = parallel(at_the_end)


def inner(branch: Any) -> Any:
    """A subgraph with a step before, so that one sees whether it is executed again."""
    graph = StateGraph(State)
    graph.add_node("before", lambda state: mark(state, "inner.before"))
    graph.add_node("branch", branch)
    graph.add_node("inner_after", lambda state: mark(state, "inner.after"))
    graph.add_edge(START, "before").add_edge("before", "branch").add_edge("branch", "inner_after")
    return graph.add_edge("inner_after", END).compile()


nested_graph = parallel(inner(naps))
nested_declared_graph = parallel(inner(stubborn.short_sleeps), metadata={"on_cancelled": DECLARED})
nested_c_call_graph = parallel(inner(stubborn.one_long_sleep), beside=sibling)


def calls_a_graph(state: State) -> State:
    inner(naps).invoke(state)
    return {}


called_graph = parallel(calls_a_graph)


def route(state: State) -> str:
    return "skipped" if "declared" in state["values"] else "other"


@on_cancelled(Command(update={"values": ["declared"]}, goto="skipped"))
def goes_elsewhere(state: State) -> Command[Any]:
    mark(state, "begun")
    sleep(600)
    return Command(goto="other")


def forking(branch: Any, **options: Any) -> StateGraph[Any]:
    """After the branch either `skipped` or `other`."""
    graph = StateGraph(State)
    graph.add_node("branch", branch, **options)
    for way in WAYS:
        graph.add_node(way, lambda state, way=way: {"values": [way]})
        graph.add_edge(way, END)
    return graph.add_edge(START, "branch")


conditional_graph = forking(polls).add_conditional_edges("branch", route, list(WAYS)).compile(name="conditional")
commanding_graph = forking(goes_elsewhere, destinations=WAYS).compile(name="commanding")


async def made() -> Any:
    await asyncio.sleep(0)
    return parallel(polls)
