"""Pictures of a report: who meets whom, and who is there in which chapter. Pure: numbers go in, places come out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from books.analysis.results import BookPerson, BookReport

NETWORK_PEOPLE = 14
RADIUS, SMALLEST_DOT, LARGEST_DOT = 150.0, 5.0, 17.0
LABEL_GAP, LABEL_WIDTH = 8.0, 150.0
THINNEST, THICKEST = 0.8, 7.0

ROWS = 12
NAME_WIDTH, ROW_HEIGHT, CHAPTERS_WIDTH = 150.0, 26.0, 560.0
TONE_HEIGHT, FOOT = 44.0, 20.0
LONGEST_NAME = 22


@dataclass(frozen=True)
class Dot:
    name: str
    label: str
    x: float
    y: float
    radius: float
    label_x: float
    label_y: float
    anchor: str  # of the label: start or end
    mentions: int


@dataclass(frozen=True)
class Tie:
    title: str
    path: str
    width: float


@dataclass(frozen=True)
class Network:
    left: float
    top: float
    width: float
    height: float
    dots: list[Dot]
    ties: list[Tie]
    words: str


@dataclass(frozen=True)
class Presence:
    name: str
    label: str
    y: float
    first_x: float
    last_x: float
    dots: list[float]


@dataclass(frozen=True)
class ToneBar:
    x: float
    y: float
    width: float
    height: float
    is_dark: bool
    title: str


@dataclass(frozen=True)
class Appearances:
    width: float
    height: float
    name_x: float
    rows: list[Presence]
    tones: list[ToneBar]
    tone_y: float  # of the line between dark and bright
    marks: list[tuple[float, int]]  # chapters that have their number written
    marks_y: float
    words: str


# --- who meets whom -----------------------------------------------------------------------------------------


def draw_network(report: BookReport) -> Network | None:
    """The people on a circle, joined where they share passages; None if nobody meets anybody."""
    people = {person.name: person for person in report.people[:NETWORK_PEOPLE]}
    meetings = [one for one in report.meetings if one.a in people and one.b in people]
    if not meetings:
        return None
    passages = {frozenset((one.a, one.b)): one.passages for one in meetings}
    most = max(passages.values())
    order = _order(list(people), passages)
    dots = {name: _dot(people[name], number, len(order), report) for number, name in enumerate(order)}
    ties = [
        Tie(
            title=f"{one.a} and {one.b}: {one.passages} passages",
            path=_curve(dots[one.a], dots[one.b]),
            width=round(THINNEST + (THICKEST - THINNEST) * one.passages / most, 2),
        )
        for one in sorted(meetings, key=lambda one: one.passages)
    ]
    reach_x, reach_y = RADIUS + LARGEST_DOT + LABEL_GAP + LABEL_WIDTH, RADIUS + LARGEST_DOT + 12
    strongest = max(meetings, key=lambda one: one.passages)
    count = f"{len(dots)} people and {len(ties)} ties between them."
    words = f"{count} The strongest is that of {strongest.a} and {strongest.b}."
    return Network(-reach_x, -reach_y, 2 * reach_x, 2 * reach_y, list(dots.values()), ties, words)


def _order(names: list[str], passages: dict[frozenset[str], int]) -> list[str]:
    """Beside each person the one whom he meets most often, of those who have no place yet."""
    order, left = names[:1], names[1:]
    while left:
        nearest = max(left, key=lambda name: (passages.get(frozenset((name, order[-1])), 0), -names.index(name)))
        left.remove(nearest)
        order.append(nearest)
    return order


def _dot(person: BookPerson, number: int, count: int, report: BookReport) -> Dot:
    angle = 2 * math.pi * (number + 0.5) / count - math.pi / 2  # nobody at the very top, where labels would meet
    most = max(1, *(one.mentions for one in report.people))
    radius = SMALLEST_DOT + (LARGEST_DOT - SMALLEST_DOT) * math.sqrt(person.mentions / most)
    x, y = RADIUS * math.cos(angle), RADIUS * math.sin(angle)
    is_right = x > -1e-6
    return Dot(
        name=person.name,
        label=_shorten(person.name),
        x=round(x, 1),
        y=round(y, 1),
        radius=round(radius, 1),
        label_x=round(x + (radius + LABEL_GAP) * (1 if is_right else -1), 1),
        label_y=round(y, 1),
        anchor="start" if is_right else "end",
        mentions=person.mentions,
    )


def _curve(one: Dot, other: Dot) -> str:
    """A line that is bent towards the middle, so that neighbours are joined inside the circle."""
    middle_x, middle_y = (one.x + other.x) * 0.25, (one.y + other.y) * 0.25
    return f"M{one.x:g} {one.y:g}Q{middle_x:g} {middle_y:g} {other.x:g} {other.y:g}"


# --- who is there when --------------------------------------------------------------------------------------


def draw_appearances(report: BookReport) -> Appearances | None:
    """A row for each person with a dot in each chapter that names them, and below the tone of each chapter."""
    chapters = [one.number for one in report.tone_by_chapter]
    people = report.people[:ROWS]
    if len(chapters) < 2 or not people:
        return None
    step = CHAPTERS_WIDTH / len(chapters)
    x_of = {number: round(NAME_WIDTH + step * (index + 0.5), 1) for index, number in enumerate(chapters)}
    rows = [row for index, person in enumerate(people) if (row := _presence(person, index, x_of)) is not None]
    tone_y = ROW_HEIGHT * len(people) + TONE_HEIGHT / 2 + 8
    reach = max(0.2, *(abs(one.tone.score) for one in report.tone_by_chapter))
    tones = []
    for one in report.tone_by_chapter:
        height = max(TONE_HEIGHT / 2 * abs(one.tone.score) / reach, 0.8)
        is_dark = one.tone.score < 0
        x, width = x_of[one.number] - step * 0.35, step * 0.7
        y = tone_y if is_dark else tone_y - height
        title = f"Chapter {one.number}, {one.title}: {one.tone.label}"
        tones.append(ToneBar(round(x, 1), round(y, 1), round(width, 1), round(height, 1), is_dark, title))
    every = math.ceil(len(chapters) / 20)
    marks_y = tone_y + TONE_HEIGHT / 2 + FOOT
    return Appearances(
        width=NAME_WIDTH + CHAPTERS_WIDTH,
        height=marks_y + 6,
        name_x=NAME_WIDTH - 10,
        rows=rows,
        tones=tones,
        tone_y=tone_y,
        marks=[(x_of[number], number) for number in chapters[::every]],
        marks_y=marks_y,
        words=f"{len(rows)} people over {len(chapters)} chapters, and the tone of each chapter.",
    )


def _presence(person: BookPerson, index: int, x_of: dict[int, float]) -> Presence | None:
    dots = [x_of[number] for number in person.chapters if number in x_of]
    if not dots:
        return None
    return Presence(person.name, _shorten(person.name), ROW_HEIGHT * (index + 0.5), dots[0], dots[-1], dots)


def _shorten(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
