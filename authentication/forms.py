from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from allauth.account import forms as forms_of_accounts
from allauth.mfa.base import forms as forms_of_second_factor
from allauth.mfa.totp import forms as forms_of_app
from django import forms

from authentication.keys import Scope


class _Plain:
    """Labels in the words of the other pages, above their fields, where a colon is noise; no words inside a field."""

    LABELS: ClassVar = {
        "login": "E-mail address",
        "email": "E-mail address",
        "oldpassword": "Your password now",
        "password1": "New password",
        "password2": "New password once more",
        "code": "Code",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        for name, field in self.fields.items():  # type: ignore[attr-defined]
            field.label = self.LABELS.get(name, field.label)
            field.widget.attrs.pop("placeholder", None)
            if name == "code":
                field.widget.attrs.update(inputmode="numeric", autofocus=True)


class LogInForm(_Plain, forms_of_accounts.LoginForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].widget.attrs.update(autocomplete="username", autofocus=True)
        self.fields["password"].help_text = ""


class SignUpForm(_Plain, forms_of_accounts.SignupForm):  # type: ignore[misc]
    LABELS: ClassVar = {**_Plain.LABELS, "password1": "Password"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].widget.attrs["autocomplete"] = "username"  # for what keeps passwords


class AddEmailForm(_Plain, forms_of_accounts.AddEmailForm):  # type: ignore[misc]
    LABELS: ClassVar = {"email": "New e-mail address"}


class ChangePasswordForm(_Plain, forms_of_accounts.ChangePasswordForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["oldpassword"].help_text = ""


class SetPasswordForm(_Plain, forms_of_accounts.SetPasswordForm):  # type: ignore[misc]
    pass


class ResetPasswordKeyForm(_Plain, forms_of_accounts.ResetPasswordKeyForm):  # type: ignore[misc]
    pass


class ConfirmAccessForm(_Plain, forms_of_accounts.ReauthenticateForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].help_text = ""
        self.fields["password"].widget.attrs["autofocus"] = True


class CodeForm(_Plain, forms_of_second_factor.AuthenticateForm):  # type: ignore[misc]
    pass


class ConfirmAccessCodeForm(_Plain, forms_of_second_factor.ReauthenticateForm):  # type: ignore[misc]
    pass


class ActivateAppForm(_Plain, forms_of_app.ActivateTOTPForm):  # type: ignore[misc]
    LABELS: ClassVar = {"code": "The code that the app shows"}


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
