"""Any value as JSON. Pure."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_jsonable_python


def as_json(value: Any) -> Any:
    """A graph's values as JSON; what has no JSON form becomes its `repr`. NUL characters, which PostgreSQL can't
    keep, are dropped."""
    return _without_nul(to_jsonable_python(value, fallback=repr, inf_nan_mode="strings", bytes_mode="base64"))


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    return value
