"""A graph that looks like work, for the screenshots: it plans, searches in parallel, writes and reviews in a loop."""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from runs import join, progress, spawn
from tests.graphs.toys import chain, step

REPORT = (
    "The light of Gull Rock was lit every night for sixty years. Its log tells of the oil that was burnt, of the ships "
    "that passed, and, from the winter of 1887 on, of a second hand that wrote only when the keeper slept. "
)


class State(TypedDict, total=False):
    question: str
    depth: int
    thorough: bool
    sources: list[str]
    seconds: float
    notes: Annotated[list[str], operator.add]
    drafts: int


class SlowModel(GenericFakeChatModel):
    """Says its words slowly, so that one can watch it."""

    pause_seconds: float = 0.15

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in super()._stream(messages, stop, run_manager, **kwargs):
            time.sleep(self.pause_seconds)
            yield chunk


def plan(state: State) -> State:
    time.sleep(0.4)
    progress(1, 6)
    return {}


def to_searches(state: State) -> list[Send]:
    return [Send("search", {**state, "depth": number}) for number in range(3)]


def search(state: State) -> State:
    time.sleep(0.5 + 0.4 * state.get("depth", 0))
    return {"notes": [f"note {state.get('depth', 0)}"]}


def ask_others(state: State) -> State:
    progress(3, 6)
    join([spawn("quick", {}, key=name) for name in ("archive", "newspapers", "letters")])
    return {}


def write(state: State) -> State:
    progress(4, 6)
    words = int(state.get("seconds", 600) / SlowModel(messages=iter(())).pause_seconds)
    SlowModel(messages=iter([AIMessage(REPORT * (words // len(REPORT.split()) + 1))]), name="gpt-5").invoke("write")
    return {"drafts": state.get("drafts", 0) + 1}


def review(state: State) -> State:
    progress(5, 6)
    return {}


def is_good(state: State) -> str:
    return "good" if state.get("drafts", 0) > 1 else "again"


_research = StateGraph(State)
for _name, _node in (("plan", plan), ("search", search), ("ask_others", ask_others), ("write", write)):
    _research.add_node(_name, _node)
_research.add_node("review", review)
_research.add_node("publish", chain(step("layout"), step("print"), name="publish"))
_research.add_edge(START, "plan")
_research.add_conditional_edges("plan", to_searches, ["search"])
_research.add_edge("search", "ask_others")
_research.add_edge("ask_others", "write")
_research.add_edge("write", "review")
_research.add_conditional_edges("review", is_good, {"again": "write", "good": "publish"})
_research.add_edge("publish", END)
research = _research.compile(name="research")
