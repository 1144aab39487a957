"""Where a graph's nodes and edges are drawn."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from runs.pages.layout import draw
from runs.shapes import END, START, Edge, Outline, find_outline

NAMES = st.sampled_from([START, END, *"abcdefgh", "a/long-name-of-a-node-in-a-subgraph-that-goes-on"])


def outline(*ends: tuple[str, str]) -> Outline:
    nodes = dict.fromkeys(name for pair in ends for name in pair)
    return Outline(tuple(nodes), tuple(Edge(*pair) for pair in ends))


def test_chain_goes_straight_down() -> None:
    picture = draw(outline((START, "a"), ("a", "b"), ("b", END)))

    assert {box.x for box in picture.boxes} == {picture.boxes[0].x}
    assert [box.path for box in sorted(picture.boxes, key=lambda box: box.y)] == [START, "a", "b", END]
    assert [box.is_round for box in picture.boxes] == [True, False, False, True]


def test_branches_stand_side_by_side() -> None:
    picture = draw(outline((START, "left"), (START, "right"), ("left", END), ("right", END)))
    boxes = {box.path: box for box in picture.boxes}

    assert boxes["left"].y == boxes["right"].y
    assert boxes["left"].x != boxes["right"].x


def test_loop_leads_back_up() -> None:
    picture = draw(outline((START, "ask"), ("ask", "act"), ("act", "ask"), ("ask", END)))
    boxes = {box.path: box for box in picture.boxes}
    back = next(line for line in picture.lines if line.edge == Edge("act", "ask"))
    begin_y = float(back.path.split("C")[0].split()[1])
    end_y = float(back.path.split()[-1])

    assert boxes["ask"].y < boxes["act"].y
    assert begin_y > end_y  # the arrow's head is at `ask`


@given(st.lists(st.tuples(NAMES, NAMES), max_size=30))
def test_any_graph_is_drawn_inside_its_frame_and_no_nodes_overlap(ends: list[tuple[str, str]]) -> None:
    picture = draw(outline(*ends))

    for box in picture.boxes:
        assert box.left >= 0
        assert box.left + box.width <= picture.width + 0.1
        assert box.top >= 0
        assert box.top + box.height <= picture.height + 0.1
    rows: dict[float, list[tuple[float, float]]] = {}
    for box in picture.boxes:
        rows.setdefault(box.y, []).append((box.left, box.left + box.width))
    for row in rows.values():
        assert all(one[1] < other[0] for one, other in pairwise(sorted(row)))
    sensible = {pair for pair in ends if pair[0] not in (pair[1], END) and pair[1] != START}
    assert {line.edge for line in picture.lines} == {Edge(*pair) for pair in sensible}


def test_outline_of_a_graph_has_the_nodes_of_its_subgraphs() -> None:
    found = find_outline("nested")

    assert found is not None
    assert "middle/innermost/held" in found.nodes
    assert Edge("middle/innermost/held", "middle/innermost/beyond") in found.edges


def test_outline_of_a_factory_and_of_a_broken_graph_is_not_known() -> None:
    assert find_outline("plain_factory") is None
    assert find_outline("broken") is None
    assert find_outline("absent") is None
