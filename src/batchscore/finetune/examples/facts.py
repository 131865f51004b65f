"""What is kept of each example of a file, in 32 bytes, and what do all of them together show?

Numbers only: digests of inputs and answers, tokens, messages. Of classes it keeps the texts of answers, while
they are few and short.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from batchscore.finetune.examples.example import ExampleTokens, Measured
from batchscore.finetune.examples.kinds import PREFERENCE_FORMAT, ExampleKind

#: Tokens of the first examples are counted, and of every Nth later one; those of the others follow from
#: their bytes and the last counted examples, unless one may be over the limit.
COUNTED, ONE_IN = 50_000, 10
#: The weight of a counted example, each time that another one is counted.
FADING = 0.99
#: Multiples of the golden ratio fall evenly between 0 and 1, whatever period the rows have.
GOLDEN = (5**0.5 - 1) / 2
#: Answers are classes if there are at most this many, none is longer, and each occurs this often on average.
MOST_CLASSES, LONGEST_CLASS, LEAST_EACH = 200, 60, 3

Digests = npt.NDArray[np.uint64]


@dataclass(slots=True)
class ExampleFacts:
    """The facts of the valid examples of a file, in their order. `lines` are those of the file, from 1.

    `tokens` are those of all conversations of an example. Each is cut off at `most_tokens`, so `billed` may
    be less. `longest` is the longest conversation.
    """

    counter: ExampleTokens
    kind: ExampleKind
    most_tokens: int
    lines: array[int] = field(default_factory=lambda: array("Q"))
    inputs: array[int] = field(default_factory=lambda: array("Q"))
    answers: array[int] = field(default_factory=lambda: array("Q"))
    tokens: array[float] = field(default_factory=lambda: array("d"))
    billed: array[float] = field(default_factory=lambda: array("d"))
    turns: Counter[int] = field(default_factory=Counter)
    with_images: int = 0
    classes: dict[int, str] | None = field(default_factory=dict)
    counted_tokens: float = 0.0
    counted_bytes: float = 0.0
    longest: float = 0.0

    def tokens_of(self, example: Mapping[str, object], size: int) -> tuple[float, ...]:
        """Return the tokens of each conversation of an example of this many bytes.

        A token has at least a byte, except in images.
        """
        seen = len(self.tokens)
        is_picked = seen < COUNTED or seen * GOLDEN % 1 < 1 / ONE_IN
        if not is_picked and (size <= self.most_tokens or not self.most_tokens):
            halves = 2 if self.kind is PREFERENCE_FORMAT else 1
            found: tuple[float, ...] = (size * self.counted_tokens / self.counted_bytes / halves,) * halves
        else:
            found = self.counter.tokens(example, self.kind)
            self.counted_tokens = self.counted_tokens * FADING + sum(found)
            self.counted_bytes = self.counted_bytes * FADING + size
        self.longest = max(self.longest, *found)
        return found

    def add(self, line: int, measured: Measured, tokens: Sequence[float]) -> None:
        """Keep the facts of one valid example; `tokens` are those of its conversations."""
        self.lines.append(line)
        self.inputs.append(measured.input)
        self.answers.append(measured.answer)
        self.tokens.append(sum(tokens))
        self.billed.append(sum(min(each, self.most_tokens or each) for each in tokens))
        self.turns[measured.turns] += 1
        self.with_images += bool(measured.images)
        if self.classes is not None and measured.answer not in self.classes:
            if len(self.classes) == MOST_CLASSES or len(measured.answer_text) > LONGEST_CLASS:
                self.classes = None
            else:
                self.classes[measured.answer] = measured.answer_text.strip()

    def class_names(self) -> Mapping[int, str] | None:
        """Return the classes by the digests of answers; `None` if answers are not classes."""
        if not self.classes or len(self.classes) * LEAST_EACH > len(self.lines):
            return None
        return self.classes if self.kind.name not in {"preference", "token-classification"} else None


def digests(values: Sequence[int]) -> Digests:
    """Return digests as an array."""
    found: Digests = np.array(values, dtype=np.uint64)
    return found


def pairs(facts: ExampleFacts) -> Digests:
    """Return one digest for each example's input and answer."""
    with np.errstate(over="ignore"):
        found: Digests = digests(facts.inputs) * np.uint64(0x9E3779B97F4A7C15) + digests(facts.answers)
    return found


def first_of_equal(values: Digests) -> npt.NDArray[np.int64]:
    """Return for each value the place of the first one that is equal."""
    _, first, which = np.unique(values, return_index=True, return_inverse=True)
    # Some releases of numpy give the inverse another shape.
    found: npt.NDArray[np.int64] = first[which.reshape(-1)]
    return found


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often examples repeat. Places are pairs: an example, and the earlier one that it repeats."""

    duplicates: int
    first_duplicate: tuple[int, int] | None
    conflicting: int
    first_conflict: tuple[int, int] | None
    inputs: int
    answers: int


def repeats(facts: ExampleFacts) -> Repeats:
    """Return how often examples repeat, and how many inputs have different answers."""
    inputs = digests(facts.inputs)
    if not len(inputs):
        return Repeats(0, None, 0, None, 0, 0)
    place = np.arange(len(inputs))
    equal, same_input = first_of_equal(pairs(facts)), first_of_equal(inputs)
    duplicate = equal != place
    # The first example with another answer to an input that came before.
    conflict = (equal == place) & (same_input != place)

    def first(found: npt.NDArray[np.bool_], origin: npt.NDArray[np.int64]) -> tuple[int, int] | None:
        places = np.flatnonzero(found)
        return (int(places[0]), int(origin[places[0]])) if len(places) else None

    return Repeats(
        int(duplicate.sum()),
        first(duplicate, equal),
        len(np.unique(inputs[conflict])),
        first(conflict, same_input),
        len(np.unique(inputs)),
        len(np.unique(digests(facts.answers))),
    )


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """Tokens of all examples: their sum, the usual and the longest; `billed` leaves out what is cut off."""

    total: int
    median: int
    p95: int
    longest: int
    billed: int


def token_facts(facts: ExampleFacts | None, chosen: npt.NDArray[Any] | None = None) -> TokenFacts:
    """Return the facts of some examples' tokens: the `chosen` ones of a file, by their places, or all."""
    lists = ([], []) if facts is None else (facts.tokens, facts.billed)
    tokens, billed = (np.array(each, dtype=np.float64) for each in lists)
    if chosen is not None:
        tokens, billed = tokens[chosen], billed[chosen]
    if not len(tokens):
        return TokenFacts(0, 0, 0, 0, 0)
    median, p95 = np.percentile(tokens, (50, 95))
    return TokenFacts(
        round(float(tokens.sum())), round(median), round(p95), round(tokens.max()), round(billed.sum())
    )
