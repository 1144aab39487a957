from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest

from authentication.keys import Scope


class LogInForm(AuthenticationForm):
    error_messages = {
        **AuthenticationForm.error_messages,
        "invalid_login": "This e-mail address and password don't match. Capitals matter in the password.",
    }

    def __init__(self, request: HttpRequest | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **{"label_suffix": "", **kwargs})
        name = self.fields["username"]
        name.label = "E-mail address"
        # The keyboard of a phone then has an @ and starts without a capital.
        name.widget.input_type = "email"


class PasswordResetRequestForm(forms.Form):
    email = forms.EmailField(
        label="E-mail address",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "email", "autofocus": True}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})


class ApiKeyForm(forms.Form):
    """What a new API key is called, what it is for, and how long it lasts."""

    name = forms.CharField(
        label="Name",
        max_length=100,
        help_text="Where it is used, so that you know later which one to revoke.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        label="It may",
        choices=[
            (Scope.READ, "look at your runs"),
            (Scope.RUN, "start, resume and retry runs"),
            (Scope.STOP, "cancel and pause your runs"),
            (Scope.ADMIN, "do with the runs of others what you may do with them"),
        ],
        initial=[Scope.READ],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one."},
    )
    days = forms.TypedChoiceField(
        label="It is valid for",
        choices=[("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "until you revoke it")],
        initial="90",
        required=False,
        coerce=int,
        empty_value=None,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})

    @property
    def lasts(self) -> timedelta | None:
        days = self.cleaned_data["days"]
        return None if days is None else timedelta(days=days)
