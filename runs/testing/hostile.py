"""Graphs that are hard to stop, each in its own way, and `next_run`, which shows that a worker still works.

Every node tells that it has begun by making the file that the input names as `begun`. None asks for the token:
that would be easy.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

BRANCHES = 3
FOR_EVER_SECONDS = 600


class State(TypedDict, total=False):
    begun: str  # path of the file that tells that the graph has begun
    number: int  # of a branch
    partners: list[str]  # of `next_run`: the files of all that must run at the same time


def tell_begun(state: State) -> None:
    """Make the file; of branches, each makes one, and the last to begin makes the one that counts."""
    begun = Path(state["begun"])
    if "number" in state:
        begun.with_name(f"{begun.name}.{state['number']}").touch()
        if not all(begun.with_name(f"{begun.name}.{number}").exists() for number in range(BRANCHES)):
            return
    begun.touch()


def single(node: Any, name: str) -> Any:
    graph = StateGraph(State)
    graph.add_node("node", node)
    graph.add_edge(START, "node").add_edge("node", END)
    return graph.compile(name=name)


def sleep_in_steps() -> None:
    while True:
        time.sleep(0.01)


# --- what Python can end --------------------------------------------------------------------------------------


async def wait_in_loop(state: State) -> State:
    tell_begun(state)
    await asyncio.sleep(FOR_EVER_SECONDS)
    return {}


def loop_of_sleeps(state: State) -> State:
    tell_begun(state)
    sleep_in_steps()
    return {}


def loop_of_sums(state: State) -> State:
    tell_begun(state)
    number = 0
    while True:
        number += 1


class SlowModel(BaseChatModel):
    """A chat model that streams one token after the other and comes to no end; it needs no network."""

    begun: str

    @property
    def _llm_type(self) -> str:
        return "slow"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError("it only streams")

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        while True:
            yield self._next_token()
            time.sleep(0.1)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        while True:
            yield self._next_token()
            await asyncio.sleep(0.1)

    def _next_token(self) -> ChatGenerationChunk:
        tell_begun({"begun": self.begun})
        return ChatGenerationChunk(message=AIMessageChunk(content="and "))


def stream_tokens(state: State) -> State:
    for _ in SlowModel(begun=state["begun"]).stream("Tell a story without an end."):
        pass
    return {}


def send_branches(state: State) -> list[Send]:
    return [Send("branch", {**state, "number": number}) for number in range(BRANCHES)]


def parallel() -> Any:
    graph = StateGraph(State)
    graph.add_node("branch", loop_of_sleeps)
    graph.add_conditional_edges(START, send_branches, ["branch"])
    return graph.add_edge("branch", END).compile(name="parallel_branches")


# --- what Python can't end ------------------------------------------------------------------------------------


def sleep_once(state: State) -> State:
    tell_begun(state)
    time.sleep(FOR_EVER_SECONDS)
    return {}


def swallow_everything(state: State) -> State:
    tell_begun(state)
    while True:
        try:
            sleep_in_steps()
        except BaseException:
            time.sleep(0.001)


async def block_the_loop(state: State) -> State:
    tell_begun(state)
    sleep_in_steps()
    return {}


def keep_the_interpreter(state: State) -> State:
    tell_begun(state)
    sum(range(10**13))
    return {}


def match_for_ever(state: State) -> State:
    tell_begun(state)
    re.match(r"(a+)+$", "a" * 60 + "b")
    return {}


def receive_nothing(state: State) -> State:
    ours, theirs = socket.socketpair()
    tell_begun(state)
    with ours, theirs:
        ours.recv(1)
    return {}


def wait_for_a_pool(state: State) -> State:
    with ThreadPoolExecutor(BRANCHES) as pool:
        futures = [pool.submit(time.sleep, FOR_EVER_SECONDS) for _ in range(BRANCHES)]
        tell_begun(state)
        for future in futures:
            future.result()
    return {}


def leave_a_thread(state: State) -> State:
    threading.Thread(target=sleep_in_steps, daemon=True).start()
    tell_begun(state)
    sleep_in_steps()
    return {}


def wait_for_a_lock(state: State) -> State:
    lock = threading.Lock()
    lock.acquire()  # and nobody will ever release it
    tell_begun(state)
    try:
        sleep_in_steps()
    finally:
        lock.acquire()
    return {}


def hang_in_cleanup(state: State) -> State:
    tell_begun(state)
    try:
        sleep_in_steps()
    finally:
        time.sleep(FOR_EVER_SECONDS)
    return {}


def block_signals(state: State) -> State:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    tell_begun(state)
    time.sleep(FOR_EVER_SECONDS)
    return {}


# --- what outlives its process --------------------------------------------------------------------------------

DAEMON = """
import os, pathlib, signal, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""

# Each process lives for some milliseconds, and has then been replaced by its child.
HOPPING = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1]).touch()
while True:
    if os.fork():
        os._exit(0)
    time.sleep(0.02)
"""


def wait_for_a_process(state: State) -> State:
    process = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOR_EVER_SECONDS})"])
    tell_begun(state)
    process.wait()
    return {}


def start_a_daemon(state: State) -> State:
    subprocess.run([sys.executable, "-c", DAEMON, state["begun"]], check=True)
    sleep_in_steps()
    return {}


def start_a_hopping_process(state: State) -> State:
    subprocess.Popen([sys.executable, "-c", HOPPING, state["begun"]], start_new_session=True)
    sleep_in_steps()
    return {}


def fork_without_exec(state: State) -> State:
    if os.fork() == 0:
        time.sleep(FOR_EVER_SECONDS)
        os._exit(0)
    tell_begun(state)
    sleep_in_steps()
    return {}


# --- not hostile ----------------------------------------------------------------------------------------------


async def meet(state: State) -> State:
    """End when all partners run: one worker slot each, at the same time."""
    tell_begun(state)
    while not all(Path(partner).exists() for partner in state["partners"]):
        await asyncio.sleep(0.005)
    return {}


async_wait = single(wait_in_loop, "async_wait")
sleep_loop = single(loop_of_sleeps, "sleep_loop")
cpu_loop = single(loop_of_sums, "cpu_loop")
nested_subgraphs = single(single(single(loop_of_sleeps, "innermost"), "inner"), "nested_subgraphs")
parallel_branches = parallel()
token_stream = single(stream_tokens, "token_stream")
one_long_sleep = single(sleep_once, "one_long_sleep")
swallows_everything = single(swallow_everything, "swallows_everything")
blocked_event_loop = single(block_the_loop, "blocked_event_loop")
c_call = single(keep_the_interpreter, "c_call")
regex = single(match_for_ever, "regex")
socket_read = single(receive_nothing, "socket_read")
thread_pool = single(wait_for_a_pool, "thread_pool")
stray_thread = single(leave_a_thread, "stray_thread")
lock_in_finally = single(wait_for_a_lock, "lock_in_finally")
hanging_cleanup = single(hang_in_cleanup, "hanging_cleanup")
blocked_signals = single(block_signals, "blocked_signals")
subprocess_waited_for = single(wait_for_a_process, "subprocess_waited_for")
daemon_process = single(start_a_daemon, "daemon_process")
hopping_process = single(start_a_hopping_process, "hopping_process")
forked_process = single(fork_without_exec, "forked_process")
next_run = single(meet, "next_run")
