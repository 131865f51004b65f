"""How much of a reference does a text hold, as rouge-score 0.1.2 counts it without a stemmer?

All but a-z and 0-9 separates tokens there, so a text in another script has none, and umlauts split words:
`has_tokens` says whether the figures mean anything. Of several references the best one counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

#: Scores of one answer, the main one first.
NAMES = ("rougeL", "rouge1", "rouge2", "rougeLsum")

_TOKEN = re.compile(r"[a-z0-9]+")


def tokens_of(text: str) -> list[str]:
    """Return the tokens of a text."""
    return _TOKEN.findall(text.lower())


def has_tokens(golds: Iterable[str]) -> bool:
    """Whether any reference has a token; if none has, every text scores 0."""
    return any(map(tokens_of, golds))


def scores_of(answer: str, golds: Sequence[str]) -> tuple[float, ...]:
    """Return the scores by `NAMES`, for each the best of all references."""
    found = [_scores(answer, gold) for gold in golds]
    return tuple(map(max, zip(*found, strict=True))) if found else (0.0,) * len(NAMES)


def _scores(answer: str, gold: str) -> tuple[float, ...]:
    here, there = tokens_of(answer), tokens_of(gold)
    longest = _f(_common_length(here, there), len(here), len(there))
    one_line = "\n" not in answer.strip() and "\n" not in gold.strip()
    by_lines = longest if one_line else _by_lines(answer, gold)
    return longest, _ngrams(here, there, 1), _ngrams(here, there, 2), by_lines


def _f(same: int, here: int, there: int) -> float:
    return 2 * same / (here + there) if here and there else 0.0


def _ngrams(here: list[str], there: list[str], size: int) -> float:
    ours, theirs = (
        Counter(zip(*(tokens[start:] for start in range(size)), strict=False)) for tokens in (here, there)
    )
    return _f(sum((ours & theirs).values()), sum(ours.values()), sum(theirs.values()))


def _common_length(here: Sequence[str], there: Sequence[str]) -> int:
    """Return the length of the longest common subsequence (Hyyrö 2004: bits are places in `here`)."""
    places: dict[str, int] = {}
    for place, token in enumerate(here):
        places[token] = places.get(token, 0) | 1 << place
    full = (1 << len(here)) - 1
    left = full
    for token in there:
        match = left & places.get(token, 0)
        left = ((left + match) | (left - match)) & full
    return len(here) - left.bit_count()


def _by_lines(answer: str, gold: str) -> float:
    """Return rougeLsum: for each line of the reference the union of what it shares with any line."""
    here = [tokens_of(line) for line in answer.split("\n") if line]
    there = [tokens_of(line) for line in gold.split("\n") if line]
    ours, theirs = Counter(_flat(here)), Counter(_flat(there))
    total_here, total_there = ours.total(), theirs.total()
    if not total_here or not total_there:
        return 0.0
    hits = 0
    for line in there:
        union = sorted(set().union(*(_common_places(line, other) for other in here)))
        for token in (line[place] for place in union):
            if ours[token] > 0 and theirs[token] > 0:
                hits += 1
                ours[token] -= 1
                theirs[token] -= 1
    return _f(hits, total_here, total_there)


def _flat(lines: Iterable[Iterable[str]]) -> list[str]:
    return [token for line in lines for token in line]


def _common_places(line: Sequence[str], other: Sequence[str]) -> list[int]:
    """Return the places in `line` of one longest common subsequence, the one that rouge-score finds."""
    rows, columns = len(line), len(other)
    table = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            same = line[i - 1] == other[j - 1]
            table[i][j] = table[i - 1][j - 1] + 1 if same else max(table[i - 1][j], table[i][j - 1])
    i, j, places = rows, columns, []
    while i and j:
        if line[i - 1] == other[j - 1]:
            places.append(i - 1)
            i, j = i - 1, j - 1
        elif table[i][j - 1] > table[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return places
