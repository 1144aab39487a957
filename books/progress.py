"""How far a book is, in the words of its run and of the runs of its chapters. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from django.db.models import (
    BooleanField,
    Count,
    ExpressionWrapper,
    IntegerField,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Coalesce
from django.utils import timezone

from books.models import Book
from runs.ladder import Schedule, next_rung
from runs.models import Run
from runs.states import ACTIVE, CANCELLING, Status, StopMode
from runs.words import rungs_ahead

NEW = "new"  # never processed
# The next rung is offered only then, so that the second half of a double click does not climb.
CLIMB_AFTER = timedelta(seconds=1)


@dataclass(frozen=True)
class Progress:
    """`status` is `NEW` or a run's display status; `done` and `total` count chapters, total 0 is unknown."""

    status: str
    done: int
    total: int
    is_active: bool
    awaited: str  # what a stop is waiting for; empty when nothing is being stopped
    has_report: bool
    next_stop: StopMode | None = None  # what one more press of Stop would ask for
    # What a stop does by itself, and when. It changes every second, which is no reason to send a whole page again.
    outlook: str = field(default="", repr=False, compare=False)

    @property
    def is_stopping(self) -> bool:
        return self.status == CANCELLING

    @property
    def can_go_on(self) -> bool:
        """Its last run was left before its end, and can be tried again."""
        return self.status in (Status.FAILED, Status.CANCELLED)

    @property
    def is_new(self) -> bool:
        return self.status == NEW


def with_runs(books: QuerySet[Book]) -> QuerySet[Book]:
    """The books with what `progress_of` needs, in one query, without the documents of up to a megabyte."""
    of_the_tree = Run.objects.filter(root_id=OuterRef("run_id"), status__in=ACTIVE).order_by()
    counted = of_the_tree.values("root_id").annotate(count=Count("pk")).values("count")
    executing = of_the_tree.filter(status=Status.RUNNING, stop_requested_at__isnull=False).values("root_id")
    return (
        books.select_related("run", "owner")
        .defer("report", "run__input", "run__output")
        .annotate(
            active_runs=Coalesce(Subquery(counted, output_field=IntegerField()), 0),
            interrupt_at=Subquery(executing.annotate(at=Max("stop_interrupt_at")).values("at")),
            kill_at=Subquery(executing.annotate(at=Max("stop_deadline")).values("at")),
            has_report=ExpressionWrapper(Q(report__isnull=False), output_field=BooleanField()),
        )
    )


def progress_of(book: Book, now: datetime | None = None) -> Progress:
    """How far a book of `with_runs` is; `now` is for tests."""
    now = now or timezone.now()
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
        next_stop=_find_next_stop(book, run, is_stopping, now),
        outlook=_outlook(_find_plan(book), now) if is_stopping else "",
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
    if run.current_call:
        return f"after the current call ({run.current_call})"
    return f"after the current step ({run.current_node})" if run.current_node else "after the current step"


def _find_plan(book: Book) -> Schedule | None:
    """When the last run of the tree that still executes is interrupted and killed; None if none is stopping."""
    interrupt_at = cast("datetime | None", book.interrupt_at)  # type: ignore[attr-defined]
    kill_at = cast("datetime | None", book.kill_at)  # type: ignore[attr-defined]
    return Schedule(interrupt_at or kill_at, kill_at) if kill_at else None


def _find_next_stop(book: Book, run: Run, is_stopping: bool, now: datetime) -> StopMode | None:
    if not is_stopping:
        return None if run.is_terminal else StopMode.CANCEL
    plan = _find_plan(book)
    if plan is None or now - (run.stop_requested_at or now) < CLIMB_AFTER:
        return None
    rung = next_rung(plan, now)
    return rung.mode if rung is not None and rung is next_rung(plan, now - CLIMB_AFTER) else None


def _outlook(plan: Schedule | None, now: datetime) -> str:
    if plan is None:
        return ""
    ahead = rungs_ahead(plan, now)
    return f"If it takes longer, it is {ahead}." if ahead else "What is left of it is being killed."
