"""What the hand-written statements of the hot path know of the tables: names of columns, values as the database
wants them. `registry` and `events` use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeAlias, cast
from uuid import UUID

from django.db import connection, models

Column: TypeAlias = "models.Field[Any, Any]"


def columns_of(model: type[models.Model], names: Iterable[str]) -> list[Column]:
    return [cast("Column", model._meta.get_field(name)) for name in names]


def names_of(columns: Iterable[Column]) -> list[str]:
    return [str(column.column) for column in columns]


def insert_into(model: type[models.Model], columns: Sequence[Column], rows: int = 1) -> str:
    """An INSERT of some rows, with a placeholder for each value."""
    row = f"({', '.join(['%s'] * len(columns))})"
    names = ", ".join(names_of(columns))
    return f"INSERT INTO {model._meta.db_table} ({names}) VALUES {', '.join([row] * rows)}"  # noqa: S608


def values_of(columns: Iterable[Column], row: object) -> list[Any]:
    """The values of an object's attributes as the database wants them."""
    return [to_database(column, getattr(row, column.attname)) for column in columns]


def to_database(column: Column, value: Any) -> Any:
    return column.get_db_prep_save(value, connection)


def from_database(column: Column, value: Any) -> Any:
    if isinstance(column, models.JSONField):
        return column.from_db_value(value, cast(Any, None), connection)
    return column.to_python(value)


def moment(value: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(value)


def as_uuid(value: Any) -> UUID:
    """SQLite returns an id as text, PostgreSQL as what it is."""
    return value if isinstance(value, UUID) else UUID(value)
