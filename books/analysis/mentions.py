"""How often people are named, and which of them share passages: counted, never guessed.

Used by both analysts, so that a model's list of people gets the same honest numbers.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from books.analysis.results import Meeting, Person, Place

MAX_MEETINGS = 100


@dataclass(frozen=True)
class NamedPerson:
    name: str
    forms: tuple[str, ...]


def count_people(passages: Sequence[str], people: Sequence[NamedPerson]) -> tuple[list[Person], list[Meeting]]:
    """Count the people and their meetings.

    Returns:
        The people who are named at least once, most mentioned first, and the pairs that share at
        least one passage, most passages first.
    """
    owners = {form: person.name for person in people for form in (*person.forms, person.name)}
    mentions: Counter[str] = Counter()
    shared: Counter[tuple[str, str]] = Counter()
    used: dict[str, Counter[str]] = {}
    pattern = _pattern(owners)
    for passage in passages:
        forms = Counter(match.group() for match in pattern.finditer(passage)) if pattern else Counter[str]()
        for form, count in forms.items():
            mentions[owners[form]] += count
            used.setdefault(owners[form], Counter())[form] += count
        shared.update(combinations(sorted({owners[form] for form in forms}), 2))
    counted = [
        Person(name=name, mentions=count, aliases=_aliases(name, used[name]))
        for name, count in sorted(mentions.items(), key=lambda item: (-item[1], item[0]))
    ]
    return counted, _meetings(shared, [person.name for person in counted])


def count_places(passages: Sequence[str], names: Sequence[str]) -> list[Place]:
    """Return the places that are named at least once, most mentioned first."""
    pattern = _pattern({name: name for name in map(str.strip, names) if name})
    if pattern is None:
        return []
    mentions = Counter(match.group() for passage in passages for match in pattern.finditer(passage))
    ranked = sorted(mentions.items(), key=lambda item: (-item[1], item[0]))
    return [Place(name=name, mentions=count) for name, count in ranked]


def _aliases(name: str, used: Counter[str]) -> list[str]:
    return [form for form, _ in sorted(used.items(), key=lambda item: (-item[1], item[0])) if form != name]


def _meetings(shared: Counter[tuple[str, str]], order: list[str]) -> list[Meeting]:
    rank = {name: position for position, name in enumerate(order)}
    meetings = []
    for pair, passages in shared.items():
        a, b = sorted(pair, key=lambda name: rank[name])
        meetings.append(Meeting(a=a, b=b, passages=passages))
    meetings.sort(key=lambda meeting: (-meeting.passages, rank[meeting.a], rank[meeting.b]))
    return meetings[:MAX_MEETINGS]


def _pattern(forms: dict[str, str]) -> re.Pattern[str] | None:
    if not forms:
        return None
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)")
