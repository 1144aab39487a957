from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from authentication.models import User
from books import workflow
from books.models import Book, Section
from books.progress import find_error, progress_of, with_runs
from books.removal import BookIsActive, remove_book

# Names of unfold's label colours.
STATUS_COLOURS = {
    "not started": "default",
    "queued": "default",
    "running": "info",
    "waiting": "primary",
    "cancelling": "warning",
    "pausing": "warning",
    "paused": "warning",
    "completed": "success",
    "failed": "danger",
    "cancelled": "default",
}
# Not "books.change_book": unfold's system check looks that up in a database that may not be migrated yet.
CHANGE = ["change"]
PROCESS_DIALOG = {
    "title": "Process this book?",
    "description": "A run reads the book and analyses its chapters. What an earlier run found is replaced.",
    "form_submit_text": "Process",
}
CANCEL_DIALOG = {
    "title": "Cancel the processing of this book?",
    "description": "It and its chapters stop after their current step. What is finished by then is kept.",
    "form_submit_text": "Cancel the processing",
}


class SectionInline(TabularInline):  # type: ignore[misc]
    model = Section
    fields = ("position", "number", "kind", "title", "status")
    readonly_fields = fields
    extra = 0
    per_page = 50
    can_delete = False
    hide_title = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Section]:
        sections = cast(QuerySet[Section], super().get_queryset(request))
        return sections.defer("text", "run__input", "run__output").select_related("run").order_by("position")

    def has_add_permission(self, request: HttpRequest, obj: Book | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Book | None = None) -> bool:
        return False

    @display(description="status")  # type: ignore[untyped-decorator]
    def status(self, section: Section) -> str:
        if section.run is not None:
            return section.run.display_status
        return "completed" if section.analysis else "-"


