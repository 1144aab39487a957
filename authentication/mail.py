"""What the mails of an account say, and how one is queued.

The links come from `settings.PUBLIC_URL`, never from a request, so a forged Host header can't steer them.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery import current_app
from celery.app.task import Task
from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
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


def queue(task: Task[Any, Any], user_id: UUID) -> None:
    """Queue a mail task for a user, or give up after a few seconds.

    Raises:
        MailNotQueued: the broker is away.
    """
    options = {**current_app.conf.broker_transport_options, **PUBLISH_LIMITS}
    try:
        with current_app.connection_for_write(
            connect_timeout=PUBLISH_CONNECT_SECONDS, transport_options=options
        ) as connection:
            task.apply_async(args=(str(user_id),), retry=False, connection=connection)  # type: ignore[call-arg]
    except (OperationalError, OSError) as error:
        raise MailNotQueued(type(error).__name__) from error


def compose_welcome(user: User) -> EmailMultiAlternatives:
    return _compose(
        "welcome",
        user,
        subject=f"Welcome to {_site_name()}",
        login_url=_absolute(reverse("login")),
        # Someone else may have typed the first password, so the person is asked to choose their own.
        password_url=_password_url(user) if user.has_usable_password() else None,
    )


def compose_password_reset(user: User) -> EmailMultiAlternatives:
    return _compose(
        "password_reset",
        user,
        subject=f"Choose a new password for {_site_name()}",
        password_url=_password_url(user),
    )


def _compose(name: str, user: User, *, subject: str, **links: str | None) -> EmailMultiAlternatives:
    context = {
        "user": user,
        "subject": subject,
        "site_name": _site_name(),
        "site_url": f"{settings.PUBLIC_URL}/",
        "valid_days": settings.PASSWORD_RESET_TIMEOUT // 86_400,
        **links,
    }
    message = EmailMultiAlternatives(
        subject=subject, body=render_to_string(f"authentication/mail/{name}.txt", context), to=[user.email]
    )
    message.attach_alternative(render_to_string(f"authentication/mail/{name}.html", context), "text/html")
    return message


def _password_url(user: User) -> str:
    uid = urlsafe_base64_encode(force_bytes(str(user.pk)))
    token = default_token_generator.make_token(user)
    return _absolute(reverse("password_reset_confirm", args=[uid, token]))


def _absolute(path: str) -> str:
    return f"{settings.PUBLIC_URL}{path}"


def _site_name() -> str:
    return str(settings.UNFOLD["SITE_TITLE"])
