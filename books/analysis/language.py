"""The language of a text, told from its script and its smallest words."""

import re
from collections import Counter

from books.analysis.vocabulary import word_set

SAMPLE_CHARACTERS = 50_000
ENOUGH_SHARE = 0.12  # of the words are among the language's smallest; ordinary prose has 0.3 and more
MIN_WORDS = 10

STOP_WORDS: dict[str, frozenset[str]] = {
    "en": word_set("the of and to in a that was he it his her with as had for she not but you is be"),
    "de": word_set("der die und das ist nicht ich ein eine zu den mit sich dem auf er sie von war es im"),
    "fr": word_set("le la les de des et un une il elle que qui dans pour ne pas ce est était du en au"),
    "es": word_set("el la los las de que y en un una por con no se su para es era del como al lo"),
    "it": word_set("il la che di e un una per non con si era del della le gli più come ma suo da"),
    "pt": word_set("o a os as de que e um uma não com se para por era do da em mais como ao dos"),
    "nl": word_set("de het een en van ik te dat die in niet zijn was met op voor hij er maar aan"),
    "sv": word_set("och att det som en på är av för med han den till inte var jag hon ett om hade"),
}
_SCRIPTS = (
    ("ja", r"[\u3040-\u30ff]"),
    ("ko", r"[\uac00-\ud7af]"),
    ("zh", r"[\u4e00-\u9fff]"),
    ("ar", r"[\u0600-\u06ff]"),
    ("he", r"[\u0590-\u05ff]"),
    ("ru", r"[\u0400-\u04ff]"),
    ("el", r"[\u0370-\u03ff]"),
    ("hi", r"[\u0900-\u097f]"),
)
_SCRIPT_SHARE = 0.2


def detect_language(text: str) -> str | None:
    """Return the ISO 639-1 code; for a script that several languages share, that of its largest."""
    sample = text[:SAMPLE_CHARACTERS]
    letters = sum(character.isalpha() for character in sample)
    for code, script in _SCRIPTS:
        if letters and len(re.findall(script, sample)) > _SCRIPT_SHARE * letters:
            return code
    words = Counter(re.findall(r"[^\W\d_]+", sample.lower()))
    if words.total() < MIN_WORDS:
        return None
    shares = {code: sum(words[word] for word in small) for code, small in STOP_WORDS.items()}
    best = max(shares, key=lambda code: shares[code])
    return best if shares[best] >= ENOUGH_SHARE * words.total() else None
