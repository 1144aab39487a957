"""Finding and listing runs, looking at what they do, and waiting for their end. Nothing here changes a run."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from runs import dispatch, receipts, registry
from runs.dispatch import CeleryTask
from runs.errors import RunNotFound, WaitTimedOut
from runs.inputs import checked_run_id, find_uuid
from runs.models import NodeExecution, Run, StopReceipt, Worker
from runs.states import ACTIVE, CANCELLING, PAUSING, TERMINAL, Status

WORKER_ALIVE_SECONDS = 15
LARGE_FIELDS = ("input", "output", "questions", "answers", "metadata")  # as large as a graph makes them


def get(run_id: UUID | str) -> Run:
    """Find one run.

    Raises:
        RunNotFound: also for an id that is no UUID.
    """
    run = find(run_id)
    if run is None:
        raise RunNotFound(run_id)
    return run


def find(run_id: UUID | str) -> Run | None:
    key = find_uuid(run_id)
    if key is None:
        return None
    return Run.objects.select_related("owner").filter(id=key).first()


def find_by_key(owner: AbstractBaseUser, idempotency_key: str) -> Run | None:
    if "\x00" in idempotency_key:
        return None  # PostgreSQL does not even look for it
    return Run.objects.filter(owner_id=owner.pk, idempotency_key=idempotency_key).first()


def look_at(run_id: UUID | str, *, timeout_seconds: float = 3.0) -> StopReceipt | None:
    """What a run's process is doing now, as its supervisor sees it; of an ended run, what was kept of its stop.

    Returns:
        None if nothing was kept, or no supervisor answered in time: the run is in no process.

    Raises:
        RunNotFound.
    """
    run = get(run_id)
    if run.status != Status.RUNNING:
        return receipts.find(run.id)
    asked_at = receipts.request_evidence(run.id)
    transaction.on_commit(dispatch.ring_look)
    ends = time.monotonic() + timeout_seconds
    while time.monotonic() < ends:
        receipt = receipts.find(run.id)
        if receipt is not None and receipt.evidence_at is not None and receipt.evidence_at >= asked_at:
            return receipt
        time.sleep(0.02)
    return receipts.find(run.id)


def list_active(*, graph: str | None = None, owner: AbstractBaseUser | None = None) -> list[Run]:
    """Every run that has not ended, newest first."""
    return list(_matching(graph, owner).filter(status__in=ACTIVE).select_related("owner"))


def list_active_ids(*, graph: str | None = None, owner: AbstractBaseUser | None = None) -> list[UUID]:
    return list(_matching(graph, owner).filter(status__in=ACTIVE).values_list("id", flat=True))


def list_runs(
    *,
    graph: str | None = None,
    owner: AbstractBaseUser | None = None,
    statuses: Collection[str] = (),
    limit: int | None = None,
    among: QuerySet[Run] | None = None,
    slim: bool = False,
) -> list[Run]:
    """Runs, ended ones among them, newest first.

    Args:
        statuses: as people see them, so `cancelling` and `pausing` are two and `running` is without them; none are
            all.
        among: what they are chosen from, such as `policy.visible_runs`; None are all.
        slim: without what may be large, for those who look again and again.
    """
    runs = _matching(graph, owner, among).filter(displayed_as(statuses) if statuses else Q())
    runs = slimmed(runs) if slim else runs.select_related("owner")
    return list(runs.order_by("-id")[:limit])


def _matching(graph: str | None, owner: AbstractBaseUser | None, among: QuerySet[Run] | None = None) -> QuerySet[Run]:
    runs = Run.objects.all() if among is None else among
    if graph is not None:
        runs = runs.filter(graph=graph)
    return runs if owner is None else runs.filter(owner_id=owner.pk)


def displayed_as(statuses: Collection[str]) -> Q:
    """The filter for `Run.display_status`."""
    if TERMINAL.issuperset(statuses):
        return Q(status__in=list(statuses))  # which an index answers alone
    stopping = Q(status__in=ACTIVE, stop_requested_at__isnull=False)
    pausing = Q(status=Status.RUNNING, pause_requested_at__isnull=False) & ~stopping
    found = Q(status__in=[status for status in statuses if status in Status.values]) & ~stopping & ~pausing
    if PAUSING in statuses:
        found |= pausing
    return found | stopping if CANCELLING in statuses else found


def list_tree(run_id: UUID | str) -> list[Run]:
    """A run and everything below it, parents before their children.

    Raises:
        RunNotFound.
    """
    key = checked_run_id(run_id)
    below: dict[UUID | None, list[Run]] = {}
    tree: list[Run] = []
    for member in slimmed(Run.objects.filter(root_id__in=Run.objects.filter(id=key).values("root_id"))).order_by("id"):
        if member.id == key:
            tree.append(member)
        else:
            below.setdefault(member.parent_id, []).append(member)
    if not tree:
        raise RunNotFound(run_id)
    for member in tree:
        tree.extend(below.get(member.id, []))
    return tree


def in_tree_order(runs: Sequence[Run]) -> list[tuple[Run, int]]:
    """Each run, followed by its children in the order in which they were started, with its depth."""
    shown = {run.id for run in runs}
    below: dict[UUID | None, list[Run]] = {}
    for run in runs:
        below.setdefault(run.parent_id if run.parent_id in shown else None, []).append(run)
    ordered: list[tuple[Run, int]] = []
    stack = [(run, 0) for run in reversed(below.get(None, []))]
    while stack:
        run, depth = stack.pop()
        ordered.append((run, depth))
        children = sorted(below.get(run.id, []), key=lambda child: child.id, reverse=True)
        stack.extend((child, depth + 1) for child in children)
    return ordered


def list_stoppable(run_ids: Sequence[UUID]) -> list[Run]:
    """What a stop of these runs would reach now: the active ones among them and below them."""
    ids = registry.list_tree(run_ids)
    return list(slimmed(Run.objects.filter(id__in=ids, status__in=ACTIVE)).order_by("id"))


def slimmed(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Runs without what may be large, for lists that can be long."""
    return runs.select_related("owner").defer(*LARGE_FIELDS)


