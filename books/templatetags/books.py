"""Small pieces of the pages of books."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from books.analysis.results import Tone

register = template.Library()

# Chapters of novels lie between -0.4 and 0.4; a bar up to 1 would hardly show them.
TONE_REACH = 0.5


@register.filter
def thousands(number: int | None) -> str:
    """1234567 → "1,234,567"."""
    return "" if number is None else f"{number:,}"


@register.filter
def hours(minutes: int) -> str:
    """95 → "1 h 35 min"."""
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


@register.filter
def ago(then: datetime) -> str:
    """How long since, in its largest unit only: "2 hours ago"."""
    if timezone.now() - then < timedelta(minutes=1):
        return "just now"
    return f"{timesince(then, depth=1)} ago"


@register.simple_tag
def tone_bar(tone: Tone | dict[str, float], reach: float = TONE_REACH) -> SafeString:
    """A bar from the middle to the left (dark) or right (bright); a score of `reach` fills its side."""
    score = float(tone.score if isinstance(tone, Tone) else tone["score"]) / reach
    length = min(max(abs(score), 0.01), 1.0)
    return format_html(
        '<svg class="tone-bar" viewBox="-1 0 2 1" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="{}" x="{}" y="0" width="{}" height="1"/>'
        '<line x1="0" y1="0" x2="0" y2="1" vector-effect="non-scaling-stroke"/></svg>',
        "dark" if score < 0 else "bright",
        f"{-length if score < 0 else 0:.3f}",
        f"{length:.3f}",
    )
