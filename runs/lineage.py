"""What a run is another try of. Reads only; `retrying` is the writer.

The tries of a run are a line, newest first: each is the retry of the next. They share one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from runs.models import Run


@dataclass(frozen=True)
class Tries:
    """A run and its earlier tries, newest first.

    `continued` begins with the run itself; it goes on where those ended. `replaced` lie behind a retry from the
    start: nothing of them is taken over but the state of the thread before them.
    """

    continued: tuple[UUID, ...]
    replaced: tuple[UUID, ...] = ()

    @property
    def earlier(self) -> tuple[UUID, ...]:
        return self.continued[1:]


def tries_of(run: Run) -> Tries:
    continued, replaced = [run.id], list[UUID]()
    ids, begins_anew, older = continued, run.retry_from_start, run.retry_of_id
    while older is not None:
        if begins_anew:
            ids = replaced
        ids.append(older)
        begins_anew, older = Run.objects.values_list("retry_from_start", "retry_of_id").get(id=older)
    return Tries(tuple(continued), tuple(replaced))


def find_retry(run_id: UUID) -> Run | None:
    """The run that is the next try of this one."""
    return Run.objects.filter(retry_of_id=run_id).first()


def list_adopted(run_id: UUID) -> list[UUID]:
    """The children of earlier tries whose results this run took."""
    return list(Run.objects.filter(adopted_by_id=run_id).order_by("id").values_list("id", flat=True))


def list_active_retries(run_ids: Sequence[UUID]) -> list[Run]:
    """The tries that have not ended and go on from one of these runs."""
    newest = [newest_of(retry) for retry in Run.objects.filter(retry_of_id__in=run_ids)]
    return [run for run in newest if not run.is_terminal]


def newest_of(run: Run) -> Run:
    """The last try of a run, which may be the run itself."""
    while (retry := find_retry(run.id)) is not None:
        run = retry
    return run


def find_child(tries: Sequence[UUID], child_key: str) -> Run | None:
    """The newest try of the child that one of these runs, the first that did, started with this key."""
    for run_id in tries:
        child = Run.objects.filter(parent_id=run_id, child_key=child_key).first()
        if child is not None:
            return newest_of(child)
    return None
