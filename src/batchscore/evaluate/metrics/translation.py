"""How near are translations to their references, by sacrebleu's BLEU and chrF over all rows together?

sacrebleu counts each row once; figures, resamples and comparisons are made from sums of these counts. It is
an optional dependency.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from batchscore.errors import SettingsError
from batchscore.evaluate.statistics.intervals import Floats

#: Figures of all rows together, the main one first.
NAMES = ("chrf", "bleu")


def metric_named(name: str, tokenize: str = "13a") -> Any:
    """Return sacrebleu's metric; raises `SettingsError` if it is not installed."""
    try:
        from sacrebleu.metrics import BLEU, CHRF  # noqa: PLC0415 - optional
    except ImportError:
        raise SettingsError(
            "BLEU and chrF need sacrebleu, which is not installed. Run: pip install 'batchscore[evaluate]'"
        ) from None
    return BLEU(tokenize=tokenize) if name == "bleu" else CHRF()


def counts_of(metric: Any, answers: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """Return the counts of each row, `(n, s)`; `references` are the right texts of each row."""
    if not answers:
        return np.zeros((0, 1))
    most = max(map(len, references))
    # sacrebleu takes one list for each reference; a row with fewer has nothing there.
    streams = [[each[place] if place < len(each) else None for each in references] for place in range(most)]
    # Its own paired tests use these two, too.
    return np.array(metric._extract_corpus_statistics([*answers], streams), dtype=float)  # noqa: SLF001


def figure_of(metric: Any) -> Callable[[Floats], Floats]:
    """Return what turns sums of counts, `(r, s)`, into figures from 0 to 100."""

    def figure(sums: Floats) -> Floats:
        # BLEU's counts are whole numbers, and it compares them with 0.
        return np.array([metric._compute_score_from_stats(each.tolist()).score for each in sums])  # noqa: SLF001

    return figure


def signature_of(metric: Any) -> str:
    """Return how the figure was made, without which it compares with no other one."""
    return str(metric.get_signature())
