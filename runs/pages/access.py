"""Who comes in: people who are logged in, to what `policy` lets them see."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django_htmx.http import HttpResponseClientRedirect

from runs import control, policy
from runs.models import Run

Given = ParamSpec("Given")
View = Callable[Concatenate[HttpRequest, Given], HttpResponse]


def for_members(view: View[Given]) -> View[Given]:
    """Send strangers to the log-in page: the whole window, also when only a part of a page was asked for."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, /, *args: Given.args, **kwargs: Given.kwargs) -> HttpResponse:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if is_htmx(request):
            return HttpResponseClientRedirect(resolve_url(settings.LOGIN_URL))
        return redirect_to_login(request.get_full_path() if request.method == "GET" else reverse("run-list"))

    return never_cache(guarded)


def get_run(request: HttpRequest, run_id: UUID) -> Run:
    """A run of somebody else is answered like one that does not exist."""
    run = control.find(run_id)
    if run is None or not policy.may_view(request.user, run):
        raise Http404("There is no such run.")
    return run


def get_stoppable(request: HttpRequest, run_id: UUID) -> Run:
    run = get_run(request, run_id)
    if not policy.may_stop(request.user, run):
        raise PermissionDenied("This run may be stopped by its owner, and with the permission for all runs.")
    return run


def member(request: HttpRequest) -> AbstractBaseUser:
    return cast(AbstractBaseUser, request.user)


def is_htmx(request: HttpRequest) -> bool:
    return bool(request.htmx)  # type: ignore[attr-defined]
