"""Which written names mean the same person."""

from collections import Counter
from itertools import permutations

from books.analysis.names import Candidate, merge_candidates, parse_name


def people_of(forms: dict[str, int]) -> dict[str, set[str]]:
    found = merge_candidates(Candidate(Counter({form: count}), {1}) for form, count in forms.items())
    return {person.name.text: set(person.forms) for person in found}


def test_parse_name_takes_titles_and_particles_apart() -> None:
    name = parse_name("Lord Robert St. Simon")

    assert name is not None
    assert (name.title, name.parts) == ("lord", ("Robert", "St. Simon"))


def test_parse_name_title_alone_is_no_name() -> None:
    assert parse_name("Mr.") is None


def test_merge_forms_of_holmes_are_one_person() -> None:
    forms = {"Holmes": 30, "Mr. Holmes": 5, "Mr. Sherlock Holmes": 2, "Sherlock Holmes": 8, "Sherlock": 1}

    assert people_of(forms) == {"Sherlock Holmes": set(forms)}


def test_merge_given_name_and_family_name_meet_in_full_name() -> None:
    assert set(people_of({"Henry": 3, "Clerval": 9, "Henry Clerval": 1})) == {"Henry Clerval"}


def test_merge_initial_is_the_name_it_begins() -> None:
    assert set(people_of({"R. Walton": 1, "Robert Walton": 1, "Captain Walton": 1})) == {"Robert Walton"}


def test_merge_husband_and_wife_differ() -> None:
    merged = people_of({"Mr. Bennet": 9, "Mrs. Bennet": 8, "Bennet": 2})

    assert merged == {"Mr. Bennet": {"Mr. Bennet", "Bennet"}, "Mrs. Bennet": {"Mrs. Bennet"}}


def test_merge_wife_named_after_husband_differs() -> None:
    assert set(people_of({"Henry Baker": 9, "Mrs. Henry Baker": 1})) == {"Henry Baker", "Mrs. Henry Baker"}


def test_merge_mother_and_daughter_differ() -> None:
    assert set(people_of({"Elizabeth Bennet": 9, "Mrs. Bennet": 5})) == {"Elizabeth Bennet", "Mrs. Bennet"}


def test_merge_brothers_named_alike_keep_the_common_name_apart() -> None:
    merged = people_of({"Fyodor Karamazov": 5, "Ivan Karamazov": 5, "Karamazov": 4})

    assert set(merged) == {"Fyodor Karamazov", "Ivan Karamazov", "Karamazov"}


def test_merge_far_chapter_with_same_given_name_is_somebody_else() -> None:
    far = [
        Candidate(Counter({"Mary Sutherland": 8}), {3}),
        Candidate(Counter({"Mary": 12}), {11}),
    ]

    assert {person.name.text for person in merge_candidates(far)} == {"Mary Sutherland", "Mary"}


def test_merge_bare_family_name_is_not_given_to_one_hardly_named() -> None:
    book = [
        Candidate(Counter({"Alphonse Frankenstein": 1}), {7}),
        Candidate(Counter({"Frankenstein": 17}), {5, 10, 24}),
    ]

    assert {p.name.text for p in merge_candidates(book)} == {"Alphonse Frankenstein", "Frankenstein"}


def test_merge_any_order_gives_the_same_people() -> None:
    forms = {"Holmes": 30, "Sherlock Holmes": 8, "Mr. Holmes": 5, "Mrs. Holmes": 1, "Mycroft Holmes": 2}

    results = [people_of(dict(order)) for order in permutations(forms.items())]

    assert all(result == results[0] for result in results)
