"""What LangGraph streams while a graph runs: the values become the run's output, the rest its events.

Which modes are streamed beside the values is a setting. `messages` makes chat models stream that are only invoked, and
LangGraph then executes every node in a pool of its own, as with every mode. Without it `telling` tells the tokens of
the models that stream by themselves; what nodes write themselves it tells always.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from langgraph.runtime import RunControl

from runs.jsonable import as_json

INTERRUPT = "__interrupt__"  # as it stands in what `invoke` returns

ALWAYS_TOLD = "custom"


class Told(Protocol):
    """Who takes the events."""

    def token(self, message_id: str | None, node: str, namespace: str, text: str) -> None: ...

    def part(self, mode: str, namespace: str, data: Any) -> None: ...


class Collector:
    """Takes the parts of a stream in their order; `output` is then what `invoke` returns."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._values: Any = None
        self._interrupts: list[Any] = []

    def take(self, namespace: Sequence[str], mode: str, part: Any) -> None:
        """Take one part; `namespace` is empty for the graph itself, whose values alone are the output."""
        if mode == "messages":
            message, metadata = part
            if text := message.text:
                place = str(metadata.get("langgraph_checkpoint_ns", ""))
                self._told.token(message.id, str(metadata.get("langgraph_node", "")), place, str(text))
        elif mode == "values":
            if not namespace:
                self._values = part
        elif mode == "updates":
            if not namespace and isinstance(part, dict):
                self._interrupts.extend(part.get(INTERRUPT, ()))
        else:
            self._told.part(mode, "|".join(namespace), as_json(part))

    @property
    def output(self) -> Any:
        if not self._interrupts:
            return self._values
        values = self._values if isinstance(self._values, dict) else {}
        return {**values, INTERRUPT: self._interrupts}


def invoke(
    graph: Any, entry: Any, config: dict[str, Any], control: RunControl, modes: Sequence[str], told: Told
) -> Any:
    """Run the graph to its end or its next interrupt."""
    modes = [mode for mode in modes if mode != ALWAYS_TOLD]
    if not modes:
        return graph.invoke(entry, config, control=control, durability="sync")
    collector = Collector(told)
    for part in graph.stream(entry, config, **_how(modes), control=control):
        collector.take(*part)
    return collector.output


async def ainvoke(
    graph: Any, entry: Any, config: dict[str, Any], control: RunControl, modes: Sequence[str], told: Told
) -> Any:
    """The same for a graph with async nodes."""
    modes = [mode for mode in modes if mode != ALWAYS_TOLD]
    if not modes:
        return await graph.ainvoke(entry, config, control=control, durability="sync")
    collector = Collector(told)
    async for part in graph.astream(entry, config, **_how(modes), control=control):
        collector.take(*part)
    return collector.output


def _how(modes: Sequence[str]) -> dict[str, Any]:
    return {"stream_mode": ["updates", "values", *modes], "subgraphs": True, "durability": "sync"}
