"""Names of people: their parts, and which of them mean the same person.

One algorithm serves the chapter (written forms) and the book (people of chapters). It decides by
names, counts and chapters alone, in a fixed order, so that the same input gives the same people.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from books.analysis.vocabulary import (
    FEMALE_NAMES,
    FEMALE_TITLES,
    FIRST_NAMES,
    GIVEN_NAME_TITLES,
    MALE_NAMES,
    MALE_TITLES,
    NEUTRAL_TITLES,
    PARTICLES,
    TITLE_SHORT_FORMS,
    WORD_NAMES,
    is_title,
)

# A given name alone is the person of a chapter this near; another story may have another Mary.
NEAR_CHAPTERS = 1
# "Mr. McCarthy" is the McCarthy named so many times as often as the next one, and by so many more.
DOMINANCE = 2.0
MARGIN = 3
# A family name alone is not the bearer of a full name that other chapters hardly mention.
OVERSHADOWED = 3.0
POLITE_SHARE = 0.4  # "Lestrade" becomes "Mr. Lestrade" when so many of the mentions say so
_POLITE = frozenset(("mr", "mrs", "miss", "ms", "master", "mme", "mlle", "monsieur", "madame", "m", "sir", "mister"))
_LEARNED = frozenset(("dr", "doctor", "professor", "prof"))
_MASCULINE_COURTESY = frozenset(("mr", "m", "monsieur", "herr", "mister"))
_MARRIED = frozenset(("mrs", "mme", "madame", "lady", "frau", "signora", "señora"))
_UNMARRIED = frozenset(("miss", "mlle", "mademoiselle", "fräulein", "signorina", "señorita"))


@dataclass(frozen=True)
class Name:
    """A parsed name: "Dr. John H. Watson" is the title "dr" and the parts John, H., Watson."""

    title: str
    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join([*([_title_text(self.title)] if self.title else []), *self.parts])

    @property
    def first(self) -> str:
        return self.parts[0]

    @property
    def last(self) -> str:
        return self.parts[-1]

    @property
    def is_full(self) -> bool:
        return len(self.parts) > 1

    @property
    def gender(self) -> str:
        """Return "m", "f" or "" when nothing tells."""
        if self.title in MALE_TITLES:
            return "m"
        if self.title in FEMALE_TITLES:
            return "f"
        if self.is_full or not self.title:
            return _gender_of_first_name(self.first)
        return ""


@dataclass
class Candidate:
    """Forms that one person goes by, how often (0: not counted by form), and where.

    `members` are the caller's keys; they come back with the person that they turned out to be.
    """

    forms: Counter[str]
    chapters: set[int]
    members: list[tuple[int, str]] = field(default_factory=list)

    @property
    def mentions(self) -> int:
        return self.forms.total()

    @cached_property
    def name(self) -> Name:
        return choose_name(self.forms)

    @cached_property
    def titles(self) -> set[str]:
        return {name.title for form in self.forms if (name := parse_name(form))} - {""}

    @property
    def gender(self) -> str:
        """Return "m", "f" or "": of the first name where it tells, else of the titles."""
        if self.name.is_full and (known := self.name.gender):
            return known
        genders = {Name(title, ("?",)).gender for title in self.titles} - {""}
        return genders.pop() if len(genders) == 1 else self.name.gender

    def absorb(self, other: "Candidate") -> None:
        self.forms.update(other.forms)
        self.chapters |= other.chapters
        self.members += other.members
        for cached in ("name", "titles"):
            self.__dict__.pop(cached, None)


def parse_name(text: str) -> Name | None:
    """Return the parts of a written name; None when nothing but titles is left."""
    tokens = re.findall(r"[^\W\d_]+(?:[’'\-][^\W\d_]+)*\.?", text)
    title = ""
    while tokens and is_title(tokens[0]) and not _is_initial(tokens, title):
        title = title or tokens[0].rstrip(".").lower()
        tokens = tokens[1:]
    parts: list[str] = []
    prefix = ""
    for token in tokens:
        if (token.lower() in PARTICLES or token.lower() == "st.") and token != tokens[-1]:
            prefix += token + " "
        else:
            parts.append(prefix + (token if len(token) <= 2 else token.rstrip(".")))
            prefix = ""
    has_word = any(len(part.rstrip(".")) > 1 for part in parts)
    return Name(title, tuple(parts)) if has_word or (parts and title) else None


def merge_candidates(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Join candidates that mean the same person, most mentioned first."""
    ordered = sorted(candidates, key=_order)
    full = [c for c in ordered if c.name.is_full]
    titled = [c for c in ordered if not c.name.is_full and c.name.title]
    bare = [c for c in ordered if not c.name.is_full and not c.name.title]
    people = _People()
    for candidate in full:
        people.join(candidate, [p for p in people.named(candidate.name.last) if _same_full_name(p, candidate)])
    for candidate in [*titled, *bare]:
        people.join(candidate, _owners(people.named(candidate.name.first), candidate))
    return sorted(people.all, key=_order)


class _People:
    """The people found so far, to be looked up by first or last name."""

    def __init__(self) -> None:
        self.all: list[Candidate] = []
        self._by_name: dict[str, list[Candidate]] = {}

    def named(self, name: str) -> list[Candidate]:
        return self._by_name.get(name.casefold(), [])

    def join(self, candidate: Candidate, owners: list[Candidate]) -> None:
        owner = _dominant(owners)
        if owner is None:
            owner = Candidate(Counter(candidate.forms), set(candidate.chapters), [*candidate.members])
            self.all.append(owner)
        else:
            owner.absorb(candidate)
        for name in {owner.name.first: None, owner.name.last: None}:
            known = self._by_name.setdefault(name.casefold(), [])
            if not any(person is owner for person in known):
                known.append(owner)


