"""The Celery task that processes a book: a run of the graph `book`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from celery import shared_task

from books import workflow
from runs.models import Run
from runs.tasks import GraphTask


class ProcessBook(GraphTask):
    """`delay(book_id)` queues the book's run and returns its id; a book that is being processed keeps its run."""

    abstract = True

    def submit(self, book_id: str, *, run_id: UUID | None = None, **options: Any) -> Run:  # type: ignore[override]
        return workflow.start_processing(workflow.get_book(book_id), run_id=run_id, **options)


@shared_task(base=ProcessBook, name=workflow.PROCESS_TASK)
def process_book_workflow(book_id: str) -> dict[str, str]:
    """Read a book, analyse each chapter in a run of its own, and write the report."""
    return {"book_id": str(book_id)}
