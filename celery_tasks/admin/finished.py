from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from celery import states
from django.contrib import admin, messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action, display

from celery_tasks import control, policy, representation
from celery_tasks.admin import looks
from celery_tasks.admin.forms import ReasonForm
from celery_tasks.models import PlainTask
from celery_tasks.policy import Right
from runs.admin.looks import LookOnlyAdmin, render_json, render_text
from runs.errors import RunsError
from runs.words import duration, moment


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.lower()) for state in (states.SUCCESS, states.FAILURE, states.REVOKED, states.RETRY)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PlainTask]) -> QuerySet[PlainTask]:
        return queryset.filter(status=self.value()) if self.value() else queryset


@admin.register(PlainTask)
class FinishedTaskAdmin(LookOnlyAdmin):
    """Plain tasks that workers have finished, kept for `TASKS_KEEP_DAYS`."""

    list_display = ("name_and_id", "state", "arguments", "worker_name", "took", "done")
    list_filter = (StateFilter, ("date_done", admin.DateFieldListFilter))
    list_per_page = 50
    list_fullwidth = True
    search_fields = ("task_id__istartswith", "task_name", "worker")
    search_help_text = "Beginning of an id, name, worker"
    show_full_result_count = False
    actions_detail = ("retry",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "state"),
                    ("id_of_task", "queue"),
                    ("worker_name", "retries"),
                    ("began", "done"),
                    "took",
                )
            },
        ),
        ("Arguments", {"fields": ("shown_args", "shown_kwargs")}),
        ("Outcome", {"fields": ("shown_result", "shown_traceback")}),
    )
    readonly_fields = (
        "name",
        "id_of_task",
        "state",
        "queue",
        "worker_name",
        "retries",
        "began",
        "done",
        "took",
        "shown_args",
        "shown_kwargs",
        "shown_result",
        "shown_traceback",
    )

    def has_module_permission(self, request: HttpRequest) -> bool:
        return policy.may(request.user, Right.VIEW)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return policy.may(request.user, Right.VIEW)

    def get_queryset(self, request: HttpRequest) -> QuerySet[PlainTask]:
        return cast(QuerySet[PlainTask], super().get_queryset(request))

    # --- sending again ---

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[UnfoldAction]:
        task = self.get_object(request, str(object_id))
        offered = (
            task is not None
            and policy.may(request.user, Right.RETRY)
            and not control.why_not_retryable(cast(PlainTask, task))
        )
        return super().get_actions_detail(request, object_id) if offered else []

    @action(description="Retry", url_path="retry", icon="replay")  # type: ignore[untyped-decorator]
    def retry(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not policy.may(request.user, Right.RETRY):
            raise PermissionDenied("To send a task again takes the permission for it.")
        task = PlainTask.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        if task is None:
            raise Http404("There is no such task.")
        own = cast(PlainTask, task)
        back = reverse("admin:celery_tasks_plaintask_change", args=[task.pk])
        form = ReasonForm(request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            return looks.ask(
                self.admin_site,
                request,
                opts=self.model._meta,
                title=f"Send {task.task_name} again?",
                text="A new task with the same arguments goes to the same queue. What this one did is not undone.",
                verb="Retry",
                form=form,
                back=back,
                facts=[("arguments", control.arguments_of(own).text or "none")],
            )
        try:
            sent = control.retry(own, by=cast(AbstractBaseUser, request.user), reason=form.cleaned_data["reason"])
        except RunsError as error:
            messages.error(request, f"Nothing was sent: {error}.")
        else:
            messages.success(request, f"Sent again as task {sent}.")
        return redirect(back)

    # --- columns ---

    @display(description="task and id", ordering="task_name")  # type: ignore[untyped-decorator]
    def name_and_id(self, task: PlainTask) -> str:
        return looks.name_and_id(task.task_name or "-", task.task_id)

    @display(description="task")  # type: ignore[untyped-decorator]
    def name(self, task: PlainTask) -> str:
        return task.task_name or "-"

    @display(description="id")  # type: ignore[untyped-decorator]
    def id_of_task(self, task: PlainTask) -> str:
        return str(task.task_id)

    @display(description="state", ordering="status")  # type: ignore[untyped-decorator]
    def state(self, task: PlainTask) -> str:
        return looks.label(task.status.lower())

    @display(description="arguments")  # type: ignore[untyped-decorator]
    def arguments(self, task: PlainTask) -> str:
        return looks.code(control.arguments_of(task).text) if task.task_args else "-"

    @display(description="worker", ordering="worker")  # type: ignore[untyped-decorator]
    def worker_name(self, task: PlainTask) -> str:
        return getattr(task, "worker", None) or "-"

    @display(description="took")  # type: ignore[untyped-decorator]
    def took(self, task: PlainTask) -> str:
        seconds = control.meta_of(task).get("seconds")
        return duration(seconds) if isinstance(seconds, int | float) else "-"

    @display(description="ended", ordering="date_done")  # type: ignore[untyped-decorator]
    def done(self, task: PlainTask) -> str:
        return moment(task.date_done)

    @display(description="began")  # type: ignore[untyped-decorator]
    def began(self, task: PlainTask) -> str:
        at = control.meta_of(task).get("began_at")
        return moment(datetime.fromtimestamp(at, UTC)) if isinstance(at, int | float) else "-"

    @display(description="queue")  # type: ignore[untyped-decorator]
    def queue(self, task: PlainTask) -> str:
        return control.meta_of(task).get("queue") or "-"

    @display(description="retries before")  # type: ignore[untyped-decorator]
    def retries(self, task: PlainTask) -> Any:
        return control.meta_of(task).get("retries", "-")

    @display(description="positional")  # type: ignore[untyped-decorator]
    def shown_args(self, task: PlainTask) -> str:
        return render_json(control.arguments_of(task).args)

    @display(description="named")  # type: ignore[untyped-decorator]
    def shown_kwargs(self, task: PlainTask) -> str:
        return render_json(control.arguments_of(task).kwargs)

    @display(description="result")  # type: ignore[untyped-decorator]
    def shown_result(self, task: PlainTask) -> str:
        return render_json(representation.result_of(task))

    @display(description="traceback")  # type: ignore[untyped-decorator]
    def shown_traceback(self, task: PlainTask) -> str:
        return render_text(task.traceback, all_of_it="tasks --task-id ID --json") if task.traceback else "-"
