from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import display
from unfold.views import ChangeList

from runs import control, lineage, policy
from runs.admin.filters import AgeFilter, StatusFilter
from runs.admin.inlines import NodeExecutionInline, ReadOnlyInline, StatusChangeInline
from runs.admin.looks import (
    BUTTON_CLASSES,
    STATUS_COLOURS,
    LookOnlyAdmin,
    between,
    error_in_words,
    render_json,
    render_label,
    render_tree,
)
from runs.admin.node_stopping import NodeStoppingAdmin
from runs.admin.pausing import PAUSE, RESUME, PausingAdmin
from runs.admin.retrying import with_retries
from runs.models import Run
from runs.states import Status
from runs.words import limits_in_words, moment


class RunList(ChangeList):  # type: ignore[misc]
    def get_queryset(self, *args: Any, **kwargs: Any) -> QuerySet[Run]:
        return with_retries(super().get_queryset(*args, **kwargs)).defer(*control.LARGE_FIELDS)


@admin.register(Run)
class RunAdmin(PausingAdmin, NodeStoppingAdmin, LookOnlyAdmin):
    """Staff see their own runs; all of them with the permission to view runs. `policy` says who may stop which."""

    list_display = ("name", "label", "node", "progress", "owner", "age", "parent_link", "host")
    list_filter = (StatusFilter, "graph", ("owner", admin.RelatedOnlyFieldListFilter), AgeFilter)
    list_select_related = ("owner",)
    list_per_page = 50
    list_fullwidth = True
    search_fields = ("id__istartswith", "graph", "owner__email")
    search_help_text = "Beginning of an id, graph, e-mail address"
    ordering = ("-id",)

    # --- Who sees what ---

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return policy.visible_runs(request.user).select_related("owner")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return True

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return obj is None or policy.may_view(request.user, cast(Run, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.is_superuser and (obj is None or cast(Run, obj).is_terminal)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, set[str], list[Any]]:
        deleted, counts, lacking, protected = super().get_deleted_objects(objs, request)
        members = [member for run in objs for member in control.list_tree(run.pk)]
        protected += [
            f"{member} is {member.display_status}: cancel it first" for member in members if not member.is_terminal
        ]
        protected += [
            f"{run} goes on where one of these was left, and is {run.display_status}: cancel it first"
            for run in lineage.list_active_retries([member.id for member in members])
        ]
        # Who is here may delete runs; the ones that may not be deleted are said above, one by one.
        return deleted, counts, set(lacking) - {str(Run._meta.verbose_name)}, protected

    # --- The list ---

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RunList]:
        return RunList

    def get_list_display(self, request: HttpRequest) -> Sequence[Any]:
        # Which button a row has depends on who looks, and a column is not told.
        first, *others = self.list_display
        return [first, self._stop_column(request), *others]

    def _stop_column(self, request: HttpRequest) -> Any:
        @display(description="")  # type: ignore[untyped-decorator]
        def stop(run: Run) -> str:
            found = self.list_buttons(request, run)
            if not found:
                return ""
            shown = [name for name in found if name in (found[0], PAUSE, RESUME)]
            links = [(reverse(f"admin:runs_run_{name}", args=[run.pk]), name.capitalize()) for name in shown]
            buttons = format_html_join(" ", f'<a href="{{}}" class="{BUTTON_CLASSES}">{{}}</a>', links)
            return format_html('<span class="whitespace-nowrap">{}</span>', buttons)

        return stop

    @display(description="graph and id", ordering="graph")  # type: ignore[untyped-decorator]
    def name(self, run: Run) -> str:
        lines = '<span class="block">{}</span><code class="font-normal text-xs whitespace-nowrap">{}</code>'
        return format_html(lines, run.graph, run.pk)

    @display(description="status", ordering="status", label=STATUS_COLOURS)  # type: ignore[untyped-decorator]
    def label(self, run: Run) -> str:
        return run.display_status

    @display(description="node", ordering="current_node")  # type: ignore[untyped-decorator]
    def node(self, run: Run) -> str:
        return run.current_node or "-"

    @display(description="worker", ordering="worker")  # type: ignore[untyped-decorator]
    def host(self, run: Run) -> str:
        if run.status != Status.RUNNING:
            return "-"
        return format_html('<span title="{}">{}</span>', run.worker, run.worker.partition("#")[0])

    @display(description="progress")  # type: ignore[untyped-decorator]
    def progress(self, run: Run) -> str:
        return f"{run.progress_done}/{run.progress_total}" if run.progress_total else "-"

    @display(description="age", ordering="created_at")  # type: ignore[untyped-decorator]
    def age(self, run: Run) -> str:
        return _unbroken(between(run.created_at, None))

    @display(description="parent", ordering="parent")  # type: ignore[untyped-decorator]
    def parent_link(self, run: Run) -> str:
        if run.parent_id is None:
            return "-"
        url = reverse("admin:runs_run_change", args=[run.parent_id])
        link = '<a href="{}" class="text-link whitespace-nowrap" title="{}">…{}</a>'
        return format_html(link, url, run.parent_id, str(run.parent_id)[-6:])

    # --- The page of one run ---

    def get_inlines(self, request: HttpRequest, obj: Model | None) -> list[type[ReadOnlyInline]]:
        has_begun = obj is not None and cast(Run, obj).attempt > 0
        return [NodeExecutionInline, StatusChangeInline] if has_begun else [StatusChangeInline]

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        run = cast(Run, obj)
        return [
            (
                None,
                {
                    "fields": [
                        ("id", "coloured"),
                        ("graph", "owner"),
                        ("current_node", "progress"),
                        ("created", "started"),
                        ("finished", "took"),
                        *(["problem"] if run.error else []),
                    ]
                },
            ),
            *([self.receipt_fieldset(run)] if run.stop_requested_at else []),
            *([self.pause_fieldset(run)] if run.pause_requested_at else []),
            *self.tries_fieldsets(run),
            ("Tree", {"fields": ["tree"]}),
            ("Data", {"fields": ["shown_input", "shown_output"]}),
            (
                "Execution",
                {
                    "fields": [
                        ("worker", "pid"),
                        ("attempt", "resurrections"),
                        "limits",
                        ("queue", "priority"),
                        ("thread_id", "idempotency_key"),
                        "shown_metadata",
                    ]
                },
            ),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        names: list[str] = []
        for _, options in self.get_fieldsets(request, obj) if obj is not None else ():
            for field in options["fields"]:
                names.extend([field] if isinstance(field, str) else field)
        return names

    @display(description="status")  # type: ignore[untyped-decorator]
    def coloured(self, run: Run) -> str:
        return render_label(run.display_status)

    @display(description="created")  # type: ignore[untyped-decorator]
    def created(self, run: Run) -> str:
        return moment(run.created_at)

    @display(description="started")  # type: ignore[untyped-decorator]
    def started(self, run: Run) -> str:
        return moment(run.started_at) or "-"

    @display(description="finished")  # type: ignore[untyped-decorator]
    def finished(self, run: Run) -> str:
        return moment(run.finished_at) or "-"

    @display(description="took")  # type: ignore[untyped-decorator]
    def took(self, run: Run) -> str:
        return between(run.started_at, run.finished_at) if run.started_at else "-"

    @display(description="error")  # type: ignore[untyped-decorator]
    def problem(self, run: Run) -> str:
        return error_in_words(run.error)

    @display(description="parents and children")  # type: ignore[untyped-decorator]
    def tree(self, run: Run) -> str:
        return render_tree(control.list_tree(run.root_id), run)

    @display(description="limits")  # type: ignore[untyped-decorator]
    def limits(self, run: Run) -> str:
        return ", ".join(limits_in_words(run)) or "those of the settings"

    @display(description="input")  # type: ignore[untyped-decorator]
    def shown_input(self, run: Run) -> str:
        return render_json(run.input)

    @display(description="output")  # type: ignore[untyped-decorator]
    def shown_output(self, run: Run) -> str:
        return render_json(run.output)

    @display(description="metadata")  # type: ignore[untyped-decorator]
    def shown_metadata(self, run: Run) -> str:
        return render_json(run.metadata or None)


def _unbroken(words: str) -> str:
    return format_html('<span class="whitespace-nowrap">{}</span>', words)
