"""Stopping runs in the admin: a button in a row, on the page of a run, for the selected and for all of them.

Each leads to a page that shows what would be stopped and asks for a reason. `policy` says who may.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action
from unfold.enums import ActionVariant

from runs import control, policy
from runs.admin import history
from runs.admin.confirming import ConfirmingAdmin, Hidden, ReasonForm, keep_selection, sent
from runs.admin.looks import render_tree
from runs.control import StopResult
from runs.ladder import Rung, next_rung
from runs.models import Run
from runs.states import ACTIVE, StopMode, StopSource
from runs.words import count


class StoppingAdmin(ConfirmingAdmin):
    actions: tuple[str, ...] = ("cancel_selected", "interrupt_selected", "kill_selected")
    actions_list: tuple[str, ...] = ("cancel_all",)
    actions_detail: tuple[str, ...] = ("cancel", "interrupt", "kill")

    def list_buttons(self, request: HttpRequest, run: Run) -> list[str]:
        """What this person can press now: the next rung, and the kill as soon as a stop was asked for."""
        rung = None if run.is_terminal else next_rung(run.stop_plan, timezone.now())
        if rung is None or not policy.may_stop(request.user, run):
            return []
        names = [rung.mode.value] if rung is not Rung.INTERRUPT else ["interrupt", "kill"]
        return [name for name in names if name != "kill" or policy.may_kill(request.user, run)]

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[UnfoldAction]:
        run = self.get_object(request, str(object_id))
        shown = self.list_buttons(request, cast(Run, run)) if run is not None else []
        return [item for item in super().get_actions_detail(request, object_id) if item.path in shown]

    @action(description="Cancel", url_path="cancel", icon="stop_circle")  # type: ignore[untyped-decorator]
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        run = self.get_stoppable(request, object_id, "stopped")
        return self._stop(request, [run], StopMode.CANCEL, back=reverse("admin:runs_run_change", args=[run.pk]))

    @action(description="Interrupt", url_path="interrupt", icon="bolt")  # type: ignore[untyped-decorator]
    def interrupt(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._climb(request, self.get_stoppable(request, object_id, "stopped"), StopMode.INTERRUPT)

    @action(  # type: ignore[untyped-decorator]
        description="Kill", url_path="kill", icon="dangerous", variant=ActionVariant.DANGER
    )
    def kill(self, request: HttpRequest, object_id: str) -> HttpResponse:
        run = self._get_run(object_id)
        if not policy.may_kill(request.user, run):
            raise PermissionDenied("To kill a run takes the permission for it.")
        return self._climb(request, run, StopMode.KILL)

    def _climb(self, request: HttpRequest, run: Run, mode: StopMode) -> HttpResponse:
        back = reverse("admin:runs_run_change", args=[run.pk])
        if not run.is_terminal and not run.is_stopping:
            messages.info(request, "Cancel it first: most runs stop by themselves.")
            return redirect(back)
        return self._stop(request, [run], mode, back=back)

    @admin.action(description="Cancel the selected runs")
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse:
        return self._stop_selected(request, queryset, StopMode.CANCEL)

    @admin.action(description="Interrupt the selected runs")
    def interrupt_selected(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse:
        return self._stop_selected(request, queryset, StopMode.INTERRUPT)

    @admin.action(description="Kill the selected runs")
    def kill_selected(self, request: HttpRequest, queryset: QuerySet[Run]) -> HttpResponse:
        if not policy.may_kill_any(request.user):
            raise PermissionDenied("To kill a run takes the permission for it.")
        return self._stop_selected(request, queryset, StopMode.KILL)

    def get_actions(self, request: HttpRequest) -> Any:
        found = super().get_actions(request)
        if not policy.may_kill_any(request.user):
            found.pop("kill_selected", None)
        return found

    def _stop_selected(self, request: HttpRequest, queryset: QuerySet[Run], mode: StopMode) -> HttpResponse:
        # What has ended is not read: all that match a filter may be a million.
        runs = list(queryset.filter(status__in=ACTIVE).defer(*control.LARGE_FIELDS))
        if not all(policy.may_stop(request.user, run) for run in runs):
            raise PermissionDenied("Some of these runs are not yours.")
        hidden = keep_selection(request, f"{mode.value}_selected", runs)
        return self._stop(request, runs, mode, back=request.get_full_path(), hidden=hidden)

    @action(description="Cancel all", url_path="cancel-all", icon="stop_circle")  # type: ignore[untyped-decorator]
    def cancel_all(self, request: HttpRequest) -> HttpResponse:
        allowed = policy.visible_runs(request.user) & policy.stoppable_runs(request.user)
        runs = list(allowed.filter(status__in=ACTIVE).defer(*control.LARGE_FIELDS))
        return self._stop(request, runs, StopMode.CANCEL, back=reverse("admin:runs_run_changelist"))

    def _stop(
        self,
        request: HttpRequest,
        runs: Sequence[Run],
        mode: StopMode,
        *,
        back: str,
        hidden: Hidden = (),
    ) -> HttpResponse:
        """Show what would be stopped and ask for a reason; stop it once that is sent."""
        ids = [run.pk for run in runs]
        form = ReasonForm(sent(request))
        if form.is_valid():
            reason = form.cleaned_data["reason"]
            result = control.cancel_runs(
                ids, by=cast(AbstractBaseUser, request.user), source=StopSource.ADMIN, reason=reason, mode=mode
            )
            history.record(request, [*result.reached, *result.escalated], f"Asked to stop ({mode.value})", reason)
            _tell(request, result, mode)
            return redirect(back)
        affected = control.list_stoppable(ids)
        if not affected:
            messages.info(request, "There is nothing to stop: it has ended.")
            return redirect(back)
        number = count(len(affected), "run")
        verb = mode.label.capitalize()
        return self.confirm(
            request,
            "stop.html",
            title=f"{verb} {number}?",
            button=f"{verb} {number}",
            form=form,
            back=back,
            tree=render_tree(affected),
            hidden=hidden,
            mode=mode.value,
            number=number,
        )


def _tell(request: HttpRequest, result: StopResult, mode: StopMode) -> None:
    executing = len(result.reached) - len(result.settled)
    if result.settled:
        messages.success(request, f"{count(len(result.settled), 'run')} cancelled.")
    if executing:
        messages.success(request, f"{count(executing, 'run')} asked to stop; what is executing ends at its next step.")
    if result.escalated:
        what = {StopMode.KILL: "killed now", StopMode.INTERRUPT: "interrupted now"}.get(mode, "stopping already")
        messages.success(request, f"{count(len(result.escalated), 'run')}: {what}.")
    if not result.reached and not result.escalated:
        messages.info(request, "There was nothing to stop any more.")
