"""One page of what the broker and the workers hold now: workers, queues, tasks, each with its buttons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from unfold.admin import ModelAdmin

from celery_tasks import broker, control, policy
from celery_tasks.admin import looks
from celery_tasks.admin.forms import AutoscaleForm, NumberForm, QueueForm, ReasonForm
from celery_tasks.broker import Queue
from celery_tasks.control import RUNNING, LiveTask, Snapshot
from celery_tasks.models import LiveTask as LiveTaskPage
from celery_tasks.policy import Right
from celery_tasks.workers import WorkerState
from runs.errors import RunsError
from runs.words import count, duration

PAGE = "admin:celery_tasks_livetask_changelist"


@dataclass(frozen=True)
class Order:
    """What a worker can be told, and what is asked before."""

    verb: str
    right: Right
    text: str
    form: Callable[..., ReasonForm]
    do: Callable[..., str]
    is_danger: bool = False


def _queue_form(*args: Any) -> ReasonForm:
    return QueueForm(*args, names=broker.list_queue_names())


ORDERS = {
    "ping": Order("Ping", Right.CONTROL_WORKER, "It is asked to answer.", ReasonForm, control.ping),
    "grow": Order("Grow", Right.CONTROL_WORKER, "Its pool gets more processes.", NumberForm, control.grow),
    "shrink": Order(
        "Shrink", Right.CONTROL_WORKER, "Idle processes of its pool end; busy ones stay.", NumberForm, control.shrink
    ),
    "autoscale": Order(
        "Autoscale",
        Right.CONTROL_WORKER,
        "Its pool grows and shrinks between two sizes, if it was started with --autoscale.",
        AutoscaleForm,
        control.autoscale,
    ),
    "add-queue": Order(
        "Add queue", Right.CONTROL_WORKER, "It takes tasks from one more queue.", _queue_form, control.add_queue
    ),
    "cancel-queue": Order(
        "Leave queue", Right.CONTROL_WORKER, "It takes no more tasks from a queue.", _queue_form, control.cancel_queue
    ),
    "shut-down": Order(
        "Shut down",
        Right.SHUT_DOWN_WORKER,
        "It takes no more tasks, stops or hands over its runs as RUNS_ON_SHUTDOWN says, waits for its plain tasks, "
        "and ends. Whatever supervises it may start it again.",
        ReasonForm,
        control.shut_down,
        is_danger=True,
    ),
}


@admin.register(LiveTaskPage)
class LiveTaskAdmin(ModelAdmin):  # type: ignore[misc]
    def has_module_permission(self, request: HttpRequest) -> bool:
        return policy.may(request.user, Right.VIEW)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return policy.may(request.user, Right.VIEW)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[Any]:
        # There is no table, so none of the pages that Django would make.
        own = self.admin_site.admin_view
        return [
            path("", own(self.show), name="celery_tasks_livetask_changelist"),
            path("task/<path:task_id>/<str:verb>/", own(self.end_task), name="celery_tasks_livetask_end"),
            path("worker/<path:hostname>/<str:order>/", own(self.tell_worker), name="celery_tasks_livetask_worker"),
        ]

    # --- the page ---

    def show(self, request: HttpRequest) -> HttpResponse:
        _require(request, Right.VIEW)
        workers: list[WorkerState] = []
        snapshot, problem = None, ""
        try:
            workers, snapshot = control.list_workers(), control.look()
        except RunsError as error:
            problem = f"{str(error)[:1].upper()}{str(error)[1:]}."
        context = {
            **self.admin_site.each_context(request),
            "title": "Live tasks, queues, workers",
            "opts": self.model._meta,
            "problem": problem,
            "snapshot": snapshot,
            "silent": ", ".join(snapshot.silent) if snapshot else "",
            "at": timezone.localtime(),
            "workers": _workers_table(request, workers),
            "queues": _queues_table(snapshot.queues if snapshot else []),
            "tasks": _tasks_table(request, snapshot.tasks if snapshot else []),
            "unseen": _unseen(snapshot),
            "finished_url": reverse("admin:celery_tasks_plaintask_changelist"),
        }
        return TemplateResponse(request, "admin/celery_tasks/live.html", context)

    # --- ending a task ---

    def end_task(self, request: HttpRequest, task_id: str, verb: str) -> HttpResponse:
        if verb not in ("revoke", "terminate", "kill"):
            raise Http404("There is no such button.")
        _require(request, Right.REVOKE if verb == "revoke" else Right.TERMINATE)
        back = reverse(PAGE)
        form = ReasonForm(request.POST if "confirmed" in request.POST else None)
        if form.is_valid():
            asked: dict[str, Any] = {"by": request.user, "reason": form.cleaned_data["reason"]}
            try:
                if verb == "revoke":
                    said = control.revoke(task_id, **asked)
                else:
                    said = control.terminate(task_id, kill=verb == "kill", **asked)
            except RunsError as error:
                messages.error(request, f"Nothing was done: {error}.")
            else:
                messages.success(request, f"Task {task_id}: {said}")
            return redirect(back)
        try:
            task = control.find_live(task_id)
        except RunsError as error:
            messages.error(request, f"Nothing was done: {error}.")
            return redirect(back)
        if task is None or task.is_run:
            messages.info(request, "It is a run; stop the run." if task else "There is nothing to end: it has gone.")
            return redirect(back)
        return looks.ask(
            self.admin_site,
            request,
            opts=self.model._meta,
            title=f"{verb.capitalize()} {task.name}?",
            text={
                "revoke": "It will not start. If it has started meanwhile, it goes on.",
                "terminate": "Its process gets SIGTERM and ends at once; the pool starts another. "
                "What the task was doing stays half done.",
                "kill": "Its process is killed and can clean up nothing; the pool starts another.",
            }[verb],
            verb=verb.capitalize(),
            form=form,
            back=back,
            is_danger=True,
            facts=[("id", task_id), ("state", task.state), ("arguments", task.arguments.text or "none")],
        )

    # --- workers ---

    def tell_worker(self, request: HttpRequest, hostname: str, order: str) -> HttpResponse:
        told = ORDERS.get(order)
        if told is None:
            raise Http404("There is no such button.")
        _require(request, told.right)
        back = reverse(PAGE)
        form = told.form(request.POST if "confirmed" in request.POST else None)
        if not form.is_valid():
            return looks.ask(
                self.admin_site,
                request,
                opts=self.model._meta,
                title=f"{told.verb}: {hostname}?",
                text=told.text,
                verb=told.verb,
                form=form,
                back=back,
                is_danger=told.is_danger,
            )
        try:
            said = told.do(hostname, by=cast(AbstractBaseUser, request.user), **form.cleaned_data)
        except RunsError as error:
            messages.error(request, f"Nothing was changed: {error}.")
        else:
            messages.success(request, said)
        return redirect(back)


def _require(request: HttpRequest, right: Right) -> None:
    if not policy.may(request.user, right):
        raise PermissionDenied("This takes a permission that you don't have.")


def _workers_table(request: HttpRequest, workers: list[WorkerState]) -> dict[str, Any]:
    orders = {name: order for name, order in ORDERS.items() if policy.may(request.user, order.right)}
    rows = []
    for worker in workers:
        state = "silent" if not worker.answers else "stopping" if worker.is_stopping else "answers"
        size = str(len(worker.processes) or worker.concurrency)
        if worker.autoscale:
            size += f" (autoscale {worker.autoscale[1]} to {worker.autoscale[0]})"
        shown = [name for name in orders if name != "autoscale" or worker.autoscale]
        links = [
            (reverse("admin:celery_tasks_livetask_worker", args=[worker.hostname, name]), orders[name].verb)
            for name in shown
        ]
        rows.append(
            [
                looks.code(worker.hostname),
                looks.label(state),
                size,
                ", ".join(worker.queues) or "-",
                _buttons(links),
            ]
        )
    headers = ["worker", "state", "processes", "takes from", *([""] if orders else [])]
    return {"headers": headers, "rows": [row[: len(headers)] for row in rows]}


def _queues_table(queues: list[Queue]) -> dict[str, Any]:
    knows_consumers = any(queue.consumers is not None for queue in queues)
    rows = []
    for queue in queues:
        waiting = "not declared yet" if queue.waiting is None else f"{queue.waiting:,}"
        parts = ", ".join(f"{size:,} × {priority}" for priority, size in queue.by_priority.items())
        last = (queue.consumers if queue.consumers is not None else "-") if knows_consumers else parts or "-"
        rows.append([looks.code(queue.name), waiting, str(last)])
    return {"headers": ["queue", "waiting", "consumers" if knows_consumers else "by priority, 0 first"], "rows": rows}


def _tasks_table(request: HttpRequest, tasks: list[LiveTask]) -> dict[str, Any]:
    rows = [
        [
            looks.name_and_id(task.name, task.id),
            looks.label(task.state),
            "" if task.is_run else looks.code(task.arguments.text or "-"),
            _where(task),
            _when(task),
            _task_buttons(request, task),
        ]
        for task in tasks
    ]
    return {"headers": ["task and id", "state", "arguments", "where", "time", ""], "rows": rows}


def _where(task: LiveTask) -> str:
    lines = [part for part in (task.worker, f"queue {task.queue}" if task.queue else "") if part]
    return format_html_join("", '<span class="block">{}</span>', [(line,) for line in lines])


def _when(task: LiveTask) -> str:
    if task.started_at:
        since = timezone.now() - datetime.fromtimestamp(task.started_at, UTC)
        return f"for {duration(since.total_seconds())}"
    return f"not before {task.eta[:19].replace('T', ' ')}" if task.eta else "-"


def _task_buttons(request: HttpRequest, task: LiveTask) -> str:
    if task.is_run:
        url = reverse("admin:runs_run_change", args=[task.id])
        return format_html('<a href="{}" class="text-link whitespace-nowrap">Its run</a>', url)
    verbs = ["terminate", "kill"] if task.state == RUNNING else ["revoke"]
    right = Right.TERMINATE if task.state == RUNNING else Right.REVOKE
    if not policy.may(request.user, right):
        return ""
    return _buttons(
        [(reverse("admin:celery_tasks_livetask_end", args=[task.id, verb]), verb.capitalize()) for verb in verbs]
    )


def _buttons(links: list[tuple[str, str]]) -> str:
    buttons = format_html_join("", "{}", [(looks.button(url, text),) for url, text in links])
    return format_html('<span class="flex flex-wrap gap-1">{}</span>', buttons)


def _unseen(snapshot: Snapshot | None) -> str:
    """What waits and is not in the table."""
    if snapshot is None:
        return ""
    waiting = sum(queue.waiting or 0 for queue in snapshot.queues)
    shown = sum(task.state == control.WAITING for task in snapshot.tasks)
    if waiting <= shown:
        return ""
    if not snapshot.shows_waiting:
        return f"{count(waiting, 'task')} in the queues: this broker tells how many wait, not which."
    return f"{count(waiting - shown, 'more task')} in the queues: the next {control.SHOWN_OF_QUEUE} of each are shown."
