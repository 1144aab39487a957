"""The receipt of a stop on the page of a run, and the button that looks at its process now."""

from __future__ import annotations

from typing import Any, cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import action, display

from runs import control, policy, receipts
from runs.admin.looks import render_text, render_tree
from runs.admin.retrying import RetryingAdmin
from runs.ladder import rung_due
from runs.models import Run, StopReceipt
from runs.words import duration, how_it_stopped, moment, rungs_ahead, signal_name

LOOK_SECONDS = 3.0  # how long the page waits for the supervisor's answer


class ReceiptAdmin(RetryingAdmin):
    actions_detail = (*RetryingAdmin.actions_detail, "look")  # shown beside the evidence, not above the page

    def receipt_fieldset(self, run: Run) -> tuple[str, dict[str, Any]]:
        receipt = _find_receipt(run)
        fields: list[Any] = [
            ("asked_by", "stop_reason"),
            ("asked_from", "stop_mode"),
            "times",
            *(["rung", "ahead"] if run.is_stopping else [("rung", "ended_by")]),
            ("was_in", "process"),
        ]
        if receipt is not None and receipt.sections:
            fields.append("sections")
        if receipt is not None and (receipt.killed or receipt.processes):
            fields.append(("killed", "processes"))
        if run.is_stopping or (receipt is not None and receipt.stacks):
            fields.append("evidence")
        return "Stop receipt", {"fields": [*fields, "stopped_children"]}

    @action(description="Look now", url_path="look")  # type: ignore[untyped-decorator]
    def look(self, request: HttpRequest, object_id: str) -> HttpResponse:
        run = self._get_run(object_id)
        if not policy.may_view(request.user, run):
            raise PermissionDenied("This run may be looked at by its owner, and with the permission for all runs.")
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        asked_at = timezone.now()
        receipt = control.look_at(run.pk, timeout_seconds=LOOK_SECONDS)
        if receipt is not None and receipt.evidence_at is not None and receipt.evidence_at >= asked_at:
            self.message_user(request, f"Looked at its process at {moment(receipt.evidence_at)}.")
        else:
            self.message_user(request, "Nobody could look: no worker answered, or it is in no process any more.")
        return redirect(reverse("admin:runs_run_change", args=[run.pk]))

    @display(description="asked by")  # type: ignore[untyped-decorator]
    def asked_by(self, run: Run) -> str:
        return run.stop_actor or "nobody named"

    @display(description="asked from")  # type: ignore[untyped-decorator]
    def asked_from(self, run: Run) -> str:
        return run.get_stop_source_display() or "-"

    @display(description="times")  # type: ignore[untyped-decorator]
    def times(self, run: Run) -> str:
        begun = run.stop_requested_at
        rows = []
        before = begun
        for what, at in (
            ("asked", begun),
            ("delivered", run.stop_delivered_at),
            ("acknowledged", run.stop_acknowledged_at),
            ("gone", run.stop_gone_at),
        ):
            row = {"what": what, "at": moment(at)}
            if at is not None and begun is not None and before is not None and what != "asked":
                row["since_asked"] = duration((at - begun).total_seconds())
                row["since_before"] = duration((at - before).total_seconds())
            before = at or before
            rows.append(row)
        return render_to_string("admin/runs/run/times.html", {"rows": rows})

    @display(description="where it was when it was asked")  # type: ignore[untyped-decorator]
    def was_in(self, run: Run) -> str:
        places = [f"node {run.stop_node}" if run.stop_node else "", run.stop_call]
        return ", ".join(place for place in places if place) or "in no node"

    @display(description="rung")  # type: ignore[untyped-decorator]
    def rung(self, run: Run) -> str:
        plan = run.stop_plan
        if plan is None:
            return how_it_stopped(run.stop_rung)
        told = "it has been told" if run.stop_delivered_at else "it has not been told yet"
        return f"{rung_due(plan, timezone.now()).mode.label}; {told}"

    @display(description="what happens by itself")  # type: ignore[untyped-decorator]
    def ahead(self, run: Run) -> str:
        plan = run.stop_plan
        return (rungs_ahead(plan, timezone.now()) if plan else "") or "its process is being killed"

    @display(description="process")  # type: ignore[untyped-decorator]
    def process(self, run: Run) -> str:
        receipt = _find_receipt(run)
        pid = (receipt.pid if receipt else None) or run.pid
        return f"pid {pid} of {run.worker or 'an unknown worker'}" if pid else "none"

    @display(description="ended by")  # type: ignore[untyped-decorator]
    def ended_by(self, run: Run) -> str:
        receipt = _find_receipt(run)
        return signal_name(receipt.exit_signal) if receipt and receipt.exit_signal else "-"

    @display(description="killed with it")  # type: ignore[untyped-decorator]
    def killed(self, run: Run) -> str:
        receipt = _find_receipt(run)
        return _names(receipt.killed if receipt else [])

    @display(description="processes below it when it was looked at")  # type: ignore[untyped-decorator]
    def processes(self, run: Run) -> str:
        receipt = _find_receipt(run)
        return _names(receipt.processes if receipt else [])

    @display(description="critical sections")  # type: ignore[untyped-decorator]
    def sections(self, run: Run) -> str:
        receipt = _find_receipt(run)
        return ", ".join(
            f"{section['name']} ({section['began_at']} to {section['ended_at'] or section['ends_at']})"
            for section in (receipt.sections if receipt else [])
        )

    @display(description="what its process was doing")  # type: ignore[untyped-decorator]
    def evidence(self, run: Run) -> str:
        receipt = _find_receipt(run)
        stacks = receipt.stacks if receipt else ""
        context = {
            "stacks": render_text(stacks, all_of_it="why --json") if stacks else "",
            "looked_at": moment(receipt.evidence_at) if receipt else "",
            "look_url": reverse("admin:runs_run_look", args=[run.pk]) if run.is_stopping else "",
        }
        return render_to_string("admin/runs/run/evidence.html", context)

    @display(description="children stopped with it")  # type: ignore[untyped-decorator]
    def stopped_children(self, run: Run) -> str:
        children = receipts.list_children(run)
        return render_tree(children) if children else "none"


def _find_receipt(run: Run) -> StopReceipt | None:
    """Asked once for a page: Django keeps the answer with the run, also that there is none."""
    return cast("StopReceipt | None", getattr(run, "stop_receipt", None))


def _names(processes: list[dict[str, Any]]) -> str:
    return ", ".join(f"{process['name']} ({process['pid']})" for process in processes) or "-"
