"""The places of a chapter: names the gazetteer knows, local patterns, and what people are "in"."""

from collections import Counter
from collections.abc import Iterator

from books.analysis.capitals import Run
from books.analysis.gazetteer import is_known_place, is_small_place
from books.analysis.mentions import NamedPerson
from books.analysis.names import parse_name
from books.analysis.people import ARTICLES, CapitalisedWords, is_person, is_place_pattern
from books.analysis.results import Place
from books.analysis.vocabulary import FIRST_NAMES, ORGANISATION_TAILS, PLACE_TAILS, REGIONS

MAX_PLACES = 40
_LOCATIVE = frozenset(("in", "near", "through", "throughout", "across", "towards", "at"))
_DIRECTIONAL = frozenset(("from", "to", "quitted", "reached", "around"))


def find_places(words: CapitalisedWords, people: list[NamedPerson]) -> list[Place]:
    """Return the places, most mentioned first; no place has the name of a person of the chapter."""
    taken = {part for person in people for form in person.forms for part in _parts(form)}
    located = Counter(run.text for run in words.runs if _is_located(run))
    reached = Counter(run.text for run in words.runs if _is_reached(run))
    seen = Counter(_names_of_places(words, taken, located, reached))
    ranked = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
    return [Place(name=name, mentions=count) for name, count in ranked[:MAX_PLACES]]


def _names_of_places(
    words: CapitalisedWords, taken: set[str], located: Counter[str], reached: Counter[str]
) -> Iterator[str]:
    for run in words.runs:
        if is_place_pattern(run):
            if not _is_institution(run):
                yield run.text
        elif run.title or run.text in taken or _is_church(run) or is_person(run, words):
            continue
        elif is_known_place(run.text) or _is_local(run, words, located[run.text], reached[run.text]):
            yield run.text


def _is_local(run: Run, words: CapitalisedWords, located: int, reached: int) -> bool:
    """Say whether a name that no list knows is used as a place is."""
    key = run.words[-1].lower()
    if not located or run.possessive or key in ORGANISATION_TAILS or key in FIRST_NAMES:
        return False
    if len(run.words) == 1 and (words.lower[key] or run.before.lower() in ARTICLES):
        return False
    evidence = [words.evidence[word] for word in run.words]
    if any(e.person >= 1 or 2 * (located + reached) < e.count for e in evidence):
        return False
    return located + reached > 1 or is_small_place(run.text)


def _is_located(run: Run) -> bool:
    return run.before.lower() in _LOCATIVE and not run.gap_before.strip()


def _is_reached(run: Run) -> bool:
    before = run.before.lower()
    return before in _DIRECTIONAL or (before == "of" and len(run.words) > 1)


def _is_church(run: Run) -> bool:
    """Say whether this is "St. Paul’s", which is no city of Minnesota."""
    return run.words[0] == "St." and run.possessive


def _is_institution(run: Run) -> bool:
    if run.words[-1].lower() in REGIONS:
        return False
    return run.words[-1].lower() in ORGANISATION_TAILS and run.words[-1].lower() not in PLACE_TAILS


def _parts(form: str) -> tuple[str, ...]:
    name = parse_name(form)
    return (*name.parts, " ".join(name.parts)) if name else ()
