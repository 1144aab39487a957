"""Any value as JSON. Pure."""

from __future__ import annotations

import math
from typing import Any

from pydantic_core import to_jsonable_python


def as_json(value: Any) -> Any:
    """A graph's values as JSON that every database takes.

    What has no JSON form becomes its `repr`; NaN and the infinities their names; NUL characters are dropped, and
    halves of characters (lone surrogates) become question marks.
    """
    return _storable(to_jsonable_python(value, fallback=repr, bytes_mode="base64"))


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "").encode("utf-8", "replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value
