"""Every labelled row ends in exactly one class, and failures can be distinguished."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import ErrorCode
from batchscore.evaluate.find_label import LabelFinder
from batchscore.evaluate.fold import Labels
from batchscore.evaluate.outcomes import OUTCOMES, label_outcome, text_outcome
from batchscore.rows import RowError, Score, Settled

FINDER = LabelFinder(Labels(("positive", "negative")))


def answered(value: Any, reason: Any = "stop") -> Settled:
    return Settled("a.csv", 0, Score(value, reason))


def failed(code: ErrorCode) -> Settled:
    return Settled("a.csv", 0, RowError(code, "why"))


@pytest.mark.parametrize(
    ("settled", "outcome", "label"),
    [
        (None, "not_reached", None),
        (answered("positive"), "answered", "positive"),
        (answered(["negative", "positive"], ["stop", "stop"]), "answered", "negative"),
        (answered("happy"), "no_label_found", None),
        (answered("positive or negative"), "several_labels", None),
        # Empty, refused, filtered and wrong answers can be distinguished afterwards.
        (answered(""), "empty", None),
        (answered("  "), "empty", None),
        (answered(None), "empty", None),
        (answered("I cannot say positive.", "refusal"), "refused", None),
        (answered(None, "refusal"), "refused", None),
        (answered(None, "content_filter"), "filtered", None),
        (answered("negative", "content_filter"), "filtered", None),
        (failed(ErrorCode.CONTENT_FILTER), "filtered", None),
        (failed(ErrorCode.TIMEOUT), "error:timeout", None),
        (failed(ErrorCode.EMPTY_INPUT), "error:empty_input", None),
        # A cut answer is not wrong: it counts if its label came before the cut.
        (answered("It is posi", "length"), "truncated", None),
        (answered("This could be positive, since", "length"), "truncated", None),
        (answered("Answer: positive. I say so since", "length"), "answered", "positive"),
        (answered(None, "length"), "truncated", None),
        (answered("<think>positive", "length"), "truncated", None),
    ],
)
def test_a_row_ends_in_one_class(settled: Settled | None, outcome: str, label: str | None) -> None:
    found = label_outcome(settled, FINDER)
    assert (found.name, found.value) == (outcome, label)
    assert found.name in OUTCOMES
    assert found.cut == (outcome == "answered" and "since" in str(found.text))


@pytest.mark.parametrize(
    ("settled", "field", "outcome", "value"),
    [
        (answered("Paris"), None, "answered", "Paris"),
        (answered("<think>hm</think>Paris"), None, "answered", "Paris"),
        (answered({"answer": "Paris"}), "answer", "answered", "Paris"),
        (answered('{"answer": "Paris"}'), "answer", "answered", "Paris"),
        (answered({"answer": 7.0}), "answer", "answered", "7"),
        (answered({"entities": [{"text": "x"}]}), "entities", "answered", [{"text": "x"}]),
        (answered("Paris"), "answer", "no_label_found", None),
        (answered("Par", "length"), None, "truncated", None),
        (answered("<think>hm</think>"), None, "empty", None),
        (answered("No.", "refusal"), None, "refused", None),
        (None, None, "not_reached", None),
    ],
)
def test_a_text_is_an_answer(settled: Settled | None, field: str | None, outcome: str, value: Any) -> None:
    found = text_outcome(settled, field)
    assert (found.name, found.value) == (outcome, value)


@given(
    value=st.one_of(
        st.none(), st.text(), st.floats(), st.lists(st.text()), st.dictionaries(st.text(), st.text())
    ),
    reason=st.sampled_from(["stop", "length", "refusal", "content_filter", None, "odd"]),
)
def test_no_answer_ends_outside_the_classes(value: Any, reason: str | None) -> None:
    for found in (label_outcome(answered(value, reason), FINDER), text_outcome(answered(value, reason))):
        assert found.name in OUTCOMES
        assert found.is_answered == (found.value is not None)
