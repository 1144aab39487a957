"""What the list of runs asks every two seconds for the rows that it shows, so that nobody looks at a stale screen."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponseBadRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import path, reverse

from runs import control, policy
from runs.admin.confirming import ConfirmingAdmin
from runs.admin.looks import STATUS_COLOURS, Button, between, host_of, progress_of
from runs.admin.retrying import with_retries
from runs.context import freezes_for
from runs.models import Run

ASKED_AT_ONCE = 200


class LiveAdmin(ConfirmingAdmin):
    list_before_template = "admin/runs/run/live.html"
    status_colours = tuple(STATUS_COLOURS.items())

    def get_urls(self) -> list[Any]:
        own = path("live/", self.admin_site.admin_view(self.live), name="runs_run_live")
        return [own, *super().get_urls()]

    def list_links(self, request: HttpRequest, run: Run) -> list[Button]:
        """The buttons of a run's row."""
        raise NotImplementedError

    def live(self, request: HttpRequest) -> HttpResponseBase:
        """The cells of these rows as they are now; those that this person may not see are left out."""
        try:
            ids = [UUID(text) for text in request.GET.get("ids", "").split(",") if text]
        except ValueError:
            return HttpResponseBadRequest("ids: UUIDs with commas between them")
        if len(ids) > ASKED_AT_ONCE:
            return HttpResponseBadRequest(f"ids: {ASKED_AT_ONCE} at most")
        found = policy.visible_runs(request.user).filter(pk__in=ids).defer(*control.LARGE_FIELDS)
        runs = {str(run.pk): self._cells(request, run) for run in with_retries(found)}
        leads = policy.may_use_brake(request.user)
        freezes = [
            {
                "id": freeze.pk,
                "text": f"Emergency brake: frozen is {freeze.what}, by {freeze.actor or 'nobody named'}",
                "url": reverse("admin:runs_freeze_change", args=[freeze.pk]) if leads else "",
            }
            for freeze in freezes_for(request.user)
        ]
        return JsonResponse({"runs": runs, "freezes": freezes}, headers={"Cache-Control": "no-store"})

    def _cells(self, request: HttpRequest, run: Run) -> dict[str, Any]:
        return {
            "status": run.display_status,
            "node": run.current_node or "-",
            "progress": progress_of(run),
            "age": between(run.created_at, None),
            "host": host_of(run),
            "buttons": [{"text": button.text, "url": button.url} for button in self.list_links(request, run)],
        }
