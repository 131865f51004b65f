"""Failed rows never make a figure better: of every task, every figure, and every way to fail."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.errors import ErrorCode
from batchscore.evaluate.comparisons import compare
from batchscore.evaluate.figures import FigureOptions, figure_of, names_of
from batchscore.evaluate.fold import Labels
from batchscore.evaluate.judges import Reading
from batchscore.evaluate.labels import JoinCounts, LabelledRow
from batchscore.evaluate.measure import ModelRows, measure
from batchscore.evaluate.outcomes import ANSWERED, OUTCOMES, RowOutcome
from batchscore.evaluate.scored import ScoredRow
from batchscore.evaluate.statistics.intervals import Sampling
from batchscore.evaluate.tasks import ERRORS, EVALUATION_TASKS
from batchscore.evaluate.vector_judges import Documents, PairedRows, Second, TrainingRows
from batchscore.rows import RowError, Score, Settled
from hypothesis_profiles import examples

OPTIONS = FigureOptions(Sampling(resamples=2))

LABELS = ("alpha", "beta", "gamma")
WORDS = ("red", "green", "blue", "dark red", "sea", "the")
TAGS = ("O", "B-X", "I-X", "B-Y")
NUMBERS = ("0", "1", "2.5", "-40", "1000")

#: For each way to fail a result: those of all tasks, those of texts too, those of labels too.
NO_RESULT: Mapping[str, Any] = {
    "not_reached": None,
    **{
        f"error:{code.value}": RowError(code, "x")
        for code in ErrorCode
        if code is not ErrorCode.CONTENT_FILTER
    },
    "filtered": RowError(ErrorCode.CONTENT_FILTER, "x"),
}
NO_TEXT: Mapping[str, Any] = {
    **NO_RESULT,
    "empty": Score("", "stop"),
    "refused": Score("I cannot help with alpha.", "refusal"),
    "truncated": Score("Well, let me think: al", "length"),
}
NO_LABEL: Mapping[str, Any] = {
    **NO_TEXT,
    "no_label_found": Score("delta", "stop"),
    "several_labels": Score("alpha or beta", "stop"),
}

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
entities = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(("X", "Y"))).map(list), max_size=6)
several = st.lists(st.sampled_from((*LABELS, "delta")), max_size=6)
tags = st.integers(1, 5).flatmap(
    lambda size: st.tuples(*(st.lists(st.sampled_from(TAGS), min_size=size, max_size=size),) * 2)
)
vectors = st.sampled_from(
    [*np.eye(3, dtype=np.float32), *np.ones((1, 3), np.float32), *-np.eye(3, dtype=np.float32)]
)
relevances = st.dictionaries(st.sampled_from(("d0", "d1", "d2")), st.integers(0, 2), min_size=1)


def _second(kind: str) -> Second | None:
    three = np.eye(3, dtype=np.float32)
    if kind == "pairs":
        return PairedRows({place: [RowOutcome(ANSWERED, three[place % 3])] for place in range(20)})
    if kind in {"probe", "neighbours"}:
        return TrainingRows(np.concatenate([three] * 3), np.arange(9) % 3)
    return Documents(three, ["d0", "d1", "d2"], 0) if kind == "ranking" else None


#: For each task, a label with an answer, and the ways to fail.
Rows = st.SearchStrategy[tuple[Any, Any]]
CASES: Mapping[str, tuple[str, Rows, Mapping[str, Any]]] = {
    "labels": ("text-classification", st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), NO_LABEL),
    "tags": ("token-classification", tags.map(lambda both: (both[0], json.dumps(both[1]))), NO_TEXT),
    "entities": ("token-classification", st.tuples(entities, entities.map(json.dumps)), NO_TEXT),
    "several": ("text-classification-multilabel", st.tuples(several, several.map(json.dumps)), NO_TEXT),
    "answers": ("question-answering", st.tuples(texts, texts), NO_TEXT),
    "masks": ("fill-mask", st.tuples(texts, texts), NO_TEXT),
    "summaries": ("text-summarization", st.tuples(texts, texts), NO_TEXT),
    "texts": ("text-generation", st.tuples(texts, texts), NO_TEXT),
    "translations": ("text-translation", st.tuples(texts, texts), NO_TEXT),
    "numbers": (
        "regression",
        st.tuples(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS)),
        {**NO_TEXT, "no_label_found": Score("many", "stop")},
    ),
    "pairs": ("sts", st.tuples(st.sampled_from(NUMBERS), vectors), NO_RESULT),
    "neighbours": ("knn", st.tuples(st.sampled_from(LABELS), vectors), NO_RESULT),
    "queries": ("retrieval", st.tuples(relevances, vectors), NO_RESULT),
    "probe": ("embedding-classification", st.tuples(st.sampled_from(LABELS), vectors), NO_RESULT),
    "clusters": ("clustering", st.tuples(st.sampled_from(LABELS), vectors), NO_RESULT),
}


#: Those that take most time.
SLOW = ("probe", "clusters")


@dataclass(frozen=True)
class Given:
    """Rows with their labels, as a source of labels gives them."""

    pairs: Sequence[tuple[Any, Any]]
    file: None = None
    column: str = "label"

    def rows(self, _: Any, counts: JoinCounts) -> Any:
        counts.rows = len(self.pairs)
        for place, (gold, result) in enumerate(self.pairs):
            settled = None if result is None else Settled("a.csv", place, result)
            yield LabelledRow(ScoredRow("a.csv", place, None, {}, settled), gold, place)


def rows_of(task: str, pairs: Sequence[tuple[Any, Any]]) -> tuple[ModelRows, Reading]:
    known = EVALUATION_TASKS[task]
    labels = Labels(LABELS if known.has_classes or known.kind in {"probe", "clusters"} else ())
    reading = Reading(known, labels, second=_second(known.kind))
    source: Any = Given(pairs)
    return measure("m", None, source, reading), reading  # type: ignore[arg-type]


def values_of(task: str, pairs: Sequence[tuple[Any, Any]]) -> dict[str, float | None]:
    rows, reading = rows_of(task, pairs)
    return {name: figure_of(name, rows, reading, OPTIONS).value for name in names_of(reading, rows.tables)}


def is_better(name: str, after: float | None, before: float | None) -> bool:
    """Whether a figure is better; one that was not defined, and is, counts as better."""
    if after is None:
        return False
    if before is None:
        return True
    gain = after - before
    return (-gain if name in ERRORS else gain) > 1e-9


@pytest.mark.parametrize("case", [each for each in CASES if each not in SLOW])
@given(data=st.data())
def test_failed_rows_never_make_a_figure_better(case: str, data: st.DataObject) -> None:
    """Whatever was answered, and whichever rows fail beside those that have failed before."""
    if case == "translations":
        pytest.importorskip("sacrebleu")
    check_failed_rows(case, data)


@pytest.mark.process  # joblib asks the system for its processors
@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW)
@settings(max_examples=examples(4))
@given(data=st.data())
def test_failed_vectors_never_make_a_figure_better(case: str, data: st.DataObject) -> None:
    pytest.importorskip("sklearn")
    check_failed_rows(case, data)


def check_failed_rows(case: str, data: st.DataObject) -> None:
    """Let some of the answered rows fail, and compare all figures."""
    task, rows, failures = CASES[case]
    failed = st.sampled_from(sorted(failures))
    given_rows = data.draw(st.lists(rows, min_size=1, max_size=8))
    before, after, ends = [], [], list[str]()
    for gold, answer in given_rows:
        how = data.draw(st.none() | failed)
        fails_before = how is not None and data.draw(st.integers(0, 3)) == 0
        answered = Score(answer, None if isinstance(answer, np.ndarray) else "stop")
        before.append((gold, failures[how] if how is not None and fails_before else answered))
        after.append((gold, answered if how is None else failures[how]))
        ends.append(ANSWERED if how is None else how)
    outcomes = rows_of(task, after)[0].outcomes
    assert [OUTCOMES[place] for place in outcomes] == ends
    found = values_of(task, before)
    for name, value in values_of(task, after).items():
        assert not is_better(name, value, found[name]), name


@pytest.mark.parametrize("rows", [11, 40])
@pytest.mark.parametrize("name", ["matthews_correlation", "f1_score_macro", "balanced_accuracy"])
def test_a_difference_is_as_uncertain_as_its_two_figures(name: str, rows: int) -> None:
    """One model is right in nearly all rows, the other in none: so are resamples of them."""
    gold = [LABELS[row % 3] for row in range(rows)]
    right = [(each, Score(each, "stop")) for each in gold]
    wrong = [(each, Score(other, "stop")) for each, other in zip(gold, gold[1:] + gold[:1], strict=True)]
    (one, reading), (two, _) = (rows_of("text-classification", pairs) for pairs in (right, wrong))
    found = compare(name, one, two, reading, FigureOptions(Sampling(resamples=200)))
    assert found is not None
    if found.low is not None:
        assert found.low < found.difference - 0.1


def test_very_many_labels_have_no_interval_that_would_take_hours() -> None:
    names = tuple(f"label {number}" for number in range(1500))
    reading = Reading(EVALUATION_TASKS["text-classification"], Labels(names))
    source: Any = Given([(name, Score(names[place // 2], "stop")) for place, name in enumerate(names)])
    rows = measure("m", None, source, reading)  # type: ignore[arg-type]
    options = FigureOptions(Sampling(resamples=2000))
    found = {name: figure_of(name, rows, reading, options) for name in ("accuracy", "f1_score_macro")}
    assert (found["accuracy"].method, found["f1_score_macro"].method) == ("wilson", "")
    assert found["f1_score_macro"].value is not None
    assert compare("accuracy", rows, rows, reading, options) is not None
    assert compare("f1_score_macro", rows, rows, reading, options) is None
    rows.groups["author"] = np.arange(len(names)) // 3
    options = FigureOptions(Sampling(resamples=20), cluster="author")
    assert figure_of("accuracy", rows, reading, options).method == "cluster_bootstrap"
    assert figure_of("f1_score_macro", rows, reading, options).method == ""
