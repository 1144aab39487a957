"""The Stop button of each running node on the page of a run. Who may stop the run may stop its nodes."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from unfold.admin import ModelAdmin

from runs import control, policy
from runs.admin.stopping import StopForm
from runs.errors import RunsError
from runs.models import NodeExecution, Run
from runs.states import StopSource
from runs.words import node_path


class NodeStoppingAdmin(ModelAdmin):  # type: ignore[misc]
    def get_urls(self) -> list[Any]:
        own = path(
            "<uuid:run_id>/nodes/<uuid:execution_id>/cancel/",
            self.admin_site.admin_view(self.cancel_node),
            name="runs_run_cancel_node",
        )
        return [own, *super().get_urls()]

    def cancel_node(self, request: HttpRequest, run_id: UUID, execution_id: UUID) -> HttpResponse:
        """Ask for a reason, and stop the node once that is sent."""
        execution = NodeExecution.objects.select_related("run").filter(pk=execution_id, run_id=run_id).first()
        if execution is None:
            raise Http404("There is no such node.")
        run = execution.run
        if not policy.may_stop(request.user, run):
            raise PermissionDenied("This run may be stopped by its owner, and with the permission for all runs.")
        back = reverse("admin:runs_run_change", args=[run.pk])
        name = node_path(execution.namespace, execution.node)
        form = StopForm(request.POST if "confirmed" in request.POST else None)
        if form.is_valid():
            self._stop_node(request, run, execution, name, form.cleaned_data["reason"])
            return redirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Stop node {name}?",
            "opts": self.model._meta,
            "name": name,
            "run": run,
            "form": form,
            "back": back,
        }
        return TemplateResponse(request, "admin/runs/run/stop_node.html", context)

    def _stop_node(self, request: HttpRequest, run: Run, execution: NodeExecution, name: str, reason: str) -> None:
        user = cast(AbstractBaseUser, request.user)
        try:
            control.cancel_node(run.pk, execution.pk, by=user, source=StopSource.ADMIN, reason=reason)
        except RunsError as error:
            messages.info(request, f"Nothing was stopped: {error}.")
            return
        LogEntry.objects.log_actions(
            user_id=user.pk,
            queryset=Run.objects.filter(pk=run.pk),
            action_flag=CHANGE,
            change_message=f"Asked node {name} to stop. Reason: {reason or 'none given'}",
        )
        messages.success(request, f"Node {name} was asked to stop; its run goes on.")
