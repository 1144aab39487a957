"""Starting a run: which graph, and its input."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from runs import catalog, control, shapes
from runs.errors import CatalogUnreadable, GraphImportFailed, GraphNotFound, InputRefused
from runs.pages.access import for_members, member
from runs.pages.forms import InputForm


@for_members
@require_GET
def choose(request: HttpRequest) -> HttpResponse:
    problem = ""
    try:
        graphs = catalog.list_graphs()
    except CatalogUnreadable as error:
        graphs, problem = [], str(error)
    return render(request, "runs/choose.html", {"graphs": graphs, "problem": problem})


@for_members
@require_http_methods(["GET", "POST"])
def start(request: HttpRequest, graph: str) -> HttpResponse:
    try:
        entry = catalog.get_entry(graph)
    except (GraphNotFound, CatalogUnreadable) as error:
        raise Http404(str(error)) from None
    form = InputForm(shapes.find_input_schema(graph), request.POST or None)
    # So that a form that is sent twice starts one run.
    key = _find_key(request.POST.get("key", "")) or str(uuid.uuid4())
    if request.method == "POST" and form.is_valid():
        try:
            run = control.submit(
                graph, form.get_input(), owner=member(request), idempotency_key=f"page:{key}", metadata={"from": "page"}
            )
        except InputRefused as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{graph} was started.")
            return redirect("run", run.id)
    context: dict[str, Any] = {"entry": entry, "form": form, "key": key, "problem": _problem(graph)}
    return render(request, "runs/start.html", context, status=400 if form.errors else 200)


def _find_key(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _problem(graph: str) -> str:
    """Why a run of it would fail at once; empty if it can be loaded."""
    try:
        catalog.load(graph)
    except GraphImportFailed as error:
        return str(error)
    return ""
