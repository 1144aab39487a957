"""The dashboard: what `runs.statistics` counts, as a page of its own and on the first page of the admin.

The chart is SVG that the server draws: no library, no script, nothing inline that a strict policy would refuse.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import action

from runs import brake, policy, statistics
from runs.statistics import Bucket, Spread, Statistics, WorkerLoad
from runs.words import count, duration

WIDTH, HEIGHT = 720, 150  # of the bars, in the units of the drawing
PARTS = ("completed", "failed", "cancelled")  # from the ground up


class DashboardAdmin(ModelAdmin):  # type: ignore[misc]
    @action(  # type: ignore[untyped-decorator]
        description="Dashboard", url_path="dashboard", icon="monitoring", permissions=["view_all"]
    )
    def dashboard(self, request: HttpRequest) -> HttpResponse:
        if not policy.may_view_all(request.user):
            raise PermissionDenied("The dashboard is of all runs: it takes the permission to view them.")
        context = {
            **self.admin_site.each_context(request),
            "title": "Dashboard of runs",
            "dashboard": describe(hours_of(request)),
        }
        return TemplateResponse(request, "admin/runs/run/dashboard.html", context)

    def has_view_all_permission(self, request: HttpRequest) -> bool:
        return policy.may_view_all(request.user)


def on_index(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's DASHBOARD_CALLBACK: what the admin's first page shows beside the list of tables."""
    if policy.may_view_all(request.user):
        context["dashboard"] = describe(hours_of(request))
    return context


def hours_of(request: HttpRequest) -> int:
    chosen = request.GET.get("hours", "")
    return int(chosen) if chosen in {str(hours) for hours in statistics.WINDOWS} else min(statistics.WINDOWS)


def describe(hours: int) -> dict[str, Any]:
    """The numbers in the words and the geometry of the page."""
    numbers = statistics.collect(hours)
    rate = numbers.success_rate
    return {
        "url": f"{reverse('admin:runs_run_dashboard')}?hours={hours}",
        "hours": hours,
        "windows": [(choice, _window(choice), choice == hours) for choice in statistics.WINDOWS],
        "window": _window(hours),
        "figures": [
            ("success rate", "-" if rate is None else f"{rate:.1%}", "completed of completed and failed"),
            *((name, f"{numbers.ended[name]:,}", f"in {_window(hours)}") for name in PARTS),
            ("queued", f"{numbers.queue.queued:,}", _oldest(numbers)),
            ("executing", f"{numbers.queue.running:,}", _slots(numbers.workers)),
            ("waiting", f"{numbers.queue.waiting:,}", "for children or an answer"),
            ("paused", f"{numbers.queue.paused:,}", "by somebody"),
        ],
        "chart": draw(numbers.buckets, hours),
        "stops": [(rung.mode.label, *_times(spread)) for rung, spread in numbers.stops.items()],
        "stops_sampled": count(numbers.stops_sampled, "stop"),
        "stubborn": numbers.stubborn,
        "never_from": statistics.NEVER_HONOURED_FROM,
        "nodes": [(row.graph, row.node, *_times(row.spread)) for row in numbers.nodes],
        "nodes_sampled": count(numbers.nodes_sampled, "node"),
        "workers": [_describe_worker(load) for load in numbers.workers],
        "freezes": brake.list_standing(),
    }


def _window(hours: int) -> str:
    return f"{hours} hours" if hours <= 48 else f"{hours // 24} days"


def _oldest(numbers: Statistics) -> str:
    seconds = numbers.queue.oldest_seconds
    return "nothing waits" if seconds is None else f"the oldest for {duration(seconds)}"


def _slots(workers: list[WorkerLoad]) -> str:
    return f"of {count(sum(load.slots for load in workers), 'slot')} on {count(len(workers), 'worker')}"


def _times(spread: Spread) -> tuple[str, str, str]:
    return f"{spread.count:,}", duration(spread.p50), duration(spread.p95)


def _describe_worker(load: WorkerLoad) -> dict[str, Any]:
    return {
        "hostname": load.hostname,
        "state": "stopping" if load.is_stopping else "alive",
        "busy": f"{len(load.leases)} of {load.slots}",
        "heartbeat": f"{duration(load.heartbeat_seconds)} ago",
        "leases": [
            {"run": lease.run, "left": duration(lease.seconds_left), "is_late": lease.seconds_left < 0}
            for lease in load.leases
        ],
    }


def draw(buckets: list[Bucket], hours: int) -> dict[str, Any]:
    """Stacked bars: where each part lies, the labels below, and what the tallest bar counts."""
    tallest = max((bucket.total for bucket in buckets), default=0)
    step = WIDTH / len(buckets)
    bars = []
    for place, bucket in enumerate(buckets):
        ground = float(HEIGHT)
        parts = []
        for name in PARTS:
            height = getattr(bucket, name) / tallest * HEIGHT if tallest else 0.0
            if height:
                ground -= height
                parts.append({"name": name, "y": _number(ground), "height": _number(height)})
        told = ", ".join(f"{getattr(bucket, name):,} {name}" for name in PARTS if getattr(bucket, name))
        bars.append(
            {
                "x": _number(place * step + step * 0.1),
                "title": f"{bucket.begins_at:%Y-%m-%d %H:%M} UTC: {told or 'nothing ended'}",
                "parts": parts,
            }
        )
    every, form = (6, "%H:%M") if hours <= 48 else (4, "%b %d")
    labels = [
        {"x": _number(place * step), "text": f"{bucket.begins_at:{form}}"}
        for place, bucket in enumerate(buckets)
        if place % every == 0
    ]
    return {
        "bars": bars,
        "bar_width": _number(step * 0.8),
        "step": _number(step),
        "labels": labels,
        "is_empty": not tallest,
        "tallest": f"{tallest:,}" if tallest else "",
        "parts": PARTS,
        "summary": f"{count(sum(bucket.total for bucket in buckets), 'run')} ended in {_window(hours)}",
    }


def _number(value: float) -> str:
    """For an attribute of SVG, whatever the language of the page."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
