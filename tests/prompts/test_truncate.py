"""Rows that are too long keep their beginning."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from batchscore.prompts.truncate import truncate
from batchscore.rows import Prompt


def prompt(value: Any) -> Prompt:
    return Prompt("f", 0, orjson.dumps(value))


@given(text=st.text(max_size=400), fitting=st.none() | st.floats(0.01, 2))
def test_a_text_becomes_its_own_beginning_or_nothing(text: str, fitting: float | None) -> None:
    cut = truncate(prompt(text), fitting)
    if cut is None:
        return
    kept = orjson.loads(cut.body)
    assert text.startswith(kept)
    assert len(kept) < len(text)
    assert cut.truncated


def test_repeated_truncation_ends() -> None:
    cut: Prompt | None = prompt("x" * 1_000_000)
    rounds = 0
    while cut is not None:
        cut = truncate(cut, None)
        rounds += 1
    assert rounds < 50


def test_the_longest_text_of_messages_is_cut() -> None:
    long = "word " * 500
    messages = [
        {"role": "system", "content": "short"},
        {"role": "user", "content": [{"type": "text", "text": long}, {"type": "image_url", "image_url": {}}]},
    ]
    cut = truncate(prompt(messages), 0.5)
    assert cut is not None
    after = orjson.loads(cut.body)
    assert after[0] == messages[0]
    assert 0.45 < len(after[1]["content"][0]["text"]) / len(long) < 0.5
    assert after[1]["content"][1] == messages[1]["content"][1]  # type: ignore[index]
    assert truncate(prompt([{"role": "user", "content": None}]), 0.5) is None


def test_of_a_prompt_with_instructions_only_the_input_is_cut() -> None:
    long = "word " * 500
    instructions = "Be kind. " * 500
    for content in (long, [{"role": "user", "content": [{"type": "input_text", "text": long}]}]):
        cut = truncate(prompt({"input": content, "instructions": instructions}), 0.5)
        assert cut is not None
        after = orjson.loads(cut.body)
        assert after["instructions"] == instructions
        kept = after["input"] if isinstance(content, str) else after["input"][0]["content"][0]["text"]
        assert 0.45 < len(kept) / len(long) < 0.5
    assert truncate(prompt({"input": "short", "instructions": instructions}), 0.5) is None


def test_a_list_of_tokens_is_cut_like_a_text() -> None:
    shorter = truncate(Prompt("f", 0, orjson.dumps([*range(100)])), 0.5)
    assert shorter is not None
    assert orjson.loads(shorter.body) == [*range(47)]
