"""Extractive summaries: the most central readable sentence of each part of a text, in order."""

import re
from collections.abc import Sequence

from books.analysis.text import Text

MAX_SENTENCES = 600  # that are compared with each other
NEIGHBOURS = 12  # edges a sentence keeps in the graph
PARTS = 3
MIN_WORDS, MAX_WORDS = 9, 38
MAX_CHARACTERS = 400  # of a sentence

_QUOTES = re.compile(r"[\"“”„«»]|(?<!\w)[‘']|[’'](?=\s|$)")
_CONTINUED = re.compile(r"^[“\"‘'«\s]+")
_DEPENDENT = re.compile(
    r"^(?:but|and|or|so|yet|then|this|that|these|those|it|he|she|they|his|her|their|its|thus|therefore|however|"
    r"him|them|such|nor|for|there|here|also|again|moreover|yes|no|oh|well|now)\b",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\b(?:you|your|yours)\b", re.IGNORECASE)


def summarise(text: Text, names: Sequence[str], *, parts: int = PARTS) -> str:
    """Return one sentence for each part of the text; the text itself when it is that short.

    Args:
        names: forms of people's names; sentences that name someone are preferred.
    """
    if len(text.sentences) <= parts or not (sentences := _readable(text)):
        return " ".join(_shorten(sentence.text) for sentence in text.sentences[:parts])
    return " ".join(_shorten(sentence) for sentence in pick_sentences(sentences, names, parts=parts))


def pick_sentences(sentences: Sequence[str], names: Sequence[str], *, parts: int) -> list[str]:
    """Return the most central sentence of each part, in order."""
    if len(sentences) <= parts:
        return list(sentences)
    return _choose(list(sentences), names, parts)


def _shorten(sentence: str) -> str:
    if len(sentence) <= MAX_CHARACTERS:
        return sentence
    return sentence[:MAX_CHARACTERS].rsplit(" ", 1)[0] + "…"


def _readable(text: Text) -> list[str]:
    """Return the sentences that stand by themselves; spoken ones only where there is nothing else."""
    narrated: list[str] = []
    spoken: list[str] = []
    for sentence in text.sentences:
        plain = _CONTINUED.sub("", sentence.text)
        if not MIN_WORDS <= len(plain.split()) <= MAX_WORDS or plain[-1:] not in ".。！？।" or plain.isupper():
            continue
        (spoken if _QUOTES.search(plain) else narrated).append(plain)
    chosen = narrated if len(narrated) >= 2 * PARTS else narrated + spoken or narrated
    return _spread(chosen, MAX_SENTENCES)


def _choose(sentences: list[str], names: Sequence[str], parts: int) -> list[str]:
    scores = _rank(sentences)
    named = re.compile(r"\b(?:" + "|".join(map(re.escape, names)) + r")\b") if names else None
    scores = [score * _readability(s, named) for score, s in zip(scores, sentences, strict=True)]
    chosen: list[str] = []
    for part in range(parts):
        start, end = part * len(sentences) // parts, (part + 1) * len(sentences) // parts
        best = max(range(start, end), key=lambda index: (round(scores[index], 12), -index))
        chosen.append(sentences[best])
    return chosen


def _readability(sentence: str, named: re.Pattern[str] | None) -> float:
    factor = 0.35 if _DEPENDENT.match(sentence) else 1.0
    if _ADDRESS.search(sentence) or sentence.endswith("?"):
        factor *= 0.5
    if named and named.search(sentence):
        factor *= 1.6
    return factor


def _rank(sentences: list[str]) -> list[float]:
    """Return each sentence's PageRank in the graph of word likeness (TextRank)."""
    import networkx
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        vectors = TfidfVectorizer(stop_words="english", sublinear_tf=True).fit_transform(sentences)
    except ValueError:  # nothing but stop words
        return [1.0] * len(sentences)
    likeness = (vectors @ vectors.T).toarray()
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(sentences)))
    for index, row in enumerate(likeness):
        row[index] = 0
        nearest = row.round(9).argsort(kind="stable")[::-1][:NEIGHBOURS].tolist()
        graph.add_weighted_edges_from((index, other, float(row[other])) for other in nearest if row[other] > 0)
    ranks = networkx.pagerank(graph, weight="weight")
    return [ranks[index] for index in range(len(sentences))]


def _spread(items: list[str], limit: int) -> list[str]:
    return items if len(items) <= limit else [items[i * len(items) // limit] for i in range(limit)]
