"""Where a stopping run stops, and where what its nodes do is noted: LangChain's callbacks.

The runner makes one handler for each attempt; LangGraph and whatever a node calls by LangChain call it.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from uuid import UUID

from django.db import connections
from django.utils import timezone
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.errors import GraphBubbleUp, GraphDrained

from runs import events, node_tokens, tokens
from runs.errors import NodeCancelled, RunCancelled
from runs.interruption import Interruption
from runs.models import Run
from runs.states import NodeStatus, NodeStopOutcome
from runs.stoppable import path_of
from runs.telling import Voice


class Boundaries(BaseCallbackHandler):
    """LangChain's callbacks as boundaries: on entry of every node, LLM call, tool call and retrieval, a stopping run
    stops. A call that is under way ends naturally.

    LangGraph calls it from the OS thread of the node itself (`run_inline`), also in parallel branches.
    """

    raise_error = True
    run_inline = True

    def __init__(
        self,
        run: Run,
        token: tokens.CancelToken,
        sink: events.EventSink,
        interruption: Interruption,
        voice: Voice,
    ) -> None:
        self.voice = voice
        self.interruption = interruption
        self.is_async = False  # then callbacks come from the event loop, not from where sync nodes work
        self.run = run
        self.token = token
        self.sink = sink
        self.home = threading.get_ident()
        self.nodes: dict[UUID, events.NodeActivity] = {}
        self.calls: dict[UUID, str] = {}  # of models and tools, under way
        self.stoppable: frozenset[str] = frozenset()  # the paths of the nodes that can be stopped alone

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.token.raise_if_cancelled()
        metadata = metadata or {}
        if name is None or metadata.get("langgraph_node") != name or not _is_node(kwargs.get("tags") or ()):
            return
        namespace = str(metadata.get("langgraph_checkpoint_ns", ""))
        self.token.begin_node(namespace)
        execution = events.NodeActivity(
            id=run_id,
            run_id=self.run.id,
            attempt=self.run.attempt,
            node=name[:200],
            namespace=namespace[:1_000],
            step=metadata.get("langgraph_step"),
            started_at=timezone.now(),
            is_stoppable=path_of(namespace) in self.stoppable,
        )
        if execution.is_stoppable:
            self.token.nodes.begin(run_id, namespace, is_stopping=lambda: self.token.is_stopped)
        self.nodes[run_id] = execution
        self.sink.node_changed(execution)
        if not self.is_async:
            self.interruption.enter_node()

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end_node(run_id, NodeStatus.FINISHED)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        is_drain = isinstance(error, GraphDrained) and not self.token.should_stop()
        if isinstance(error, RunCancelled | asyncio.CancelledError | GraphDrained) and not is_drain:
            self._end_node(run_id, NodeStatus.CANCELLED)
        elif isinstance(error, NodeCancelled):  # with the node around it
            self._end_node(run_id, NodeStatus.CANCELLED, events.as_error(error))
        elif isinstance(error, GraphBubbleUp):
            self._end_node(run_id, NodeStatus.SUSPENDED)
        else:
            self._end_node(run_id, NodeStatus.FAILED, events.as_error(error))

    def on_llm_start(self, serialized: Any, prompts: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._begin_model(serialized, run_id, kwargs)

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._begin_model(serialized, run_id, kwargs)

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any) -> None:
        self.voice.say(run_id, token, chunk)
        # A call that is under way ends naturally, unless it is interrupted.
        node = node_tokens.current.get()
        if self.token.rung > 0 or (node is not None and node.is_told_to_interrupt):
            self.token.raise_if_cancelled()

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end_call(run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._end_call(run_id)

    def on_tool_start(self, serialized: Any, input_str: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._begin_call("tool", serialized, run_id, kwargs)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end_call(run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._end_call(run_id)

    def _begin_model(self, serialized: Any, run_id: UUID, told: dict[str, Any]) -> None:
        self._begin_call("model", serialized, run_id, told)
        self.voice.begin_call(run_id, told.get("metadata") or {}, told.get("tags"))

    def _begin_call(self, kind: str, serialized: Any, run_id: UUID, told: dict[str, Any]) -> None:
        self.token.raise_if_cancelled()
        name = told.get("name") or (serialized or {}).get("name") or ""
        self.calls[run_id] = f"{kind} {name}".strip()
        self.sink.call_changed(self.run.id, self.run.attempt, self.calls[run_id])

    def _end_call(self, run_id: UUID) -> None:
        self.voice.end_call(run_id)
        if self.calls.pop(run_id, None) is not None:
            others = list(self.calls.values())
            self.sink.call_changed(self.run.id, self.run.attempt, others[-1] if others else "")

    def on_retriever_start(self, *args: Any, **kwargs: Any) -> None:
        self.token.raise_if_cancelled()

    def end_open_nodes(self, status: NodeStatus) -> None:
        """Close what never told its end, because a BaseException went past LangChain's callbacks."""
        for run_id in list(self.nodes):
            self._end_node(run_id, status)

    def _end_node(self, run_id: UUID, status: NodeStatus, error: dict[str, Any] | None = None) -> None:
        execution = self.nodes.pop(run_id, None)
        if execution is None:
            return
        if not self.is_async:
            self.interruption.leave_node()
        if execution.is_stoppable:
            status, error = self._end_stop(execution, status, error)
        execution.status = status
        execution.finished_at = timezone.now()
        execution.error = error
        self.sink.node_changed(execution)
        if threading.get_ident() != self.home:
            # LangGraph's pool ends with the graph; what its OS threads opened must be closed in them.
            connections.close_all()

    def _end_stop(
        self, execution: events.NodeActivity, status: NodeStatus, error: dict[str, Any] | None
    ) -> tuple[NodeStatus, dict[str, Any] | None]:
        """How a node has really ended, whose stop, if there was one, LangGraph knows nothing of."""
        node = self.token.nodes.end(execution.namespace, execution.id)
        if node is None or node.order is None:
            return status, error
        outcome = NodeStopOutcome.ENDED
        if node.was_stopped and status is NodeStatus.FINISHED:
            outcome, status = NodeStopOutcome.CANCELLED, NodeStatus.CANCELLED
            error = events.as_error(NodeCancelled(execution.node, node.order.reason))
        elif status is NodeStatus.CANCELLED:
            outcome = NodeStopOutcome.OVERTAKEN  # by the stop of the run, or of a node around it
        execution.stop = events.NodeStopEnd(node.order.execution_id, outcome, node.rung)
        return status, error


def _is_node(tags: Any) -> bool:
    return any(tag.startswith("graph:step:") for tag in tags)
