"""What is kept of each example of a file, in 32 bytes, and what do all of them together show?

Numbers only: digests of inputs and answers, tokens, messages. Of classes it keeps the texts of answers, while
they are few and short.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from batchscore.finetune.example import ExampleTokens, Measured
from batchscore.finetune.kinds import ExampleKind

#: Tokens of this many examples are counted; those of the others follow from their bytes, unless one may be
#: over the limit.
COUNTED = 50_000
#: Answers are classes if there are at most this many, none is longer, and each occurs this often on average.
MOST_CLASSES, LONGEST_CLASS, LEAST_EACH = 200, 60, 3

Digests = npt.NDArray[np.uint64]


@dataclass(slots=True)
class ExampleFacts:
    """The facts of the valid examples of a file, in their order. `lines` are those of the file, from 1.

    `longest` is what the limit of an example holds for: of a preference, one of both conversations.
    """

    counter: ExampleTokens
    kind: ExampleKind
    most_tokens: int
    lines: array[int] = field(default_factory=lambda: array("Q"))
    inputs: array[int] = field(default_factory=lambda: array("Q"))
    answers: array[int] = field(default_factory=lambda: array("Q"))
    tokens: array[float] = field(default_factory=lambda: array("d"))
    turns: Counter[int] = field(default_factory=Counter)
    with_images: int = 0
    classes: dict[int, str] | None = field(default_factory=dict)
    counted_tokens: float = 0.0
    counted_bytes: int = 0
    longest: float = 0.0

    def tokens_of(self, example: Mapping[str, object], size: int) -> tuple[float, float]:
        """Return the tokens of an example of this many bytes, and those that its limit holds for.

        A token has at least a byte, except in images.
        """
        if len(self.tokens) >= COUNTED and (size <= self.most_tokens or not self.most_tokens):
            tokens = size * self.counted_tokens / self.counted_bytes
            self.longest = max(self.longest, tokens)
            return tokens, tokens
        tokens = self.counter.tokens(example, self.kind)
        self.counted_tokens += tokens
        self.counted_bytes += size
        longest = tokens if tokens <= self.most_tokens else self.counter.longest(example, self.kind)
        self.longest = max(self.longest, longest)
        return tokens, longest

    def add(self, line: int, measured: Measured, tokens: float) -> None:
        """Keep the facts of one valid example."""
        self.lines.append(line)
        self.inputs.append(measured.input)
        self.answers.append(measured.answer)
        self.tokens.append(tokens)
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


def token_facts(tokens: npt.NDArray[np.float64], most_tokens: int) -> TokenFacts:
    """Return the facts of some examples' tokens."""
    if not len(tokens):
        return TokenFacts(0, 0, 0, 0, 0)
    billed = np.minimum(tokens, most_tokens) if most_tokens else tokens
    median, p95 = np.percentile(tokens, (50, 95))
    return TokenFacts(
        round(float(tokens.sum())), round(median), round(p95), round(tokens.max()), round(billed.sum())
    )
