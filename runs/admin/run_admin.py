from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ORDER_VAR
from django.contrib.auth import get_user_model
from django.db.models import Model, Q, QuerySet
from django.forms.widgets import Script
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display
from unfold.views import ChangeList

from runs import brake, control, lineage, listing, policy
from runs.admin.dashboard import DashboardAdmin
from runs.admin.filters import AgeFilter, GraphFilter, OwnerFilter, RungFilter, StatusFilter, WorkerFilter
from runs.admin.inlines import NodeExecutionInline, ReadOnlyInline, StatusChangeInline
from runs.admin.live import LiveAdmin
from runs.admin.looks import (
    Button,
    LookOnlyAdmin,
    between,
    error_in_words,
    host_of,
    progress_of,
    render_buttons,
    render_json,
    render_label,
    render_live,
    render_tree,
)
from runs.admin.node_stopping import NodeStoppingAdmin
from runs.admin.pausing import PausingAdmin
from runs.admin.retrying import with_retries
from runs.listing import EstimatingPaginator
from runs.models import Run
from runs.words import limits_in_words, moment

ID_CHARACTERS = 4  # from which on a search may mean an id
SEARCHED_OWNERS = 100


class RunList(ChangeList):  # type: ignore[misc]
    def get_queryset(self, *args: Any, **kwargs: Any) -> QuerySet[Run]:
        return with_retries(super().get_queryset(*args, **kwargs)).defer(*control.LARGE_FIELDS)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Run]) -> list[Any]:
        # The oldest by the index that the filter of the age uses; a task's own id says nothing of its age.
        if "age" in request.GET and ORDER_VAR not in self.params:
            return ["-created_at", "-pk"]
        return cast("list[Any]", super().get_ordering(request, queryset))


@admin.register(Run)
class RunAdmin(PausingAdmin, NodeStoppingAdmin, LiveAdmin, DashboardAdmin, LookOnlyAdmin):
    """Staff see their own runs; all of them with the permission to view runs. `policy` says who may stop which."""

    actions_list = ("dashboard", *PausingAdmin.actions_list)
    list_display = ("name", "label", "node", "progress", "owner", "age", "parent_link", "host")
    list_filter = (StatusFilter, GraphFilter, OwnerFilter, WorkerFilter, AgeFilter, RungFilter)
    list_select_related = ("owner",)
    list_per_page = 50
    list_fullwidth = True
    paginator = EstimatingPaginator
    show_full_result_count = False
    search_fields = ("id",)  # so that there is a search; `get_search_results` does it
    search_help_text = "Beginning of an id, graph, e-mail address"
    ordering = ("-id",)

    class Media:
        js = (Script("runs/admin/list.js", type="module"),)

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

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        """By the beginning of an id, or else by graph and owner: always by an index, never through every row."""
        term = search_term.strip()
        if not term:
            return queryset, False
        ids = listing.id_range(term) if len(term) >= ID_CHARACTERS else None
        if ids is not None:
            found = queryset.filter(pk__gte=UUID(ids[0]), pk__lte=UUID(ids[1]))
            if found.exists():
                return found, False
        graphs = [name for name in listing.list_graphs() if term.lower() in name.lower()]
        people = get_user_model()._default_manager.filter(email__icontains=term).values_list("pk", flat=True)
        owners = list(people[:SEARCHED_OWNERS])
        either = (Q(graph__in=graphs) if graphs else Q()) | (Q(owner__in=owners) if owners else Q())
        return (queryset.filter(either) if either else queryset.none()), False

    def get_list_display(self, request: HttpRequest) -> Sequence[Any]:
        # Which button a row has depends on who looks, and a column is not told.
        first, *others = self.list_display
        return [first, self._button_column(request), *others]

    def _button_column(self, request: HttpRequest) -> Any:
        @display(description="")  # type: ignore[untyped-decorator]
        def buttons(run: Run) -> str:
            return render_buttons(self.list_links(request, run))

        return buttons

    def list_links(self, request: HttpRequest, run: Run) -> list[Button]:
        names = self.list_buttons(request, run)
        return [Button(name.capitalize(), reverse(f"admin:runs_run_{name}", args=[run.pk])) for name in names]

    @display(description="graph and id")  # type: ignore[untyped-decorator]
    def name(self, run: Run) -> str:
        lines = (
            '<span class="block" data-run="{}">{}</span><code class="font-normal text-xs whitespace-nowrap">{}</code>'
        )
        return format_html(lines, run.pk, run.graph, run.pk)

    @display(description="status")  # type: ignore[untyped-decorator]
    def label(self, run: Run) -> str:
        return render_live("status", render_label(run.display_status), run.display_status)

    @display(description="node")  # type: ignore[untyped-decorator]
    def node(self, run: Run) -> str:
        return render_live("node", run.current_node or "-")

    @display(description="worker")  # type: ignore[untyped-decorator]
    def host(self, run: Run) -> str:
        return format_html('<span title="{}">{}</span>', run.worker, render_live("host", host_of(run)))

    @display(description="progress")  # type: ignore[untyped-decorator]
    def progress(self, run: Run) -> str:
        return render_live("progress", progress_of(run))

    @display(description="age", ordering="created_at")  # type: ignore[untyped-decorator]
    def age(self, run: Run) -> str:
        return render_live("age", between(run.created_at, None))

    @display(description="parent")  # type: ignore[untyped-decorator]
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
                        *(["held"] if brake.find_hold(run) else []),
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

    @display(description="does not begin")  # type: ignore[untyped-decorator]
    def held(self, run: Run) -> str:
        hold = brake.find_hold(run)
        return f"{hold.what}: frozen by {hold.actor or 'nobody named'}: {hold.reason}" if hold else "-"

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
