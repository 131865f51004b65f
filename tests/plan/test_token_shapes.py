"""Tokens by the shapes of words: compared with true counts, and plausible for any text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.plan.token_shapes import BLOCKS, CLASSES, COSTS, PIECE, VOCABULARIES, cost_of, tokens_by_shape

KNOWN = json.loads(Path(__file__).with_name("known_token_counts.json").read_text("utf-8"))["texts"]

#: The error allowed for all texts of a kind together, and for a single one.
ALLOWED = {"english": (0.05, 0.10), "chinese": (0.10, 0.25), "code": (0.10, 0.25), "hex": (0.10, 0.25)}

VOCABULARY = st.sampled_from(VOCABULARIES)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("kind", ALLOWED)
def test_estimates_are_near_the_true_counts(kind: str, vocabulary: str) -> None:
    texts = [one for one in KNOWN if one["kind"] == kind]
    together, single = ALLOWED[kind]
    estimates = [tokens_by_shape(one["text"], vocabulary) for one in texts]
    true = [one[vocabulary] for one in texts]
    assert sum(estimates) == pytest.approx(sum(true), rel=together)
    assert estimates == [pytest.approx(count, rel=single) for count in true]


@given(st.text())
def test_every_character_is_in_one_piece(text: str) -> None:
    classes = text.translate(CLASSES)
    assert len(classes) == len(text)
    assert "".join(PIECE.findall(classes)) == classes


@given(st.text() | st.text("aB0é .,_\n\t中かя'", max_size=300), VOCABULARY)
def test_an_estimate_lies_between_nothing_and_three_tokens_a_character(text: str, vocabulary: str) -> None:
    tokens = tokens_by_shape(text, vocabulary)
    assert bool(tokens) == bool(text)
    assert 0 <= tokens <= 3 * len(text)


@given(st.text(), st.text(), VOCABULARY)
def test_lines_are_counted_on_their_own(first: str, second: str, vocabulary: str) -> None:
    apart = tokens_by_shape(first, vocabulary) + tokens_by_shape(second, vocabulary)
    assert tokens_by_shape(f"{first}\n{second}", vocabulary) == pytest.approx(apart, abs=4.5)


def test_long_runs_cost_by_their_length_and_few_shapes() -> None:
    """Hundreds of kilobytes of base64 or of one letter neither hang nor fill the memory."""
    for text in ("a" * 10**6, "aB3" * 50_000, " " * 10**6, "." * 10**6, "中" * 50_000, "\n" * 200_000):
        assert tokens_by_shape(text, "o200k_base") > len(text) / 100
    assert cost_of.cache_info().currsize <= (cost_of.cache_info().maxsize or 0)


def test_every_script_has_its_price() -> None:
    assert BLOCKS.keys() - set("l.") <= COSTS.keys()
