"""Which vocabulary does a model use, and how are tokens counted with what this machine has?

It knows models by their names only, and downloads nothing. `tiktoken` counts if it is installed and its
vocabulary is on disk already; otherwise tokens are estimated from the shapes of words.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from batchscore.plan.token_shapes import tokens_by_shape
from batchscore.rows import replace_surrogates
from batchscore.task import Task

#: Which vocabulary a model uses, by its name (tiktoken's table of models, version 0.14).
BY_NAME = (
    (r"gpt-?4o|gpt-?4\.[15]|gpt-?5|gpt-oss|(^|[/:])o\d", "o200k_base"),
    (r"text-embedding|ada-002|gpt-?3|gpt-?4|davinci-002|babbage-002", "cl100k_base"),
)

#: tiktoken stores a vocabulary under a digest of this address, and accepts only bytes with this digest.
ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
DIGESTS: Mapping[str, str] = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}

#: Tokens that chat adds around each message and before the answer (OpenAI's cookbook on counting tokens,
#: seen 2026-09).
MESSAGE_TOKENS = 4
ANSWER_TOKENS = 3

#: Of a longer text only this many characters are counted, at its beginning, middle and end.
MOST_COUNTED = 300_000

#: Parts of a message that cost tokens but are not text. Within a text the quotes would be escaped.
NOT_TEXT = re.compile(rb'"type":"(?:image_url|input_audio|file|input_image|input_file)"')


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """How tokens are counted: `count` returns those of one text, `how` and `accuracy` are for a person."""

    how: str
    accuracy: str
    vocabulary: str
    count: Callable[[str], float]


def token_counter_for(model: str, task: Task) -> TokenCounter:
    """Return the best way to count a model's tokens without network access."""
    vocabulary = next((name for words, name in BY_NAME if re.search(words, model, re.IGNORECASE)), None)
    if vocabulary is None:
        # Embedding models tend to have smaller vocabularies.
        vocabulary = "cl100k_base" if task.answer == "vector" else "o200k_base"
        accuracy = "a guess: the tokenizer of this model is unknown"
    else:
        exactly = from_disk(vocabulary)
        if exactly is not None:
            return TokenCounter("with tiktoken", "exact for texts", vocabulary, exactly)
        accuracy = "within 10 % on English, 25 % on Chinese, code and hex"
    return TokenCounter(
        "from the shapes of words", accuracy, vocabulary, partial(tokens_by_shape, vocabulary=vocabulary)
    )


def from_disk(vocabulary: str) -> Callable[[str], float] | None:
    """Return tiktoken's count; `None` if it is not installed or would have to download."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    place = Path(tempfile.gettempdir()) / "data-gym-cache" if folder is None else Path(folder)
    file = place / hashlib.sha1(ADDRESS.format(vocabulary).encode(), usedforsecurity=False).hexdigest()
    try:
        # With other bytes tiktoken would delete the file and download it.
        if folder == "" or hashlib.sha256(file.read_bytes()).hexdigest() != DIGESTS[vocabulary]:
            return None
        import tiktoken  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415 - few have it
    except (ImportError, OSError):
        return None
    encoding = tiktoken.get_encoding(vocabulary)
    # Lone surrogates cannot be encoded.
    return lambda text: float(len(encoding.encode_ordinary(replace_surrogates(text))))


def prompt_tokens(body: bytes, task: Task, count: Callable[[str], float]) -> float:
    """Return the estimated tokens of a prompt of this JSON; pictures and sound count nothing."""
    prompt: Any = orjson.loads(body)
    if not task.takes_messages:
        return count_in_stretches(prompt if isinstance(prompt, str) else body.decode(), count)
    messages = prompt
    if isinstance(prompt, dict):
        content = prompt[task.input_key]
        messages = [{"content": content}] if isinstance(content, str) else content
        messages = [*messages, *({"content": text} for key, text in prompt.items() if key == task.system_key)]
    texts = sum([count_in_stretches(text, count) for message in messages for text in texts_of(message)])
    return ANSWER_TOKENS + MESSAGE_TOKENS * len(messages) + texts


def count_in_stretches(text: str, count: Callable[[str], float]) -> float:
    """Return the tokens of a text; those of a very long one are estimated from three stretches."""
    length = len(text)
    if length <= MOST_COUNTED:
        return max(1.0, count(text))
    third = MOST_COUNTED // 3
    middle = (length - third) // 2
    seen = text[:third] + text[middle : middle + third] + text[-third:]
    return count(seen) * length / len(seen)


def texts_of(message: Mapping[str, Any]) -> list[str]:
    """Return the texts of a chat message; other values count as their JSON."""
    found: list[str] = []
    for key, value in message.items():
        if key in {"role", "type"} or value is None:
            continue
        if key == "content" and isinstance(value, list):
            found += [
                part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str)
            ]
        else:
            found.append(value if isinstance(value, str) else orjson.dumps(value).decode())
    return found


def parameter_tokens(params: Mapping[str, Any], task: Task, count: Callable[[str], float]) -> float:
    """Return the estimated tokens that tools and answer schemas add to each prompt of messages."""
    carried = [params[name] for name in ("tools", "functions", task.format_key) if params.get(name)]
    return sum(count(orjson.dumps(value).decode()) for value in carried)
