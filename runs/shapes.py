"""What a graph looks like from outside: its nodes and edges, and the JSON schema of its input.

Both are for people to look at. A graph that tells neither is no error: a factory makes its graph for each run, and
some types have no schema.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from runs import catalog
from runs.errors import CatalogUnreadable, GraphImportFailed, GraphNotFound

logger = logging.getLogger(__name__)

START, END = "__start__", "__end__"


@dataclass(frozen=True)
class Edge:
    source: str
    target: str
    is_conditional: bool = False
    label: str = ""


@dataclass(frozen=True)
class Outline:
    """`nodes` are paths, `review/write` for one in a subgraph; `START` and `END` are among them."""

    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]


def find_outline(graph: str) -> Outline | None:
    """The nodes and edges of a graph of the catalog; None if it can't be told before it runs."""
    found = _find(graph)
    return None if found is None else _outline(found)


def find_input_schema(graph: str) -> dict[str, Any] | None:
    """The JSON schema of what a run of this graph takes; None if there is none."""
    found = _find(graph)
    return None if found is None else _input_schema(found)


def _find(graph: str) -> Any:
    try:
        found = catalog.load(graph)
    except (GraphNotFound, GraphImportFailed, CatalogUnreadable):
        return None  # told where it is started, and by the run that has failed
    return None if catalog.is_factory(found) else found


@cache
def _outline(found: Any) -> Outline | None:
    try:
        drawn = found.get_graph(xray=True)
    except Exception:  # any code of LangGraph and of the graph's author
        logger.warning("graph %r can't be drawn", getattr(found, "name", found), exc_info=True)
        return None
    edges = (
        Edge(_path(edge.source), _path(edge.target), bool(edge.conditional), str(edge.data or ""))
        for edge in drawn.edges
    )
    # LangGraph lists edges in an order of its own; a picture should not change from one process to the next.
    ordered = sorted(edges, key=lambda edge: (edge.source, edge.target))
    return Outline(tuple(_path(node) for node in drawn.nodes), tuple(ordered))


def _path(node: str) -> str:
    return node.replace(":", "/")


@cache
def _input_schema(found: Any) -> dict[str, Any] | None:
    try:
        schema = found.get_input_jsonschema()
    except Exception:
        # Source: pydantic refuses `typing.TypedDict` before Python 3.12, which is what most graphs are made of.
        return _schema_by_field(getattr(getattr(found, "builder", None), "input_schema", None))
    return schema if isinstance(schema, dict) else None


def _schema_by_field(state: Any) -> dict[str, Any] | None:
    try:
        hints = get_type_hints(state)
    except Exception:
        return None
    if not hints:
        return None
    required = sorted(getattr(state, "__required_keys__", ()))
    return {
        "type": "object",
        "properties": {name: _schema_of(hint) for name, hint in hints.items()},
        "required": required,
    }


def _schema_of(hint: Any) -> dict[str, Any]:
    try:
        return TypeAdapter(hint).json_schema()
    except Exception:
        return {}  # anything
