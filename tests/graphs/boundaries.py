"""Graphs that are held at the gate `call`, and then come to a boundary: a run that was stopped meanwhile must not get
beyond it."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.config import get_store
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send

from runs import raise_if_cancelled, should_stop, sleep, spawn
from tests.graphs import toys
from tests.graphs.toys import State, gate, mark


class CallState(State, total=False):
    url: str  # of an OpenAI server


def chain(*nodes: tuple[str, Any], name: str) -> Any:
    return toys.chain(*nodes, name=name, schema=CallState)


def held(state: CallState) -> State:
    gate(state, "call")
    return {"values": ["held"]}


def beyond(state: CallState) -> State:
    mark(state, "beyond")
    return {"values": ["beyond"]}


before_node = chain(("held", held), ("beyond", beyond), name="before_node")
ends_by_itself = chain(("held", held), name="ends_by_itself")


def model(state: CallState, client: httpx.Client) -> ChatOpenAI:
    return ChatOpenAI(model="test-model", base_url=state["url"], api_key="test", http_client=client, max_retries=0)  # type: ignore[arg-type]


def ask(state: CallState) -> State:
    gate(state, "call")
    with httpx.Client() as client:
        model(state, client).invoke("a question")
    return beyond(state)


before_llm = StateGraph(CallState).add_node("ask", ask).add_edge(START, "ask").compile(name="before_llm")


@tool
def add(first: int, second: int) -> int:
    """Add two numbers."""
    return first + second


def use_tool(state: CallState) -> State:
    gate(state, "call")
    add.invoke({"first": 1, "second": 2})
    return beyond(state)


class Shelf(BaseRetriever):
    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return []


def retrieve(state: CallState) -> State:
    gate(state, "call")
    Shelf().invoke("anything")
    return beyond(state)


def start_child(state: CallState) -> State:
    gate(state, "call")
    spawn("quick", {"marks": state["marks"]})
    return beyond(state)


def write_store(state: CallState) -> State:
    gate(state, "call")
    get_store().put(("tests",), "key", {"value": 1})
    return beyond(state)


def read_store(state: CallState) -> State:
    gate(state, "call")
    get_store().get(("tests",), "key")
    return beyond(state)


before_tool = chain(("tool", use_tool), name="before_tool")
before_retriever = chain(("retrieve", retrieve), name="before_retriever")
before_spawn = chain(("spawn", start_child), name="before_spawn")
spawns_late = chain(("spawn", start_child), ("beyond", beyond), name="spawns_late")
before_store_write = chain(("store", write_store), name="before_store_write")
before_store_read = chain(("store", read_store), name="before_store_read")

innermost = chain(("held", held), ("beyond", beyond), name="innermost")
middle = chain(("innermost", innermost), ("beyond_innermost", beyond), name="middle")
nested = chain(("middle", middle), ("beyond_middle", beyond), name="nested")


def call_subgraph(state: CallState) -> State:
    innermost.invoke(state)
    return beyond(state)


nested_in_a_call = chain(("caller", call_subgraph), ("beyond_caller", beyond), name="nested_in_a_call")


def quick_branch(state: CallState) -> State:
    mark(state, "quick_branch")
    return {"values": ["quick"]}


_branches = StateGraph(CallState)
_branches.add_node("held", held)
_branches.add_node("quick", quick_branch)
_branches.add_node("beyond", beyond)
_branches.add_edge(START, "held")
_branches.add_edge(START, "quick")
_branches.add_edge(["held", "quick"], "beyond")
static_branches = _branches.compile(name="static_branches")


def send_three(state: CallState) -> list[Send]:
    return [Send("branch", {**state, "seconds": number}) for number in range(3)]


def branch(state: CallState) -> State:
    number = int(state["seconds"])
    mark(state, "branch.begun")
    if number == 0:
        gate(state, "call")
    while not should_stop():
        sleep(0.01)
    raise_if_cancelled()
    return beyond(state)


_sends = StateGraph(CallState)
_sends.add_node("branch", branch)
_sends.add_node("beyond", beyond)
_sends.add_conditional_edges(START, send_three, ["branch"])
_sends.add_edge("branch", "beyond")
send_branches = _sends.compile(name="send_branches")


async def async_gate(state: CallState, name: str) -> None:
    mark(state, f"{name}.begun")
    told = False
    while not os.path.exists(f"{state['marks']}.{name}"):
        if should_stop() and not told:
            told = True
            mark(state, f"{name}.told")
        await asyncio.sleep(0.005)
    mark(state, f"{name}.ended")


async def async_held(state: CallState) -> State:
    await async_gate(state, "call")
    return {"values": ["held"]}


async def async_beyond(state: CallState) -> State:
    return beyond(state)


async_nodes = chain(("held", async_held), ("beyond", async_beyond), name="async_nodes")


async def async_store(state: CallState) -> State:
    await async_gate(state, "call")
    await get_store().aput(("tests",), "key", {"value": 1})
    return beyond(state)


before_async_store = chain(("store", async_store), name="before_async_store")


async def async_spawn(state: CallState) -> State:
    await async_gate(state, "call")
    spawn("quick", {"marks": state["marks"]})
    return beyond(state)


before_async_spawn = chain(("spawn", async_spawn), name="before_async_spawn")


@task
def functional_step(state: CallState) -> str:
    mark(state, "beyond")
    return "beyond"


@entrypoint()
def functional(state: CallState) -> list[str]:
    gate(state, "call")
    return [functional_step(state).result()]


# --- factories --------------------------------------------------------------------------------------------


def plain_factory() -> Any:
    return chain(("held", held), ("beyond", beyond), name="plain_factory")


def builder_factory(config: dict[str, Any]) -> Any:
    assert config["configurable"]["run_id"]
    return plain_factory().builder


async def async_factory() -> Any:
    await asyncio.sleep(0)
    return plain_factory()


def _marked(what: str, config: dict[str, Any]) -> None:
    """A factory knows no state: the file of marks lies where the environment says."""
    mark({"marks": os.environ["FACTORY_MARKS"]}, what)


@contextmanager
def context_factory(config: dict[str, Any]) -> Iterator[Any]:
    _marked("factory.entered", config)
    try:
        yield plain_factory()
    finally:
        _marked("factory.left", config)


@asynccontextmanager
async def async_context_factory(config: dict[str, Any]) -> AsyncIterator[Any]:
    _marked("factory.entered", config)
    try:
        yield plain_factory()
    finally:
        _marked("factory.left", config)


def failing_factory() -> Any:
    raise ValueError("this factory fails on purpose")


# --- a call in flight -------------------------------------------------------------------------------------


def tell_of_a_stop(state: State) -> None:
    """Mark `told` as soon as a stop has reached this process, while the node itself hangs in a call."""

    def watch() -> None:
        while not should_stop():
            threading.Event().wait(0.005)
        mark(state, "told")

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(watch,), daemon=True).start()


def ask_twice(state: CallState) -> State:
    tell_of_a_stop(state)
    client = httpx.Client()
    try:
        model(state, client).invoke("first")
        mark(state, "first.answered")
        model(state, client).invoke("second")
        mark(state, "second.answered")
    finally:
        client.close()
        mark(state, "client.closed" if client.is_closed else "client.open")
    return {"values": ["asked"]}


asking = StateGraph(CallState).add_node("ask", ask_twice).add_edge(START, "ask").compile(name="asking")


async def ask_twice_async(state: CallState) -> State:
    tell_of_a_stop(state)
    async with httpx.AsyncClient() as client:
        asked = ChatOpenAI(
            model="test-model", base_url=state["url"], api_key="test", http_async_client=client, max_retries=0
        )  # type: ignore[call-arg]
        try:
            await asked.ainvoke("first")
            mark(state, "first.answered")
            await asked.ainvoke("second")
            mark(state, "second.answered")
        finally:
            await client.aclose()
            mark(state, "client.closed")
    return {"values": ["asked"]}


async_asking = (
    StateGraph(CallState).add_node("ask", ask_twice_async).add_edge(START, "ask").compile(name="async_asking")
)


# --- swallowing -------------------------------------------------------------------------------------------


def catches_exceptions(state: State) -> State:
    mark(state, "node.begun")
    gate(state, "call")
    for _ in range(3):
        try:
            raise_if_cancelled()
        except Exception:
            mark(state, "swallowed")
    return beyond(state)


_careless = StateGraph(CallState)
_careless.add_node("node", catches_exceptions, retry_policy=RetryPolicy(max_attempts=3, retry_on=Exception))
_careless.add_edge(START, "node")
_careless.add_edge("node", END)
careless = _careless.compile(name="careless")
