"""How far a book is, in the words of its run and of the runs of its chapters. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from django.db.models import (
    BooleanField,
    Count,
    ExpressionWrapper,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Coalesce

from books.models import Book
from runs.models import Run
from runs.states import ACTIVE, CANCELLING, Status

NEW = "new"  # never processed


@dataclass(frozen=True)
class Progress:
    """`status` is `NEW` or a run's display status; `done` and `total` count chapters, total 0 is unknown."""

    status: str
    done: int
    total: int
    is_active: bool
    awaited: str  # what a stop is waiting for; empty when nothing is being stopped
    has_report: bool

    @property
    def is_stopping(self) -> bool:
        return self.status == CANCELLING

    @property
    def is_new(self) -> bool:
        return self.status == NEW


def with_runs(books: QuerySet[Book]) -> QuerySet[Book]:
    """The books with what `progress_of` needs, in one query, without the documents of up to a megabyte."""
    of_the_tree = Run.objects.filter(root_id=OuterRef("run_id"), status__in=ACTIVE).order_by()
    counted = of_the_tree.values("root_id").annotate(count=Count("pk")).values("count")
    return (
        books.select_related("run", "owner")
        .defer("report", "run__input", "run__output")
        .annotate(
            active_runs=Coalesce(Subquery(counted, output_field=IntegerField()), 0),
            has_report=ExpressionWrapper(Q(report__isnull=False), output_field=BooleanField()),
        )
    )


def progress_of(book: Book) -> Progress:
    """How far a book of `with_runs` is."""
    run = book.run
    active_runs = cast(int, book.active_runs)  # type: ignore[attr-defined]
    has_report = bool(book.has_report)  # type: ignore[attr-defined]
    if run is None:
        return Progress(status=NEW, done=0, total=0, is_active=False, awaited="", has_report=has_report)
    # A book that waits for its chapters holds no worker, so it is cancelled at once; its chapters may still
    # be at their last step. People are told "cancelled" when nothing of the tree is left.
    is_stopping = run.is_stopping or (run.status == Status.CANCELLED and active_runs > 0)
    return Progress(
        status=CANCELLING if is_stopping else run.display_status,
        done=run.progress_done,
        total=run.progress_total,
        is_active=is_stopping or not run.is_terminal,
        awaited=_awaited(run, active_runs) if is_stopping else "",
        has_report=has_report,
    )


def find_error(book: Book) -> dict[str, Any] | None:
    """What went wrong with the latest processing, `message` being for people; None if it did not fail."""
    run = book.run
    if run is None or run.display_status != Status.FAILED:
        return None
    return book.error or run.error or {"message": "It failed, and left no message."}


def _awaited(run: Run, active_runs: int) -> str:
    chapters = active_runs - (not run.is_terminal)
    if chapters > 1:
        return f"after the current step of {chapters} chapters"
    if chapters == 1:
        return "after the current step of 1 chapter"
    return f"after the current step ({run.current_node})" if run.current_node else "after the current step"
