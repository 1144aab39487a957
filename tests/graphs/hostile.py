"""Graphs that no request stops, and graphs that lose their process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from runs import RunCancelled, current_run
from tests.graphs.toys import State, chain, gate, mark, step


def hold_the_gil(state: State) -> State:
    mark(state, "hostile.begun")
    sum(range(10**13))
    return {"values": ["summed"]}


def swallow_everything(state: State) -> State:
    mark(state, "hostile.begun")
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:  # noqa: S110
            pass


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "a").write('{"what": "daemon", "pid": %d}\\n' % os.getpid())
        time.sleep(600)
    os._exit(0)
"""


def start_processes(state: State) -> State:
    """A child, one in a session of its own, and a daemon that has left the tree."""
    for number, options in enumerate(({}, {"start_new_session": True})):
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], **options)  # type: ignore[call-overload]
        with open(state["marks"], "a") as file:
            file.write(f'{{"what": "process.{number}", "pid": {process.pid}}}\n')
    subprocess.run([sys.executable, "-c", DAEMON, state["marks"]], check=True)
    mark(state, "hostile.begun")
    time.sleep(600)
    return {"values": ["slept"]}


holds_gil = chain(("hold", hold_the_gil), step("after"), name="holds_gil")
swallows = chain(("swallow", swallow_everything), step("after"), name="swallows")
with_processes = chain(("start", start_processes), step("after"), name="with_processes")


def dies_once(state: State) -> State:
    mark(state, "dying")
    if not os.path.exists(f"{state['marks']}.died"):
        open(f"{state['marks']}.died", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"values": ["risen"]}


def dies(state: State) -> State:
    mark(state, "dying")
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def held(state: State) -> State:
    gate(state, "call")
    return {"values": ["held"]}


def leaves_a_fork(state: State) -> State:
    """A forked process outlives the one that runs the graph, and holds what it inherited."""
    if not os.path.exists(f"{state['marks']}.forked"):
        open(f"{state['marks']}.forked", "w").close()
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        mark(state, "forked")
        time.sleep(600)
    return {"values": ["risen"]}


def starts_process(state: State) -> State:
    """Starts a process that nobody waits for, and ends after the input's seconds, or at once without a word."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    with open(state["marks"], "a") as file:
        file.write(f'{{"what": "started", "pid": {process.pid}}}\n')
    if "crash" in state.get("values", ()):
        os._exit(1)
    ends = time.monotonic() + state.get("seconds", 0)
    while time.monotonic() < ends:
        time.sleep(0.01)
    return {}


starting_process = chain(("starts", starts_process), name="starting_process")
dying_once = chain(step("before"), ("dies", dies_once), step("after"), name="dying_once")
poison = chain(step("before"), ("dies", dies), name="poison")
held_between = chain(step("before"), ("held", held), step("after"), name="held_between")
forking = chain(step("before"), ("forks", leaves_a_fork), step("after"), name="forking")


def raise_cancelled(state: State) -> State:
    """A graph may end itself as a stop does."""
    gate(state, "call")
    raise RunCancelled(current_run().id, "by itself")


def raise_anything(state: State) -> State:
    raise ValueError({"nul": "a \x00 byte", "surrogate": "a \ud800", "long": "x" * 50_000}[state["values"][0]])


def return_nan(state: State) -> State:
    return {"values": [float("nan"), float("inf")]}  # type: ignore[list-item]


def return_surrogate(state: State) -> State:
    return {"values": ["a\ud800"]}


stops_itself = chain(("stops", raise_cancelled), name="stops_itself")
raises = chain(("raises", raise_anything), name="raises")
returns_nan = chain(("returns", return_nan), name="returns_nan")
returns_surrogate = chain(("returns", return_surrogate), name="returns_surrogate")
