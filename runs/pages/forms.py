"""Forms of the pages: the input of a graph, made from its JSON schema, and the reason of a stop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError

from runs.states import StopMode

WHOLE_INPUT = "input"
LONGEST_TEXT = 200  # of a schema's string that is asked for in one line
NOTHING: Any = object()


class JSONTextField(forms.CharField):
    """A JSON value, kept as it was typed when it is wrong."""

    def __init__(self, *, kind: str | None = None, **kwargs: Any) -> None:
        self.kind = kind
        kwargs.setdefault("widget", forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "class": "code"}))
        super().__init__(**kwargs)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return NOTHING
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ValidationError(f"This is not JSON: {error}.") from None
        wanted = {"array": list, "object": dict}.get(self.kind or "")
        if wanted is not None and not isinstance(found, wanted):
            example = '["one", "two"]' if wanted is list else '{"name": "value"}'
            raise ValidationError(f"This must be {_a(self.kind or '')}, such as {example}.")
        return found


class ChoiceField(forms.TypedChoiceField):
    """One of the values that a schema allows, of whatever type each is."""

    def __init__(self, values: list[Any], **kwargs: Any) -> None:
        by_key = {str(number): value for number, value in enumerate(values)}
        choices = [("", "—"), *((key, _in_words(value)) for key, value in by_key.items())]
        super().__init__(choices=choices, coerce=by_key.__getitem__, empty_value=NOTHING, **kwargs)


class InputForm(forms.Form):
    """One field for each property of the graph's input, or one for all of it.

    Strings, numbers, booleans and enumerations have fields of their own, everything else is typed as JSON.
    """

    def __init__(self, schema: Mapping[str, Any] | None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._names: dict[str, str] = {}  # field → property, which may be named as no HTML field can be
        properties = (schema or {}).get("properties")
        if not isinstance(properties, Mapping) or not properties:
            self.fields[WHOLE_INPUT] = JSONTextField(label="Input, as JSON", required=False)
            return
        required = set((schema or {}).get("required", ()))
        for number, (name, described) in enumerate(properties.items()):
            key = f"field_{number}"
            self._names[key] = name
            described = _resolve(described, schema or {})
            field = _make_field(described, label=str(described.get("title") or name), is_required=name in required)
            field.help_text = str(described.get("description") or field.help_text or "")[:500]
            self.fields[key] = field

    def get_input(self) -> Any:
        """What the graph is given; a property that was left empty is left out."""
        if not self._names:
            value = self.cleaned_data[WHOLE_INPUT]
            return {} if value is NOTHING else value
        values = {name: self.cleaned_data[key] for key, name in self._names.items()}
        return {name: value for name, value in values.items() if value is not NOTHING and value is not None}


class StopForm(forms.Form):
    """How and why; `modes` are those that the person may choose."""

    mode = forms.ChoiceField(choices=[], widget=forms.RadioSelect, required=False)
    reason = forms.CharField(
        label="Reason",
        max_length=2_000,
        required=False,
        help_text="Kept in the receipt, for whoever asks later.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, modes: list[tuple[str, str]], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        cast(forms.ChoiceField, self.fields["mode"]).choices = modes

    def clean_mode(self) -> StopMode:
        return StopMode(self.cleaned_data["mode"] or StopMode.CANCEL)


class _TextField(forms.CharField):
    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        return text if text or self.required else NOTHING


def _make_field(described: Mapping[str, Any], *, label: str, is_required: bool) -> forms.Field:
    common: dict[str, Any] = {"label": label, "required": is_required}
    if "default" in described and _is_plain(described["default"]):
        common["initial"] = described["default"]
    if isinstance(values := described.get("enum"), list) and values:
        if common.get("initial") in values:
            common["initial"] = str(values.index(common["initial"]))
        return ChoiceField(values, **common)
    match described.get("type"):
        case "string":
            return _make_text_field(described, common)
        case "integer":
            return forms.IntegerField(**common, **_limits(described))
        case "number":
            return forms.FloatField(**common, **_limits(described), widget=forms.NumberInput(attrs={"step": "any"}))
        case "boolean":
            if isinstance(common.get("initial"), bool):
                common["initial"] = "0" if common["initial"] else "1"
            return ChoiceField([True, False], **common)
    kind = described.get("type")
    if "default" in described and described["default"] is not None:
        common["initial"] = json.dumps(described["default"], indent=2, ensure_ascii=False)
    help_text = f"{_a(kind).capitalize()}, as JSON." if kind in ("array", "object") else "As JSON."
    return JSONTextField(kind=kind if isinstance(kind, str) else None, help_text=help_text, **common)


def _make_text_field(described: Mapping[str, Any], common: dict[str, Any]) -> forms.Field:
    longest = described.get("maxLength")
    is_short = isinstance(longest, int) and longest <= LONGEST_TEXT
    widget = forms.TextInput() if is_short else forms.Textarea(attrs={"rows": 1, "class": "text"})
    return _TextField(**common, strip=False, max_length=longest, min_length=described.get("minLength"), widget=widget)


def _limits(described: Mapping[str, Any]) -> dict[str, Any]:
    return {"min_value": described.get("minimum"), "max_value": described.get("maximum")}


def _resolve(described: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A property with its reference followed, and without the `null` that makes it optional."""
    if not isinstance(described, Mapping):
        return {}
    found = dict(described)
    for _ in range(10):  # references in references
        choices = [one for one in found.get("anyOf", ()) if isinstance(one, Mapping) and one.get("type") != "null"]
        if len(choices) == 1:
            found = {**choices[0], **{key: value for key, value in found.items() if key != "anyOf"}}
        elif isinstance(reference := found.get("$ref"), str):
            target = schema.get("$defs", {}).get(reference.rpartition("/")[2], {})
            found = {**target, **{key: value for key, value in found.items() if key != "$ref"}}
        else:
            break
    if "const" in found:
        found["enum"] = [found["const"]]
    return found


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _a(kind: str) -> str:
    return {"array": "a list", "object": "an object"}.get(kind, kind)
