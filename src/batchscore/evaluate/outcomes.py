"""In which one class does a labelled row end, so that no row leaves the denominator?

A row is answered, or there is one reason why not. It knows results and how labels are found, no metrics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from batchscore.errors import ErrorCode
from batchscore.evaluate.find_label import FoundLabel, How, LabelFinder, json_of, member, without_reasoning
from batchscore.evaluate.fold import text_of
from batchscore.rows import RowError, Score, Settled

ANSWERED = "answered"
NO_LABEL, SEVERAL, TRUNCATED = "no_label_found", "several_labels", "truncated"
REFUSED, FILTERED, EMPTY, NOT_REACHED = "refused", "filtered", "empty", "not_reached"

#: All classes, the answered first; a row's outcome is stored as its place in this list.
OUTCOMES: tuple[str, ...] = (
    ANSWERED,
    NO_LABEL,
    SEVERAL,
    TRUNCATED,
    REFUSED,
    FILTERED,
    EMPTY,
    NOT_REACHED,
    *(f"error:{code.value}" for code in ErrorCode if code is not ErrorCode.CONTENT_FILTER),
)

#: The finish reasons of answers that were cut, refused or withheld. The first are of the APIs that we read;
#: services beside them use the others.
_REASONS: Mapping[str, str] = {
    "length": TRUNCATED,
    "max_tokens": TRUNCATED,
    "max_output_tokens": TRUNCATED,
    "refusal": REFUSED,
    "content_filter": FILTERED,
    "safety": FILTERED,
    "guardrail": FILTERED,
    "error_toxic": FILTERED,
}


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """How a row ended. `value` is the label or the text of an answered row, `how` the way it was found.

    `text` is what the model wrote, for people; it may quote anything. `cut`: an answered row whose text was
    cut off after its answer.
    """

    name: str
    value: Any = None
    how: How = "none"
    text: str | None = None
    cut: bool = False

    @property
    def is_answered(self) -> bool:
        """Whether the row has an answer, right or wrong."""
        return self.name == ANSWERED


#: How many answers are looked at if no field is named.
_MOST_LOOKED_AT = 1000

#: What a row counts: how it ended, its label as text, its scores.
Judged: TypeAlias = tuple[RowOutcome, str, Mapping[str, float]]


def read_answer(settled: Settled | None) -> Score | RowOutcome:
    """Return the answer of a row, or the outcome of a row that has none to read."""
    if settled is None:
        return RowOutcome(NOT_REACHED)
    if isinstance(settled.result, RowError):
        code = settled.result.code
        return RowOutcome(FILTERED if code is ErrorCode.CONTENT_FILTER else f"error:{code.value}")
    value = settled.result.value
    if value is None or (isinstance(value, str | list) and not value):
        return RowOutcome(_reason(settled.result) or EMPTY)
    return settled.result


def vector_outcome(settled: Settled | None) -> RowOutcome:
    """Return the outcome of a row whose answer is a vector; one that is not finite is none."""
    score = read_answer(settled)
    if isinstance(score, RowOutcome):
        return score
    vector = score.value
    usable = isinstance(vector, np.ndarray) and vector.size > 0 and bool(np.isfinite(vector).all())
    return RowOutcome(ANSWERED, vector) if usable else RowOutcome(EMPTY)


def label_outcome(settled: Settled | None, finder: LabelFinder) -> RowOutcome:
    """Return the outcome of a row that must name a label."""
    score = read_answer(settled)
    if isinstance(score, RowOutcome):
        return score
    value, reason = _first(score), _reason(score)
    text = text_of(value)
    if text is None:
        return RowOutcome(reason or EMPTY)
    found = finder.find(value)
    return _outcome(found, reason, text)


def _outcome(found: FoundLabel, reason: str | None, text: str) -> RowOutcome:
    if reason in {REFUSED, FILTERED}:
        return RowOutcome(reason, text=text)
    if found.label is not None and (reason is None or found.is_sure):
        return RowOutcome(ANSWERED, found.label, found.how, text, cut=reason is not None)
    if reason is not None:
        return RowOutcome(reason, text=text)
    return RowOutcome(SEVERAL if found.how == "several" else NO_LABEL, how=found.how, text=text)


def text_outcome(settled: Settled | None, field: str | None = None) -> RowOutcome:
    """Return the outcome of a row whose text is the answer, or the `field` of its structured answer.

    A text that was cut is no answer to compare: its class says so.
    """
    score = read_answer(settled)
    if isinstance(score, RowOutcome):
        return score
    value, reason = _first(score), _reason(score)
    shown = text_of(value)
    if field is not None:
        parsed = json_of(value) if isinstance(value, str) else value
        value = member(parsed, field)
        if value is None:
            return RowOutcome(reason or NO_LABEL, text=shown)
    answer = without_reasoning(value) if isinstance(value, str) else text_of(value)
    if reason in {REFUSED, FILTERED, TRUNCATED}:
        return RowOutcome(reason, text=shown)
    if not answer or not answer.strip():
        return RowOutcome(reason or EMPTY, text=shown)
    return RowOutcome(ANSWERED, value if isinstance(value, list) else answer, text=shown)


@dataclass(slots=True)
class SeenField:
    """Whether any answer has the field that the user named; `others` are the names that answers have.

    If the user named none, `name` is empty, and the first `texts` say how many of them are JSON `objects`.
    """

    name: str
    found: bool = False
    texts: int = 0
    objects: int = 0
    others: dict[str, None] = dataclasses.field(default_factory=dict)

    def look(self, settled: Settled | None) -> None:
        """Look at one more answer."""
        score = read_answer(settled)
        if self.found or isinstance(score, RowOutcome) or (not self.name and self.texts == _MOST_LOOKED_AT):
            return
        value = _first(score)
        parsed = json_of(without_reasoning(value)) if isinstance(value, str) else value
        self.texts += 1
        if isinstance(parsed, Mapping):
            self.objects += 1
            self.others.update(dict.fromkeys(map(str, parsed)))
            self.found = self.name in parsed or member(parsed, self.name) is not None

    @property
    def gives_nothing(self) -> bool:
        """Whether no answer has the field, or most have fields and none is named."""
        return self.texts > 0 and not self.found if self.name else 2 * self.objects > self.texts

    @property
    def problem(self) -> str:
        """Say why the field gives nothing."""
        shown = ", ".join([*self.others][:20])
        if not self.name:
            return (
                "Most answers are JSON objects, and are compared as such. Name the field that is the answer "
                f"with --field. Their fields are: {shown}."
            )
        if not self.others:
            return f"None of the answers is a JSON object, so none has the field {self.name!r}."
        return f"None of the answers has the field {self.name!r}. Their fields are: {shown}."


def _first(score: Score) -> Any:
    """Return the first of several answers, which have as many reasons; another list is one answer."""
    several = isinstance(score.finish_reason, list) and isinstance(score.value, list) and score.value
    return score.value[0] if several else score.value


def _reason(score: Score) -> str | None:
    reasons: Sequence[Any] = (
        score.finish_reason if isinstance(score.finish_reason, list) else [score.finish_reason]
    )
    return _REASONS.get(str(reasons[0]).lower()) if reasons else None
