"""What the mails of an account say, and how one is queued.

The links come from `settings.PUBLIC_URL`, never from a request, so a forged Host header can't steer them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from allauth.account import app_settings
from allauth.account.utils import user_pk_to_url_str
from celery import current_app
from celery.app.task import Task
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from kombu.exceptions import OperationalError

from authentication.models import User

PUBLISH_CONNECT_SECONDS = 2.0
# Without these two Celery tries again for as long as the broker is away, and the page waits with it.
PUBLISH_LIMITS = {
    "max_retries": 1,
    "interval_start": 0,
    "connect_retries_timeout": PUBLISH_CONNECT_SECONDS,
    "socket_timeout": PUBLISH_CONNECT_SECONDS,
    "socket_connect_timeout": PUBLISH_CONNECT_SECONDS,
}


class MailNotQueued(Exception):
    """The broker did not take the message; try again later."""


def queue(task: Task[Any, Any], row_id: UUID) -> None:
    """Queue a mail task for a user or an outgoing mail, or give up after a few seconds.

    Raises:
        MailNotQueued: the broker is away.
    """
    options = {**current_app.conf.broker_transport_options, **PUBLISH_LIMITS}
    try:
        with current_app.connection_for_write(
            connect_timeout=PUBLISH_CONNECT_SECONDS, transport_options=options
        ) as connection:
            task.apply_async(args=(str(row_id),), retry=False, connection=connection)  # type: ignore[call-arg]
    except (OperationalError, OSError) as error:
        raise MailNotQueued(type(error).__name__) from error


@dataclass(frozen=True)
class Kind:
    """A mail that allauth asks for: its template, and for a notice what happened."""

    template: str
    subject: str
    happened: str = ""


# By allauth's names. Their texts are ours, and greet nobody by name: whoever signs up has typed somebody's address.
KINDS = {
    "account/email/email_confirmation_signup": Kind("confirm_address", "Confirm your e-mail address for {site_name}"),
    "account/email/email_confirmation": Kind("confirm_address", "Confirm your e-mail address for {site_name}"),
    "account/email/account_already_exists": Kind("account_exists", "You have an account on {site_name}"),
    **{
        f"{app}/email/{name}": Kind("notice", subject, happened)
        for app, name, subject, happened in (
            ("account", "password_changed", "Your password was changed", "the password of your account was changed"),
            ("account", "password_reset", "Your password was changed", "the password of your account was changed"),
            ("account", "password_set", "Your account has a password", "your account was given a password"),
            (
                "account",
                "email_changed",
                "The address of your account was changed",
                "the e-mail address of your account was changed",
            ),
            (
                "account",
                "email_deleted",
                "An address of your account was removed",
                "an e-mail address of your account was removed",
            ),
            (
                "account",
                "email_confirm",
                "An address of your account was confirmed",
                "an e-mail address of your account was confirmed",
            ),
            (
                "mfa",
                "totp_activated",
                "Logging in now takes two steps",
                "an authenticator app was added to your account",
            ),
            (
                "mfa",
                "totp_deactivated",
                "Logging in takes one step again",
                "the authenticator app of your account was removed",
            ),
            (
                "mfa",
                "recovery_codes_generated",
                "You have new recovery codes",
                "new recovery codes were made for your account; the old ones are void",
            ),
        )
    },
}


def compose_welcome(user: User) -> EmailMultiAlternatives:
    return _compose(
        "welcome",
        user.email,
        subject=f"Welcome to {_site_name()}",
        user=user,
        login_url=_absolute(reverse("login")),
        # Someone else may have typed the first password, so the person is asked to choose their own.
        password_url=_password_url(user) if user.has_usable_password() and not user.signed_up else None,
    )


def compose_password_reset(user: User) -> EmailMultiAlternatives:
    return _compose(
        "password_reset",
        user.email,
        subject=f"Choose a new password for {_site_name()}",
        user=user,
        password_url=_password_url(user),
    )


def compose_asked(kind: str, address: str, context: dict[str, Any]) -> EmailMultiAlternatives:
    """A mail that allauth asks for; what it knows of the request stays out of it."""
    asked = KINDS[kind]
    key = context.get("key")
    return _compose(
        asked.template,
        address,
        subject=asked.subject.format(site_name=_site_name()),
        happened=asked.happened,
        confirm_url=_absolute(reverse("account_confirm_email", args=[key])) if key else None,
        confirm_days=app_settings.EMAIL_CONFIRMATION_EXPIRE_DAYS,
        login_url=_absolute(reverse("login")),
        reset_url=_absolute(reverse("password_reset")),
        at=timezone.now(),
    )


def _compose(name: str, address: str, *, subject: str, **context: Any) -> EmailMultiAlternatives:
    context = {
        "subject": subject,
        "site_name": _site_name(),
        "site_url": f"{settings.PUBLIC_URL}/",
        "valid_days": settings.PASSWORD_RESET_TIMEOUT // 86_400,
        **context,
    }
    message = EmailMultiAlternatives(
        subject=subject, body=render_to_string(f"authentication/mail/{name}.txt", context), to=[address]
    )
    message.attach_alternative(render_to_string(f"authentication/mail/{name}.html", context), "text/html")
    return message


def _password_url(user: User) -> str:
    token = app_settings.PASSWORD_RESET_TOKEN_GENERATOR().make_token(user)
    return _absolute(reverse("account_reset_password_from_key", args=[user_pk_to_url_str(user), token]))


def _absolute(path: str) -> str:
    return f"{settings.PUBLIC_URL}{path}"


def _site_name() -> str:
    return str(settings.UNFOLD["SITE_TITLE"])
