"""Places the nodes and edges of a graph on a plane, in layers from top to bottom. Pure.

The usual steps: turn the edges that close a loop around, put each node one layer below the lowest that leads to it,
stand in for edges that cross a layer, and order each layer by the middle of what it is joined to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from runs.shapes import END, START, Edge, Outline

NODE_HEIGHT, ROUND_SIZE = 36, 16
LAYER_GAP, NODE_GAP, EDGE_GAP, MARGIN = 40, 24, 16, 14
CHARACTER_WIDTH, NODE_PADDING, NARROWEST, WIDEST = 7.6, 28, 64, 260
LONGEST_LABEL = 32
LOOP_WIDTH = 36
SWEEPS = 6


@dataclass(frozen=True)
class Box:
    """Where a node is drawn: its middle and its size."""

    path: str
    label: str
    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def is_round(self) -> bool:
        return self.path in (START, END)


@dataclass(frozen=True)
class Line:
    """An edge: the `d` of an SVG path, always from the edge's source to its target."""

    edge: Edge
    path: str
    label_x: float
    label_y: float


@dataclass(frozen=True)
class Picture:
    width: float
    height: float
    boxes: list[Box]
    lines: list[Line]


@dataclass
class _Slot:
    """A node in its layer, or a place where an edge crosses it."""

    name: str
    layer: int
    width: float
    x: float = 0.0
    above: list[_Slot] = field(default_factory=list)
    below: list[_Slot] = field(default_factory=list)


def draw(outline: Outline) -> Picture:
    edges = [edge for edge in dict.fromkeys(outline.edges) if _is_drawn(edge)]
    turned = _find_loops(outline.nodes, edges)
    downward = [(edge, (edge.target, edge.source) if edge in turned else (edge.source, edge.target)) for edge in edges]
    layer_of = _assign_layers(outline.nodes, [ends for _, ends in downward])
    slots = {path: _Slot(path, layer_of[path], _width_of(path)) for path in outline.nodes}
    chains = {edge: _join(slots, *ends) for edge, ends in downward}
    layers = _make_layers([*slots.values(), *(slot for chain in chains.values() for slot in chain[1:-1])])
    _order(layers)
    width = _place(layers) + (2 * LOOP_WIDTH if turned else 0)
    if turned:
        for layer in layers:
            for slot in layer:
                slot.x += LOOP_WIDTH
    boxes = [_box(slots[path]) for path in outline.nodes]
    lines = [_line(edge, chain, is_turned=edge in turned) for edge, chain in chains.items()]
    height = 2 * MARGIN + len(layers) * NODE_HEIGHT + (len(layers) - 1) * LAYER_GAP
    return Picture(width, float(height), boxes, lines)


def _is_drawn(edge: Edge) -> bool:
    return edge.source not in (edge.target, END) and edge.target != START


def label_of(path: str) -> str:
    name = {START: "start", END: "end"}.get(path, path.rpartition("/")[2])
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…"


def _width_of(path: str) -> float:
    if path in (START, END):
        return ROUND_SIZE
    return min(max(len(label_of(path)) * CHARACTER_WIDTH + NODE_PADDING, NARROWEST), WIDEST)


def _find_loops(nodes: Sequence[str], edges: Sequence[Edge]) -> set[Edge]:
    """The edges that lead back to where one came from, found depth first from the start."""
    leaving = defaultdict(list)
    for edge in edges:
        leaving[edge.source].append(edge)
    loops: set[Edge] = set()
    done: set[str] = set()
    for root in sorted(nodes, key=lambda node: node != START):
        if root in done:
            continue
        on_path, stack = {root}, [(root, iter(leaving[root]))]
        while stack:
            node, rest = stack[-1]
            leads = next(rest, None)
            if leads is None:
                stack.pop()
                on_path.discard(node)
                done.add(node)
            elif leads.target in on_path:
                loops.add(leads)
            elif leads.target not in done:
                on_path.add(leads.target)
                stack.append((leads.target, iter(leaving[leads.target])))
    return loops


