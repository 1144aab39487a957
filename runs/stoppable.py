"""Makes the nodes of a graph stoppable one by one: a copy of the graph whose nodes, when they are stopped alone, give
the result that they have declared.

Only the runner uses it. A node's result goes through LangGraph's own writers, so its edges, conditional edges and the
checkpoint are those of a node that has ended. What a node gives to LangGraph's stream writer goes to the watchers.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph._internal._constants import CONFIG_KEY_RUNTIME
from langgraph.errors import GraphInterrupt
from langgraph.pregel import Pregel
from langgraph.pregel._read import DEFAULT_BOUND
from langgraph.runtime import Runtime

from runs import node_tokens, tokens
from runs.errors import NodeCancelled, RunCancelled
from runs.node_tokens import NodeToken

logger = logging.getLogger(__name__)

METADATA_KEY = "on_cancelled"
ATTRIBUTE = "__runs_on_cancelled__"
LEAVE_POLL_SECONDS = 0.005

Node = TypeVar("Node", bound=Callable[..., Any])


def on_cancelled(result: Any) -> Callable[[Node], Node]:
    """Declare what a node's result is when it is stopped alone; without it the node is skipped: an empty update.

    For a node that is no function, a subgraph for example: `add_node(…, metadata={"on_cancelled": result})`.

    Args:
        result: the update, or a `Command`; or a function, sync or async, that makes it from the node's input.
    """

    def declare(node: Node) -> Node:
        setattr(node, ATTRIBUTE, result)
        return node

    return declare


@dataclass(frozen=True)
class Stoppable:
    """A copy of a graph, and the paths of the nodes that can be stopped in it: `review|write`."""

    graph: Any
    paths: frozenset[str]


_made: WeakKeyDictionary[Any, Stoppable] = WeakKeyDictionary()
_lock = threading.Lock()


def stoppable(graph: Any) -> Stoppable:
    """The stoppable copy of a graph, made once."""
    with _lock:
        made = _made.get(graph)
        if made is None:
            made = _made[graph] = _copy(graph)
        return made


def _copy(graph: Any) -> Stoppable:
    nodes: dict[str, Any] = {}
    paths: set[str] = set()
    for name, node in graph.nodes.items():
        if node.bound is DEFAULT_BOUND:
            nodes[name] = node
            continue
        metadata = dict(node.metadata or {})
        declared = metadata.pop(METADATA_KEY, _declared_by(node.bound))
        update: dict[str, Any] = {"metadata": metadata or None}
        bound = node.bound
        if isinstance(bound, Pregel):
            inner = _copy(bound)
            bound = inner.graph
            update["subgraphs"] = [bound]
            paths.update(f"{name}|{path}" for path in inner.paths)
        paths.add(name)
        nodes[name] = node.copy({**update, "bound": StoppableNode(bound, declared)})
    return Stoppable(graph.copy(update={"nodes": nodes}), frozenset(paths))


def _declared_by(bound: Any) -> Any:
    for function in (getattr(bound, "func", None), getattr(bound, "afunc", None), bound):
        if hasattr(function, ATTRIBUTE):
            return getattr(function, ATTRIBUTE)
    return None


def path_of(namespace: str) -> str:
    """LangGraph's namespace of an execution without its ids."""
    return "|".join(part.partition(":")[0] for part in namespace.split("|"))


