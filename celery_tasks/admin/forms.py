"""What is asked before something is done."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from celery_tasks.control import MOST_PROCESSES


class ReasonForm(forms.Form):
    reason = forms.CharField(
        required=False,
        max_length=2_000,
        help_text="Kept in the admin's history.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
    )


class NumberForm(ReasonForm):
    number = forms.IntegerField(
        min_value=1,
        max_value=MOST_PROCESSES,
        initial=1,
        label="Processes",
        widget=UnfoldAdminIntegerFieldWidget(),
    )
    field_order = ["number", "reason"]


class AutoscaleForm(ReasonForm):
    most = forms.IntegerField(min_value=1, max_value=MOST_PROCESSES, widget=UnfoldAdminIntegerFieldWidget())
    least = forms.IntegerField(min_value=0, max_value=MOST_PROCESSES, widget=UnfoldAdminIntegerFieldWidget())
    field_order = ["most", "least", "reason"]

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or {}
        if found.get("least", 0) > found.get("most", MOST_PROCESSES):
            raise forms.ValidationError("The least is more than the most.")
        return found


class QueueForm(ReasonForm):
    queue = forms.ChoiceField(widget=UnfoldAdminSelectWidget())
    field_order = ["queue", "reason"]

    def __init__(self, *args: Any, names: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["queue"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]
