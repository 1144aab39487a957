"""What a chapter is about, in up to ten words: TF-IDF over its passages, for words used as nouns."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from books.analysis.language import STOP_WORDS
from books.analysis.vocabulary import COMMON_WORDS, NOT_NAMES, word_set

MAX_KEYWORDS = 10
MIN_LETTERS = 4
MAX_PASSAGES = 1000  # evenly drawn from a longer text
DETERMINERS = word_set("the a an my his her our your their this that these those some no every each of")
NOUN_SHARE = 0.25  # of a word's uses come after a determiner
LAST_SHARE = 0.5  # of its uses aren't followed by another noun, as an adjective's are

_NO_NOUN = re.compile(r"(?:ly|ous|ful|less|[a-z]{3}(?:able|ible|ed))$")
_IRREGULAR = {"geese": "goose", "feet": "foot", "teeth": "tooth", "mice": "mouse", "people": "person"}
_TOKEN = re.compile(r"[^\W\d_]+(?:[’'\-][^\W\d_]+)*|[.,;:!?—]")


def find_keywords(passages: Sequence[str], names: Iterable[str], language: str | None) -> list[str]:
    """Return the telling words, best first, without the given names and their parts."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

    excluded = {part.lower() for name in names for part in re.findall(r"[^\W\d_]+", name)}
    small = frozenset().union(*STOP_WORDS.values()) | ENGLISH_STOP_WORDS | COMMON_WORDS | NOT_NAMES
    tokens = [_TOKEN.findall(passage) for passage in _spread(passages, MAX_PASSAGES)]
    display = _lemmas(token for passage in tokens for token in passage)
    nouns = _nouns(tokens) if language in {None, "en"} else None
    documents = []
    for passage in tokens:
        words = (display.get(token.lower(), "") for token in passage if token[0].isalpha())
        telling = (word for word in words if _is_telling(word, excluded, small))
        documents.append([word for word in telling if nouns is None or word in nouns])
    counts = Counter(word for document in documents for word in document)
    needed = 3 if counts.total() > 300 else 2 if counts.total() > 60 else 1
    documents = [[word for word in document if counts[word] >= needed] for document in documents]
    if not any(documents):
        return []
    vectoriser = TfidfVectorizer(analyzer=_same, sublinear_tf=True, norm=None)
    weights = vectoriser.fit_transform(documents).sum(axis=0).A1.tolist()
    ranked = sorted(zip(weights, vectoriser.get_feature_names_out().tolist(), strict=True), key=_best_first)
    return [word for _, word in ranked[:MAX_KEYWORDS]]


def merge_keywords(lists: Sequence[Sequence[str]]) -> list[str]:
    """Return the words of most weight over all chapters; a higher place weighs more."""
    weights: dict[str, float] = defaultdict(float)
    for keywords in lists:
        for place, word in enumerate(keywords):
            weights[word] += 1 / (place + 3)
    ranked = sorted(((weight, word) for word, weight in weights.items()), key=_best_first)
    return [word for _, word in ranked[:MAX_KEYWORDS]]


def _best_first(item: tuple[float, str]) -> tuple[float, str]:
    return -round(item[0], 9), item[1]


def _same(document: list[str]) -> list[str]:
    return document


def _is_telling(word: str, excluded: set[str], small: frozenset[str]) -> bool:
    if len(word) < MIN_LETTERS or word in excluded or word in small:
        return False
    return "-" in word or not _NO_NOUN.search(word)


def _lemmas(tokens: Iterable[str]) -> dict[str, str]:
    """Map lower-case words to what is shown: the singular, where the text has it."""
    counts = Counter(token.lower() for token in tokens if token[0].isalpha())
    return {word: _singular(word, counts) for word in counts}


def _singular(word: str, counts: Counter[str]) -> str:
    word = re.sub(r"[’']s$", "", word)
    candidates = [_IRREGULAR[word]] if word in _IRREGULAR else []
    if word.endswith("s") and not word.endswith("ss"):
        candidates.append(word[:-1])
    if word.endswith("ies"):
        candidates.append(word[:-3] + "y")
    if word.endswith("es"):
        candidates.append(word[:-2])
    if word.endswith("ves"):
        candidates.extend((word[:-3] + "f", word[:-3] + "fe"))
    return next((candidate for candidate in candidates if counts[candidate]), word)


def _nouns(passages: list[list[str]]) -> set[str]:
    """Return the words that stand where nouns stand: after a determiner, not before another noun."""
    uses: Counter[str] = Counter()
    determined: Counter[str] = Counter()
    last: Counter[str] = Counter()
    lemmas = _lemmas(token for passage in passages for token in passage)
    for passage in passages:
        for previous, token, following in zip(["", *passage], passage, [*passage[1:], "."], strict=False):
            if not token[0].islower():
                continue
            word = lemmas[token.lower()]
            uses[word] += 1
            determined[word] += previous.lower() in DETERMINERS
            last[word] += not following[0].isalpha() or following.lower() in COMMON_WORDS | NOT_NAMES
    return {
        word
        for word, count in uses.items()
        if determined[word] >= (NOUN_SHARE if not word.endswith(("ed", "ing")) else 2 * NOUN_SHARE) * count
        and last[word] >= LAST_SHARE * count
    }


def _spread(items: Sequence[str], limit: int) -> Sequence[str]:
    return items if len(items) <= limit else [items[i * len(items) // limit] for i in range(limit)]