def choose_name(forms: Counter[str]) -> Name:
    """Return the full form most used, else the title and family name, without a merely polite title."""
    names = [(name, count) for form, count in forms.items() if (name := parse_name(form))]
    names.sort(key=lambda item: (-_fullness(item[0]), -item[1], -len(item[0].text), item[0].text))
    name = names[0][0]
    if name.title in _POLITE | _LEARNED and name.is_full and not _title_contradicts(name):
        return Name("", name.parts)
    if name.title in _MASCULINE_COURTESY and not name.is_full:
        bare = sum(count for other, count in names if not other.title)
        titled = sum(count for other, count in names if other.title)
        return Name("", name.parts) if bare and titled < POLITE_SHARE * (bare + titled) else name
    return name


def _title_contradicts(name: Name) -> bool:
    """Say whether a title is needed to tell Mrs. Henry Baker from her husband."""
    return name.title in FEMALE_TITLES and _gender_of_first_name(name.first) == "m"


def _dominant(owners: list[Candidate]) -> Candidate | None:
    if len(owners) < 2:
        return owners[0] if owners else None
    first, second, *_ = sorted(owners, key=_order)
    clear = first.mentions >= max(DOMINANCE * second.mentions, second.mentions + MARGIN)
    return first if clear else None


def _owners(people: list[Candidate], candidate: Candidate) -> list[Candidate]:
    name = candidate.name
    same = [p for p in people if not p.name.is_full and p.name.parts == name.parts and _titles_agree(p, candidate)]
    full = [p for p in people if p.name.is_full and _goes_by(p, candidate)]
    owners = [p for p in full if p.chapters & candidate.chapters] or full
    if not name.title:
        # A bare family name is the man's, not his wife's.
        same = [p for p in same if not p.titles & _MARRIED]
        men = [p for p in owners + same if p.gender != "f" and p.name.last == name.last]
        return men or owners + same
    return owners + same


def _goes_by(person: Candidate, candidate: Candidate) -> bool:
    full, short = person.name, candidate.name
    key = short.first.casefold()
    apart = not person.chapters & candidate.chapters
    if full.last.casefold() == key:
        if short.title in _MARRIED and not person.titles & _MARRIED:
            return False  # Mrs. Bennet is the mother of Elizabeth Bennet
        overshadowed = apart and candidate.mentions > OVERSHADOWED * person.mentions
        return _titles_agree(person, candidate) and not overshadowed
    if full.first.casefold() != key or (short.title and short.title not in GIVEN_NAME_TITLES):
        return False
    if person.gender and candidate.gender and person.gender != candidate.gender:
        return False
    return len(person.chapters) > 2 or _distance(person.chapters, candidate.chapters) <= NEAR_CHAPTERS


def _distance(some: set[int], others: set[int]) -> int:
    return min((abs(a - b) for a in some for b in others), default=0)


def _same_full_name(person: Candidate, other: Candidate) -> bool:
    a, b = person.name, other.name
    if not a.is_full or a.last.casefold() != b.last.casefold() or _genders_differ(a, b):
        return False
    first, second = a.first.rstrip(".").casefold(), b.first.rstrip(".").casefold()
    if 1 in (len(first), len(second)):
        return first[0] == second[0]
    return first == second


def _genders_differ(a: Name, b: Name) -> bool:
    return bool(a.gender and b.gender and a.gender != b.gender)


def _titles_agree(a: Candidate, b: Candidate) -> bool:
    if a.gender and b.gender and a.gender != b.gender:
        return False
    if (a.titles & _MARRIED and b.titles & _UNMARRIED) or (a.titles & _UNMARRIED and b.titles & _MARRIED):
        return False
    return not (_is_ranked(a) and b.gender == "f") and not (_is_ranked(b) and a.gender == "f")


def _is_ranked(person: Candidate) -> bool:
    """Say whether a rank or learned title stands where nothing else tells man from woman."""
    return not person.gender and any(t.split("-")[-1] in NEUTRAL_TITLES for t in person.titles)


def _gender_of_first_name(name: str) -> str:
    key = name.casefold()
    if key in WORD_NAMES or key not in FIRST_NAMES:
        return ""
    if key in MALE_NAMES and key in FEMALE_NAMES:
        return ""
    return "m" if key in MALE_NAMES else "f"


def _fullness(name: Name) -> int:
    """Rank "Robert Walton" before "R. Walton", and that before "Captain Walton" and "Walton"."""
    if not name.is_full:
        return 1 if name.title else 0
    return 3 if len(name.first.rstrip(".")) > 1 else 2


def _order(candidate: Candidate) -> tuple[int, str]:
    return -candidate.mentions, candidate.name.text


def _is_initial(tokens: list[str], title: str) -> bool:
    """Tell "M. Krempe" (Monsieur) from "Dr. M. Krempe" (an initial)."""
    return bool(title) and len(tokens[0].rstrip(".")) == 1


def _title_text(title: str) -> str:
    return TITLE_SHORT_FORMS.get(title) or "-".join(part.capitalize() for part in title.split("-"))
