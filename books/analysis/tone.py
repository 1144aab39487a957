"""How dark or bright a text feels: VADER over its sentences, stretched to where fiction lives."""

import math
from functools import lru_cache
from typing import Any

from books.analysis.results import Tone, ToneLabel
from books.analysis.text import Text

MAX_SENTENCES = 1200  # evenly drawn from a longer text
# Mean compound scores of chapters of fiction lie between -0.2 and 0.3, most around 0.06.
NEUTRAL_MEAN = 0.06
STRETCH = 4.0
MIXED_BELOW = 0.2  # in absolute value


def measure_tone(text: Text) -> Tone:
    sentences = text.sentences
    if len(sentences) > MAX_SENTENCES:
        sentences = [sentences[i * len(sentences) // MAX_SENTENCES] for i in range(MAX_SENTENCES)]
    analyser = _analyser()
    scores = [float(analyser.polarity_scores(sentence.text[:2000])["compound"]) for sentence in sentences]
    felt = [score for score in scores if score]
    if not felt:
        return make_tone(0.0)
    return make_tone(math.tanh(STRETCH * (sum(felt) / len(scores) - NEUTRAL_MEAN)))


def make_tone(score: float) -> Tone:
    score = round(max(-1.0, min(1.0, score)), 3)
    label: ToneLabel = "mixed" if abs(score) < MIXED_BELOW else "bright" if score > 0 else "dark"
    return Tone(score=score, label=label)


@lru_cache(maxsize=1)
def _analyser() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