def list_nodes(run_id: UUID) -> list[NodeExecution]:
    """What a run's nodes did, in the order in which they began."""
    return list(NodeExecution.objects.filter(run_id=run_id))


def list_celery_tasks(*, timeout_seconds: float = 1.0) -> list[CeleryTask]:
    """The plain tasks that the living workers hold; a run is none.

    Raises:
        BrokerAway.
    """
    tasks = dispatch.list_celery_tasks([worker.hostname for worker in list_workers()], timeout_seconds)
    keys = {task.id: key for task in tasks if (key := find_uuid(task.id)) is not None}
    runs = set(Run.objects.filter(id__in=keys.values()).values_list("id", flat=True))
    return [task for task in tasks if keys.get(task.id) not in runs]


def list_workers() -> list[Worker]:
    """The workers whose supervisors have reported in the last 15 seconds."""
    return list(Worker.objects.filter(heartbeat_at__gt=timezone.now() - timedelta(seconds=WORKER_ALIVE_SECONDS)))


def wait(run_id: UUID | str, *, timeout_seconds: float | None = None, tree: bool = False) -> Run:
    """Wait until a run has ended; with `tree`, until everything below it has, too.

    Raises:
        RunNotFound, WaitTimedOut.
    """
    run = get(run_id)
    started = time.monotonic()
    pause = 0.005
    while True:
        run = get(run.id)
        if run.is_terminal and not (tree and _has_active_below(run)):
            return run
        waited = time.monotonic() - started
        if timeout_seconds is not None and waited >= timeout_seconds:
            raise WaitTimedOut(run.id, run.display_status, timeout_seconds)
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


def _has_active_below(run: Run) -> bool:
    below = registry.list_tree([run.id])
    return Run.objects.filter(id__in=below, status__in=ACTIVE).exists()
