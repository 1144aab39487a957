"""A run as JSON, the same for the command line, the API and `get_active_graphs`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.utils import timezone

from runs import lineage, node_stops, receipts
from runs.models import NodeExecution, NodeStop, Run, StopReceipt


def as_json(run: Run) -> dict[str, Any]:
    """All of one run; see `summary_as_json`."""
    return {
        **summary_as_json(run),
        "input": run.input,
        "output": run.output,
        "questions": run.questions,
        "metadata": run.metadata,
    }


def summary_as_json(run: Run) -> dict[str, Any]:
    """A run without its `queries.LARGE_FIELDS`, for lists: it needs the run's row and its owner's, and nothing else.

    Times are ISO 8601 in UTC; `idle_seconds` is the time since the last sign of life, None once it ended.
    """
    return {
        "id": str(run.id),
        "graph": run.graph,
        "status": run.display_status,
        "parent_id": str(run.parent_id) if run.parent_id else None,
        "root_id": str(run.root_id),
        "retry_of": str(run.retry_of_id) if run.retry_of_id else None,
        "owner": str(run.owner) if run.owner else None,
        "thread_id": run.thread_id,
        "attempt": run.attempt,
        "error": run.error,
        "current_node": run.current_node or None,
        "current_call": run.current_call or None,
        "progress": {"done": run.progress_done, "total": run.progress_total},
        "created_at": _time(run.created_at),
        "started_at": _time(run.started_at),
        "finished_at": _time(run.finished_at),
        "last_activity_at": _time(run.last_activity_at),
        "idle_seconds": _idle_seconds(run),
        "worker": run.worker or None,
        "priority": run.priority,
        "limits": {
            "grace_seconds": run.grace_seconds,
            "interrupt_after_seconds": run.interrupt_after_seconds,
            "max_seconds": run.max_seconds,
        },
        "stop": _stop(run),
        "pause": _pause(run),
    }


def tries_as_json(run: Run) -> dict[str, Any]:
    """What a run is another try of, the run that is another try of it, and the children of earlier tries whose
    results it took. Asks the database, so it is for one run and not for a list."""
    retried_by = lineage.find_retry(run.id)
    retry = {
        "from_start": run.retry_from_start,
        "by": run.retry_actor or None,
        "reason": run.retry_reason,
    }
    return {
        "retry_of": str(run.retry_of_id) if run.retry_of_id else None,
        "retry": retry if run.retry_of_id else None,
        "retried_by": str(retried_by.id) if retried_by else None,
        "adopted": [str(child_id) for child_id in lineage.list_adopted(run.id)],
    }


def node_as_json(execution: NodeExecution) -> dict[str, Any]:
    """`seconds` is None while it is running."""
    ended = execution.finished_at
    return {
        "id": str(execution.id),
        "node": execution.node,
        "namespace": execution.namespace,
        "attempt": execution.attempt,
        "step": execution.step,
        "status": execution.status,
        "started_at": _time(execution.started_at),
        "finished_at": _time(ended),
        "seconds": (ended - execution.started_at).total_seconds() if ended else None,
        "error": execution.error,
        "is_stoppable": execution.is_stoppable,
    }


def node_stop_as_json(stop: NodeStop) -> dict[str, Any]:
    """`outcome` is None while the node has not left."""
    return {
        "execution_id": str(stop.pk),
        "run_id": str(stop.run_id),
        "node": stop.execution.node,
        "namespace": stop.namespace,
        "attempt": stop.attempt,
        "requested_at": _time(stop.requested_at),
        "by": stop.actor or None,
        "source": stop.source,
        "reason": stop.reason,
        "mode": stop.mode,
        "interrupt_at": _time(stop.interrupt_at),
        "deadline": _time(stop.kill_at),
        "rung": stop.rung,
        "delivered_at": _time(stop.delivered_at),
        "gone_at": _time(stop.gone_at),
        "outcome": stop.outcome or None,
        "pid": stop.pid,
        "killed": stop.killed,
        "stacks": stop.stacks,
    }


def result_as_json(result: Any) -> dict[str, list[str]]:
    """What one call has reached, such as a `StopResult`: lists of the ids of runs, by their names."""
    return {name: [str(run_id) for run_id in run_ids] for name, run_ids in asdict(result).items()}


def _stop(run: Run) -> dict[str, Any] | None:
    if run.stop_requested_at is None:
        return None
    return {
        "requested_at": _time(run.stop_requested_at),
        "by": run.stop_actor or None,
        "source": run.stop_source,
        "reason": run.stop_reason,
        "mode": run.stop_mode,
        "interrupt_at": _time(run.stop_interrupt_at),
        "deadline": _time(run.stop_deadline),
        "rung": run.stop_rung,
        "delivered_at": _time(run.stop_delivered_at),
        "acknowledged_at": _time(run.stop_acknowledged_at),
        "gone_at": _time(run.stop_gone_at),
    }


def _pause(run: Run) -> dict[str, Any] | None:
    if run.pause_requested_at is None:
        return None
    return {
        "requested_at": _time(run.pause_requested_at),
        "by": run.pause_actor or None,
        "source": run.pause_source,
        "reason": run.pause_reason,
        "cascades": run.pause_cascades,
    }


def receipt_as_json(run: Run, receipt: StopReceipt | None) -> dict[str, Any]:
    """One stop as a record: who and why, when asked, delivered, acknowledged and gone, by which rung, and what was
    seen of the process. Of the children that were stopped with it, the same in brief."""
    return {
        "id": str(run.id),
        "graph": run.graph,
        "status": run.display_status,
        "current_node": run.current_node or None,
        "current_call": run.current_call or None,
        "node": run.stop_node or None,
        "call": run.stop_call or None,
        "stop": _stop(run),
        "pid": (receipt.pid if receipt else None) or run.pid,
        "worker": run.worker or None,
        "exit_signal": receipt.exit_signal if receipt else None,
        "killed": receipt.killed if receipt else [],
        "evidence_at": _time(receipt.evidence_at) if receipt else None,
        "processes": receipt.processes if receipt else [],
        "critical_sections": receipt.sections if receipt else [],
        "stacks": receipt.stacks if receipt else "",
        "children": [
            {"id": str(child.id), "graph": child.graph, "status": child.display_status, "stop": _stop(child)}
            for child in receipts.list_children(run)
        ],
        "nodes": [node_stop_as_json(stop) for stop in node_stops.list_of(run.id)],
    }


def _idle_seconds(run: Run) -> float | None:
    if run.is_terminal:
        return None
    since = run.last_activity_at or run.queued_at
    return round((timezone.now() - since).total_seconds(), 3)


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None
