"""Retrying runs in the admin: a button in a row, on the page of a run, and for the selected.

Each leads to a page that asks where to begin and for a reason. `policy` says who may.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldBooleanWidget

from runs import control, lineage, policy
from runs.admin import history
from runs.admin.confirming import Hidden, keep_selection, sent
from runs.admin.looks import render_tree
from runs.admin.stopping import StoppingAdmin
from runs.errors import RunsError, ShuttingDown
from runs.models import Run
from runs.retrying import RETRIABLE
from runs.words import count

TOLD_REFUSALS = 3
RETRIED_AT_ONCE = 1_000


class RetryForm(forms.Form):
    from_start = forms.BooleanField(
        required=False,
        label="From the start",
        help_text="Else it goes on from its last checkpoint, and takes the results of the children that completed.",
        widget=UnfoldBooleanWidget(),
    )
    reason = forms.CharField(
        required=False,
        max_length=2_000,
        help_text="Kept with the new run and in the admin's history.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
    )


def with_retries(runs: QuerySet[Run]) -> QuerySet[Run]:
    """The runs with `is_retried`, for a list that shows a button in each row."""
    return runs.annotate(is_retried=Exists(Run.objects.filter(retry_of_id=OuterRef("pk"))))


class RetryingAdmin(StoppingAdmin):
    actions: tuple[str, ...] = (*StoppingAdmin.actions, "retry_selected")
    actions_detail = (*StoppingAdmin.actions_detail, "retry")

    def list_buttons(self, request: HttpRequest, run: Run) -> list[str]:
        found = super().list_buttons(request, run)
        if run.status in RETRIABLE and policy.may_retry(request.user, run) and not _is_retried(run):
            found.append("retry")
        return found

    @action(description="Retry", url_path="retry", icon="replay")  # type: ignore[untyped-decorator]
    def retry(self, request: HttpRequest, object_id: str) -> HttpResponse:
        run = self.get_stoppable(request, object_id, "retried")
        return self._retry(request, [run], back=reverse("admin:runs_run_change", args=[run.pk]))

    @admin.action(description="Retry the selected runs")
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse:
        runs = list(queryset.filter(status__in=RETRIABLE).defer(*control.LARGE_FIELDS)[: RETRIED_AT_ONCE + 1])
        if not all(policy.may_retry(request.user, run) for run in runs):
            raise PermissionDenied("Some of these runs are not yours.")
        if len(runs) > RETRIED_AT_ONCE:
            messages.warning(request, f"More than {count(RETRIED_AT_ONCE, 'run')} are selected: use a filter.")
            return redirect(request.get_full_path())
        hidden = keep_selection(request, "retry_selected", runs)
        return self._retry(request, _without_descendants(runs), back=request.get_full_path(), hidden=hidden)

    def _retry(self, request: HttpRequest, runs: Sequence[Run], *, back: str, hidden: Hidden = ()) -> HttpResponse:
        """Ask where to begin and for a reason; retry them once that is sent."""
        retriable = [run for run in runs if run.status in RETRIABLE]
        if not retriable:
            messages.info(request, "There is nothing to retry: only what failed or was cancelled is.")
            return redirect(back)
        form = RetryForm(sent(request))
        if form.is_valid():
            started = _retry_each(request, retriable, **form.cleaned_data)
            if len(retriable) == len(started) == 1:
                back = reverse("admin:runs_run_change", args=[started[0].pk])
            return redirect(back)
        number = count(len(retriable), "run")
        return self.confirm(
            request,
            "retry.html",
            title=f"Retry {number}?",
            button=f"Retry {number}",
            variant="primary",
            form=form,
            back=back,
            tree=render_tree(retriable),
            hidden=hidden,
        )

    # --- On the page of a run ---

    def tries_fieldsets(self, run: Run) -> list[tuple[str, dict[str, Any]]]:
        if run.retry_of_id is None:
            return [("Tries", {"fields": ["retried_as"]})] if _is_retried(run) else []
        fields: list[Any] = [("retry_of_link", "retried_as"), ("retry_begins", "retry_asked_by"), "retry_reason"]
        return [("Tries", {"fields": [*fields, "adopted_children"]})]

    @display(description="retry of")  # type: ignore[untyped-decorator]
    def retry_of_link(self, run: Run) -> str:
        return _link(run.retry_of)

    @display(description="retried as")  # type: ignore[untyped-decorator]
    def retried_as(self, run: Run) -> str:
        return _link(lineage.find_retry(run.pk))

    @display(description="begins")  # type: ignore[untyped-decorator]
    def retry_begins(self, run: Run) -> str:
        return "from the start" if run.retry_from_start else "from the last checkpoint"

    @display(description="asked by")  # type: ignore[untyped-decorator]
    def retry_asked_by(self, run: Run) -> str:
        return run.retry_actor or "-"

    @display(description="results taken over")  # type: ignore[untyped-decorator]
    def adopted_children(self, run: Run) -> str:
        children = list(Run.objects.filter(adopted_by=run).order_by("id"))
        return render_tree(children) if children else "-"


def _is_retried(run: Run) -> bool:
    known = getattr(run, "is_retried", None)
    return lineage.find_retry(run.pk) is not None if known is None else bool(known)


def _without_descendants(runs: Sequence[Run]) -> list[Run]:
    """The retry of a parent starts its children again: retried by themselves as well they would run twice."""
    selected = {run.pk for run in runs}
    below = set[UUID]()
    above = {run.pk: run.parent_id for run in runs if run.parent_id is not None}
    while above:
        below.update(run_id for run_id, ancestor in above.items() if ancestor in selected)
        next_up = dict(Run.objects.filter(pk__in=above.values()).values_list("pk", "parent_id"))
        above = {run_id: up for run_id, ancestor in above.items() if (up := next_up.get(ancestor)) is not None}
    return [run for run in runs if run.pk not in below]


def _retry_each(request: HttpRequest, runs: Sequence[Run], *, from_start: bool, reason: str) -> list[Run]:
    person = cast(AbstractBaseUser, request.user)
    started, refusals = list[Run](), list[str]()
    for run in runs:
        try:
            started.append(control.retry(run.pk, from_start=from_start, by=person, reason=reason))
        except ShuttingDown:
            raise
        except RunsError as error:
            refusals.append(str(error))
    what = f"Retried{' from the start' if from_start else ''}"
    history.record(request, [run.retry_of_id for run in started], what, reason)
    if started:
        messages.success(request, f"{count(len(started), 'run')} queued as a retry.")
    for refusal in refusals[:TOLD_REFUSALS]:
        messages.warning(request, f"{refusal[:1].upper()}{refusal[1:]}.")
    if len(refusals) > TOLD_REFUSALS:
        messages.warning(request, f"{count(len(refusals) - TOLD_REFUSALS, 'more run')} can't be retried.")
    return started


def _link(run: Run | None) -> str:
    if run is None:
        return "-"
    url = reverse("admin:runs_run_change", args=[run.pk])
    return format_html('<a href="{}" class="text-link">{}</a> ({})', url, run.pk, run.display_status)
