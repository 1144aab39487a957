from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from runs.jsonable import as_json


class Model(BaseModel):
    number: int


@dataclass
class Data:
    text: str


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ((1, "a"), [1, "a"]),
        ({1: {2}}, {"1": [2]}),
        (Model(number=1), {"number": 1}),
        (Data("x"), {"text": "x"}),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (b"\xff", "_w=="),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        ("a\x00b", "ab"),
        ({"k\x00": ["\x00"]}, {"k": [""]}),
    ],
)
def test_value_has_a_json_form(value: Any, expected: Any) -> None:
    assert as_json(value) == expected


def test_value_without_a_json_form_becomes_its_repr() -> None:
    assert as_json({"x": object}) == {"x": repr(object)}


def test_message_of_a_model_is_kept() -> None:
    assert as_json([AIMessage("hello")])[0]["content"] == "hello"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_any_value_can_be_stored_by_postgresql(value: Any) -> None:
    text = json.dumps(as_json(value), allow_nan=False, ensure_ascii=False)
    text.encode()
    assert "\\u0000" not in text.replace("\\\\", "")


def test_half_of_a_character_is_replaced() -> None:
    # As a broken tool may return it: it has no UTF-8 form, and PostgreSQL refuses its escape.
    assert as_json(["a\ud800", {"b": "\udfff"}]) == ["a?", {"b": "?"}]


def test_half_of_a_character_in_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        as_json({"a\ud800": 1})
