"""The pages of books. Each works as plain HTML; htmx only spares the reloads.

A page that watches something polls a part of itself. It sends the fingerprint of what it shows, and gets an
empty 204 while nothing changed, so that focus and selection stay where they are.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, cast
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect

from authentication.models import User
from books import access, workflow
from books.analysis.results import BookReport
from books.forms import UploadForm, max_upload_bytes, megabytes
from books.models import Book, Section, SectionKind
from books.pictures import draw_appearances, draw_network
from books.progress import Progress, find_error, progress_of, with_runs
from books.removal import BookIsActive, remove_book
from runs import policy
from runs.errors import GraphNotFound, RetryRefused
from runs.pages.stream import read_cursor
from runs.states import StopMode

BOOKS_A_PAGE = 50
CHAPTERS_A_PAGE = 100

HTMX_STOP_POLLING = 286

Given = ParamSpec("Given")
View = Callable[Concatenate[HttpRequest, Given], HttpResponse]


def for_members(view: View[Given]) -> View[Given]:
    """Send strangers to the log-in page: the whole window, also when only a part of a page was asked for."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, /, *args: Given.args, **kwargs: Given.kwargs) -> HttpResponse:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if _is_htmx(request):
            return HttpResponseClientRedirect(reverse("login"))
        return redirect_to_login(request.get_full_path() if request.method == "GET" else reverse("book-list"))

    return never_cache(guarded)


# --- The list ---------------------------------------------------------------------------------------------


@for_members
@require_http_methods(["GET", "POST"])
def book_list(request: HttpRequest) -> HttpResponse:
    form = UploadForm(request.POST, request.FILES) if request.method == "POST" else UploadForm()
    if form.is_valid():
        return _add_books(request, form)
    limit = megabytes(max_upload_bytes())
    context = {**_rows_context(request), "form": form, "limit": limit}
    return render(request, "books/list.html", context, status=400 if form.errors else 200)


@for_members
@require_GET
def book_rows(request: HttpRequest) -> HttpResponse:
    context = _rows_context(request)
    if request.GET.get("state") == context["state"]:
        return HttpResponse(status=204)
    return render(request, "books/parts/rows.html", context)


def _add_books(request: HttpRequest, form: UploadForm) -> HttpResponse:
    owner = member(request)
    wants_processing = "process" in request.POST and workflow.is_offered()
    for file in form.cleaned_data["file"]:
        book = workflow.add_book(file, owner=owner, file_name=file.name)
        if wants_processing:
            workflow.start_processing(book, by=owner)
    count = len(form.cleaned_data["file"])
    what = "Your book was added" if count == 1 else f"{count} books were added"
    messages.success(request, f"{what} and will be processed." if wants_processing else f"{what}.")
    return redirect("book-list")


@for_members
@require_POST
def add_sample(request: HttpRequest) -> HttpResponse:
    return redirect("book", workflow.add_sample_book(member(request)).pk)


@dataclass(frozen=True)
class Row:
    book: Book
    progress: Progress
    is_mine: bool
    may_change: bool
    stop_button: StopMode | None


def _rows_context(request: HttpRequest) -> dict[str, Any]:
    person = member(request)
    page = Paginator(_books(request), BOOKS_A_PAGE).get_page(_page_number(request))
    rows = [_make_row(person, book) for book in page]
    return {
        "page": page,
        "rows": rows,
        "is_active": any(row.progress.is_active for row in rows),
        "state": _fingerprint([[row.book.pk, row.book.title, repr(row.progress)] for row in rows]),
    }


def _make_row(person: User, book: Book) -> Row:
    progress = progress_of(book)
    stop_button = _find_stop_button(person, book, progress)
    return Row(book, progress, book.owner_id == person.pk, access.may_change(person, book), stop_button)


def _find_stop_button(person: User, book: Book, progress: Progress) -> StopMode | None:
    """What the Stop button asks for now; None shows that it has been pressed."""
    if progress.next_stop is StopMode.KILL and not access.may_force_stop(person, book):
        return None
    return progress.next_stop


# --- One book ---------------------------------------------------------------------------------------------


@for_members
@require_GET
def book_page(request: HttpRequest, book_id: UUID) -> HttpResponse:
    cursor = read_cursor()  # before the database, so that nothing is missed
    context = _with_pictures(_book_context(request, get_book(request, book_id)))
    return render(request, "books/book.html", {**context, "cursor": cursor})


@for_members
@require_GET
def book_live(request: HttpRequest, book_id: UUID) -> HttpResponse:
    book = _books(request).filter(pk=book_id).first()
    if book is None:
        return render(request, "books/parts/gone.html", status=HTMX_STOP_POLLING)
    context = _book_context(request, book)
    if request.GET.get("state") != context["state"]:
        return render(request, "books/parts/live.html", _with_pictures(context))
    if not context["progress"].outlook:
        return HttpResponse(status=204)
    # Only the countdown moves: a button that were replaced every second would swallow clicks.
    answer = render(request, "books/parts/outlook.html", {**context, "is_alone": True})
    answer.headers["HX-Reswap"] = "none"
    return answer


