"""Pages of an account. All but the request for a reset are Django's own views with our templates."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth_views
from django.http import HttpResponse
from django.urls import reverse_lazy
from django.views.generic import FormView

from authentication import mail
from authentication.forms import LogInForm, PasswordResetRequestForm
from authentication.models import User
from authentication.tasks import send_password_reset_email

logger = logging.getLogger(__name__)


class LogInView(auth_views.LoginView):
    template_name = "authentication/login.html"
    authentication_form = LogInForm
    redirect_authenticated_user = True


class _NoColon:
    """Labels stand above their fields, where a colon is noise."""

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "label_suffix": ""}  # type: ignore[misc]


class PasswordChangeView(_NoColon, auth_views.PasswordChangeView):
    template_name = "authentication/password_change.html"
    success_url = settings.LOGIN_REDIRECT_URL

    def form_valid(self, form: object) -> HttpResponse:
        response = super().form_valid(form)  # type: ignore[arg-type]
        messages.success(self.request, "Your password is changed. Other devices are logged out.")
        return response


class PasswordResetView(FormView):  # type: ignore[type-arg]
    template_name = "authentication/password_reset.html"
    form_class = PasswordResetRequestForm
    success_url = reverse_lazy("password_reset_done")

    def form_valid(self, form: PasswordResetRequestForm) -> HttpResponse:
        """Queue one task, whoever asks.

        Nothing may tell whether the account exists, time neither: an unknown address queues a task for
        nobody, so that both ways do the same work and fail alike when the broker is away.
        """
        user = User.objects.find_for_password_reset(form.cleaned_data["email"])
        try:
            mail.queue(send_password_reset_email, user.pk if user else uuid.uuid4())
        except mail.MailNotQueued:
            logger.warning("A password reset mail could not be queued: the broker is away.")
            form.add_error(None, "We can't send mail at the moment. Please try again in a few minutes.")
            return self.render_to_response(self.get_context_data(form=form), status=503)
        return super().form_valid(form)


class PasswordResetConfirmView(_NoColon, auth_views.PasswordResetConfirmView):
    template_name = "authentication/password_reset_confirm.html"
