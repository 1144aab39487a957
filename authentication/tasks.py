"""The mails an account gets, sent by a worker.

A task is given only an id, of a user or of an outgoing mail: the address is read and the token made where the mail is
sent, so neither is ever in a broker message or a log. A message to a user that is lost with its worker is not sent
again; the person asks anew.
"""

from __future__ import annotations

import logging
import smtplib
import socket
import ssl
from collections.abc import Callable
from typing import Any
from uuid import UUID

from celery import shared_task
from django.core.mail import EmailMultiAlternatives

from authentication import outgoing
from authentication.mail import compose_password_reset, compose_welcome
from authentication.models import User
from authentication.sealing import NotOpened

logger = logging.getLogger(__name__)

# What another try may cure. A wrong template or a missing setting is not in it.
CONNECTION_ERRORS = (smtplib.SMTPException, ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError)

RETRY: dict[str, Any] = {
    "max_retries": 6,
    "retry_backoff": 2,  # seconds, doubled with each try
    "retry_backoff_max": 600,  # seconds
    "retry_jitter": True,
}


class MailNotSent(Exception):
    """The mail server was not reached or refused the mail. Its own words have addresses in them."""


@shared_task(name="authentication.tasks.send_welcome_email", acks_late=False, autoretry_for=(MailNotSent,), **RETRY)
def send_welcome_email(user_id: str) -> None:
    user = _find_user(user_id)
    if user is None:
        logger.warning("No welcome mail: there is no active account %s.", user_id)
        return
    _send(compose_welcome, user)
    logger.info("Sent the welcome mail of account %s.", user_id)


@shared_task(
    name="authentication.tasks.send_password_reset_email",
    acks_late=False,
    autoretry_for=(MailNotSent,),
    **RETRY,
)
def send_password_reset_email(user_id: str) -> None:
    user = _find_user(user_id)
    if user is None or not user.has_usable_password():
        # Also the usual end of a request for an address that has no account: see PasswordResetView.
        logger.warning("No password reset mail: there is no account %s that may reset its password.", user_id)
        return
    _send(compose_password_reset, user)
    logger.info("Sent the password reset mail of account %s.", user_id)


@shared_task(
    name="authentication.tasks.send_outgoing_mail",
    acks_late=False,
    autoretry_for=(MailNotSent,),
    **RETRY,
)
def send_outgoing_mail(mail_id: str) -> None:
    """Send one mail, and those that are overdue."""
    _send_outgoing(UUID(mail_id))
    for other in outgoing.overdue():
        try:
            _send_outgoing(other)
        except MailNotSent:
            logger.warning("An overdue mail was not sent; it is tried again with the next one.")
            break


def _send_outgoing(mail_id: UUID) -> None:
    try:
        was_sent = outgoing.send(mail_id)
    except CONNECTION_ERRORS as error:
        raise _not_sent(error) from None
    except NotOpened as error:
        logger.error("The mail %s can't be read: %s.", mail_id, error)
        return
    logger.info("Sent the mail %s." if was_sent else "The mail %s was sent or taken before.", mail_id)


def _find_user(user_id: str) -> User | None:
    try:
        return User.objects.filter(pk=UUID(user_id), is_active=True).first()
    except ValueError:
        return None


def _send(compose: Callable[[User], EmailMultiAlternatives], user: User) -> None:
    message = compose(user)
    try:
        message.send()
    except CONNECTION_ERRORS as error:
        raise _not_sent(error) from None


def _not_sent(error: Exception) -> MailNotSent:
    code = getattr(error, "smtp_code", None)
    return MailNotSent(f"{type(error).__name__} {code}" if code else type(error).__name__)
