"""Pages of an account. All but the request for a reset and the API keys are allauth's views with our templates."""

from __future__ import annotations

import logging
import uuid
from typing import Any, cast

from allauth.account import views as allauth_views
from allauth.usersessions.internal.flows import sessions
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import NON_FIELD_ERRORS
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from django.views.generic import FormView

from authentication import keys, mail, rates
from authentication.forms import ApiKeyForm, PasswordResetRequestForm
from authentication.models import ApiKey, User
from authentication.tasks import send_password_reset_email

logger = logging.getLogger(__name__)


class LogInView(allauth_views.LoginView):  # type: ignore[misc]
    def form_invalid(self, form: Any) -> HttpResponse:
        answer = super().form_invalid(form)
        if form.has_error(NON_FIELD_ERRORS, "too_many_login_attempts"):
            answer.status_code = 429
        return cast(HttpResponse, answer)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "sign_up_is_open": settings.SIGN_UP == "open"}


class PasswordResetView(FormView):  # type: ignore[type-arg]
    template_name = "authentication/password_reset.html"
    form_class = PasswordResetRequestForm
    success_url = reverse_lazy("password_reset_done")

    def form_valid(self, form: PasswordResetRequestForm) -> HttpResponse:
        """Queue one task, whoever asks.

        Nothing may tell whether the account exists, time neither: an unknown address queues a task for
        nobody, so that both ways do the same work and fail alike when the broker is away.
        """
        if rates.RESETS.take(form.cleaned_data["email"].lower()):
            return super().form_valid(form)  # it has had its mails
        user = User.objects.find_for_password_reset(form.cleaned_data["email"])
        try:
            mail.queue(send_password_reset_email, user.pk if user else uuid.uuid4())
        except mail.MailNotQueued:
            logger.warning("A password reset mail could not be queued: the broker is away.")
            form.add_error(None, "We can't send mail at the moment. Please try again in a few minutes.")
            return self.render_to_response(self.get_context_data(form=form), status=503)
        return super().form_valid(form)


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def api_keys(request: HttpRequest) -> HttpResponse:
    """The keys of an account; the answer that makes one is the only one that shows it."""
    person = cast(User, request.user)
    form = ApiKeyForm(request.POST or None)
    secret = None
    if request.method == "POST" and form.is_valid():
        try:
            _, secret = keys.make(person, form.cleaned_data["name"], form.cleaned_data["scopes"], lasts=form.lasts)
            form = ApiKeyForm()
        except keys.TooManyKeys as error:
            form.add_error(None, str(error))
    context = {"form": form, "secret": secret, "keys": person.api_keys.filter(revoked_at=None)}
    return render(request, "authentication/api_keys.html", context, status=400 if form.errors else 200)


@login_required
@require_POST
def revoke_api_key(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    key = get_object_or_404(ApiKey, pk=key_id, user=cast(User, request.user))
    keys.revoke(key)
    messages.success(request, f"The key {key.name} is revoked.")
    return redirect("api_keys")


@login_required
@require_POST
def end_session(request: HttpRequest, session_id: int) -> HttpResponse:
    """Log another browser of the same person out."""
    session = get_object_or_404(UserSession, pk=session_id, user=cast(User, request.user))
    sessions.end_sessions(request, [session])
    messages.success(request, "The session is ended.")
    return redirect("usersessions_list")
