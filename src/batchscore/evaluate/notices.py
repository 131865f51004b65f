"""What must a reader know before the figures of a model: about its labels, ids, and fields?

It only reads results, and makes sentences of them; none quotes an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from batchscore.errors import count_text
from batchscore.evaluate.figures import Figure
from batchscore.evaluate.fold import Labels
from batchscore.evaluate.gates import FEW_JOINED
from batchscore.evaluate.judges import Reading
from batchscore.evaluate.labels import JoinCounts, LabelFile, with_first_row
from batchscore.evaluate.measure import ModelRows, similar_text
from batchscore.evaluate.metrics.numbers import curve_of
from batchscore.evaluate.statistics.compare import Comparison
from batchscore.evaluate.statistics.intervals import Floats
from batchscore.settings.declare import as_flag

#: How many labels with several spellings are named.
_MOST_NAMED = 5

#: How many rows with another label than before are named.
_MOST_ROWS = 3

#: Numbers are far apart if a twentieth of the rows has more than this share of their variance.
_MOST_OF_FEW = 0.6


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


def empty_notices(labels: Labels, confusion: npt.NDArray[np.intp] | None) -> Iterator[str]:
    """Yield labels that no row has, from the counts of one model: all have the same rows."""
    rows = [] if confusion is None else confusion.sum(axis=1).tolist()
    found = [name for name, count in zip(labels.names, rows, strict=bool(rows)) if not count]
    if found:
        more = f", and {len(found) - _MOST_NAMED:,} more" if len(found) > _MOST_NAMED else ""
        yield (
            f"No row has the label {', '.join(map(repr, found[:_MOST_NAMED]))}{more}. Means over labels "
            "leave such labels out."
        )


def conflict_notices(file: LabelFile | None) -> Iterator[str]:
    """Yield where a file of labels has another one than before for the same id."""
    if file is None or not file.conflicts:
        return
    places = "; ".join(islice(file.conflicts.values(), _MOST_ROWS))
    places = with_first_row(places + ("; …" if len(file.conflicts) > _MOST_ROWS else ""))
    yield (
        f"Labels of {count_text(len(file.conflicts), 'id')} differ, and count for no row. Another label than "
        f"before is in {places}."
    )


def failed_texts(failed_here: int, counts: JoinCounts) -> Iterator[str]:
    """Yield which rows without an answer no figure counts."""
    if failed_here:
        rows = count_text(failed_here, "row")
        yield f"{rows} without an answer left out, since other outputs lack them; the coverage counts them"
    if counts.failed_unlabelled:
        rows = count_text(counts.failed_unlabelled, "failed row")
        yield f"{rows} left out, since labels differ or rows cannot be read"


def unlearned_notices(labels: Labels, learned: Sequence[Sequence[int]]) -> Iterator[str]:
    """Yield labels that no row has of those that a model learned from; `learned` are the places of these."""
    found = dict.fromkeys(
        labels.names[place] for each in learned for place in sorted({*range(len(labels.names))} - {*each})
    )
    if found:
        more = f", and {len(found) - _MOST_NAMED:,} more" if len(found) > _MOST_NAMED else ""
        named = ", ".join(map(repr, [*found][:_MOST_NAMED]))
        rows = "No row of --train with a vector"
        yield f"{rows} has the label {named}{more}: no row with such a label can be right."


def model_notices(rows: ModelRows, reading: Reading) -> Iterator[str]:
    """Yield what is odd about the rows of a model, whose answers were read in this way."""
    counts, labels = rows.counts, reading.labels
    if not rows.answered.any():
        if rows.texts and reading.pattern is not None:
            what, advice = "a number", ""
            if labels.names:
                what = "one of the labels"
                advice = " If answers have other spellings of the labels, name these with --map."
            yield f"--pattern gives {what} in no text. Compare it with the most frequent texts.{advice}"
        elif rows.texts and labels.names:
            named = ", ".join(map(repr, labels.names[:_MOST_NAMED]))
            more = ", …" if len(labels.names) > _MOST_NAMED else ""
            yield (
                f"No answer names one of the labels: {named}{more}. Is this the column of the labels? If "
                "answers have other spellings, name these with --map."
            )
        else:
            read = " that this task can read" if rows.texts else ""
            yield f"No row has an answer{read}, so the figures say nothing about the model."
    if counts.rows_without_label and counts.unmatched_labels:
        few = max(counts.rows_with_label, counts.labels_with_row) < FEW_JOINED
        yield (
            f"{'Only ' if few else ''}{counts.labelled:,} of {count_text(counts.rows, 'row')} found a label, "
            f"and {count_text(counts.unmatched_labels, 'label')} found no row: the figures are of "
            f"{counts.labelled:,} alone. {similar_text(counts)}"
        ).rstrip()
    if counts.labels_like_nan:
        yield (
            f"{count_text(counts.labels_like_nan, 'row')} with a label such as NaN or null, which counts as "
            "a label like any other. Leave the cell empty if a row has no label."
        )
    if counts.rows_learned_from:
        yield (
            f"{count_text(counts.rows_learned_from, 'row')} with the same vector as a row of --train, most "
            "likely of the same text: figures are better than for new texts."
        )
    if counts.tags_of_other_length:
        yield (
            f"{count_text(counts.tags_of_other_length, 'answer')} with more or fewer tags than the label "
            "fit no words, and count as no_label_found."
        )
    if not counts.others_known:
        missing = missing_text(counts)
        yield (
            f"{missing[0].upper()}{missing[1:]}. Without these, figures may be too good: none is known or "
            "compared, and no requirement on one is met."
        )
    if counts.labels_without_tokens:
        yield (
            f"ROUGE finds nothing in {count_text(counts.labels_without_tokens, 'label')}, as in those in "
            "other scripts."
        )
    if without := int(rows.marks["hopeless"].sum()) if "hopeless" in rows.marks else 0:
        yield f"{count_text(without, 'row')} without a relevance above 0, and so with figures of 0."
    if counts.documents_missing:
        yield (
            f"{count_text(counts.documents_missing, 'relevant document')} cannot be found: not among the "
            "documents, or without a vector."
        )
    if (share := _share_of_few(rows)) > _MOST_OF_FEW:
        yield (
            f"A twentieth of the rows makes up {share:.0%} of the variance of the labels or of the answers. "
            "The interval of Pearson's correlation may be too narrow, as rows with still larger numbers may "
            "be missing here; Spearman's does not depend on them."
        )
    if curve_of(_numbers(rows)) >= 1:
        yield (
            "The ranks of answers and labels are correlated much better than their values: these are along a "
            "curve, or a few are far off. Pearson's correlation is then mostly too far from 0, and its "
            "interval is three times as long towards 0. Use Spearman's."
        )
    if removed := rows.output.removed_files():
        files = ", ".join(removed[:_MOST_NAMED]) + (", …" if len(removed) > _MOST_NAMED else "")
        yield (
            f"{count_text(len(removed), 'file')} gone from the inputs, whose rows count all the same: "
            f"{files}. To remove their records, run the score command with "
            f"{as_flag('incremental')} and {as_flag('prune')}."
        )
    if rows.output.is_cut:
        yield "Its run was limited to some rows, and the others are not counted."
    if rows.seen_field is not None and rows.seen_field.gives_nothing:
        yield rows.seen_field.problem


@np.errstate(all="ignore")
def _share_of_few(rows: ModelRows) -> float:
    """Return the share that the twentieth of rows which are furthest from the mean has in the variance."""
    pairs = _numbers(rows)
    if (most := len(pairs) // 20) == 0:
        return 0.0
    squares = np.sort((pairs - pairs.mean(0)) ** 2, axis=0)
    return float(np.nan_to_num(squares[-most:].sum(0) / squares.sum(0)).max())


def _numbers(rows: ModelRows) -> Floats:
    """Return the answers and labels that are numbers."""
    pairs = rows.tables.get("pairs", np.empty((0, 2)))
    return np.asarray(pairs[np.isfinite(pairs).all(axis=1)])


def missing_text(counts: JoinCounts) -> str:
    """Return which vectors are missing beside those of the rows, and what to do."""
    what, option = ("document", "--documents") if counts.documents else ("training row", "--train")
    texts = []
    if counts.others_limited:
        texts.append(f"the {what}s were scored with {as_flag('limit')}; score all of them")
    if counts.others_without_vector:
        texts.append(
            f"{count_text(counts.others_without_vector, what)} without a vector; run the score command of "
            f"{option} again with {as_flag('retry_errors')}. What can never be scored, such as an empty "
            f"text, must leave the input, and that command then needs {as_flag('incremental')}"
        )
    return "; ".join(texts)


def withheld_notices(measured: Sequence[Mapping[str, Figure]]) -> Iterator[str]:
    """Yield the figures that are not known of all rows, from those of each model."""
    found = dict.fromkeys(
        name for each in measured for name, figure in each.items() if figure.unanswered == "withheld"
    )
    if found:
        yield (
            "Not known over all rows, since rows failed for which no answer is the worst: "
            f"{', '.join(found)}. The figures of the answered rows are shown; --unanswered exclude measures "
            "these alone."
        )


def comparison_notices(
    compared: Sequence[Mapping[str, Comparison | None]], confidence: float
) -> Iterator[str]:
    """Yield the figures that are not compared, and those whose p-value and interval say different things."""
    every = [each for comparisons in compared for each in comparisons.items()]
    if none := dict.fromkeys(name for name, found in every if found is None):
        yield f"Not compared with the baseline, since no test fits these rows: {', '.join(none)}."
    unsure = dict.fromkeys(
        name
        for name, found in every
        if found is not None
        and found.low is not None
        and found.high is not None
        and found.low <= 0 <= found.high
        and found.p_value <= 1 - confidence
    )
    if unsure:
        yield (
            f"The p-value of a difference is at most {1 - confidence:g}, but its interval holds 0: "
            f"{', '.join(unsure)}. The test only swaps the answers of both models; the interval also allows "
            "for rows that are not in so small a set. Take more rows before you rely on this difference."
        )
