"""The tokens of a file's examples: those that are counted, those that follow from bytes, and those billed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from batchscore.finetune.examples.example import ExampleTokens, Measured
from batchscore.finetune.examples.facts import COUNTED, ExampleFacts, token_facts
from batchscore.finetune.examples.kinds import CHAT_FORMAT, PREFERENCE_FORMAT


class Known(ExampleTokens):
    """Each example says how many tokens its conversations have."""

    def tokens(self, example: Any, kind: Any) -> tuple[float, ...]:  # noqa: ARG002 - has no rules
        found: tuple[float, ...] = example["tokens"]
        return found


def facts_of(kind: Any, examples: Iterable[tuple[float, ...]]) -> ExampleFacts:
    facts = ExampleFacts(Known(len, "m"), kind, 65_536)
    for number, each in enumerate(examples):
        found = facts.tokens_of({"tokens": each}, 400)
        facts.add(number, Measured(number, 0, "", 2, 0), found)
    return facts


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "later",
    [
        pytest.param([250.0], marks=SLOW),
        pytest.param([100.0, *[250.0] * 9], marks=SLOW),
        [900.0, *[20.0] * 9],
    ],
)
def test_tokens_of_later_examples_are_not_those_of_the_first(later: list[float]) -> None:
    """Rows are sorted by language, or their kinds alternate."""
    tokens = [100.0] * COUNTED + later * (20_000 // len(later))
    assert token_facts(facts_of(CHAT_FORMAT, ((each,) for each in tokens))).total == pytest.approx(
        sum(tokens), rel=0.02
    )


def test_each_conversation_of_a_preference_is_cut_at_the_limit() -> None:
    found = token_facts(facts_of(PREFERENCE_FORMAT, [(60_000.0, 60_000.0)] * 9 + [(70_000.0, 100.0)]))
    assert (found.total, found.billed) == (9 * 120_000 + 70_100, 9 * 120_000 + 65_536 + 100)
