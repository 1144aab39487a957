"""The emergency brake in the admin: pull it, watch how far it has come, lift it. It takes the permission for it."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.forms.widgets import Script
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import path, reverse
from unfold.decorators import action, display
from unfold.widgets import (
    UnfoldAdminEmailInputWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanWidget,
)

from runs import brake, catalog, control, listing, policy
from runs.admin import history
from runs.admin.confirming import ConfirmingAdmin, ReasonForm, sent
from runs.admin.looks import LookOnlyAdmin, render_label
from runs.errors import FreezeNotFound
from runs.models import Freeze
from runs.states import StopSource
from runs.words import count, moment


class FreezeForm(forms.Form):
    graph = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget, help_text="Without one: every graph.")
    owner = forms.EmailField(
        required=False,
        widget=UnfoldAdminEmailInputWidget,
        help_text="The e-mail address of an account. Without one: everybody. Choose a graph or an owner, or neither.",
    )
    cancels = forms.BooleanField(
        required=False,
        label="Also cancel what matches",
        help_text="Everything that is queued, waiting or executing. Else it goes on, and only nothing new begins.",
        widget=UnfoldBooleanWidget(),
    )
    reason = forms.CharField(
        max_length=2_000,
        help_text="Everybody whom it concerns reads it on every page.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
    )

    def __init__(self, *args: Any, may_cancel: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = sorted({*listing.list_graphs(), *(entry.name for entry in catalog.list_graphs())})
        cast(forms.ChoiceField, self.fields["graph"]).choices = [("", "every graph"), *((name, name) for name in names)]
        if not may_cancel:
            del self.fields["cancels"]

    def clean_owner(self) -> AbstractBaseUser | None:
        address = self.cleaned_data["owner"]
        if not address:
            return None
        account = get_user_model()._default_manager.filter(email__iexact=address).first()
        if account is None:
            raise forms.ValidationError("There is no account with this address.")
        return account

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("graph") and self.cleaned_data.get("owner"):
            raise forms.ValidationError("Choose a graph or an owner, not both.")
        return self.cleaned_data


@admin.register(Freeze)
class FreezeAdmin(ConfirmingAdmin, LookOnlyAdmin):
    list_display = ("what_column", "state", "frozen", "actor", "reason", "lifted", "lifted_actor")
    list_per_page = 50
    actions_list = ("pull",)
    actions_detail = ("lift",)
    fields = (("what_column", "state"), "progress", ("frozen", "actor"), "reason", ("lifted", "lifted_actor"))
    readonly_fields = ("what_column", "state", "progress", "frozen", "actor", "reason", "lifted", "lifted_actor")
    list_select_related = ("owner",)

    class Media:
        js = (Script("runs/admin/panel.js", type="module"),)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return policy.may_use_brake(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return policy.may_use_brake(request.user)

    def get_urls(self) -> list[Any]:
        own = path("<int:freeze_id>/live/", self.admin_site.admin_view(self.live), name="runs_freeze_live")
        return [own, *super().get_urls()]

    @action(description="Pull the brake", url_path="pull", icon="front_hand")  # type: ignore[untyped-decorator]
    def pull(self, request: HttpRequest) -> HttpResponse:
        self._require_brake(request)
        form = FreezeForm(sent(request), may_cancel=policy.may_stop_all(request.user))
        if form.is_valid():
            return redirect(reverse("admin:runs_freeze_change", args=[self._freeze(request, form.cleaned_data).pk]))
        return self.confirm(
            request,
            "freeze.html",
            title="Pull the emergency brake?",
            button="Freeze",
            form=form,
            back=reverse("admin:runs_freeze_changelist"),
        )

    @action(description="Lift the brake", url_path="lift", icon="play_circle")  # type: ignore[untyped-decorator]
    def lift(self, request: HttpRequest, object_id: str) -> HttpResponse:
        freeze = self._find(request, object_id)
        back = reverse("admin:runs_freeze_change", args=[freeze.pk])
        form = ReasonForm(sent(request))
        if form.is_valid():
            for row in brake.unfreeze([freeze.pk], by=cast(AbstractBaseUser, request.user)):
                self._record(request, row, f"Lifted the freeze of {row.what}", form.cleaned_data["reason"])
                messages.success(request, f"The brake is lifted: {row.what} may begin again.")
            return redirect(back)
        return self.confirm(
            request,
            "unfreeze.html",
            title="Lift the emergency brake?",
            button="Lift the brake",
            variant="primary",
            form=form,
            back=back,
            freeze=freeze,
            queued=count(brake.look(freeze).queued, "run"),
        )

    def live(self, request: HttpRequest, freeze_id: int) -> HttpResponse:
        """How far it has come, for the numbers on its page."""
        return JsonResponse(_progress(self._find(request, freeze_id)), headers={"Cache-Control": "no-store"})

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        freeze = self.get_object(request, str(object_id))
        shown = super().get_actions_detail(request, object_id)
        return shown if freeze is not None and cast(Freeze, freeze).is_standing else []

    def _freeze(self, request: HttpRequest, asked: dict[str, Any]) -> Freeze:
        """Freeze, and then cancel what matches: so nothing slips in between."""
        who: dict[str, Any] = {"by": cast(AbstractBaseUser, request.user), "source": StopSource.ADMIN}
        which: dict[str, Any] = {"graph": asked["graph"] or None, "owner": asked["owner"]}
        freeze = brake.freeze(**which, **who, reason=asked["reason"])
        self._record(request, freeze, f"Froze {freeze.what}", asked["reason"])
        if asked.get("cancels"):
            result = control.cancel_all(**which, **who, reason=asked["reason"])
            history.record(request, result.reached, "Asked to stop by the emergency brake", asked["reason"])
            messages.success(request, f"Frozen, and {count(len(result.reached), 'run')} asked to stop.")
        else:
            messages.success(request, "Frozen: nothing new of it begins.")
        return freeze

    def _record(self, request: HttpRequest, freeze: Freeze, what: str, reason: str) -> None:
        history.record_rows(request, Freeze.objects.filter(pk=freeze.pk), what, reason)

    def _find(self, request: HttpRequest, freeze_id: Any) -> Freeze:
        self._require_brake(request)
        try:
            return brake.get(int(freeze_id))
        except (FreezeNotFound, ValueError) as error:
            raise Http404(str(error)) from error

    def _require_brake(self, request: HttpRequest) -> None:
        if not policy.may_use_brake(request.user):
            raise PermissionDenied("The emergency brake takes the permission for it.")

    @display(description="what")  # type: ignore[untyped-decorator]
    def what_column(self, freeze: Freeze) -> str:
        return freeze.what

    @display(description="state")  # type: ignore[untyped-decorator]
    def state(self, freeze: Freeze) -> str:
        return render_label("frozen" if freeze.is_standing else "lifted")

    @display(description="how far it has come")  # type: ignore[untyped-decorator]
    def progress(self, freeze: Freeze) -> str:
        context = {"freeze": freeze, "progress": _progress(freeze)}
        return render_to_string("admin/runs/freeze/progress.html", context)

    @display(description="frozen")  # type: ignore[untyped-decorator]
    def frozen(self, freeze: Freeze) -> str:
        return moment(freeze.frozen_at)

    @display(description="lifted")  # type: ignore[untyped-decorator]
    def lifted(self, freeze: Freeze) -> str:
        return moment(freeze.lifted_at) or "-"


def _progress(freeze: Freeze) -> dict[str, str]:
    hold = brake.look(freeze)

    def told(number: int) -> str:
        return f"{number:,}" if number < brake.COUNTED else f"{number:,} or more"

    return {
        "queued": told(hold.queued),
        "stopping": told(hold.stopping),
        "executing": told(hold.executing),
    }