@admin.register(Book)
class BookAdmin(ModelAdmin):  # type: ignore[misc]
    """Books are added on their own page; here they are looked at, processed, cancelled and deleted."""

    list_display = ("title", "author", "owner", "format", "status", "chapters", "created_at")
    list_filter = ("format", "created_at")
    search_fields = ("title", "author", "owner__email")
    date_hierarchy = "created_at"
    fields = (
        ("title", "author"),
        ("owner", "file_name"),
        ("format", "language"),
        ("status", "chapters"),
        ("created_at", "analysed_at"),
        "problem",
    )
    readonly_fields = tuple(name for group in fields for name in (group if isinstance(group, tuple) else (group,)))
    inlines = (SectionInline,)
    actions = ("process_selected", "cancel_selected")
    actions_row = ("process_row", "cancel_row")
    actions_detail = ("process_page", "cancel_page")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Book]:
        return with_runs(super().get_queryset(request))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @display(  # type: ignore[untyped-decorator]
        description="status", label=STATUS_COLOURS, ordering="run__status"
    )
    def status(self, book: Book) -> str:
        progress = progress_of(book)
        return "not started" if progress.is_new else progress.status

    @display(description="chapters")  # type: ignore[untyped-decorator]
    def chapters(self, book: Book) -> str:
        progress = progress_of(book)
        return f"{progress.done}/{progress.total}" if progress.total else "-"

    @display(description="error")  # type: ignore[untyped-decorator]
    def problem(self, book: Book) -> str:
        error = find_error(book)
        return str(error.get("message")) if error else "-"

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        # Every field is only to be read, so there is nothing to save.
        nothing_to_save = {"show_save": False, "show_save_and_continue": False}
        context = {**(extra_context or {}), **nothing_to_save}
        return cast(HttpResponse, super().changeform_view(request, object_id, form_url, context))

    # --- Process and cancel: in a row, on the page of a book, for the selected ---

    @action(  # type: ignore[untyped-decorator]
        description="Process",
        permissions=CHANGE,
        url_path="process",
        icon="play_arrow",
        dialog=PROCESS_DIALOG,
    )
    def process_row(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        self._process(request, [self._get_book(request, object_id)])
        return _go(request, "admin:books_book_changelist")

    @action(  # type: ignore[untyped-decorator]
        description="Cancel", permissions=CHANGE, url_path="cancel", icon="stop_circle", dialog=CANCEL_DIALOG
    )
    def cancel_row(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        self._cancel(request, [self._get_book(request, object_id)])
        return _go(request, "admin:books_book_changelist")

    @action(  # type: ignore[untyped-decorator]
        description="Process",
        permissions=CHANGE,
        url_path="process-page",
        icon="play_arrow",
        dialog=PROCESS_DIALOG,
    )
    def process_page(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        self._process(request, [self._get_book(request, object_id)])
        return _go(request, "admin:books_book_change", object_id)

    @action(  # type: ignore[untyped-decorator]
        description="Cancel",
        permissions=CHANGE,
        url_path="cancel-page",
        icon="stop_circle",
        dialog=CANCEL_DIALOG,
    )
    def cancel_page(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        self._cancel(request, [self._get_book(request, object_id)])
        return _go(request, "admin:books_book_change", object_id)

    @admin.action(description="Process the selected books", permissions=["change"])
    def process_selected(self, request: HttpRequest, queryset: QuerySet[Book]) -> HttpResponse | None:
        return self._confirmed(request, queryset, "process_selected", self._process, PROCESS_DIALOG)

    @admin.action(description="Cancel the selected books", permissions=["change"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Book]) -> HttpResponse | None:
        return self._confirmed(request, queryset, "cancel_selected", self._cancel, CANCEL_DIALOG)

    def _confirmed(
        self,
        request: HttpRequest,
        books: QuerySet[Book],
        action_name: str,
        do: Callable[[HttpRequest, list[Book]], None],
        words: dict[str, str],
    ) -> HttpResponse | None:
        if "confirmed" in request.POST:
            do(request, list(books))
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": words["form_submit_text"],
            "opts": self.model._meta,
            "words": words,
            "books": books,
            "action_name": action_name,
            "action_checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/books/book/confirm.html", context)

    def _process(self, request: HttpRequest, books: list[Book]) -> None:
        started = 0
        for book in books:
            if progress_of(book).is_active:
                messages.warning(request, f"“{book}” is being processed already.")
                continue
            workflow.start_processing(book, by=cast(User, request.user))
            self.log_change(request, book, "Processing started.")
            started += 1
        if started:
            messages.success(request, f"{_count(started)} will be processed.")

    def _cancel(self, request: HttpRequest, books: list[Book]) -> None:
        stopped = 0
        for book in books:
            if not progress_of(book).is_active:
                messages.info(request, f"“{book}” was not being processed.")
                continue
            workflow.stop_processing(book, by=cast(User, request.user), source="admin")
            self.log_change(request, book, "Asked to stop.")
            stopped += 1
        if stopped:
            messages.success(request, f"{_count(stopped)} will stop after the current step.")

    def _get_book(self, request: HttpRequest, object_id: str) -> Book:
        book = self.get_object(request, object_id)
        if book is None:
            raise Http404("There is no such book.")
        return cast(Book, book)

    # --- Deleting: never under a run, and never without the file ---

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, set[str], list[Any]]:
        deleted, counts, lacking, protected = super().get_deleted_objects(objs, request)
        # Sections and runs of a book go with it; only the permission for books counts.
        lacking = set(lacking) & {str(Book._meta.verbose_name)}
        ids: list[UUID] = [book.pk for book in objs]
        active = [book for book in with_runs(Book.objects.filter(pk__in=ids)) if progress_of(book).is_active]
        return (
            deleted,
            counts,
            lacking,
            [*protected, *(f"“{book}” is being processed: cancel it first" for book in active)],
        )

    def delete_model(self, request: HttpRequest, obj: Book) -> None:
        self.delete_queryset(request, Book.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Book]) -> None:
        for book in queryset:
            try:
                remove_book(book)
            except BookIsActive:
                messages.error(request, f"“{book}” was not deleted: it is being processed. Cancel it first.")


def _go(request: HttpRequest, name: str, *args: str) -> HttpResponse:
    """Leave the dialog: it was posted by htmx, which would put the next page inside the dialog."""
    url = reverse(name, args=args)
    return HttpResponseClientRedirect(url) if request.headers.get("HX-Request") else redirect(url)


def _count(books: int) -> str:
    return "1 book" if books == 1 else f"{books} books"
