from __future__ import annotations

from django.db.models import Model
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from runs.admin.looks import between, error_in_words, render_label
from runs.models import NodeExecution, StatusChange
from runs.words import moment, node_path


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
    fields = ("where", "attempt", "label", "started", "took", "problem")
    readonly_fields = fields

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
