"""What LangGraph streams while a graph runs: the values become the run's output, the rest its events.

Which modes are streamed beside the values is a setting. `messages` makes chat models stream, and LangGraph then
executes every node in a pool of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langgraph.runtime import RunControl

from runs.jsonable import as_json

INTERRUPT = "__interrupt__"  # as it stands in what `invoke` returns

# Told of an event: its type and its data.
Tell = Callable[[str, dict[str, Any]], None]


class Collector:
    """Takes the parts of a stream in their order; `output` is then what `invoke` returns."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._values: Any = None
        self._interrupts: list[Any] = []

    def take(self, mode: str, part: Any) -> None:
        if mode == "values":
            self._values = part
        elif mode == "updates":
            if isinstance(part, dict):
                self._interrupts.extend(part.get(INTERRUPT, ()))
        elif mode == "messages":
            message, metadata = part
            if text := message.text:
                node = str(metadata.get("langgraph_node", ""))
                self._tell("token", {"message_id": message.id, "node": node, "text": str(text)})
        else:
            self._tell(mode, {"data": as_json(part)})

    @property
    def output(self) -> Any:
        if not self._interrupts:
            return self._values
        values = self._values if isinstance(self._values, dict) else {}
        return {**values, INTERRUPT: self._interrupts}


def invoke(
    graph: Any, entry: Any, config: dict[str, Any], control: RunControl, modes: Sequence[str], tell: Tell
) -> Any:
    """Run the graph to its end or its next interrupt."""
    if not modes:
        return graph.invoke(entry, config, control=control, durability="sync")
    collector = Collector(tell)
    asked = ["updates", "values", *modes]
    for mode, part in graph.stream(entry, config, stream_mode=asked, control=control, durability="sync"):
        collector.take(mode, part)
    return collector.output


async def ainvoke(
    graph: Any, entry: Any, config: dict[str, Any], control: RunControl, modes: Sequence[str], tell: Tell
) -> Any:
    """The same for a graph with async nodes."""
    if not modes:
        return await graph.ainvoke(entry, config, control=control, durability="sync")
    collector = Collector(tell)
    asked = ["updates", "values", *modes]
    async for mode, part in graph.astream(entry, config, stream_mode=asked, control=control, durability="sync"):
        collector.take(mode, part)
    return collector.output
