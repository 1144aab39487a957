"""The emergency brake: freeze (nothing new of what it matches is claimed), look, unfreeze.

A freeze stops nothing that executes: surfaces call `control.cancel_all` with the same graph or owner for that. What is
queued stays queued, and a run that is submitted meanwhile is queued as well.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.db.models import QuerySet

from runs import dispatch, freezes
from runs.errors import FreezeNotFound, InputRefused
from runs.inputs import checked_choice, checked_text
from runs.models import Freeze, Run
from runs.states import FreezeScope, Status, StopSource

logger = logging.getLogger(__name__)

RUNG_AT_ONCE = 2_000  # runs; a worker that is idle rings for the others, so that the caller does not wait for them
COUNTED = 10_000  # runs, so that a look at the brake is quick however many there are


@dataclass(frozen=True)
class Hold:
    """What a freeze does now: runs that are held back, that are asked to stop and have not, that go on. Each is counted
    up to `COUNTED`."""

    queued: int
    stopping: int
    executing: int


def freeze(
    *,
    graph: str | None = None,
    owner: AbstractBaseUser | None = None,
    by: AbstractBaseUser | None = None,
    actor: str = "",
    source: str = StopSource.API,
    reason: str = "",
) -> Freeze:
    """Let nothing new begin: of all runs, of a graph, or of an owner. Asked again, the first reason stays.

    Raises:
        InputRefused: graph and owner are both given.
    """
    if graph is not None and owner is not None:
        raise InputRefused("a freeze is of a graph or of an owner, not of both")
    scope = FreezeScope.GRAPH if graph is not None else FreezeScope.OWNER if owner is not None else FreezeScope.ALL
    row = Freeze(
        scope=scope,
        graph=checked_text("graph", graph, 200) if graph is not None else "",
        owner_id=owner.pk if owner is not None else None,
        by_id=by.pk if by else None,
        actor=(actor or (str(by) if by else ""))[:200],
        source=StopSource(checked_choice("source", source, StopSource.values)),
        reason=checked_text("reason", reason, 2_000),
    )
    found = freezes.insert(row)
    if found is row:
        logger.warning("%s: frozen by %s (%s)", found.what, found.actor or "nobody named", found.reason)
    return found


def unfreeze(freeze_ids: Sequence[int], *, by: AbstractBaseUser | None = None, actor: str = "") -> list[Freeze]:
    """Lift these freezes, and ring at once for the queued runs that no other one holds back, the oldest first.

    Returns:
        Those that stood until now.
    """
    lifted = freezes.lift(freeze_ids, by_id=by.pk if by else None, actor=actor or (str(by) if by else ""))
    for row in lifted:
        logger.warning("%s: the freeze is lifted", row.what)
        transaction.on_commit(partial(_ring, row))
    return lifted


def _ring(row: Freeze) -> None:
    queued = Run.objects.filter(freezes.matching(row), status=Status.QUEUED).exclude(freezes.is_frozen())
    dispatch.ring(list(queued.order_by("queued_at").values_list("id", flat=True)[:RUNG_AT_ONCE]))


def is_frozen(*, graph: str, owner_id: object = None) -> bool:
    return freezes.find(graph, owner_id) is not None


def find_hold(run: Run) -> Freeze | None:
    """What keeps a queued run from beginning, if it is a freeze."""
    return freezes.find(run.graph, run.owner_id) if run.status == Status.QUEUED else None


def list_standing() -> list[Freeze]:
    return list(freezes.standing())


def get(freeze_id: int) -> Freeze:
    """
    Raises:
        FreezeNotFound.
    """
    found = Freeze.objects.select_related("owner").filter(pk=freeze_id).first()
    if found is None:
        raise FreezeNotFound(freeze_id)
    return found


def look(row: Freeze) -> Hold:
    """How far it has come: held back, still stopping, still executing."""
    runs = Run.objects.filter(freezes.matching(row))
    running = runs.filter(status=Status.RUNNING)
    return Hold(
        queued=_count(runs.filter(status=Status.QUEUED)),
        stopping=_count(running.filter(stop_requested_at__isnull=False)),
        executing=_count(running.filter(stop_requested_at__isnull=True)),
    )


def _count(runs: QuerySet[Run]) -> int:
    return runs.order_by()[:COUNTED].count()
