"""What must a reader know before the figures of a model: about its labels, ids, and fields?

It only reads results, and makes sentences of them; none quotes an answer.
"""

from __future__ import annotations

from collections.abc import Iterator

from batchscore.errors import count_text
from batchscore.evaluate.fold import Labels
from batchscore.evaluate.gates import FEW_JOINED
from batchscore.evaluate.measure import ModelRows, similar_text

#: How many labels with several spellings are named.
_MOST_NAMED = 5


def label_notices(labels: Labels) -> Iterator[str]:
    """Yield what was decided about labels with several spellings."""
    if not labels.merged:
        return
    named = "; ".join(
        f"{', '.join(map(repr, spellings))} are {name!r}"
        for name, spellings in [*labels.merged.items()][:_MOST_NAMED]
    )
    more = len(labels.merged) - _MOST_NAMED
    yield (
        f"Labels that differ only in case, blanks or punctuation are one label: {named}"
        f"{f'; and {more} more' if more > 0 else ''}. To tell them apart, name all labels with --labels."
    )


def model_notices(rows: ModelRows) -> Iterator[str]:
    """Yield what is odd about the rows of a model."""
    counts = rows.counts
    if counts.rows_without_label and counts.unmatched_labels:
        few = max(counts.rows_with_label, counts.labels_with_row) < FEW_JOINED
        yield (
            f"{'ONLY ' if few else ''}{counts.labelled:,} of {count_text(counts.rows, 'row')} have a label, "
            f"and {count_text(counts.unmatched_labels, 'label')} have no row: the figures are of "
            f"{counts.labelled:,} alone. " + similar_text(counts)
        ).rstrip()
    if rows.seen_field is not None and rows.seen_field.texts and not rows.seen_field.found:
        yield rows.seen_field.problem
