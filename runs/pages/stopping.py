"""What a person does with runs: stop them, after a look at what that would end, pause, resume and retry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from runs import control, policy
from runs.errors import InputRefused, RetryRefused, RunAlreadyEnded, RunIsStopping, RunNotPaused
from runs.models import Run
from runs.pages.access import for_members, get_run, get_stoppable, is_htmx, member
from runs.pages.forms import StopForm
from runs.pages.nesting import nest
from runs.pages.one_run import changed_parts
from runs.preview import preview_stop
from runs.states import StopMode, StopSource
from runs.words import count

LOOK_SECONDS = 2.0  # how long the page waits for the supervisor's answer
SHOWN_RUNS = 100
MOST_RUNS = 500  # that are stopped by one form
MODE_WORDS = {
    StopMode.CANCEL: "Cancel: what is under way ends its current step, then it stops",
    StopMode.INTERRUPT: "Interrupt: stop in the middle of the current step",
    StopMode.KILL: "Kill: end their processes now",
}


@for_members
@require_http_methods(["GET", "POST"])
def stop(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """GET shows what would end; POST asks for it, one rung more with every press."""
    run = get_stoppable(request, run_id)
    if request.method == "GET":
        return _show_preview(request, [run], reverse("run", args=[run.id]))
    form = _make_form(request, [run], request.POST)
    if not form.is_valid():
        return _show_preview(request, [run], reverse("run", args=[run.id]), form)
    try:
        result = control.cancel(run.id, **_asked(request, form))
    except RunAlreadyEnded as error:
        messages.info(request, f"It had ended before: {error.status}.")
    else:
        _tell(request, result, form.cleaned_data["mode"])
    return _answer(request, run_id)


@for_members
@require_http_methods(["GET", "POST"])
def stop_many(request: HttpRequest) -> HttpResponse:
    """The same for the runs that were ticked in the list."""
    given = request.POST if request.method == "POST" else request.GET
    runs = _read_runs(request, given.getlist("run"))
    if not runs:
        messages.info(request, "Choose one or more runs first.")
        return redirect("run-list")
    form = _make_form(request, runs, request.POST) if request.method == "POST" else None
    if form is None or not form.is_valid():
        return _show_preview(request, runs, reverse("run-list"), form)
    result = control.cancel_runs([run.id for run in runs], **_asked(request, form))
    _tell(request, result, form.cleaned_data["mode"])
    return redirect("run-list")


def _read_runs(request: HttpRequest, texts: Sequence[str]) -> list[Run]:
    """Those of the named runs that exist and may be seen; one that may not be stopped refuses all of them."""
    found = [run for text in texts[:MOST_RUNS] if (run := control.find(text)) and policy.may_view(request.user, run)]
    if not all(policy.may_stop(request.user, run) for run in found):
        raise PermissionDenied("Some of these runs are not yours.")
    return found


def _show_preview(request: HttpRequest, runs: Sequence[Run], back: str, form: StopForm | None = None) -> HttpResponse:
    preview = preview_stop([run.id for run in runs], timezone.now())
    if not preview.runs:
        messages.info(request, "There is nothing to stop: it has ended.")
        return redirect(back)
    context = {
        "preview": preview,
        "branches": nest(preview.runs[:SHOWN_RUNS]),
        "left": max(len(preview.runs) - SHOWN_RUNS, 0),
        "number": count(len(preview.runs), "run"),
        "runs": runs,
        "is_one": len(runs) == 1,
        "form": form or _make_form(request, runs, None),
        "back": back,
    }
    return render(request, "runs/stop.html", context, status=400 if form and form.errors else 200)


def _make_form(request: HttpRequest, runs: Sequence[Run], data: Any) -> StopForm:
    may_kill = all(policy.may_kill(request.user, run) for run in runs)
    modes = [(mode.value, words) for mode, words in MODE_WORDS.items() if mode is not StopMode.KILL or may_kill]
    if data is not None and data.get("mode") == StopMode.KILL and not may_kill:
        raise PermissionDenied("To kill a run takes the permission for it.")
    return StopForm(modes, data, initial={"mode": StopMode.CANCEL})


def _asked(request: HttpRequest, form: StopForm) -> dict[str, Any]:
    return {
        "by": member(request),
        "source": StopSource.PAGE,
        "mode": form.cleaned_data["mode"],
        "reason": form.cleaned_data["reason"],
    }


def _tell(request: HttpRequest, result: control.StopResult, mode: StopMode) -> None:
    executing = len(result.reached) - len(result.settled)
    if result.settled:
        messages.success(request, f"{count(len(result.settled), 'run')} cancelled.")
    if executing:
        messages.success(request, f"{count(executing, 'run')} asked to stop.")
    if result.escalated:
        what = {StopMode.KILL: "ended now", StopMode.INTERRUPT: "interrupted now"}.get(mode, "stopping already")
        messages.success(request, f"{count(len(result.escalated), 'run')}: {what}.")
    if not result.reached and not result.escalated:
        messages.info(request, "There was nothing to stop any more.")


# --- pausing, retrying, looking -------------------------------------------------------------------------------


@for_members
@require_POST
def pause(request: HttpRequest, run_id: UUID) -> HttpResponse:
    run = get_stoppable(request, run_id)
    return _try(request, run, lambda: control.pause(run.id, by=member(request), source=StopSource.PAGE))


@for_members
@require_POST
def resume(request: HttpRequest, run_id: UUID) -> HttpResponse:
    run = get_stoppable(request, run_id)
    return _try(request, run, lambda: control.resume(run.id))


def _try(request: HttpRequest, run: Run, act: Callable[[], object]) -> HttpResponse:
    try:
        act()
    except (RunAlreadyEnded, RunIsStopping, RunNotPaused) as error:
        messages.info(request, f"{str(error).capitalize()}.")
    return _answer(request, run.id)


@for_members
@require_POST
def retry(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """Another try as a new run, whose page is shown."""
    run = get_run(request, run_id)
    if not policy.may_retry(request.user, run):
        raise PermissionDenied("This run may be retried by its owner, and with the permission for all runs.")
    try:
        new = control.retry(run.id, from_start=request.POST.get("from_start") == "1", by=member(request))
    except (RetryRefused, InputRefused) as error:
        messages.error(request, f"{str(error).capitalize()}.")
        return redirect("run", run.id)
    messages.success(request, "This is the new try.")
    return redirect("run", new.id)


@for_members
@require_POST
def look(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """Have the run's process looked at now; what is seen stands in the receipt."""
    run = get_run(request, run_id)
    asked_at = timezone.now()
    receipt = control.look_at(run.id, timeout_seconds=LOOK_SECONDS)
    if receipt is None or receipt.evidence_at is None or receipt.evidence_at < asked_at:
        messages.info(request, "Nobody could look: no worker answered, or it is in no process any more.")
    return _answer(request, run.id)


def _answer(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """The changed parts of the page for htmx, else the whole page again."""
    if not is_htmx(request):
        return redirect("run", run_id)
    return changed_parts(request, get_run(request, run_id), request.POST, is_answer=True)
