"""Drives one attempt of one run through LangGraph: the only module that calls a graph.

It runs in an OS thread of its own and knows nothing of queues and stops: it is given a token and a checkpointer and
says how the graph ended. `executions` starts it and settles what it says.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from asgiref.sync import sync_to_async
from django.db import connections
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command

from runs import catalog, checkpoints, events, lineage, registry, streaming, tokens
from runs.boundaries import Boundaries
from runs.conf import runs_settings
from runs.errors import RunCancelled, RunInterrupted
from runs.interruption import Interruption
from runs.jsonable import as_json
from runs.lineage import Tries
from runs.models import Run
from runs.states import NodeStatus, Status
from runs.stoppable import stoppable
from runs.telling import Voice

logger = logging.getLogger(__name__)

# Marks the interrupt of a `join`, so that it is told apart from a question to a human.
JOIN_MARK = "__runs_join__"
# In a node's configurable: the ids of the runs that this one is another try of, newest first.
EARLIER_TRIES = "earlier_tries"


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. QUEUED: it has drained, and goes on later. For WAITING: what it waits for."""

    status: Status
    output: Any = None
    error: dict[str, Any] | None = None
    awaited: tuple[UUID, ...] = ()
    questions: Mapping[str, Any] = field(default_factory=dict)


class GraphThread(threading.Thread):
    """The OS thread in which one attempt's graph runs; `outcome` is there once it has been joined."""

    def __init__(self, run: Run, token: tokens.CancelToken, voice: Voice) -> None:
        super().__init__(name=f"run-{run.id}", daemon=True)
        self.voice = voice
        self.run_row = run
        self.token = token
        self.control = RunControl()
        self.is_draining = False
        self.interruption = Interruption(lambda: token.critical_until is not None)
        self.outcome = Outcome(Status.FAILED, error={"type": "NotRun", "message": "the graph was never started"})
        self._context = contextvars.copy_context()

    def stop(self, reason: str) -> None:
        """Rung 0: the graph leaves at its next boundary. Safe to call from any thread, any number of times."""
        self.control.request_drain(reason or "cancelled")
        self.token.request(reason)

    def drain(self, reason: str, *, interrupt: bool = False) -> None:
        """No stop: the graph leaves at its next step boundary, and node code sees nothing of it.

        Safe to call from any thread, any number of times.

        Args:
            interrupt: cut the nodes that are working, too; they are executed again when the run goes on.
        """
        self.is_draining = True
        self.control.request_drain(reason or "drained")
        if interrupt:
            self.interruption.start()

    def interrupt(self, reason: str) -> None:
        """Rung 1: raise inside the nodes now. Safe to call from any thread, any number of times."""
        self.token.rung = 1
        self.stop(reason)
        self.interruption.start()
        threading.Thread(target=self.token.run_cleanups, name="runs-cleanups", daemon=True).start()

    def run(self) -> None:
        self._context.run(self._run)

    def _run(self) -> None:
        tokens.enter(self.token, alone=False)
        boundaries = Boundaries(self.run_row, self.token, events.sink(), self.interruption, self.voice)
        try:
            self.outcome = drive(self.run_row, self.token, self.control, boundaries)
            boundaries.end_open_nodes(NodeStatus.CANCELLED)
        except BaseException as error:
            self.outcome = self._outcome_of(error)
            stopped = self.outcome.status is not Status.FAILED
            boundaries.end_open_nodes(NodeStatus.CANCELLED if stopped else NodeStatus.FAILED)
        finally:
            self.interruption.end()
            connections.close_all()

    def _outcome_of(self, error: BaseException) -> Outcome:
        is_drain = isinstance(error, GraphDrained | RunInterrupted | asyncio.CancelledError) and self.is_draining
        if is_drain and not self.token.should_stop():
            return Outcome(Status.QUEUED)
        is_stop = isinstance(error, RunCancelled | GraphDrained)
        if is_stop or (isinstance(error, asyncio.CancelledError) and self.token.should_stop()):
            self.token.acknowledge()
            return Outcome(Status.CANCELLED)
        logger.warning("run %s of graph %s failed", self.run_row.id, self.run_row.graph, exc_info=error)
        return Outcome(Status.FAILED, error=events.as_error(error))


