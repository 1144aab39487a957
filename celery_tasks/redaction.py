"""A task's arguments as they may be kept and shown: without secrets, and no longer than a person reads."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from celery import current_app
from celery.utils.saferepr import saferepr

from celery_tasks import conf

HIDDEN = "[hidden]"
MOST_LEVELS = 20

# Every repetition is bounded, so that no text makes them slow.
_PASSWORD_OF_URL = re.compile(r"(://[^/\s:@]{0,200}:)[^/\s@]{1,500}(@)")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s{1,5}[\w.~+/=-]{8,}")


@dataclass(frozen=True)
class Arguments:
    """What is kept of a task's arguments.

    Args:
        is_complete: nothing was hidden or cut, so that the task can be sent again with them.
    """

    args: Any
    kwargs: Any
    is_complete: bool

    @property
    def text(self) -> str:
        """Both on one line, as in the call."""
        positional = [_short(value) for value in self.args] if isinstance(self.args, list) else [_short(self.args)]
        named = (
            [f"{name}={_short(value)}" for name, value in self.kwargs.items()] if isinstance(self.kwargs, dict) else []
        )
        return ", ".join([*positional, *named])


def redact(task_name: str, args: Any, kwargs: Any) -> Arguments:
    """The arguments of one call. Positional ones have the names of the task's parameters, if it is known here."""
    seen = _Redaction()
    names = _parameters(task_name)
    if isinstance(args, Sequence) and not isinstance(args, str | bytes):
        shown_args: Any = [seen.value(value, names[i] if i < len(names) else "") for i, value in enumerate(args)]
    else:
        shown_args = seen.value(args, "")
    shown_kwargs = seen.value(kwargs, "")
    return Arguments(seen.cut(shown_args), seen.cut(shown_kwargs), seen.is_complete)


def redact_text(text: str) -> str:
    """Text that others wrote, such as a traceback, without what looks like a secret in it."""
    text = _PASSWORD_OF_URL.sub(rf"\1{HIDDEN}\2", text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    return _assignments(conf.hidden_names().pattern).sub(rf"\1{HIDDEN}", text)


def redact_value(value: Any) -> Any:
    """A value as JSON, without secrets."""
    return _Redaction().value(value, "")


def cut(shown: Any, most: int) -> tuple[Any, bool]:
    """A JSON value, or the beginning of its text if that is too long, and whether it is whole."""
    text = json.dumps(shown, ensure_ascii=False)
    if len(text) <= most:
        return shown, True
    return f"{text[:most]}… ({len(text):,} characters)", False


class _Redaction:
    def __init__(self) -> None:
        self.is_complete = True

    def value(self, value: Any, name: str, level: int = 0) -> Any:
        if name and value is not None and conf.hidden_names().search(name):
            self.is_complete = False
            return HIDDEN
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self._text(value)
        if level < MOST_LEVELS:
            if isinstance(value, Mapping):
                return {str(key): self.value(item, str(key), level + 1) for key, item in value.items()}
            if isinstance(value, list | tuple):
                return [self.value(item, "", level + 1) for item in value]
        self.is_complete = False
        return self._text(str(saferepr(value, maxlen=1_000)))

    def cut(self, shown: Any) -> Any:
        shown, is_whole = cut(shown, conf.most_characters())
        self.is_complete &= is_whole
        return shown

    def _text(self, text: str) -> str:
        most = conf.most_characters() * 9 // 10
        shown = redact_text(text[:most])
        if len(text) > most:
            shown = f"{shown}… ({len(text):,} characters)"
        self.is_complete &= shown == text
        return shown


def _short(value: Any, length: int = 200) -> str:
    text = value if isinstance(value, str) and value == HIDDEN else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= length else f"{text[:length]}…"


def _parameters(task_name: str) -> list[str]:
    task = current_app.tasks.get(task_name)
    if task is None:
        return []
    try:
        return list(inspect.signature(task.run).parameters)
    except (TypeError, ValueError):
        return []


@lru_cache(maxsize=4)
def _assignments(names: str) -> re.Pattern[str]:
    """`password=…`, `"api_key": "…"`: the name stays, the value goes."""
    value = r"\"[^\"]{0,1000}\"|'[^']{0,1000}'|[^\s,;&)}\]]+"
    return re.compile(rf"(?i)((?:{names})[\w-]{{0,40}}[\"']?\s{{0,5}}[=:]\s{{0,5}})(?:{value})")
