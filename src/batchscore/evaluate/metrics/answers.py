"""How right is a short answer, as SQuAD's evaluation counts it?

Both sides are folded first: case, ASCII punctuation, English articles, blanks. So "1,000" is "1000", and
"C++" is "c". Tokens are what is between blanks, also in Chinese and Japanese.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

#: Scores of one answer, the main one first.
NAMES = ("f1_score", "exact_match")

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Return a text as SQuAD 1.1's `normalize_answer` does."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, golds: Sequence[str]) -> float:
    """Return 1 if the answer is one of the right ones."""
    found = normalize(answer)
    return float(any(found == normalize(gold) for gold in golds))


def f1_score(answer: str, golds: Sequence[str]) -> float:
    """Return the best overlap with a right answer. An empty one is right only if it should be empty."""
    return max((_overlap(normalize(answer).split(), normalize(gold).split()) for gold in golds), default=0.0)


def _overlap(found: list[str], gold: list[str]) -> float:
    if not found or not gold:
        return float(found == gold)
    same = sum((Counter(found) & Counter(gold)).values())
    return 2 * same / (len(found) + len(gold))


def scores_of(answer: str, golds: Sequence[str]) -> tuple[float, ...]:
    """Return the scores by `NAMES`."""
    return f1_score(answer, golds), exact_match(answer, golds)
