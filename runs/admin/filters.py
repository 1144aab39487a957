from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from runs import control
from runs.models import Run
from runs.states import ACTIVE, CANCELLING, PAUSING, Status


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = [*Status.values, CANCELLING, PAUSING]
        return [("active", "active (all of them)"), *((name, name) for name in names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        chosen = self.value()
        if chosen == "active":
            return queryset.filter(status__in=ACTIVE)
        return queryset.filter(control.displayed_as([chosen])) if chosen else queryset


class AgeFilter(admin.SimpleListFilter):
    title = "age"
    parameter_name = "age"
    limits = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        article = {"hour": "an hour", "day": "a day", "week": "a week"}
        return [(f"{side}-{name}", f"{side} {article[name]}") for side in ("under", "over") for name in article]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        side, _, name = (self.value() or "").partition("-")
        if name not in self.limits:
            return queryset
        limit = timezone.now() - self.limits[name]
        return queryset.filter(created_at__gte=limit) if side == "under" else queryset.filter(created_at__lt=limit)
