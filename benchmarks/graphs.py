"""What the benchmarks run: a ten-node graph, and a plain Celery task that invokes the same graph."""

from __future__ import annotations

import operator
import os
import time
import uuid
from typing import Annotated, Any, TypedDict

from celery import shared_task
from langgraph.graph import END, START, StateGraph

from runs import checkpoints, should_stop
from runs.connections import redis_client


class State(TypedDict, total=False):
    name: str
    values: Annotated[list[str], operator.add]


def first(state: State) -> State:
    if state.get("name"):
        redis_client().rpush(f"bench:first:{state['name']}", time.time())
    return {"values": ["0"]}


def step(state: State) -> State:
    return {"values": ["x"]}


def build() -> Any:
    graph = StateGraph(State)
    names = [f"n{number}" for number in range(10)]
    for number, name in enumerate(names):
        graph.add_node(name, step if number else first)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph.compile()


ten_nodes = build()


def poll(state: State) -> State:
    """A node that asks every 20 ms; its last effect before it stops is what the benchmark reads."""
    client = redis_client()
    while not should_stop():
        client.set(f"bench:tick:{state['name']}", time.time())
        time.sleep(0.02)
    return {}


polling = StateGraph(State).add_node("poll", poll).add_edge(START, "poll").compile()


def hang(state: State) -> State:
    """Says which process it is in and comes back to nobody."""
    redis_client().set(f"bench:pid:{state['name']}", os.getpid())
    time.sleep(600)
    return {}


hanging = StateGraph(State).add_node("hang", hang).add_edge(START, "hang").compile()


@shared_task(name="benchmarks.hang", queue="ai_processing")
def hang_plainly(name: str) -> None:
    """The baseline of a kill."""
    hang({"name": name})


@shared_task(name="benchmarks.invoke", queue="ai_processing")
def invoke(name: str = "") -> None:
    """The baseline: the same graph, the same checkpointer, no run."""
    graph = ten_nodes.copy(update={"checkpointer": checkpoints.checkpointer()})
    graph.invoke({"name": name}, {"configurable": {"thread_id": str(uuid.uuid4())}}, durability="sync")
    redis_client().incr("bench:done")
