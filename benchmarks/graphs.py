"""What the benchmarks run: a ten-node graph, and a plain Celery task that invokes the same graph."""

from __future__ import annotations

import operator
import os
import time
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

from celery import shared_task
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph

from runs import checkpoints, should_stop
from runs.connections import redis_client


class State(TypedDict, total=False):
    name: str
    tokens: int
    per_second: float
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


class Babbler(GenericFakeChatModel):
    """Streams tokens as a fast model does: each is there at its time, however long the last one was looked at."""

    tokens: int
    per_second: float

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        began = time.perf_counter()
        manager = kwargs.get("run_manager")
        for number in range(self.tokens):
            if self.per_second and (wait := began + number / self.per_second - time.perf_counter()) > 0:
                time.sleep(wait)
            chunk = ChatGenerationChunk(message=AIMessageChunk(content="word "))
            if manager is not None:
                manager.on_llm_new_token("word ", chunk=chunk)
            yield chunk


def babble(state: State) -> State:
    """Says how long it took to hear a model out."""
    tokens, per_second = state["tokens"], state["per_second"]
    began = time.perf_counter()
    for _ in Babbler(messages=iter(()), tokens=tokens, per_second=per_second).stream("say it"):
        pass
    redis_client().rpush(f"bench:babble:{state['name']}", time.perf_counter() - began)
    return {}


babbling = StateGraph(State).add_node("babble", babble).add_edge(START, "babble").compile()


def report(state: State) -> State:
    """Tells the time, again and again."""
    for _ in range(state["tokens"]):
        get_stream_writer()(time.time())
        time.sleep(1 / state["per_second"])
    return {}


reporting = StateGraph(State).add_node("report", report).add_edge(START, "report").compile()


@shared_task(name="benchmarks.babble", queue="ai_processing")
def babble_plainly(**state: Any) -> None:
    """The baseline of the tokens: the same graph without an engine."""
    babbling.invoke(state)


@shared_task(name="benchmarks.invoke", queue="ai_processing")
def invoke(name: str = "") -> None:
    """The baseline: the same graph, the same checkpointer, no run."""
    graph = ten_nodes.copy(update={"checkpointer": checkpoints.checkpointer()})
    graph.invoke({"name": name}, {"configurable": {"thread_id": str(uuid.uuid4())}}, durability="sync")
    redis_client().incr("bench:done")
