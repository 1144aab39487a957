"""The rows of the emergency brake, and the conditions by which a freeze matches runs.

`registry.claim` reads the condition in the statement that claims, so a freeze costs it no round trip; `brake` is the
only caller of what writes.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from runs.models import Freeze, Run
from runs.states import FreezeScope

LOCK_MILLISECONDS = 2_000  # that a freeze waits for claims in flight

# Of the row of the run that is being claimed; true for no row as long as nothing is frozen.
FROZEN = f"""
    SELECT 1 FROM {Freeze._meta.db_table} brake WHERE brake.lifted_at IS NULL AND (
        brake.scope = '{FreezeScope.ALL.value}'
        OR (brake.scope = '{FreezeScope.GRAPH.value}' AND brake.graph = {Run._meta.db_table}.graph)
        OR (brake.scope = '{FreezeScope.OWNER.value}' AND brake.owner_id = {Run._meta.db_table}.owner_id)
    )
"""  # noqa: S608 - names of tables and constants


def insert(freeze: Freeze) -> Freeze:
    """Write a freeze, or find the one that stands for the same already.

    Race: on PostgreSQL it waits for the claims in flight, and later ones wait for it: a claim locks the table when it
    is planned and looks at it only then. So after the commit nothing that it matches is claimed. If somebody holds
    the table for longer, a back-up for instance, it does not wait: a claim that began before may then still land.
    """
    with transaction.atomic():
        _await_claims()
        try:
            with transaction.atomic():
                freeze.save(force_insert=True)
        except IntegrityError:
            same = standing().filter(scope=freeze.scope, graph=freeze.graph, owner=freeze.owner_id).first()
            if same is None:
                raise
            return same
    return freeze


def _await_claims() -> None:
    if connection.vendor != "postgresql":
        return  # SQLite has one writer at a time
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
            cursor.execute(f"LOCK TABLE {Freeze._meta.db_table} IN ACCESS EXCLUSIVE MODE")
            cursor.execute("SET LOCAL lock_timeout = DEFAULT")
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", "") != "55P03":  # lock_not_available
            raise


def lift(freeze_ids: Sequence[int], *, by_id: object, actor: str) -> list[Freeze]:
    """Lift those of the freezes that stand, and report which they were."""
    with transaction.atomic():
        found = list(standing().filter(id__in=freeze_ids).select_for_update(of=("self",)))
        Freeze.objects.filter(id__in=[freeze.pk for freeze in found]).update(
            lifted_at=timezone.now(), lifted_by=by_id, lifted_actor=actor[:200]
        )
    return found


def standing() -> QuerySet[Freeze]:
    return Freeze.objects.filter(lifted_at__isnull=True).select_related("owner")


def find(graph: str, owner_id: object) -> Freeze | None:
    """The first freeze that holds back runs of this graph and owner."""
    mine = Q(scope=FreezeScope.OWNER, owner=owner_id) if owner_id is not None else Q(pk__in=[])
    return standing().filter(Q(scope=FreezeScope.ALL) | Q(scope=FreezeScope.GRAPH, graph=graph) | mine).first()


def is_frozen() -> Exists:
    """A condition on runs: some freeze matches."""
    freezes = Freeze.objects.filter(lifted_at__isnull=True)
    return Exists(
        freezes.filter(
            Q(scope=FreezeScope.ALL)
            | Q(scope=FreezeScope.GRAPH, graph=OuterRef("graph"))
            | Q(scope=FreezeScope.OWNER, owner_id=OuterRef("owner_id"))
        )
    )


def matching(freeze: Freeze) -> Q:
    """A condition on runs: this freeze matches, whether it stands or not."""
    if freeze.scope == FreezeScope.GRAPH:
        return Q(graph=freeze.graph)
    return Q(owner_id=freeze.owner_id) if freeze.scope == FreezeScope.OWNER else Q()
