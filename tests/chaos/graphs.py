"""Graphs for chaos. Each node notes when it begins, works and ends, for which run and attempt, in which process."""

from __future__ import annotations

import asyncio
import json
import operator
import os
import signal
import subprocess
import time
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from runs import critical, join, sleep, spawn, tokens
from runs.testing import hostile

TICK_SECONDS = 0.03

# The nodes of `runs.testing.hostile` that never end by themselves. Left out: a fork that executes no program carries
# no mark, so nobody finds it when the processes above it were killed from outside (see `runs.remains`).
HOSTILE = {
    "sleeps_in_steps": hostile.loop_of_sleeps,
    "counts": hostile.loop_of_sums,
    "sleeps": hostile.sleep_once,
    "swallows": hostile.swallow_everything,
    "keeps_the_interpreter": hostile.keep_the_interpreter,
    "matches": hostile.match_for_ever,
    "receives": hostile.receive_nothing,
    "waits_for_a_pool": hostile.wait_for_a_pool,
    "leaves_a_thread": hostile.leave_a_thread,
    "hangs_in_cleanup": hostile.hang_in_cleanup,
    "blocks_signals": hostile.block_signals,
    "waits_for_a_process": hostile.wait_for_a_process,
    "starts_a_daemon": hostile.start_a_daemon,
    "starts_a_hopping_process": hostile.start_a_hopping_process,
}


class State(TypedDict, total=False):
    marks: str  # path of the file for all notes of all runs
    seconds: float  # of work in each node
    resist: str  # one of HOSTILE
    children: list[dict[str, Any]]  # each with "graph", and the rest its input
    values: Annotated[list[str], operator.add]


def note(state: State, node: str, what: str) -> None:
    token = tokens.find_token()
    assert token is not None
    line = {
        "run": str(token.run_id),
        "attempt": token.attempt,
        "pid": os.getpid(),
        "node": node,
        "what": what,
        "at": time.time(),
    }
    # One short write at the end of the file is whole, whoever else writes.
    descriptor = os.open(state["marks"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def work(state: State, node: str) -> None:
    ends = time.monotonic() + state.get("seconds", 0.1)
    while time.monotonic() < ends:
        note(state, node, "tick")
        time.sleep(TICK_SECONDS)


def noted(name: str, call: Any = work) -> tuple[str, Any]:
    def node(state: State) -> State:
        note(state, name, "begin")
        call(state, name)
        note(state, name, "end")
        return {"values": [name]}

    return name, node


def noted_async(name: str) -> tuple[str, Any]:
    async def node(state: State) -> State:
        note(state, name, "begin")
        ends = time.monotonic() + state.get("seconds", 0.1)
        while time.monotonic() < ends:
            note(state, name, "tick")
            await asyncio.sleep(TICK_SECONDS)
        note(state, name, "end")
        return {"values": [name]}

    return name, node


def line_of(*nodes: tuple[str, Any]) -> Any:
    graph = StateGraph(State)
    for name, node in nodes:
        graph.add_node(name, node)
    names = [name for name, _ in nodes]
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph.compile()


def nap(state: State, name: str) -> None:
    sleep(state.get("seconds", 0.1) * 5)


def start_process(state: State, name: str) -> None:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        work(state, name)
    finally:
        process.kill()
        process.wait()


def charge(state: State, name: str) -> None:
    with critical("charge card", max_seconds=1.0):
        work(state, name)


def fail(state: State, name: str) -> None:
    raise ValueError("this node fails on purpose")


def die(state: State, name: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def resist(state: State) -> State:
    note(state, "resist", "begin")
    HOSTILE[state["resist"]]({"begun": f"{state['marks']}.{os.getpid()}"})
    return {}


def family(state: State) -> State:
    """Notes its own stretches: it is executed again from its first line when the children have ended."""
    note(state, "family", "begin")
    children = [
        spawn(child["graph"], {"marks": state["marks"], **{key: child[key] for key in child if key != "graph"}})
        for child in state["children"]
    ]
    note(state, "family", "joins")
    results = join(children, raise_on_failure=False)
    note(state, "family", "end")
    return {"values": [result.status for result in results]}


def ask(state: State) -> State:
    note(state, "ask", "begin")
    answer = interrupt("go on?")
    note(state, "ask", "end")
    return {"values": [str(answer)]}


chain = line_of(*(noted(f"n{number}") for number in range(5)))
async_chain = line_of(*(noted_async(f"n{number}") for number in range(4)))
napping = line_of(noted("n0"), noted("n1", nap), noted("n2"))
processes = line_of(noted("n0", start_process), noted("n1", start_process))
charging = line_of(noted("n0", charge), noted("n1", charge))
failing = line_of(noted("n0"), noted("n1", fail))
poison = line_of(noted("n0"), noted("n1", die))
resisting = line_of(noted("n0"), ("resist", resist))
tree = line_of(noted("n0"), ("family", family), noted("n1"))
asking = line_of(noted("n0"), ("ask", ask), noted("n1"))