def _book_context(request: HttpRequest, book: Book) -> dict[str, Any]:
    person = member(request)
    progress = progress_of(book)
    chapters = Paginator(chapters_of(book), CHAPTERS_A_PAGE).get_page(_page_number(request))
    shown = [
        [section.number, section.title, bool(section.analysis), section.run and section.run.display_status]
        for section in chapters
    ]
    return {
        "book": book,
        "progress": progress,
        "chapters": chapters,
        "is_active": progress.is_active,
        "is_mine": book.owner_id == person.pk,
        "may_change": access.may_change(person, book),
        "stop_button": _find_stop_button(person, book, progress),
        "may_delete": access.may_delete(person, book),
        "may_see_run": book.run is not None and policy.may_view(person, book.run),
        "error": find_error(book),
        "state": _fingerprint([book.title, book.author, repr(progress), shown]),
    }


def _with_pictures(context: dict[str, Any]) -> dict[str, Any]:
    """The context with the pictures of the report, which is large, so it is read only for a page that is sent."""
    book, progress = context["book"], context["progress"]
    if progress.is_active or not progress.has_report:
        return context
    report = BookReport.model_validate(book.report)
    return {**context, "network": draw_network(report), "appearances": draw_appearances(report)}


def chapters_of(book: Book) -> QuerySet[Section]:
    chapters = Section.objects.filter(book=book, kind=SectionKind.CHAPTER)
    return chapters.defer("text", "run__input", "run__output").select_related("run").order_by("position")


# --- What a person does with it -----------------------------------------------------------------------------


@for_members
@require_POST
def process(request: HttpRequest, book_id: UUID) -> HttpResponse:
    return _begin(request, book_id, workflow.start_processing)


@for_members
@require_POST
def go_on(request: HttpRequest, book_id: UUID) -> HttpResponse:
    """Try the last run again, and keep the chapters that are finished."""
    return _begin(request, book_id, workflow.continue_processing)


def _begin(request: HttpRequest, book_id: UUID, begin: Callable[..., object]) -> HttpResponse:
    book = _get_changeable(request, book_id)
    try:
        begin(book, by=member(request))
    except workflow.BookIsStopping as error:
        messages.warning(request, f"{error}.")
    except GraphNotFound as error:
        messages.error(request, f"It can't be processed here: {error}.")
    except RetryRefused:
        messages.info(request, f"There is nothing left to do for “{book.title}”.")
    return _answer(request, book_id)


@for_members
@require_POST
def stop(request: HttpRequest, book_id: UUID) -> HttpResponse:
    """Ask for what the button says, which is one rung more with every press."""
    book = _get_changeable(request, book_id)
    mode = request.POST.get("mode", StopMode.CANCEL)
    if mode not in StopMode.values:
        raise BadRequest
    if mode == StopMode.KILL and not access.may_force_stop(member(request), book):
        raise PermissionDenied
    if progress_of(book).is_active:
        workflow.stop_processing(book, by=member(request), source="page", mode=mode)
    else:
        messages.info(request, f"“{book.title}” was not being processed any more.")
    return _answer(request, book_id)


@for_members
@require_http_methods(["GET", "POST"])
def delete(request: HttpRequest, book_id: UUID) -> HttpResponse:
    book = get_book(request, book_id)
    if not access.may_delete(member(request), book):
        raise PermissionDenied
    if request.method == "POST":
        try:
            remove_book(book)
        except BookIsActive:
            messages.error(request, f"“{book.title}” is being processed. Stop it first, then delete it.")
            return redirect("book", book_id)
        messages.success(request, f"“{book.title}” was deleted.")
        return redirect("book-list")
    return render(request, "books/delete.html", {"book": book, "is_active": progress_of(book).is_active})


def _answer(request: HttpRequest, book_id: UUID) -> HttpResponse:
    """Back to where the button was: its part of the page for htmx, else the whole page."""
    is_in_list = request.POST.get("from") == "list"
    if not _is_htmx(request):
        return redirect("book-list") if is_in_list else redirect("book", book_id)
    if is_in_list:
        return render(request, "books/parts/rows.html", {**_rows_context(request), "is_answer": True})
    context = _with_pictures(_book_context(request, get_book(request, book_id)))
    return render(request, "books/parts/live.html", {**context, "is_answer": True})


# --- Looking things up --------------------------------------------------------------------------------------


def _books(request: HttpRequest) -> QuerySet[Book]:
    return with_runs(access.visible_to(member(request)))


def get_book(request: HttpRequest, book_id: UUID) -> Book:
    book = _books(request).filter(pk=book_id).first()
    if book is None:
        raise Http404("There is no such book.")
    return book


def _get_changeable(request: HttpRequest, book_id: UUID) -> Book:
    book = get_book(request, book_id)
    if not access.may_change(member(request), book):
        raise PermissionDenied
    return book


def member(request: HttpRequest) -> User:
    return cast(User, request.user)


def _is_htmx(request: HttpRequest) -> bool:
    return bool(request.htmx)  # type: ignore[attr-defined]


def _page_number(request: HttpRequest) -> str | None:
    return request.GET.get("page") or request.POST.get("page")


def _fingerprint(shown: list[Any]) -> str:
    return hashlib.sha256(json.dumps(shown, default=str).encode()).hexdigest()[:16]
