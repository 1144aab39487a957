"""What node code calls: who am I, how far am I, start children and wait for them.

`from runs import current_run, progress, spawn, join` gives these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

from django.db import connections
from langgraph.config import get_config
from langgraph.types import interrupt

from runs import control, events, retrying, tokens
from runs.errors import ChildFailed, NotInRun, ParentIsStopping, RunCancelled
from runs.models import DEFAULT_PRIORITY, Run
from runs.runner import EARLIER_TRIES, JOIN_MARK
from runs.states import OnParentStop, Status

T = TypeVar("T")


@dataclass(frozen=True)
class ChildResult:
    """How a child ended; `output` is what its graph returned, `error` has `type` and `message`."""

    id: str
    graph: str
    status: str
    output: Any
    error: dict[str, Any] | None

    @property
    def completed(self) -> bool:
        return self.status == Status.COMPLETED


def current_run() -> Run:
    """The run of the calling node.

    Raises:
        NotInRun.
    """
    run_id = _token("current_run()").run_id
    return _with_database(lambda: control.get(run_id))


def progress(done: int, total: int) -> None:
    """Show how far the run is, in units of the graph's choice; does nothing outside a run."""
    token = tokens.find_token()
    if token is not None:
        if not 0 <= done <= total:
            raise ValueError(f"progress({done}, {total}): done must be between 0 and total")
        events.sink().progress(token.run_id, token.attempt, done, total)


def spawn(
    graph: str,
    input: Any,
    *,
    key: str | None = None,
    on_parent_stop: str = OnParentStop.CANCEL,
    priority: int = DEFAULT_PRIORITY,
    metadata: Mapping[str, Any] | None = None,
) -> UUID:
    """Start a child run and return its id.

    A node that runs again, after a `join` or on another worker, gets the same child and starts none twice:
    children are known by the node's execution and `key`. In the retry of a run it gets the child of the earlier try
    if that completed, and otherwise the child's own retry.

    Args:
        key: names the child within this node; None is its place in the order of the node's spawns.

    Raises:
        RunCancelled: this run must stop, also when that was asked for in this very moment.
        GraphNotFound, InputRefused, NotInRun.
    """
    token = _token("spawn()")
    token.raise_if_cancelled()
    node = _node_path()
    if key is None:
        key = f"#{token.next_spawn(node)}"
    child_key = _child_key(node, key)
    earlier = _earlier_tries()

    def start() -> Run:
        taken = retrying.take_over_child(token.run_id, earlier, child_key, graph) if earlier else None
        return taken or control.submit(
            graph,
            input,
            parent=token.run_id,
            child_key=child_key,
            on_parent_stop=on_parent_stop,
            priority=priority,
            metadata=metadata,
        )

    child = _start_children(token, start)
    events.sink().child(token.run_id, child.id, graph, child_key)
    return child.id


def join(children: Sequence[UUID], *, raise_on_failure: bool = True) -> list[ChildResult]:
    """Wait until all these children have ended, holding no worker slot meanwhile.

    The node is executed again from its first line when they have, so what stands before a join should be cheap or
    idempotent; `spawn` is.

    Returns:
        One result for each child, in the order given.

    Raises:
        ChildFailed: a child failed or was cancelled, unless `raise_on_failure` is off.
    """
    token = _token("join()")
    token.raise_if_cancelled()
    if earlier := _earlier_tries():
        children = _start_children(token, lambda: retrying.take_over_children(token.run_id, earlier, children))
    awaited = [str(child) for child in children]
    answer = interrupt({JOIN_MARK: awaited})
    while earlier and not _is_answer(answer, awaited):
        # An earlier try was answered with what became of children that have been started again since.
        answer = interrupt({JOIN_MARK: awaited})
    results = [ChildResult(**result) for result in answer]
    failed = [result for result in results if not result.completed]
    if failed and raise_on_failure:
        raise ChildFailed(failed)
    return results


def _start_children(token: tokens.CancelToken, start: Callable[[], T]) -> T:
    try:
        return _with_database(start)
    except ParentIsStopping as error:
        raise RunCancelled(token.run_id, "it was asked to stop while it started a child") from error


def _is_answer(answer: Any, awaited: Sequence[str]) -> bool:
    return isinstance(answer, list) and all(
        isinstance(result, dict) and result.get("id") in awaited for result in answer
    )


def _earlier_tries() -> tuple[UUID, ...]:
    return tuple(get_config()["configurable"].get(EARLIER_TRIES, ()))


def _token(what: str) -> tokens.CancelToken:
    token = tokens.find_token()
    if token is None:
        raise NotInRun(what)
    return token


def _child_key(node: str, key: str) -> str:
    """A deep subgraph's path may be longer than the column: then a digest stands for its end."""
    whole = f"{node}:{key}"
    return whole if len(whole) <= 400 else f"{whole[:335]}#{sha256(whole.encode()).hexdigest()}"


def _node_path() -> str:
    # LangGraph's namespace names the node's execution, and is the same when that execution is done again.
    return str(get_config()["configurable"].get("checkpoint_ns", ""))


def _with_database(call: Callable[[], T]) -> T:
    """Django refuses its database to an OS thread that runs an event loop: for an async node another one asks, and
    the loop waits for these milliseconds."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()

    def call_and_close() -> T:
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call_and_close).result()
