"""The form that is made from a graph's input schema."""

from __future__ import annotations

from typing import Any

import pytest
from django import forms

from runs import shapes
from runs.pages.forms import InputForm

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["question", "count"],
    "$defs": {"Tone": {"enum": ["dark", "bright"], "type": "string"}},
    "properties": {
        "question": {"type": "string", "title": "Question", "description": "What to find out."},
        "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "share": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "deep": {"type": "boolean", "default": False},
        "tone": {"$ref": "#/$defs/Tone"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "more": {"type": "object"},
    },
}


def send(**values: str) -> InputForm:
    names = {name: f"field_{number}" for number, name in enumerate(SCHEMA["properties"])}
    return InputForm(SCHEMA, {names[name]: value for name, value in values.items()})


def test_each_type_has_its_field() -> None:
    form = InputForm(SCHEMA)
    fields = {field.label: field for field in form.fields.values()}

    assert isinstance(fields["count"], forms.IntegerField)
    assert isinstance(fields["share"], forms.FloatField)
    assert [label for _, label in fields["tone"].choices] == ["—", "dark", "bright"]  # type: ignore[attr-defined]
    assert isinstance(fields["tags"].widget, forms.Textarea)
    assert (fields["Question"].required, fields["tags"].required) == (True, False)
    assert fields["Question"].help_text == "What to find out."
    assert fields["count"].initial == 3


def test_what_was_typed_becomes_the_input_and_what_was_left_empty_is_left_out() -> None:
    form = send(question=" why? ", count="4", deep="0", tone="1", tags='["a", 1]')

    assert form.is_valid(), form.errors
    assert form.get_input() == {"question": " why? ", "count": 4, "deep": True, "tone": "bright", "tags": ["a", 1]}


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"count": "3"}, "field_0", "required"),
        ({"question": "x", "count": "12"}, "field_1", "less than or equal to 9"),
        ({"question": "x", "count": "3", "share": "much"}, "field_2", "number"),
        ({"question": "x", "count": "3", "tone": "loud"}, "field_4", "valid choice"),
        ({"question": "x", "count": "3", "tags": "a, b"}, "field_5", "not JSON"),
        ({"question": "x", "count": "3", "tags": "{}"}, "field_5", "must be a list"),
        ({"question": "x", "count": "3", "more": "[1]"}, "field_6", "must be an object"),
    ],
)
def test_error_stands_at_its_field_and_nothing_is_lost(values: dict[str, str], field: str, message: str) -> None:
    form = send(**values)

    assert not form.is_valid()
    assert list(form.errors) == [field]
    assert message in str(form.errors[field])
    for name, value in values.items():
        number = list(SCHEMA["properties"]).index(name)
        assert form[f"field_{number}"].value() == value


def test_graph_without_a_schema_takes_one_json_value() -> None:
    form = InputForm(None, {"input": '{"a": [1]}'})

    assert form.is_valid()
    assert form.get_input() == {"a": [1]}
    assert InputForm(None, {"input": ""}).is_valid()


def test_schema_of_a_typed_dict_is_found() -> None:
    """Also on a Python for which pydantic refuses `typing.TypedDict`."""
    schema = shapes.find_input_schema("quick")

    assert schema is not None
    assert schema["properties"]["marks"]["type"] == "string"
    assert schema["properties"]["values"]["type"] == "array"
    assert shapes.find_input_schema("plain_factory") is None
