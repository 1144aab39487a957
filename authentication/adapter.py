"""What allauth asks the project: who may sign up, how often somebody may guess, how a mail goes out, how secrets are
kept."""

from __future__ import annotations

import functools
import logging
import uuid
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from allauth.core import context as current
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal.httpkit import is_headless_request
from allauth.mfa.adapter import DefaultMFAAdapter
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.utils import timezone

from authentication import addresses, mail, outgoing, rates, sealing
from authentication.models import User
from authentication.tasks import send_outgoing_mail, send_password_reset_email, send_welcome_email

logger = logging.getLogger(__name__)

NO_ADDRESS = "0.0.0.0"  # noqa: S104 - of a caller whose server listens on a unix socket


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": "This e-mail address and password don't match. Capitals matter in the password.",
        "enter_current_password": "This is not your password.",
        "incorrect_password": "This is not your password.",
        "incorrect_code": "This code is wrong or was used. Wait for the next one.",
        "rate_limited": "Too many tries. Wait a few minutes.",
        "too_many_login_attempts": "Too many tries. Wait a few minutes.",
        "same_as_current": "This is your address already.",
        "duplicate_email": "This is your address already.",
    }

    # --- Signing up and logging in ---

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGN_UP == "open")

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        user.signed_up = True
        saved: User = super().save_user(request, user, form, commit)
        return saved

    def send_account_already_exists_mail(self, email: str) -> None:
        # As long as making the account would have taken.
        make_password(uuid.uuid4().hex)
        super().send_account_already_exists_mail(email)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """While somebody guesses the password of an account, nobody logs in to it with a new one."""
        if seconds := rates.WRONG_PASSWORDS.look(_login_name(credentials)):
            raise forms.ValidationError(
                f"Too many wrong passwords. Try again in {-(-seconds // 60)} min, or reset it.",
                code="too_many_login_attempts",
            )

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        rates.WRONG_PASSWORDS.take(_login_name(credentials))

    def get_client_ip(self, request: HttpRequest) -> str:
        return str(request.META.get("REMOTE_ADDR") or NO_ADDRESS)

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return str(settings.LOGIN_REDIRECT_URL)

    def get_email_verification_redirect_url(self, email_address: EmailAddress) -> str:
        return reverse("account_email" if self.request.user.is_authenticated else "login")

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        # Somebody may have signed up with the address that another account wanted to change to.
        if addresses.is_of_another(email_address.email, email_address.user):
            taken = {"email": email_address.email}
            self.add_message(request, messages.ERROR, "account/messages/email_confirmation_failed.txt", taken)
            return False
        confirmed = bool(super().confirm_email(request, email_address))
        if confirmed:
            _welcome(email_address.user_id)
        return confirmed

    # --- Mails ---

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Queue a mail that allauth asks for."""
        if template_prefix == "account/email/unknown_account":
            # Nobody's, so that an unknown address does the same work as a known one.
            if not rates.RESETS.take(email.lower()):
                _queue_reset(uuid.uuid4())
            return
        kind = mail.KINDS[template_prefix]
        # Whoever knows an address could fill its mailbox. A notice follows only what the account's owner does.
        if kind.template != "notice" and rates.ACCOUNT_MAILS.take(f"{kind.template} {email.lower()}"):
            logger.warning("An address has had its mails of the kind %s for this hour.", kind.template)
            return
        row = outgoing.keep(template_prefix, mail.compose_asked(template_prefix, email, context))
        transaction.on_commit(functools.partial(_queue_outgoing, row.pk))

    def send_password_reset_mail(self, user: User, email: str, context: dict[str, Any]) -> None:
        """The link is made where the mail is sent."""
        if not rates.RESETS.take(email.lower()):
            _queue_reset(user.pk)

    def format_email_subject(self, subject: str) -> str:
        return subject


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """The secrets of authenticator apps and recovery codes are sealed."""

    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": AccountAdapter.error_messages["incorrect_code"],
    }

    def encrypt(self, text: str) -> str:
        return sealing.seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        return sealing.open_sealed(encrypted_text)


def _login_name(credentials: dict[str, Any]) -> str:
    return str(credentials.get("email") or credentials.get("username") or "").strip().lower()


def _welcome(user_id: uuid.UUID) -> None:
    """Queue the welcome mail of who signed up, once."""
    mine = User.objects.filter(pk=user_id, signed_up=True, welcomed_at=None)
    if mine.update(welcomed_at=timezone.now()):
        transaction.on_commit(functools.partial(_queue_welcome, user_id))


def _queue_welcome(user_id: uuid.UUID) -> None:
    try:
        mail.queue(send_welcome_email, user_id)
    except mail.MailNotQueued:
        logger.warning("The welcome mail of account %s could not be queued: the broker is away.", user_id)


def _queue_outgoing(mail_id: uuid.UUID) -> None:
    try:
        mail.queue(send_outgoing_mail, mail_id)
    except mail.MailNotQueued:
        logger.warning("The mail %s waits: the broker is away.", mail_id)


def _queue_reset(user_id: uuid.UUID) -> None:
    try:
        mail.queue(send_password_reset_email, user_id)
    except mail.MailNotQueued:
        logger.warning("A password reset mail could not be queued: the broker is away.")
        if is_headless_request(current.request):
            raise ImmediateHttpResponse(
                JsonResponse({"status": 503, "errors": [{"code": "mail_not_queued"}]}, status=503)
            ) from None
        raise
