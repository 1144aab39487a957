"""The Stop button of each running node on the page of a run. Who may stop the run may stop its nodes."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse

from runs import control, policy
from runs.admin import history
from runs.admin.confirming import ConfirmingAdmin, ReasonForm, sent
from runs.errors import RunsError
from runs.models import NodeExecution, Run
from runs.states import StopSource
from runs.words import node_path


class NodeStoppingAdmin(ConfirmingAdmin):
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
        form = ReasonForm(sent(request))
        if form.is_valid():
            self._stop_node(request, run, execution, name, form.cleaned_data["reason"])
            return redirect(back)
        return self.confirm(
            request,
            "stop_node.html",
            title=f"Stop node {name}?",
            button="Stop the node",
            form=form,
            back=back,
            name=name,
            run=run,
        )

    def _stop_node(self, request: HttpRequest, run: Run, execution: NodeExecution, name: str, reason: str) -> None:
        user = cast(AbstractBaseUser, request.user)
        try:
            control.cancel_node(run.pk, execution.pk, by=user, source=StopSource.ADMIN, reason=reason)
        except RunsError as error:
            messages.info(request, f"Nothing was stopped: {error}.")
            return
        history.record(request, [run.pk], f"Asked node {name} to stop", reason)
        messages.success(request, f"Node {name} was asked to stop; its run goes on.")
