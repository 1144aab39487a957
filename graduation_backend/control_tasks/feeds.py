"""Where the news of a run that is followed go: a terminal, plain lines, or JSON lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from graduation_backend.control_tasks.details import brief_json
from graduation_backend.control_tasks.news import Follower, Line, News, Speech
from graduation_backend.control_tasks.run_table import run_table, summary
from graduation_backend.control_tasks.terminal import Screen, printable
from runs import control, representation
from runs.models import Run
from runs.words import progress_in_words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

SHOWN_RUNS = 12
HELP = "Ctrl+C: cancel, or only leave"


def choose_feed(screen: Screen, *, is_json: bool) -> Feed:
    """The one that fits what reads stdout."""
    if is_json:
        return JsonFeed(screen)
    return TerminalFeed(screen) if screen.is_terminal else PlainFeed(screen)


class Feed:
    """Where the news go."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    def __enter__(self) -> Feed:
        self.go_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def go_on(self) -> None:
        """Show; also again after a pause."""

    def pause(self) -> None:
        """Leave the terminal to somebody else."""

    def show(self, news: News, follower: Follower) -> None:
        raise NotImplementedError

    def end(self, follower: Follower) -> None:
        """The run has ended, and nothing more comes."""


class PlainFeed(Feed):
    """One line for each thing, for files and pipes."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._problem = ""
        self._progress = ""

    def show(self, news: News, follower: Follower) -> None:
        for line in news.lines:
            self._print(line)
        progress = progress_in_words(follower.root)
        if progress and progress != self._progress:
            self._print(Line(timezone.now(), None, f"progress {progress}"))
        self._progress = progress
        if news.problem and news.problem != self._problem:
            self.screen.note(f"Warning: {news.problem}")
        self._problem = news.problem

    def end(self, follower: Follower) -> None:
        for line in follower.end_speeches():
            self._print(line)

    def _print(self, line: Line) -> None:
        self.screen.line(in_words(line, self.screen).plain)


class JsonFeed(Feed):
    """One event a line as it comes from the streams, between two snapshots of the run; while Redis is away a
    snapshot for each change."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._has_begun = False
        self._problem = ""

    def show(self, news: News, follower: Follower) -> None:
        if not self._has_begun:
            self._print_snapshot(news.tree)
        for event in news.events:
            self.screen.json_line(event)
        if self._has_begun and news.problem and (news.lines or news.problem != self._problem):
            self.screen.note(f"Warning: {news.problem}")
            self._print_snapshot(news.tree)
        self._has_begun = True
        self._problem = news.problem

    def end(self, follower: Follower) -> None:
        self._print_snapshot(control.list_tree(follower.root.id))

    def _print_snapshot(self, tree: Sequence[Run]) -> None:
        run, *below = tree
        nodes = [representation.node_as_json(node) for node in control.list_nodes(run.id)]
        children = [brief_json(child) for child in below]
        self.screen.json_line(
            {
                "cursor": None,
                "run_id": str(run.id),
                "type": "snapshot",
                "at": timezone.now().isoformat().replace("+00:00", "Z"),
                "data": {"run": representation.as_json(run), "nodes": nodes, "children": children},
            }
        )


class TerminalFeed(Feed):
    """The news scroll by above the tree, which is drawn again and again."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._live: Any = None
        self._panel = Panel(screen)

    def go_on(self) -> None:
        from rich.live import Live

        self._live = Live(self._panel, console=self.screen.console(), auto_refresh=False, transient=True)
        self._live.start()

    def pause(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, news: News, follower: Follower) -> None:
        for line in news.lines:
            self._live.console.print(laid_out(line, self.screen))
        self._panel.update(news, follower.speeches.values())
        self._live.refresh()

    def end(self, follower: Follower) -> None:
        for line in follower.end_speeches():
            self._live.console.print(laid_out(line, self.screen))
        self.pause()
        panel = self._panel.tree(self.screen.width, SHOWN_RUNS)
        if panel is not None:
            self.screen.show(panel)


class Panel:
    """What stays at the bottom: the messages that are being written, the tree, and a line of help."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._tree: list[Run] = []
        self._problem = ""
        self._parts: list[tuple[str, str]] = []

    def update(self, news: News, speeches: Iterable[Speech]) -> None:
        self._tree = news.tree
        self._problem = news.problem
        self._parts = [(speech.node, speech.part) for speech in speeches if speech.part.strip()]

    def __rich_console__(self, console: Any, options: Any) -> Any:
        yield self.render(options.max_width, console.height)

    def render(self, width: int, height: int) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = []
        for node, text in self._parts[-3:]:
            room = max(width * 2 - len(node) - 4, 10)
            cut = text if len(text) <= room else f"…{text[-room:]}"
            parts.append(Text.assemble((f"{node}: ", "bold"), cut))
        tree = self.tree(width, max(min(SHOWN_RUNS, height // 2 - 3), 1))
        if tree is not None:
            parts += [Text(), tree]
        foot = Text(printable(self._problem), style="bold red") if self._problem else Text(HELP, style="dim")
        foot.no_wrap, foot.overflow = True, "ellipsis"
        return Group(*parts, foot)

    def tree(self, width: int, limit: int) -> RenderableType | None:
        """The run and what is below it; what is active goes first where not all has room."""
        from rich.console import Group
        from rich.text import Text

        if not self._tree:
            return None
        root, *below = self._tree
        chosen = sorted(below, key=lambda run: run.is_terminal)[: limit - 1]
        ordered = control.in_tree_order([root, *chosen])
        table = run_table(self._screen, ordered, timezone.now(), width)
        left = len(below) - len(chosen)
        if not left:
            return table
        more = Text(f"and {left:,} more: {summary(self._tree)}", style="dim", no_wrap=True, overflow="ellipsis")
        return Group(table, more)


def in_words(line: Line, screen: Screen) -> Text:
    """One line of news: when, of which run below, with its icon, what."""
    return _prefix(line, screen).append_text(_body(line))


def laid_out(line: Line, screen: Screen) -> RenderableType:
    """The same, in which what does not fit into one line stays right of the time."""
    from rich.table import Table

    grid = Table.grid()
    grid.add_row(_prefix(line, screen), _body(line))
    return grid


def _prefix(line: Line, screen: Screen) -> Text:
    from rich.text import Text

    text = Text.assemble((f"{timezone.localtime(line.at):%H:%M:%S}", "dim"), " ", no_wrap=True)
    if screen.has_unicode:
        icon = screen.status(line.status)
        text.append(f"{icon.plain[:1] if line.status else ' '} ", style=icon.style)
    return text


def _body(line: Line) -> Text:
    from rich.text import Text

    text = Text(overflow="fold")
    if line.run is not None:
        text.append(f"{printable(line.run.graph)} {str(line.run.id)[-6:]}: ", style="magenta")
    return text.append(printable(line.text))
