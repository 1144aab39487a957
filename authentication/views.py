"""Pages of an account. All but the request for a reset are Django's own views with our templates."""

from __future__ import annotations

import logging
import uuid
from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from django.views.generic import FormView

from authentication import keys, mail
from authentication.forms import ApiKeyForm, LogInForm, PasswordResetRequestForm
from authentication.models import ApiKey, User
from authentication.rates import Rate
from authentication.tasks import send_password_reset_email

logger = logging.getLogger(__name__)


# By address, whether it has an account or not: behind a proxy every caller may have the same IP.
WRONG_PASSWORDS = Rate("wrong-passwords", 20, 15 * 60)
RESETS = Rate("password-resets", 5, 60 * 60)


class LogInView(auth_views.LoginView):
    template_name = "authentication/login.html"
    authentication_form = LogInForm
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """While somebody guesses the password of an account, nobody logs in to it with a new one."""
        if seconds := WRONG_PASSWORDS.look(self._address()):
            messages.error(request, f"Too many wrong passwords. Try again in {-(-seconds // 60)} min, or reset it.")
            form = LogInForm(request)
            return self.render_to_response(self.get_context_data(form=form), status=429)
        return super().post(request, *args, **kwargs)

    def form_invalid(self, form: Any) -> HttpResponse:
        WRONG_PASSWORDS.take(self._address())
        return super().form_invalid(form)

    def _address(self) -> str:
        return self.request.POST.get("username", "").strip().lower()


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
        if RESETS.take(form.cleaned_data["email"].lower()):
            return super().form_valid(form)  # it has had its mails
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
