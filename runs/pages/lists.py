"""The list of runs: what a person may see, roots first, filtered, searched, in pages by key, and its rows anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from runs import catalog, control, policy
from runs.errors import CatalogUnreadable
from runs.models import Run
from runs.pages import stream
from runs.pages.access import for_members, get_run, member
from runs.states import ACTIVE, CANCELLING, PAUSING, Status

RUNS_A_PAGE = 50
SHOWN_CHILDREN = 200
PULLED_ROWS = 200  # at once
ANY_ACTIVE = "active"
STATUSES = [ANY_ACTIVE, *Status.values[:4], CANCELLING, PAUSING, *Status.values[4:]]


@dataclass(frozen=True)
class Query:
    """What a person asks the list for."""

    status: str = ""
    graph: str = ""
    search: str = ""
    mine: bool = False

    @property
    def as_url(self) -> str:
        given = {"status": self.status, "graph": self.graph, "q": self.search, "mine": "1" if self.mine else ""}
        return urlencode({name: value for name, value in given.items() if value})

    @property
    def is_filtered(self) -> bool:
        return bool(self.as_url)


@dataclass(frozen=True)
class Row:
    run: Run
    below: int = 0
    active_below: int = 0
    may_stop: bool = False

    @property
    def has_children(self) -> bool:
        return self.below > 0


@for_members
@require_GET
def run_list(request: HttpRequest) -> HttpResponse:
    query, cursor = _read(request), stream.read_cursor()  # before the database, so that nothing is missed
    before, after = _find_uuid(request.GET.get("before")), _find_uuid(request.GET.get("after"))
    runs = _matching(request, query)
    if after is not None:
        found = list(reversed(runs.filter(id__gt=after).order_by("id")[: RUNS_A_PAGE + 1]))
        has_newer, has_older = len(found) > RUNS_A_PAGE, True
        shown = found[-RUNS_A_PAGE:]
    else:
        found = list(runs.filter(id__lt=before)[: RUNS_A_PAGE + 1] if before else runs[: RUNS_A_PAGE + 1])
        has_newer, has_older = before is not None, len(found) > RUNS_A_PAGE
        shown = found[:RUNS_A_PAGE]
    rows = _make_rows(request, shown)
    context = {
        "query": query,
        "cursor": cursor,
        "rows": rows,
        "newer": shown[0].id if has_newer and shown else None,
        "older": shown[-1].id if has_older and shown else None,
        "is_first_page": not has_newer,
        "has_active": any(not row.run.is_terminal or row.active_below for row in rows),
        "statuses": STATUSES,
        "graphs": _list_graph_names(),
        "may_view_any": request.user.has_perm(policy.VIEW_ANY),
    }
    return render(request, "runs/list.html", context)


@for_members
@require_GET
def run_rows(request: HttpRequest) -> HttpResponse:
    """Rows that are shown already, as they are now, and those that have come since; each to be put into its place.

    `shown` are ids of rows in the page; `since` is its newest one, given only by the first page.
    """
    ids = [key for text in request.GET.getlist("shown")[:PULLED_ROWS] if (key := _find_uuid(text)) is not None]
    changed = list(_slim(policy.visible_runs(request.user)).filter(id__in=ids))
    new: list[Run] = []
    if "since" in request.GET:
        since = _find_uuid(request.GET["since"])
        runs = _matching(request, _read(request))
        new = list((runs.filter(id__gt=since) if since else runs)[:RUNS_A_PAGE])
    if not changed and not new:
        return HttpResponse(status=204)
    known = {run.id for run in changed}
    context = {
        "changed": _make_rows(request, changed),
        "new": _make_rows(request, [run for run in new if run.id not in known]),
        "may_view_any": request.user.has_perm(policy.VIEW_ANY),
    }
    return render(request, "runs/parts/changed_rows.html", context)


@for_members
@require_GET
def children(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """The runs right below one, for its row in the list."""
    run = get_run(request, run_id)
    found = list(_slim(policy.visible_runs(request.user)).filter(parent_id=run.id).order_by("id")[: SHOWN_CHILDREN + 1])
    context = {
        "run": run,
        "rows": _make_rows(request, found[:SHOWN_CHILDREN]),
        "has_more": len(found) > SHOWN_CHILDREN,
        "may_view_any": request.user.has_perm(policy.VIEW_ANY),
    }
    return render(request, "runs/parts/children.html", context)


def _read(request: HttpRequest) -> Query:
    given = request.GET
    status = given.get("status", "")
    return Query(
        status=status if status in STATUSES else "",
        graph=given.get("graph", "").replace("\x00", "")[:200],
        search=given.get("q", "").replace("\x00", "").strip()[:200],
        mine=given.get("mine") == "1",
    )


def _matching(request: HttpRequest, query: Query) -> QuerySet[Run]:
    """The runs of a query, the newest first. Who searches looks at every run, else only roots are listed."""
    runs = _slim(policy.visible_runs(request.user)).order_by("-id")
    if query.mine:
        runs = runs.filter(owner_id=member(request).pk)
    if query.status:
        statuses = [*ACTIVE, CANCELLING, PAUSING] if query.status == ANY_ACTIVE else [query.status]
        runs = runs.filter(control.displayed_as(statuses))
    if query.graph:
        runs = runs.filter(graph=query.graph)
    if query.search:
        return runs.filter(_found_by(query.search, may_view_any=request.user.has_perm(policy.VIEW_ANY)))
    return runs.filter(parent__isnull=True) if not query.graph else runs


def _found_by(search: str, *, may_view_any: bool) -> Q:
    """Runs by the beginning of their id or graph, by a key, or by the beginning of their owner's name."""
    found = Q(graph__istartswith=search) | Q(idempotency_key=search) | Q(child_key=search) | Q(thread_id=search)
    if may_view_any:
        name = get_user_model().USERNAME_FIELD
        found |= Q(**{f"owner__{name}__istartswith": search})
    digits = search.replace("-", "").lower()
    if 6 <= len(digits) <= 32 and all(digit in "0123456789abcdef" for digit in digits):
        found |= Q(id__range=(UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))))
    return found


def _slim(runs: QuerySet[Run]) -> QuerySet[Run]:
    return runs.select_related("owner").defer(*control.LARGE_FIELDS)


def _make_rows(request: HttpRequest, runs: Sequence[Run]) -> list[Row]:
    roots = [run.id for run in runs if run.root_id == run.id]
    counted = (
        Run.objects.filter(root_id__in=roots, parent__isnull=False)
        .order_by()
        .values("root_id")
        .annotate(below=Count("id"), active_below=Count("id", filter=Q(status__in=ACTIVE)))
    )
    counts = {one["root_id"]: (one["below"], one["active_below"]) for one in counted}
    parents = [run.id for run in runs if run.root_id != run.id]
    below = Run.objects.filter(parent_id__in=parents).order_by().values("parent_id")
    counts |= {
        one["parent_id"]: (one["below"], one["active_below"])
        for one in below.annotate(below=Count("id"), active_below=Count("id", filter=Q(status__in=ACTIVE)))
    }
    return [Row(run, *counts.get(run.id, (0, 0)), may_stop=policy.may_stop(request.user, run)) for run in runs]


def _list_graph_names() -> list[str]:
    try:
        return [entry.name for entry in catalog.list_graphs()]
    except CatalogUnreadable:
        return []


def _find_uuid(text: Any) -> UUID | None:
    try:
        return UUID(text)
    except (ValueError, TypeError, AttributeError):
        return None
