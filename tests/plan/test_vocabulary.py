"""Which vocabulary a model uses, and what chat adds to a prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchscore.plan.vocabulary import from_disk, parameter_tokens, prompt_tokens, token_counter_for
from batchscore.task import CHAT, EMBEDDINGS, RESPONSES, Task


def words(text: str) -> float:
    return float(len(text.split()))


@pytest.mark.parametrize(
    ("model", "vocabulary"),
    [
        ("text-embedding-3-small", "cl100k_base"),
        ("text-embedding-ada-002", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-0125-preview", "cl100k_base"),
        ("gpt-4o-mini", "o200k_base"),
        ("openai/gpt-4.1-nano", "o200k_base"),
        ("gpt-5-mini", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("gpt-oss-20b", "o200k_base"),
    ],
)
def test_the_vocabulary_follows_from_the_models_name(model: str, vocabulary: str) -> None:
    counter = token_counter_for(model, CHAT)
    assert counter.vocabulary == vocabulary
    assert "guess" not in counter.accuracy


def test_an_unknown_model_is_a_guess() -> None:
    assert "guess" in token_counter_for("llama-3-70b", CHAT).accuracy
    assert token_counter_for("bge-m3", EMBEDDINGS).vocabulary == "cl100k_base"


def test_chat_adds_tokens_to_each_message_and_to_the_answer() -> None:
    said = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one two three"}]
    assert prompt_tokens(json.dumps(said).encode(), CHAT, words) == 3 + (4 + 2) + (4 + 3)
    assert prompt_tokens(b'"one two"', EMBEDDINGS, words) == 2


def test_all_texts_of_a_message_count_and_pictures_do_not() -> None:
    parts = [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": "data:" + "x " * 999}},
    ]
    said = [{"role": "user", "name": "ada", "content": parts}]
    assert prompt_tokens(json.dumps(said).encode(), CHAT, words) == 3 + 4 + 3 + 1


def test_tools_and_schemas_count_for_every_prompt() -> None:
    def tokens(task: Task, **params: Any) -> float:
        return parameter_tokens(params, task, lambda text: float(len(text)))

    assert tokens(CHAT, temperature=0, tools=[]) == 0
    assert tokens(CHAT, tools=[{"type": "function"}]) > 10
    form = {"type": "json_schema", "schema": {"type": "object"}}
    assert tokens(RESPONSES, text={"format": form}) > tokens(CHAT, response_format=form) > 10
    assert tokens(RESPONSES, response_format=form) == 0


def test_a_prompt_of_responses_counts_as_the_same_messages_of_chat() -> None:
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "one two three"}]
    chat = prompt_tokens(json.dumps(said).encode(), CHAT, words)
    plain = {"input": "one two three", "instructions": "Be kind."}
    assert prompt_tokens(json.dumps(plain).encode(), RESPONSES, words) == chat
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one two three"}]}
    ]
    assert prompt_tokens(json.dumps({**plain, "input": items}).encode(), RESPONSES, words) == chat


def test_a_very_long_text_is_estimated_from_stretches() -> None:
    text = "word " * 200_000
    counted: list[int] = []

    def count(one: str) -> float:
        counted.append(len(one))
        return words(one)

    assert prompt_tokens(json.dumps(text).encode(), EMBEDDINGS, count) == pytest.approx(200_000, rel=0.01)
    assert max(counted) <= 300_000


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither if the vocabulary is missing, nor if it has other bytes."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert from_disk("o200k_base") is None
    (tmp_path / "fb374d419588a4632f3f557e76b4b70aebbca790").write_bytes(b"IQ== 0\n")
    assert from_disk("o200k_base") is None
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert from_disk("o200k_base") is None
