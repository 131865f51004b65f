"""Examples of training files that are right, from which tests make wrong ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchscore.finetune.examples.check_file import CheckedFile, CheckOptions, check_file
from batchscore.finetune.examples.example import ExampleTokens
from batchscore.finetune.examples.kinds import KINDS
from batchscore.finetune.examples.rules import LEAST_EXAMPLES, MOST_TOKENS, SERVICES

Json = dict[str, Any]


def chat(number: int = 0, **more: Any) -> Json:
    """Return an example of chat."""
    return {
        "messages": [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": f"What is {number} + 1?"},
            {"role": "assistant", "content": f"It is {number + 1}."},
        ],
        **more,
    }


TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}


def call(key: str = "c1", name: str = "add", arguments: Any = '{"a": 1}') -> Json:
    """Return a call of a tool."""
    return {"id": key, "type": "function", "function": {"name": name, "arguments": arguments}}


def with_tools(number: int = 0) -> Json:
    """Return an example with a call, its result and an answer."""
    return {
        "messages": [
            {"role": "user", "content": f"Add 1 to {number}."},
            {"role": "assistant", "tool_calls": [call()]},
            {"role": "tool", "tool_call_id": "c1", "content": str(number + 1)},
            {"role": "assistant", "content": f"{number + 1}"},
        ],
        "tools": [TOOL],
    }


def preference(number: int = 0) -> Json:
    """Return an example of a preference."""
    return {
        "input": {"messages": [{"role": "user", "content": f"Greet guest {number}."}]},
        "preferred_output": [{"role": "assistant", "content": f"Welcome, guest {number}."}],
        "non_preferred_output": [{"role": "assistant", "content": "What do you want?"}],
    }


def reinforcement(number: int = 0) -> Json:
    """Return an example of reinforcement."""
    return {"messages": [{"role": "user", "content": f"{number} + 1 = ?"}], "answer": str(number + 1)}


def completion(number: int = 0) -> Json:
    """Return a prompt with its completion."""
    return {"prompt": f"{number} ->", "completion": f" {number + 1}"}


PNG = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def with_image(url: str = PNG, *, count: int = 1, **more: Any) -> Json:
    """Return an example with images."""
    image = {"type": "image_url", "image_url": {"url": url, **more}}
    content = [{"type": "text", "text": "What is this?"}, *[image] * count]
    return {
        "messages": [
            {"role": "user", "content": content},
            {"role": "assistant", "content": "A dot."},
        ]
    }


TASKS: dict[str, Any] = {
    "text-classification": lambda n: {"Sentence1": f"Text {n}", "Sentence2": "Other", "Label": f"{n % 2}"},
    "token-classification": lambda n: {"tokens": ["Ann", f"has{n}"], "tags": ["B-PER", "O"]},
    "question-answering": lambda n: {
        "question": f"Who is {n}?",
        "context": f"Ann is {n}.",
        "answers": {"text": ["Ann"], "answer_start": [0]},
    },
    "text-summarization": lambda n: {"document": f"A long text {n}", "summary": f"Text {n}"},
    "text-translation": lambda n: {"en": f"house {n}", "de": f"Haus {n}"},
    "text-generation": lambda n: {"text": f"Once {n}", "ground_truth": f"upon a time {n}"},
}


def lines_of(examples: Sequence[Any]) -> bytes:
    """Return examples as JSON Lines; bytes are lines as they are."""
    return b"".join(
        (each if isinstance(each, bytes) else json.dumps(each, ensure_ascii=False).encode()) + b"\n"
        for each in examples
    )


def checked(
    path: Path,
    content: bytes | None = None,
    *,
    service: str = "any",
    kind: str | None = None,
    most_tokens: int = MOST_TOKENS,
    least: int = LEAST_EXAMPLES,
) -> CheckedFile:
    """Write a file and check it; a token is four bytes."""
    if content is not None:
        path.write_bytes(content)
    counter = ExampleTokens(lambda text: len(text.encode()) / 4, "gpt-4o")
    chosen = KINDS[kind] if kind else None
    return check_file(path, CheckOptions(SERVICES[service], counter, most_tokens, chosen, least))
