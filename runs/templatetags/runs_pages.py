"""Small pieces of the pages of runs: times that go on, by `clocks.js`, where there is script."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from runs.words import duration, duration_ahead, moment

register = template.Library()


@register.filter
def thousands(number: int | None) -> str:
    """1234567 → "1,234,567"."""
    return "" if number is None else f"{number:,}"


@register.filter
def seconds(length: float | None) -> str:
    return "" if length is None else duration(length)


@register.filter
def short(run_id: Any) -> str:
    """The end of an id, where two runs of one second differ."""
    return str(run_id)[-8:]


@register.filter
def name_of_child(key: str) -> str:
    """What its parent calls it; before it stands the execution of the node that has started it."""
    return key.rpartition(":")[2][:80]


@register.simple_tag
def elapsed(begun: datetime | None, ended: datetime | None = None) -> SafeString | str:
    """How long from one moment to another; without the other, to now, and it goes on."""
    if begun is None:
        return ""
    words = duration(((ended or timezone.now()) - begun).total_seconds())
    if ended is not None:
        return words
    return format_html(
        '<time class="clock" datetime="{}" data-since="{}">{}</time>', begun.isoformat(), _epoch(begun), words
    )


@register.simple_tag
def countdown(until: datetime) -> SafeString:
    words = duration_ahead((until - timezone.now()).total_seconds())
    return format_html(
        '<time class="clock" datetime="{}" data-until="{}">{}</time>', until.isoformat(), _epoch(until), words
    )


@register.simple_tag
def at(when: datetime | None) -> SafeString | str:
    """A moment in the site's time zone."""
    return format_html('<time datetime="{}">{}</time>', when.isoformat(), moment(when)) if when else ""


@register.simple_tag
def now_epoch() -> int:
    """The server's time in milliseconds, because a browser's clock may be wrong."""
    return _epoch(timezone.now())


def _epoch(when: datetime) -> int:
    return round(when.timestamp() * 1_000)
