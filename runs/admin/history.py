"""The admin's own history: who did what to which run, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import QuerySet
from django.http import HttpRequest

from runs.models import Run


def record(request: HttpRequest, run_ids: Iterable[Any], what: str, reason: str) -> None:
    record_rows(request, Run.objects.filter(pk__in=list(run_ids)).only("pk", "graph"), what, reason)


def record_rows(request: HttpRequest, rows: QuerySet[Any], what: str, reason: str) -> None:
    LogEntry.objects.log_actions(
        user_id=cast(AbstractBaseUser, request.user).pk,
        queryset=rows,
        action_flag=CHANGE,
        change_message=f"{what}. Reason: {reason or 'none given'}",
    )
