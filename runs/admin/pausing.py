"""Pausing runs in the admin, and letting them go on: a button in a row, on the page of a run, and for the selected.

The buttons lead to a page that shows what would be reached. Who may stop a run may pause it; `policy` says who that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.decorators import action, display

from runs import control, policy
from runs.admin import history
from runs.admin.confirming import Hidden, ReasonForm, keep_selection, sent
from runs.admin.looks import render_tree
from runs.admin.receipt import ReceiptAdmin
from runs.errors import RunsError
from runs.models import Run
from runs.states import ACTIVE, Status, StopSource
from runs.words import count, moment

PAUSE, RESUME = "pause", "resume"


class PausingAdmin(ReceiptAdmin):
    actions = (*ReceiptAdmin.actions, "pause_selected", "resume_selected")
    actions_detail = (*ReceiptAdmin.actions_detail, PAUSE, RESUME)

    def list_buttons(self, request: HttpRequest, run: Run) -> list[str]:
        found = super().list_buttons(request, run)
        if run.is_terminal or run.is_stopping or not policy.may_stop(request.user, run):
            return found
        return [*found, RESUME if run.status == Status.PAUSED or run.is_pausing else PAUSE]

    @action(description="Pause", url_path=PAUSE, icon="pause_circle")  # type: ignore[untyped-decorator]
    def pause(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._change(request, object_id, PAUSE)

    @action(description="Resume", url_path=RESUME, icon="play_circle")  # type: ignore[untyped-decorator]
    def resume(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._change(request, object_id, RESUME)

    def _change(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        run = self.get_stoppable(request, object_id, "paused")
        return self._ask(request, [run], verb, back=reverse("admin:runs_run_change", args=[run.pk]))

    @admin.action(description="Pause the selected runs")
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse:
        return self._change_selected(request, queryset, PAUSE)

    @admin.action(description="Resume the selected runs")
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse:
        return self._change_selected(request, queryset, RESUME)

    def _change_selected(self, request: HttpRequest, queryset: QuerySet[Run], verb: str) -> HttpResponse:
        runs = list(queryset.filter(status__in=ACTIVE).defer(*control.LARGE_FIELDS))
        if not all(policy.may_stop(request.user, run) for run in runs):
            raise PermissionDenied("Some of these runs are not yours.")
        hidden = keep_selection(request, f"{verb}_selected", runs)
        return self._ask(request, runs, verb, back=request.get_full_path(), hidden=hidden)

    def _ask(
        self, request: HttpRequest, runs: Sequence[Run], verb: str, *, back: str, hidden: Hidden = ()
    ) -> HttpResponse:
        """Show what would be reached; do it once that is confirmed."""
        ids = [run.pk for run in runs]
        form = ReasonForm(sent(request))
        if form.is_valid():
            try:
                _do(request, ids, verb, form.cleaned_data["reason"])
            except RunsError as error:
                messages.info(request, f"Nothing was changed: {error}.")
            return redirect(back)
        below = [member for member in control.list_stoppable(ids) if not member.is_stopping]
        affected = [member for member in below if (member.pause_requested_at is None) == (verb == PAUSE)]
        if not affected:
            messages.info(request, f"There is nothing to {verb}.")
            return redirect(back)
        number = count(len(affected), "run")
        return self.confirm(
            request,
            "pause.html",
            title=f"{verb.capitalize()} {number}?",
            button=f"{verb.capitalize()} {number}",
            variant="primary",
            form=form,
            back=back,
            tree=render_tree(affected),
            hidden=hidden,
            verb=verb,
            number=number,
        )

    def pause_fieldset(self, run: Run) -> tuple[str, dict[str, Any]]:
        return "Pause", {"fields": [("pause_asked", "pause_asked_by"), "pause_reason"]}

    @display(description="asked")  # type: ignore[untyped-decorator]
    def pause_asked(self, run: Run) -> str:
        return moment(run.pause_requested_at)

    @display(description="asked by")  # type: ignore[untyped-decorator]
    def pause_asked_by(self, run: Run) -> str:
        return f"{run.pause_actor or 'nobody named'} ({run.get_pause_source_display()})"


def _do(request: HttpRequest, run_ids: Sequence[UUID], verb: str, reason: str) -> None:
    """
    Raises:
        RunsError: it was one run, and why nothing was changed.
    """
    if verb == RESUME:
        resumed = control.resume(run_ids[0]) if len(run_ids) == 1 else control.resume_runs(run_ids)
        _tell_of_resume(request, [*resumed.resumed, *resumed.withdrawn], reason)
        return
    person, source = cast(AbstractBaseUser, request.user), StopSource.ADMIN
    if len(run_ids) == 1:
        paused = control.pause(run_ids[0], by=person, source=source, reason=reason)
    else:
        paused = control.pause_runs(run_ids, by=person, source=source, reason=reason)
    _tell_of_pause(request, paused.reached, reason)


def _tell_of_pause(request: HttpRequest, reached: Sequence[UUID], reason: str) -> None:
    if not reached:
        messages.info(request, "There was nothing to pause.")
        return
    history.record(request, reached, "Asked to pause", reason)
    messages.success(request, f"{count(len(reached), 'run')} asked to pause; what executes leaves at its next step.")


def _tell_of_resume(request: HttpRequest, reached: Sequence[UUID], reason: str) -> None:
    if not reached:
        messages.info(request, "There was nothing to resume.")
        return
    history.record(request, reached, "Resumed", reason)
    messages.success(request, f"{count(len(reached), 'run')} resumed.")
