"""`control_tasks why`: what a stopping run is still doing, or how it was stopped."""

from __future__ import annotations

from typing import Any

from graduation_backend.control_tasks import exits
from graduation_backend.control_tasks.details import print_fields, print_runs, stop_fields
from graduation_backend.control_tasks.terminal import Screen, printable
from runs import control, receipts, representation
from runs.models import Run, StopReceipt
from runs.words import moment, signal_name


def show_receipt(options: dict[str, Any], screen: Screen) -> int:
    run = control.get(options["task_id"])
    receipt = control.look_at(run.id)
    run.refresh_from_db()
    if options["json"]:
        screen.json(representation.receipt_as_json(run, receipt))
        return exits.DONE
    fields = [("id", str(run.id)), ("graph", run.graph), ("status", screen.status(run.display_status))]
    if run.stop_requested_at is None:
        fields.append(("stop asked", "no"))
    fields += [("node", run.current_node), ("call", run.current_call)]
    if run.stop_requested_at is not None:
        fields += [("node when asked", run.stop_node), ("call when asked", run.stop_call)]
    print_fields(screen, [*fields, *stop_fields(run), *_process_fields(receipt)])
    _print_evidence(screen, run, receipt)
    return exits.DONE


def _process_fields(receipt: StopReceipt | None) -> list[tuple[str, str]]:
    if receipt is None:
        return []
    return [
        ("pid", str(receipt.pid or "")),
        ("ended by", signal_name(receipt.exit_signal) if receipt.exit_signal else ""),
        ("killed with it", _names(receipt.killed)),
        ("looked at", moment(receipt.evidence_at)),
        ("processes below", _names(receipt.processes)),
    ]


def _names(processes: list[dict[str, Any]]) -> str:
    return ", ".join(f"{process['name']} ({process['pid']})" for process in processes)


def _print_evidence(screen: Screen, run: Run, receipt: StopReceipt | None) -> None:
    children = receipts.list_children(run)
    if children:
        screen.line()
        screen.line("children stopped with it")
        print_runs(screen, children)
    if receipt is not None and receipt.stacks:
        screen.line()
        screen.line("what its OS threads were doing, the most recent call first")
        for line in receipt.stacks.splitlines():
            screen.line(f"  {printable(line)}")
