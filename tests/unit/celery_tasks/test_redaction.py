"""What is kept of a task's arguments, and what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from celery_tasks.redaction import HIDDEN, redact, redact_text

PLAIN = "tests.graphs.plain_tasks.sleep_and_tell"


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWORD", "db_passwd", "api_key", "apiKey", "x-api-key", "access_token", "client_secret", "Cookie"],
)
def test_value_of_a_name_that_stands_for_a_secret_is_hidden_at_any_depth(name: str) -> None:
    kept = redact("unknown", [{"deep": [{name: "hush"}]}], {name: ["hush", {"also": "hush"}]})
    assert "hush" not in json.dumps([kept.args, kept.kwargs])
    assert kept.kwargs == {name: HIDDEN}
    assert not kept.is_complete


def test_positional_argument_has_the_name_of_its_parameter() -> None:
    import tests.graphs.plain_tasks  # noqa: F401 - registers the task

    kept = redact(PLAIN, [1.5, "hush", "a note"], {})
    assert kept.args == [1.5, HIDDEN, "a note"]
    assert kept.text == '1.5, [hidden], "a note"'


@pytest.mark.parametrize(
    "value", [1, 2.5, True, None, "a ‹note›", ["a", {"b": None}], {"max": 3, "user": "alice"}, "x" * 9_000]
)
def test_what_is_harmless_is_kept_as_it_is(value: Any) -> None:
    kept = redact("unknown", [value], {"value": value})
    assert (kept.args, kept.kwargs, kept.is_complete) == ([value], {"value": value}, True)


def test_what_is_long_is_cut_and_said_so(settings: Any) -> None:
    settings.TASKS_ARGUMENT_CHARACTERS = 1_000
    kept = redact("unknown", ["x" * 5_000], {})
    assert "(5,000 characters)" in str(kept.args)
    assert (len(str(kept.args)) < 1_000, kept.is_complete) == (True, False)
    many = redact("unknown", list(range(1_000)), {})
    assert many.args.endswith("(4,890 characters)")


def test_what_is_no_json_or_too_deep_is_described() -> None:
    deep: list[Any] = []
    for _ in range(1_000):
        deep = [deep]
    for value in (object(), {1, 2}, b"bytes", deep):
        kept = redact("unknown", [value], {})
        assert not kept.is_complete
        json.dumps(kept.args)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://me:hush@box/0", "redis://me:[hidden]@box/0"),
        ("amqp://:hush@box", "amqp://:[hidden]@box"),
        ("password=hush, user=me", "password=[hidden], user=me"),
        ("""{"api_key": "hush hush", "b": 1}""", """{"api_key": [hidden], "b": 1}"""),
        ("Authorization: Bearer abcdefghijkl", "Authorization: [hidden] [hidden]"),
        ("sent 'Bearer abcdefghijkl'", "sent 'Bearer [hidden]'"),
        ("no secret here: a=1", "no secret here: a=1"),
    ],
)
def test_text_loses_what_looks_like_a_secret(text: str, shown: str) -> None:
    assert redact_text(text) == shown


def test_which_names_stand_for_secrets_is_a_setting(settings: Any) -> None:
    settings.TASKS_HIDDEN_NAMES = "colour"
    assert redact("unknown", [], {"colour": "red", "password": "x"}).kwargs == {"colour": HIDDEN, "password": "x"}
