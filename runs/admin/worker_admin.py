from __future__ import annotations

from datetime import timedelta
from typing import cast

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display

from runs import control
from runs.admin.looks import LookOnlyAdmin, between
from runs.models import Run, Worker
from runs.states import Status
from runs.words import moment


@admin.register(Worker)
class WorkerAdmin(LookOnlyAdmin):
    list_display = ("hostname", "state", "pool", "concurrency", "running", "pid", "started", "heartbeat")
    fields = (
        ("hostname", "state"),
        ("pool", "concurrency"),
        ("running", "pid"),
        ("started", "heartbeat"),
        "id",
    )
    readonly_fields = tuple(name for group in fields for name in ([group] if isinstance(group, str) else group))
    search_fields = ("hostname",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        held = Run.objects.filter(worker=OuterRef("pk"), status=Status.RUNNING).order_by().values("worker")
        number = Subquery(held.annotate(number=Count("pk")).values("number"), output_field=IntegerField())
        workers = cast(QuerySet[Worker], super().get_queryset(request))
        return workers.annotate(running_runs=Coalesce(number, 0))

    @display(  # type: ignore[untyped-decorator]
        description="state", label={"alive": "success", "stopping": "warning", "silent": "danger"}
    )
    def state(self, worker: Worker) -> str:
        if timezone.now() - worker.heartbeat_at > timedelta(seconds=control.WORKER_ALIVE_SECONDS):
            return "silent"
        return "stopping" if worker.is_stopping else "alive"

    @display(description="running runs", ordering="running_runs")  # type: ignore[untyped-decorator]
    def running(self, worker: Worker) -> int:
        return cast(int, worker.running_runs)  # type: ignore[attr-defined]

    @display(description="started", ordering="started_at")  # type: ignore[untyped-decorator]
    def started(self, worker: Worker) -> str:
        return moment(worker.started_at)

    @display(description="last heartbeat", ordering="heartbeat_at")  # type: ignore[untyped-decorator]
    def heartbeat(self, worker: Worker) -> str:
        return f"{between(worker.heartbeat_at, None)} ago"
