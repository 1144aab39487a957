"""The filters of the list of runs. None of them reads every run to know what it offers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from runs import control, listing, policy
from runs.ladder import Rung
from runs.models import Run, Worker
from runs.states import ACTIVE, CANCELLING, PAUSING, Status

OFFERED = 50  # owners and workers; the others are found by the search

Choices = list[tuple[str, str]]


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        names = [*Status.values, CANCELLING, PAUSING]
        return [("active", "active (all of them)"), *((name, name) for name in names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        chosen = self.value()
        if chosen == "active":
            return queryset.filter(status__in=ACTIVE)
        return queryset.filter(control.displayed_as([chosen])) if chosen else queryset


class GraphFilter(admin.SimpleListFilter):
    title = "graph"
    parameter_name = "graph"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        if policy.may_view_all(request.user):
            names = listing.list_graphs()
        else:
            own = policy.visible_runs(request.user).order_by("graph").values_list("graph", flat=True)
            names = list(own.distinct()[: listing.NAMES])
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset.filter(graph=self.value()) if self.value() else queryset


class OwnerFilter(admin.SimpleListFilter):
    title = "owner"
    parameter_name = "owner__id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        if not policy.may_view_all(request.user):
            return []
        users = get_user_model()._default_manager.filter(Exists(Run.objects.filter(owner=OuterRef("pk"))))
        return [(str(user.pk), str(user)) for user in users.order_by("pk")[:OFFERED]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        chosen = self.value()
        try:
            # An account's key is whatever the project has made it.
            return queryset.filter(owner__in=[chosen]) if chosen else queryset
        except (ValueError, ValidationError):
            return queryset.none()


class WorkerFilter(admin.SimpleListFilter):
    title = "worker"
    parameter_name = "worker"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        if not policy.may_view_any(request.user):
            return []  # the machines are not everybody's business
        workers = Worker.objects.order_by("-heartbeat_at")[:OFFERED]
        return [(worker.pk, f"{worker.hostname} (pid {worker.pid})") for worker in workers]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset.filter(worker=self.value()) if self.value() else queryset


class RungFilter(admin.SimpleListFilter):
    title = "how it stopped"
    parameter_name = "rung"
    rungs = {"cancel": Rung.CANCEL, "interrupt": Rung.INTERRUPT, "kill": Rung.KILL}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [
            ("cancel", "by itself"),
            ("interrupt", "interrupted"),
            ("kill", "killed"),
            ("none", "while not executing"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        chosen = self.value() or ""
        if chosen in self.rungs:
            return queryset.filter(stop_rung=self.rungs[chosen].value, stop_requested_at__isnull=False)
        if chosen == "none":
            return queryset.filter(stop_rung__isnull=True, status=Status.CANCELLED, stop_requested_at__isnull=False)
        return queryset


class AgeFilter(admin.SimpleListFilter):
    title = "age"
    parameter_name = "age"
    limits = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        article = {"hour": "an hour", "day": "a day", "week": "a week"}
        return [(f"{side}-{name}", f"{side} {article[name]}") for side in ("under", "over") for name in article]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        side, _, name = (self.value() or "").partition("-")
        if name not in self.limits:
            return queryset
        limit = timezone.now() - self.limits[name]
        return queryset.filter(created_at__gte=limit) if side == "under" else queryset.filter(created_at__lt=limit)
