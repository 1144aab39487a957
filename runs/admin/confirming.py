"""The page that every action leads to: it shows what would be reached and asks for a reason before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib.admin import helpers
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget

from runs import control, policy
from runs.models import Run

Hidden = Sequence[tuple[str, str]]


class ReasonForm(forms.Form):
    reason = forms.CharField(
        required=False,
        max_length=2_000,
        help_text="Kept in the admin's history, and with every run that has not been asked to stop before.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, "autofocus": True}),
    )


class ConfirmingAdmin(ModelAdmin):  # type: ignore[misc]
    def confirm(
        self,
        request: HttpRequest,
        template: str,
        *,
        title: str,
        button: str,
        form: forms.Form,
        back: str,
        variant: str = "danger",
        tree: str = "",
        hidden: Hidden = (),
        **more: Any,
    ) -> HttpResponse:
        """The page that is shown until it is sent with `confirmed`; `template` says what would happen."""
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.model._meta,
            "button": button,
            "variant": variant,
            "form": form,
            "tree": tree,
            "hidden": hidden,
            "back": back,
            **more,
        }
        return TemplateResponse(request, f"admin/runs/run/{template}", context)

    def get_stoppable(self, request: HttpRequest, object_id: str, verb: str) -> Run:
        """The run of an address, if this person may stop it, and so also pause and retry it."""
        run = self._get_run(object_id)
        if not policy.may_stop(request.user, run):
            raise PermissionDenied(f"This run may be {verb} by its owner, and with the permission to stop all runs.")
        return run

    def _get_run(self, object_id: str) -> Run:
        run = control.find(object_id)
        if run is None:
            raise Http404("There is no such run.")
        return run


def sent(request: HttpRequest) -> Any:
    """What was sent with the button of the page; None for a form that is only shown."""
    return request.POST if "confirmed" in request.POST else None


def keep_selection(request: HttpRequest, action: str, runs: Sequence[Run]) -> Hidden:
    """What makes the page lead back to the same action of the list.

    All runs that match a filter are selected by one of them and a flag, not by thousands of ids.
    """
    across = request.POST.get("select_across", "0")
    selected = runs[:1] if across == "1" else runs
    ids = [(helpers.ACTION_CHECKBOX_NAME, str(run.pk)) for run in selected]
    return [("action", action), ("select_across", across), *ids]
