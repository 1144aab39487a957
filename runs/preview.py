"""What a stop would reach and what it would cost, told before anybody is asked to stop. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from runs import control
from runs.models import NodeExecution, Run
from runs.states import NodeStatus
from runs.words import node_path


@dataclass(frozen=True)
class LostWork:
    """One execution of a node that is under way: what it has done is in no checkpoint yet."""

    run: Run
    node: str  # with the subgraphs that it lies in
    started_at: datetime
    seconds: float


@dataclass(frozen=True)
class Preview:
    """`runs` are those that would end, in the order of the tree with their depth; what has ended is not among them.

    A run that is queued, waiting or paused loses nothing: it stands at its last checkpoint.
    """

    runs: list[tuple[Run, int]]
    lost: list[LostWork]

    @property
    def counts(self) -> dict[str, int]:
        """How many runs would end, by their status as it is shown."""
        return dict(Counter(run.display_status for run, _ in self.runs).most_common())

    @property
    def longest_seconds(self) -> float:
        """How long the oldest of what would be lost is under way; 0 if nothing is."""
        return max((work.seconds for work in self.lost), default=0.0)


def preview_stop(run_ids: Sequence[UUID], now: datetime) -> Preview:
    """Look at what a stop of these runs would do now.

    A cancel lets the call in flight end, so it costs less than this; an interrupt and a kill cost all of it.
    """
    runs = control.in_tree_order(control.list_stoppable(run_ids))
    by_id = {run.id: run for run, _ in runs}
    executing = NodeExecution.objects.filter(run_id__in=by_id, status=NodeStatus.RUNNING)
    lost = [
        LostWork(
            run=by_id[execution.run_id],
            node=node_path(execution.namespace, execution.node),
            started_at=execution.started_at,
            seconds=max((now - execution.started_at).total_seconds(), 0.0),
        )
        for execution in _innermost(list(executing))
    ]
    return Preview(runs, lost)


def _innermost(executions: Sequence[NodeExecution]) -> list[NodeExecution]:
    """Without the nodes that only hold the subgraph of another one that is executing."""
    namespaces = [(execution.run_id, execution.namespace) for execution in executions]
    return [
        execution
        for execution in executions
        if not any(
            run_id == execution.run_id and namespace.startswith(f"{execution.namespace}|")
            for run_id, namespace in namespaces
        )
    ]