def _assign_layers(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The longest way from the top to each node; the end stands below all others."""
    above: Mapping[str, list[str]] = defaultdict(list)
    for source, target in edges:
        above[target].append(source)
    layers: dict[str, int] = {}
    pending = list(nodes)
    while pending:
        # What remains has no loop, so each round places a node.
        placed = [node for node in pending if all(source in layers for source in above[node])]
        for node in placed:
            layers[node] = max((layers[source] + 1 for source in above[node]), default=0)
        pending = [node for node in pending if node not in layers]
    if END in layers:
        layers[END] = max([layers[END], *(layer + 1 for node, layer in layers.items() if node != END)])
    return layers


def _join(slots: Mapping[str, _Slot], upper: str, lower: str) -> list[_Slot]:
    """The slots that an edge passes from its upper to its lower end."""
    chain = [slots[upper]]
    for layer in range(slots[upper].layer + 1, slots[lower].layer):
        chain.append(_Slot("", layer, EDGE_GAP))
    chain.append(slots[lower])
    for one, other in pairwise(chain):
        one.below.append(other)
        other.above.append(one)
    return chain


def _make_layers(slots: Iterable[_Slot]) -> list[list[_Slot]]:
    layers: dict[int, list[_Slot]] = defaultdict(list)
    for slot in slots:
        layers[slot.layer].append(slot)
    return [layers[number] for number in sorted(layers)]


def _order(layers: list[list[_Slot]]) -> None:
    """Sort each layer by the middle of its neighbours' places, down and up again; what has none stays."""
    for sweep in range(SWEEPS):
        is_down = sweep % 2 == 0
        for layer in layers[1:] if is_down else reversed(layers[:-1]):
            place = {id(slot): float(index) for row in layers for index, slot in enumerate(row)}
            middles = {
                id(slot): sum(place[id(other)] for other in others) / len(others) if others else place[id(slot)]
                for slot in layer
                if (others := slot.above if is_down else slot.below) is not None
            }
            layer.sort(key=lambda slot: middles[id(slot)])


def _place(layers: list[list[_Slot]]) -> float:
    """Give every slot its x, each layer centred; returns the width of the picture."""
    widths = [sum(slot.width for slot in layer) + NODE_GAP * (len(layer) - 1) for layer in layers]
    whole = max(widths, default=0.0)
    for layer, width in zip(layers, widths, strict=True):
        x = MARGIN + (whole - width) / 2
        for slot in layer:
            slot.x = x + slot.width / 2
            x += slot.width + NODE_GAP
    return whole + 2 * MARGIN


def _middle_of(layer: int) -> float:
    return MARGIN + NODE_HEIGHT / 2 + layer * (NODE_HEIGHT + LAYER_GAP)


def _box(slot: _Slot) -> Box:
    height = ROUND_SIZE if slot.name in (START, END) else NODE_HEIGHT
    return Box(slot.name, label_of(slot.name), round(slot.x, 1), _middle_of(slot.layer), round(slot.width, 1), height)


def _line(edge: Edge, chain: list[_Slot], *, is_turned: bool) -> Line:
    points = [(round(slot.x, 1), _middle_of(slot.layer)) for slot in chain]
    points[0] = (points[0][0], points[0][1] + _half_height(chain[0]))
    points[-1] = (points[-1][0], points[-1][1] - _half_height(chain[-1]))
    if is_turned:
        points.reverse()
    parts = [f"M{points[0][0]:g} {points[0][1]:g}"]
    # What leads back is bent aside, because what leads forth may lie on the straight line.
    aside = LOOP_WIDTH if is_turned and len(points) == 2 else 0.0
    for (x, y), (to_x, to_y) in pairwise(points):
        half = (y + to_y) / 2
        parts.append(f"C{x + aside:g} {half:g} {to_x + aside:g} {half:g} {to_x:g} {to_y:g}")
    (x, y), (to_x, to_y) = points[0], points[1]
    return Line(edge, "".join(parts), round((x + to_x) / 2 + aside * 0.9, 1), round((y + to_y) / 2, 1))


def _half_height(slot: _Slot) -> float:
    return (ROUND_SIZE if slot.name in (START, END) else NODE_HEIGHT) / 2
