"""How tasks look: labels, links, and the page that asks before something is done."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.html import format_html

from runs.admin.looks import BUTTON_CLASSES

SHOWN_CHARACTERS = 50  # of arguments in a table

COLOURS = {
    "running": "info",
    "reserved": "primary",
    "scheduled": "primary",
    "waiting": "default",
    "success": "success",
    "failure": "danger",
    "retry": "warning",
    "revoked": "default",
    "answers": "success",
    "stopping": "warning",
    "silent": "danger",
}


def label(state: str) -> str:
    return render_to_string("unfold/helpers/label.html", {"text": state, "type": COLOURS.get(state, "default")})


def button(url: str, text: str) -> str:
    return format_html('<a href="{}" class="{} whitespace-nowrap">{}</a>', url, BUTTON_CLASSES, text)


def code(text: str) -> str:
    """Cut, and whole where the pointer rests: a table is no wider than the page."""
    shown = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    return format_html('<code class="text-xs" title="{}">{}</code>', text[:2_000], shown)


def name_and_id(name: str, task_id: str) -> str:
    lines = '<span class="block">{}</span><code class="font-normal text-xs">{}</code>'
    return format_html(lines, name, task_id)


def ask(
    site: AdminSite,
    request: HttpRequest,
    *,
    opts: Any,
    title: str,
    text: str,
    verb: str,
    form: Any,
    back: str,
    is_danger: bool = False,
    facts: list[tuple[str, Any]] | None = None,
) -> HttpResponse:
    context = {
        **site.each_context(request),
        "title": title,
        "opts": opts,
        "text": text,
        "verb": verb,
        "variant": "danger" if is_danger else "primary",
        "form": form,
        "facts": facts or [],
        "back": back,
    }
    return TemplateResponse(request, "admin/celery_tasks/ask.html", context)
