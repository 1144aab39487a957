"""The people of a chapter: capitalised runs of words, weighed by the company they keep.

Looks only at the given text. Whether two chapters mean the same person is decided in `report`.
"""

from collections import Counter
from dataclasses import dataclass, field

from books.analysis.capitals import Run, find_runs
from books.analysis.gazetteer import is_known_place
from books.analysis.mentions import NamedPerson
from books.analysis.names import Candidate, merge_candidates, parse_name
from books.analysis.text import Text
from books.analysis.vocabulary import (
    FIRST_NAMES,
    KINSHIP,
    ORGANISATION_TAILS,
    PARTICLES,
    PERSON_VERBS,
    PLACE_HEADS,
    PLACE_PREPOSITIONS,
    PLACE_TAILS,
    REGIONS,
    SPEECH_VERBS,
    WORD_NAMES,
    word_set,
)

MAX_PEOPLE = 60  # of one chapter; a telephone book stays bounded
MAX_FORMS = 500  # of names, before they are merged into people
ENOUGH = 1.0  # points per written form that make it a person
REPEATED = 4  # so many times in mid-sentence is a point of its own
REPEATED_NEEDS = 0.5  # where it stands like a place as well
WORD_SHARE = 4  # a name occurs so many times as often as the same word in lower case
ARTICLES = word_set("the a an der die das ein eine le la les un une el los las il lo")


@dataclass
class Evidence:
    """Points for and against a word being a person's name."""

    count: int = 0
    inside: int = 0
    titled: int = 0
    person: float = 0.0
    place: float = 0.0


@dataclass
class CapitalisedWords:
    """All runs of a text and what is known of their words; shared by people and places."""

    runs: list[Run]
    lower: Counter[str]
    evidence: dict[str, Evidence] = field(default_factory=dict)
    family_names: set[tuple[str, ...]] = field(default_factory=set)

    @classmethod
    def of(cls, text: Text) -> "CapitalisedWords":
        runs, lower = find_runs(text)
        found = cls(runs, lower)
        for run in runs:
            found._weigh(run)
        return found

    def _weigh(self, run: Run) -> None:
        if run.title or len(run.words) > 2:
            self.family_names.add(run.words[-2:])
        person, place = _person_points(run), _place_points(run)
        for word in run.words:
            evidence = self.evidence.setdefault(word, Evidence())
            evidence.count += 1
            evidence.inside += not run.starts_sentence or len(run.words) > 1
            evidence.titled += bool(run.title)
            evidence.person += person
            evidence.place += place


def find_people(words: CapitalisedWords, *, chapter: int) -> list[NamedPerson]:
    """Return the people, most mentioned first, each with all forms of the name that occur."""
    forms: Counter[str] = Counter()
    for run in words.runs:
        if is_person(run, words):
            forms[run.text] += 1
    ranked = sorted(forms.items(), key=lambda item: (-item[1], item[0]))
    candidates = [
        Candidate(Counter({form: count}), {chapter})
        for form, count in ranked[:MAX_FORMS]
        if parse_name(form) is not None
    ]
    people = merge_candidates(candidates)[:MAX_PEOPLE]
    return [NamedPerson(person.name.text, tuple(sorted(person.forms))) for person in people]


def is_person(run: Run, words: CapitalisedWords) -> bool:
    if is_place_pattern(run) or (len(run.words) > 1 and run.words[-1].lower() in ORGANISATION_TAILS):
        return False
    if run.title:
        return not all(word.lower() in REGIONS for word in run.words)
    if len(run.words) > 1:
        return _is_person_pair(run, words)
    return _is_person_word(run.words[0], words)


def is_place_pattern(run: Run) -> bool:
    """Say whether the words themselves name a place: "Baker Street", "Mont Blanc"."""
    if len(run.words) < 2:
        return False
    if run.words[-1].lower() in PLACE_TAILS:
        return True
    return not run.title and run.words[0].lower() in PLACE_HEADS


def _is_person_pair(run: Run, words: CapitalisedWords) -> bool:
    first, last = run.words[0].lower(), run.words[-1].lower()
    if first in PARTICLES and run.before.lower() in PLACE_PREPOSITIONS:
        return False
    if first in FIRST_NAMES and last not in REGIONS:
        return True
    if last in REGIONS or first in REGIONS or is_known_place(" ".join(run.words)):
        return False
    if run.words[0] == "St." and len(run.words) == 2:
        return run.words in words.family_names
    evidence = [words.evidence[word] for word in run.words]
    if any(e.titled for e in evidence):
        return True
    person, place = sum(e.person for e in evidence), sum(e.place for e in evidence)
    initials = all(len(word) <= 2 for word in run.words[:-1])
    return person + initials >= ENOUGH and person + initials > place


def _is_person_word(word: str, words: CapitalisedWords) -> bool:
    key, evidence = word.lower(), words.evidence[word]
    if len(word) < 2 or key in PARTICLES:
        return False
    if evidence.titled and evidence.place <= 2 * evidence.person:
        return True
    if key in REGIONS or not evidence.inside or WORD_SHARE * words.lower[key] >= evidence.count:
        return False
    known = key in FIRST_NAMES and key not in WORD_NAMES
    if is_known_place(word) and evidence.person < 2 + evidence.place:
        return False
    points = evidence.person + (1.0 if known else 0.0)
    if evidence.person >= REPEATED_NEEDS or not evidence.place:
        points += min(1.0, evidence.inside / REPEATED)
    enough = ENOUGH if evidence.count > 1 or known else 1.5 * ENOUGH
    return points >= enough and (points > evidence.place or evidence.place < evidence.count / 2)


def _person_points(run: Run) -> float:
    points = 0.0
    before, after = run.before.lower(), run.after.lower()
    if run.title:
        points += 3
    if before in ARTICLES and not run.title:
        points -= 1
    if before in SPEECH_VERBS and run.gap_before.strip() in {"", ","}:
        points += 2
    if after in SPEECH_VERBS and not run.gap_after.strip():
        points += 2
    elif after in PERSON_VERBS and not run.gap_after.strip():
        points += 1
    if before in KINSHIP and not run.gap_before.strip():
        points += 1
    if before in {"and", "with"} and run.before_that in {"I", "you", "he", "she"}:
        points += 1
    if run.possessive:
        points += 0.5
    if _is_address(run):
        points += 1
    return points


def _is_address(run: Run) -> bool:
    """Say whether someone is spoken to: “Well, Watson,” or “Come, Watson!”."""
    return (
        run.gap_before.strip() == ","
        and run.gap_after.strip()[:1] in {",", "!", "?", "."}
        and (run.gap_after.strip()[:1] != "," or "”" in run.gap_after or '"' in run.gap_after)
    )


def _place_points(run: Run) -> float:
    if run.title or run.gap_before.strip():
        return 0.0
    before = run.before.lower()
    if before in {"in", "near", "through", "throughout", "across", "towards"}:
        return 2.0
    if before in PLACE_PREPOSITIONS:
        return 0.5
    return 0.7 if before in ARTICLES else 0.0
