"""How a run looks in the admin: colours, times, JSON, a tree; and the base of pages that are only to be read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Model
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from unfold.admin import ModelAdmin

from runs import control
from runs.models import Run
from runs.states import CANCELLING, PAUSING, NodeStatus, Status
from runs.words import count, duration

# Names of unfold's label colours. Cancelled is what somebody wanted, so it has no colour of alarm.
STATUS_COLOURS = {
    Status.QUEUED.value: "default",
    Status.RUNNING.value: "info",
    Status.WAITING.value: "primary",
    Status.PAUSED.value: "warning",
    CANCELLING: "warning",
    PAUSING: "warning",
    Status.COMPLETED.value: "success",
    Status.FAILED.value: "danger",
    Status.CANCELLED.value: "default",
    NodeStatus.FINISHED.value: "success",
    NodeStatus.SUSPENDED.value: "primary",
}
FREEZE_COLOURS = {"frozen": "warning", "lifted": "default"}
DEEPEST = 8  # that a tree is indented
SHOWN_RUNS = 100  # of a tree, or of a confirmation
SHOWN_CHARACTERS = 20_000  # of an input, an output or stacks
BUTTON_CLASSES = "border border-base-200 font-medium px-2 py-1 rounded-default dark:border-base-700"


class Button(NamedTuple):
    text: str
    url: str


class LookOnlyAdmin(ModelAdmin):  # type: ignore[misc]
    """Rows that the engine writes: nothing can be added or edited by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def between(begun: datetime, ended: datetime | None) -> str:
    return duration(((ended or timezone.now()) - begun).total_seconds())


def progress_of(run: Run) -> str:
    return f"{run.progress_done}/{run.progress_total}" if run.progress_total else "-"


def host_of(run: Run) -> str:
    """The machine that executes it."""
    return run.worker.partition("#")[0] if run.status == Status.RUNNING else "-"


def render_live(name: str, content: str, value: str = "") -> str:
    """A cell whose content `list.js` replaces; `value` is what it compares."""
    return format_html('<span class="whitespace-nowrap" data-live="{}" data-value="{}">{}</span>', name, value, content)


def render_buttons(buttons: Sequence[Button]) -> str:
    link = f'<a href="{{}}" class="{BUTTON_CLASSES}">{{}}</a>'
    links = format_html_join(" ", link, ((button.url, button.text) for button in buttons))
    return render_live("buttons", links, " ".join(button.url for button in buttons))


def error_in_words(error: dict[str, Any] | None) -> str:
    return f"{error.get('type', '')}: {error.get('message', '')}" if error else "-"


def render_label(status: str) -> str:
    """A status as the list shows it, for pages where unfold's `label` does nothing."""
    return render_to_string(
        "unfold/helpers/label.html", {"text": status, "type": {**STATUS_COLOURS, **FREEZE_COLOURS}[status]}
    )


def render_json(value: Any) -> str:
    if value is None:
        return "-"
    return render_text(json.dumps(value, indent=2, ensure_ascii=False, default=str), all_of_it="status --json")


def render_text(text: str, *, all_of_it: str) -> str:
    """Text as it is, in a box that scrolls.

    Args:
        all_of_it: the subcommand of `control_tasks` that prints what is cut off here.
    """
    cut = len(text) - SHOWN_CHARACTERS
    context = {
        "text": text[:SHOWN_CHARACTERS],
        "cut": count(cut, "character") if cut > 0 else "",
        "command": all_of_it,
    }
    return render_to_string("admin/runs/run/text.html", context)


def render_tree(runs: Sequence[Run], current: Run | None = None) -> str:
    """Runs as an indented list, each with its status."""
    rows = [
        {
            "run": run,
            "depth": min(depth, DEEPEST),
            "status": run.display_status,
            "colour": STATUS_COLOURS[run.display_status],
            "is_current": current is not None and run.pk == current.pk,
        }
        for run, depth in control.in_tree_order(runs)[:SHOWN_RUNS]
    ]
    left = len(runs) - len(rows)
    context = {"rows": rows, "left": count(left, "more run") if left > 0 else ""}
    return render_to_string("admin/runs/run/tree.html", context)
