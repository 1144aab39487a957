from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.decorators import display

from runs import node_stops, policy
from runs.admin.looks import BUTTON_CLASSES, between, error_in_words, render_label
from runs.models import NodeExecution, NodeStop, Run, StatusChange
from runs.states import NodeStatus
from runs.words import moment, node_path, rungs_ahead


class ReadOnlyInline(TabularInline):  # type: ignore[misc]
    extra = 0
    per_page = 50
    can_delete = False
    hide_title = True

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return True  # whoever sees the run sees what belongs to it

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class NodeExecutionInline(ReadOnlyInline):
    model = NodeExecution
    verbose_name_plural = "nodes"
    fields = ("where", "attempt", "label", "started", "took", "problem", "button")
    readonly_fields = fields
    may_stop = False
    asked: Mapping[UUID, NodeStop] = {}

    def get_formset(self, request: HttpRequest, obj: Model | None = None, **kwargs: Any) -> Any:
        # An inline is made for each request, and its columns are not told who looks.
        run = cast("Run | None", obj)
        self.may_stop = run is not None and not run.is_stopping and policy.may_stop(request.user, run)
        self.asked = {stop.pk: stop for stop in node_stops.list_open([run.pk])} if run is not None else {}
        return super().get_formset(request, obj, **kwargs)

    @display(description="")  # type: ignore[untyped-decorator]
    def button(self, execution: NodeExecution) -> str:
        if execution.pk in self.asked:
            ahead = rungs_ahead(self.asked[execution.pk].plan, timezone.now())
            return f"stopping: {ahead}" if ahead else "stopping"
        if not self.may_stop or not execution.is_stoppable or execution.status != NodeStatus.RUNNING:
            return ""
        url = reverse("admin:runs_run_cancel_node", args=[execution.run_id, execution.pk])
        return format_html('<a href="{}" class="{}">Stop</a>', url, BUTTON_CLASSES)

    @display(description="node")  # type: ignore[untyped-decorator]
    def where(self, execution: NodeExecution) -> str:
        return node_path(execution.namespace, execution.node)

    @display(description="status")  # type: ignore[untyped-decorator]
    def label(self, execution: NodeExecution) -> str:
        return render_label(execution.status)

    @display(description="started")  # type: ignore[untyped-decorator]
    def started(self, execution: NodeExecution) -> str:
        return moment(execution.started_at)

    @display(description="took")  # type: ignore[untyped-decorator]
    def took(self, execution: NodeExecution) -> str:
        return between(execution.started_at, execution.finished_at)

    @display(description="error")  # type: ignore[untyped-decorator]
    def problem(self, execution: NodeExecution) -> str:
        return error_in_words(execution.error)


class StatusChangeInline(ReadOnlyInline):
    model = StatusChange
    verbose_name_plural = "status changes"
    fields = ("since", "label", "attempt")
    readonly_fields = fields

    @display(description="status")  # type: ignore[untyped-decorator]
    def label(self, change: StatusChange) -> str:
        return render_label(change.status)

    @display(description="since")  # type: ignore[untyped-decorator]
    def since(self, change: StatusChange) -> str:
        return moment(change.at)
