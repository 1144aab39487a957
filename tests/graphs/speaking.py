"""Graphs that stream: tokens of a chat model, and what a node writes itself."""

from __future__ import annotations

import logging
import time
from typing import Any

from django.conf import settings
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from tests.graphs.toys import State, gate, mark

logger = logging.getLogger(__name__)


def speak(state: State) -> State:
    get_stream_writer()({"page": 1})
    said = GenericFakeChatModel(messages=iter([AIMessage("a quiet word")])).invoke("say it")
    mark(state, "said")
    return {"values": [str(said.content)]}


async def speak_async(state: State) -> State:
    get_stream_writer()({"page": 1})
    said = await GenericFakeChatModel(messages=iter([AIMessage("a quiet word")])).ainvoke("say it")
    return {"values": [str(said.content)]}


def speak_and_ask(state: State) -> State:
    speak(state)
    return {"values": [interrupt("go on?")]}


@tool
def look_up(marks: str) -> str:
    """Look something up, until the test lets it go."""
    gate({"marks": marks}, "call")
    return "found"


def use_tool(state: State) -> State:
    return {"values": [look_up.invoke({"marks": state["marks"]})]}


def loop(state: State) -> State:
    mark(state, "begun")
    while True:
        time.sleep(0.01)


def say_all(state: State) -> State:
    """Streams a message by itself, writes between its tokens, and logs."""
    write = get_stream_writer()
    model = GenericFakeChatModel(messages=iter([AIMessage("one two three four")]))
    for number, _ in enumerate(model.stream("say it")):
        if number == 2:
            write({"after": "two"})
    logger.info("the key is %s", settings.SECRET_KEY)
    logger.debug("nobody's business")
    return {"values": ["one two three four"]}


async def say_all_async(state: State) -> State:
    model = GenericFakeChatModel(messages=iter([AIMessage("one two")]))
    async for _ in model.astream("say it"):
        pass
    get_stream_writer()(1)
    logger.warning("async")
    return {"values": ["said"]}


def one_node(node: Any) -> Any:
    return StateGraph(State).add_node("speak", node).add_edge(START, "speak").add_edge("speak", END).compile()


speaking, speaking_async, speaking_asking = one_node(speak), one_node(speak_async), one_node(speak_and_ask)
saying, saying_async = one_node(say_all), one_node(say_all_async)
saying_below = StateGraph(State).add_node("inner", saying).add_edge(START, "inner").add_edge("inner", END).compile()
using_tool, looping = one_node(use_tool), one_node(loop)