def drive(run: Run, token: tokens.CancelToken, control: RunControl, boundaries: Boundaries) -> Outcome:
    """Run or resume the graph in the calling OS thread until it ends, suspends or is stopped."""
    tries = lineage.tries_of(run)
    config = _config(run, token, boundaries, tries)
    found = catalog.load(run.graph)
    if catalog.is_factory(found) or _is_async(found):
        boundaries.is_async = True
        return asyncio.run(_drive_async(run, tries, found, config, control, boundaries))
    graph = _equip(found, boundaries)
    snapshot = graph.get_state(config) if _may_go_on(run) else None
    entry, config = _entry(run, tries, snapshot, config)
    return _outcome(streaming.invoke(graph, entry, config, control, _modes(boundaries.voice), boundaries.voice))


async def _drive_async(
    run: Run, tries: Tries, found: Any, config: dict[str, Any], control: RunControl, boundaries: Boundaries
) -> Outcome:
    boundaries.interruption.enter_loop()
    async with AsyncExitStack() as stack:
        if catalog.is_factory(found):
            found = await catalog.open_async(run.graph, found, config, stack)
        graph = _equip(found, boundaries)
        snapshot = await graph.aget_state(config) if _may_go_on(run) else None
        entry, config = await sync_to_async(_entry)(run, tries, snapshot, config)
        modes, voice = _modes(boundaries.voice), boundaries.voice
        return _outcome(await streaming.ainvoke(graph, entry, config, control, modes, voice))


def _modes(voice: Voice) -> Sequence[str]:
    modes = runs_settings().stream_modes
    voice.tells_tokens = "messages" not in modes
    return modes


def _config(run: Run, token: tokens.CancelToken, boundaries: Boundaries, tries: Tries) -> dict[str, Any]:
    return {
        "configurable": {
            "thread_id": run.thread_id,
            "run_id": str(run.id),
            "cancel_token": token,
            EARLIER_TRIES: tries.earlier,
        },
        "callbacks": [boundaries],
        "metadata": {"run_id": str(run.id), "attempt": run.attempt},
        "run_name": run.graph,
        "run_id": uuid4(),
    }


def _equip(found: Any, boundaries: Boundaries) -> Any:
    """The graph with our checkpointer, with a store whose accesses are boundaries, and with nodes that can be stopped
    alone."""
    made = stoppable(found)
    graph, boundaries.stoppable = made.graph, made.paths
    store = checkpoints.guarded(graph.store) if graph.store is not None else checkpoints.default_store()
    return graph.copy(update={"checkpointer": checkpoints.checkpointer(), "store": store})


def _may_go_on(run: Run) -> bool:
    return run.attempt > 1 or run.retry_of_id is not None


def _entry(run: Run, tries: Tries, snapshot: Any, config: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """What to invoke the graph with, and where: its input, the answers to what it waits for, or None to go on."""
    left_by = (snapshot.metadata or {}).get("run_id") if snapshot is not None else None
    if left_by not in {str(run_id) for run_id in tries.continued}:
        origin = checkpoints.find_input(run.thread_id, tries.replaced)
        if origin is None:
            return run.input, config
        # LangGraph forks the thread there: reducers see the state before the first try, with its input.
        return None, {**config, "configurable": {**config["configurable"], "checkpoint_id": origin}}
    pending = [interrupt for task in snapshot.tasks for interrupt in task.interrupts]
    answers = {key: value for key, value in run.answers.items() if key in {item.id for item in pending}}
    for item in pending:
        if is_join(item.value):
            # Of an earlier try some may not have completed: `join` starts those again and asks once more.
            results = registry.list_results([UUID(child) for child in item.value[JOIN_MARK]])
            if all(Status(result["status"]).is_terminal for result in results):
                answers[item.id] = results
    return (Command(resume=answers) if answers else None), config


def _outcome(output: Any) -> Outcome:
    interrupts = output.get("__interrupt__", ()) if isinstance(output, dict) else ()
    if not interrupts:
        return Outcome(Status.COMPLETED, output=as_json(output))
    joins = [item for item in interrupts if is_join(item.value)]
    questions = {item.id: as_json(item.value) for item in interrupts if not is_join(item.value)}
    awaited = tuple(UUID(child) for item in joins for child in item.value[JOIN_MARK])
    return Outcome(Status.WAITING, awaited=awaited, questions=questions)


def is_join(value: Any) -> bool:
    return isinstance(value, dict) and JOIN_MARK in value


def _is_async(graph: Any) -> bool:
    """Whether some node, here or in a subgraph, has no sync form."""
    for node in graph.nodes.values():
        bound = node.bound
        if hasattr(bound, "nodes"):
            if _is_async(bound):
                return True
        elif getattr(bound, "func", bound) is None:
            return True
    return False
