"""Make docs/screenshots/control-tasks-watch.svg and control-tasks-follow.svg again: the live views, drawn from runs
that are made up here and stored nowhere.

    python scripts/picture_control_tasks.py
"""

from __future__ import annotations

import io
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "graduation_backend.settings")

import django  # noqa: E402

django.setup()

from django.core.management.base import OutputWrapper  # noqa: E402
from rich.console import Console, Group, RenderableType  # noqa: E402

from graduation_backend.control_tasks.feeds import Panel, laid_out  # noqa: E402
from graduation_backend.control_tasks.news import Line, News, Speech  # noqa: E402
from graduation_backend.control_tasks.terminal import Screen  # noqa: E402
from graduation_backend.control_tasks.watching import Page, Sight  # noqa: E402
from runs.models import Run  # noqa: E402
from runs.states import CANCELLING, Status  # noqa: E402

WIDTH, HEIGHT = 178, 17
NOW = datetime(2026, 3, 2, 14, 5, 9, tzinfo=UTC)
WORKER = "w1@box#4f2a90c1"


def made_up(
    number: int, graph: str, status: str, ago: float, *, idle: float = 1.2, parent: Run | None = None, **columns: Any
) -> Run:
    began = NOW - timedelta(seconds=ago)
    return Run(
        id=UUID(int=0x019CAE00_0000_7000_8000_000000000000 + (number << 80) + (0x5A_61C3_9F27 * (number + 3))),
        graph=graph,
        status=status,
        parent=parent,
        created_at=began,
        queued_at=began,
        started_at=None if status == Status.QUEUED else began,
        last_activity_at=NOW - timedelta(seconds=idle),
        worker=WORKER if status == Status.RUNNING else "",
        attempt=1,
        **columns,
    )


def family() -> list[Run]:
    book = made_up(1, "book", Status.WAITING, 194, idle=0.8, progress_done=2, progress_total=6)
    done = {"progress_done": 4, "progress_total": 4, "finished_at": NOW - timedelta(seconds=30)}
    stop = {
        "stop_requested_at": NOW - timedelta(seconds=8),
        "stop_interrupt_at": NOW + timedelta(seconds=12),
        "stop_deadline": NOW + timedelta(seconds=22),
        "stop_mode": "cancel",
    }
    model = {"current_node": "characters", "current_call": "model gpt-5-mini"}
    return [
        book,
        made_up(2, "chapter", Status.COMPLETED, 190, parent=book, **done),
        made_up(3, "chapter", Status.RUNNING, 96, parent=book, progress_done=3, progress_total=4, **model),
        made_up(4, "chapter", Status.RUNNING, 71, parent=book, progress_done=1, progress_total=4, **model, **stop),
        made_up(5, "chapter", Status.QUEUED, 190, idle=190, parent=book),
    ]


def others() -> list[Run]:
    research = made_up(7, "research", Status.RUNNING, 2_320, idle=41, current_node="search", current_call="tool fetch")
    stop = {
        "stop_requested_at": NOW - timedelta(seconds=24),
        "stop_interrupt_at": NOW - timedelta(seconds=4),
        "stop_deadline": NOW + timedelta(seconds=6),
        "stop_mode": "cancel",
    }
    deaf = made_up(8, "import_prices", Status.RUNNING, 611, idle=300, current_node="download", **stop)
    return [deaf, research, made_up(9, "research", Status.PAUSED, 4_000, idle=700)]


def watch(screen: Screen) -> RenderableType:
    page = Page(screen)
    sight = Sight(runs=[*others(), *family()], workers="2 workers, 4 of 4 slots busy")
    sight.runs = [run for run in sight.runs if not run.is_terminal]
    sight.ended = [run for run in family() if run.is_terminal]
    page.show(sight, NOW)
    return page.render(WIDTH, HEIGHT)


def follow(screen: Screen) -> RenderableType:
    book, first, *rest = family()
    lines = [
        Line(NOW - timedelta(seconds=194), None, f"running on {WORKER}", Status.RUNNING),
        Line(NOW - timedelta(seconds=191), None, "parse  finished  2.4 s", Status.COMPLETED),
        Line(NOW - timedelta(seconds=190), None, "chapters  suspended  0.3 s", Status.WAITING),
        Line(NOW - timedelta(seconds=30), first, "report  finished  4.1 s", Status.COMPLETED),
        Line(NOW - timedelta(seconds=30), first, "completed", Status.COMPLETED),
        Line(NOW - timedelta(seconds=8), rest[1], "stop asked by alice@example.com: wrong edition", CANCELLING),
        Line(NOW - timedelta(seconds=8), rest[1], "stop delivered to its process", CANCELLING),
    ]
    said = "The keeper of the light is called Tom Harran. He has written down every ship that passed, and on some"
    panel = Panel(screen)
    panel.update(News([book, first, *rest]), [Speech(rest[0].id, "characters", said)])
    return Group(*(laid_out(line, screen) for line in lines), panel.render(WIDTH, 40))


def draw(name: str, title: str, content: RenderableType) -> None:
    console = Console(record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), force_terminal=True)
    console.print(content)
    svg = console.export_svg(title=title)
    # Rich asks a foreign server for a font; the viewer's own will do.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: Fira Code, monospace", "font-family: monospace", svg)
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    (ROOT / "docs" / "screenshots" / name).write_text(svg, encoding="utf-8")


def main() -> None:
    from django.utils import timezone

    timezone.now = lambda: NOW  # type: ignore[assignment]
    screen = Screen(OutputWrapper(io.StringIO()), OutputWrapper(io.StringIO()))
    draw("control-tasks-watch.svg", "python manage.py control_tasks list --watch", watch(screen))
    draw("control-tasks-follow.svg", "python manage.py control_tasks start book --follow", follow(screen))


if __name__ == "__main__":
    main()
