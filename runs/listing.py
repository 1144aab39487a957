"""Long lists in little time: how many rows there are about, a page of them, and the names that occur in a column.

Nothing here reads all rows: on a million runs a COUNT(*) or a DISTINCT takes longer than a page may.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.core.paginator import Page, Paginator
from django.db import connection, models
from django.db.models import QuerySet

from runs import words
from runs.models import Run

COUNTED = 10_000  # rows that are counted exactly
REACHED = 50_000  # rows of a filtered list that can be paged to
NAMES = 200


class EstimatingPaginator(Paginator):  # type: ignore[type-arg]
    """Counts few rows exactly; of many in the whole table it estimates how many there are, of many that match a filter
    it shows the first `REACHED`."""

    template_name = "admin/runs/run/pagination.html"

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        if not rows.query.where:
            estimate = estimated_rows(rows.model)
            return estimate if estimate > COUNTED else rows.order_by().count()
        return rows.order_by().values("pk")[:REACHED].count()

    @property
    def is_estimate(self) -> bool:
        """Whether there are `count` rows about, and not exactly."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return self.count > COUNTED and not rows.query.where

    @property
    def is_cut(self) -> bool:
        """Whether there are more rows than can be paged to."""
        return self.count == REACHED and not self.is_estimate

    @property
    def count_in_words(self) -> str:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return words.count(self.count, str(rows.model._meta.verbose_name))

    def page(self, number: int | str) -> Page[Any]:
        """The rows of a page: first their keys, out of an index alone, so that a late page costs little more than the
        first."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        keys = list(rows.values_list("pk", flat=True)[start : start + self.per_page])
        return Page(rows.filter(pk__in=keys), number, self)


def estimated_rows(model: type[models.Model]) -> int:
    """About how many rows a table has: what PostgreSQL's last ANALYZE saw, on SQLite how many there have ever been."""
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = CAST(%s AS regclass)", [table])
        else:
            cursor.execute(f"SELECT MAX(rowid) FROM {table}")  # noqa: S608 - a table's name
        row = cursor.fetchone()
    return max(int(row[0] or 0), 0) if row else 0


def list_graphs() -> list[str]:
    """The graphs that have runs: one step in the index for each of them, and not a look at every run."""
    table = Run._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE found(graph) AS (
                SELECT MIN(graph) FROM {table}
                UNION ALL
                SELECT (SELECT MIN(graph) FROM {table} WHERE graph > found.graph) FROM found
                WHERE found.graph IS NOT NULL
            ) SELECT graph FROM found WHERE graph IS NOT NULL LIMIT %s
            """,  # noqa: S608 - a table's name
            [NAMES],
        )
        return [row[0] for row in cursor.fetchall()]


def id_range(text: str) -> tuple[str, str] | None:
    """The first and the last UUID that begin with these characters; None if no UUID does."""
    digits = text.replace("-", "").lower()
    if not digits or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
        return None
    return digits.ljust(32, "0"), digits.ljust(32, "f")