class StoppableNode(Runnable[Any, Any]):
    """What a node does, and what it gives instead when it is stopped alone."""

    def __init__(self, bound: Runnable[Any, Any], declared: Any) -> None:
        self.bound = bound
        self.declared = declared
        self.name = getattr(bound, "name", None)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        token, run = _tokens_of(config)
        if run is None:
            return self.bound.invoke(input, config, **kwargs)
        with _speaking(config, run) as config:
            if token is None:
                return self.bound.invoke(input, config, **kwargs)
            return self._invoke(token, run, input, config, **kwargs)

    def _invoke(
        self, token: NodeToken, run: tokens.CancelToken, input: Any, config: RunnableConfig | None, **kwargs: Any
    ) -> Any:
        variable = node_tokens.current.set(token)
        try:
            try:
                token.enter_thread()
                token.raise_if_cancelled()
                return self.bound.invoke(input, config, **kwargs)
            finally:
                token.close()  # the exception that is raised for this node may come here, too
        except BaseException as error:
            token.close_surely()
            if not _is_taken(error, token, run):
                raise
        finally:
            node_tokens.current.reset(variable)
        _leave(token, run)
        run.run_cleanups(token.namespace)
        return self._declare(input)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        token, run = _tokens_of(config)
        if run is None:
            return await self.bound.ainvoke(input, config, **kwargs)
        with _speaking(config, run) as config:
            if token is None:
                return await self.bound.ainvoke(input, config, **kwargs)
            return await self._ainvoke(token, run, input, config, **kwargs)

    async def _ainvoke(
        self, token: NodeToken, run: tokens.CancelToken, input: Any, config: RunnableConfig | None, **kwargs: Any
    ) -> Any:
        variable = node_tokens.current.set(token)
        try:
            token.enter_task()
            token.raise_if_cancelled()
            return await self.bound.ainvoke(input, config, **kwargs)
        except BaseException as error:
            await _until_threads_left(token)
            token.close_surely()
            if not _is_taken(error, token, run) or _is_cancelled_by_others(token):
                raise
        finally:
            token.close_surely()
            _take_back_cancels(token)
            node_tokens.current.reset(variable)
        _leave(token, run)
        if run.has_cleanups(token.namespace):
            await _in_another_thread(partial(run.run_cleanups, token.namespace))
        made = self._declare(input)
        return await made if inspect.isawaitable(made) else made

    def _declare(self, input: Any) -> Any:
        return self.declared(input) if callable(self.declared) else self.declared


def _leave(token: NodeToken, run: tokens.CancelToken) -> None:
    """The node has left because it was told to."""
    token.was_stopped = True
    run.nodes.on_left(token.order.execution_id if token.order else token.execution_id)


def _tokens_of(config: RunnableConfig | None) -> tuple[NodeToken | None, tokens.CancelToken | None]:
    configurable: Mapping[str, Any] = (config or {}).get("configurable") or {}
    run = cast("tokens.CancelToken | None", configurable.get("cancel_token"))
    if run is None:
        return None, None
    return run.nodes.find(str(configurable.get("checkpoint_ns", ""))), run


@contextmanager
def _speaking(config: RunnableConfig | None, run: tokens.CancelToken) -> Iterator[RunnableConfig | None]:
    """Make the node's stream writer one that tells the watchers, in its config and its context.

    LangGraph's own mode `custom` would do the same, and execute every node in a pool of OS threads.
    """
    configurable = (config or {}).get("configurable") or {}
    runtime = configurable.get(CONFIG_KEY_RUNTIME)
    if config is None or run.voice is None or not isinstance(runtime, Runtime):
        yield config
        return
    write = partial(run.voice.custom, str(configurable.get("checkpoint_ns", "")))
    own: RunnableConfig = {
        **config,
        "configurable": {**configurable, CONFIG_KEY_RUNTIME: runtime.override(stream_writer=write)},
    }
    variable = var_child_runnable_config.set(own)
    try:
        yield own
    finally:
        var_child_runnable_config.reset(variable)


def _is_taken(error: BaseException, token: NodeToken, run: tokens.CancelToken) -> bool:
    """Whether the node has left because of its own stop, so that its declared result stands for it.

    Raises:
        RunCancelled: the whole run must stop; that goes before.
    """
    if token.stopping is not token:
        return False  # it was not asked, or leaves with the node around it
    is_own = isinstance(error, GraphInterrupt) or _was_raised_for_it(error)
    is_own = is_own or (isinstance(error, asyncio.CancelledError) and token.take_cancels() > 0)
    if is_own and run.is_stopped:
        raise RunCancelled(run.run_id, run.reason) from error
    return is_own


def _was_raised_for_it(error: BaseException) -> bool:
    """Also what a node's own `finally` or `except` made of it."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        if isinstance(found, NodeCancelled):
            return True
        seen.add(id(found))
        found = found.__cause__ or found.__context__
    return False


async def _until_threads_left(token: NodeToken) -> None:
    """A task that is cancelled does not wait for the OS thread in which its sync code goes on."""
    while token.stopping is not None and token.is_in_threads:
        await asyncio.sleep(LEAVE_POLL_SECONDS)


async def _in_another_thread(call: Callable[[], object]) -> None:
    """Not in the loop's pool, in which the graph's own nodes may take every place."""
    thread = threading.Thread(target=call, name="runs-cleanups", daemon=True)
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(LEAVE_POLL_SECONDS)


def _is_cancelled_by_others(token: NodeToken) -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > token.take_cancels()


def _take_back_cancels(token: NodeToken) -> None:
    task = asyncio.current_task()
    for _ in range(token.take_cancels() if task is not None else 0):
        cast("asyncio.Task[Any]", task).uncancel()
