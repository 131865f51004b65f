"""By whose vocabulary does a model cut texts, and how are tokens counted with what this machine has?

It knows models by their names only, and never downloads anything: `tiktoken` counts where it is installed and
the vocabulary is on disk already, else the shapes of words tell about how many there are.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from batchscore.plan.token_shapes import count_tokens

#: Which vocabulary a model of such a name uses (tiktoken's table of models, version 0.14).
BY_NAME = (
    (re.compile(r"gpt-?4o|gpt-?4\.[15]|gpt-?5|gpt-oss|(^|[/:])o\d", re.IGNORECASE), "o200k_base"),
    (
        re.compile(r"text-embedding|ada-002|gpt-?3|gpt-?4|davinci-002|babbage-002", re.IGNORECASE),
        "cl100k_base",
    ),
)

#: Where tiktoken keeps a vocabulary: under a digest of this address, with these bytes or not at all.
ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
DIGESTS: Mapping[str, str] = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}

#: What chat adds: around each message, and before the answer (OpenAI's cookbook on counting tokens, seen
#: 2026-09).
MESSAGE_TOKENS = 4
ANSWER_TOKENS = 3

#: Of a longer text only so many characters are looked at, at its beginning, middle and end.
MOST_LOOKED_AT = 300_000

#: Parts of a message that are not text, though they cost tokens.
NOT_TEXT = frozenset({"image_url", "input_audio", "file"})


@dataclass(frozen=True, slots=True)
class Counting:
    """How tokens are counted: `count` gives those of one text, `how` and `accuracy` are for a person."""

    how: str
    accuracy: str
    vocabulary: str
    count: Callable[[str], float]


def counting_for(model: str, task: str) -> Counting:
    """Return the best way to count a model's tokens that needs no network."""
    vocabulary = next((name for pattern, name in BY_NAME if pattern.search(model)), None)
    if vocabulary is None:
        # Of vocabularies that nobody knows here, those of embedding models tend to be smaller.
        nearest = "cl100k_base" if task == "embeddings" else "o200k_base"
        return Counting(
            "by the shapes of words",
            "a guess: the vocabulary of this model is not known here",
            nearest,
            lambda text: count_tokens(text, nearest),
        )
    exactly = from_disk(vocabulary)
    if exactly is not None:
        return Counting("with tiktoken", "exact for texts", vocabulary, exactly)
    return Counting(
        "by the shapes of words",
        "within 10 % on English, 25 % on Chinese, code and hex",
        vocabulary,
        lambda text: count_tokens(text, vocabulary),
    )


def from_disk(vocabulary: str) -> Callable[[str], float] | None:
    """Return tiktoken's count; `None` where it is not installed or would have to download."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    place = Path(tempfile.gettempdir()) / "data-gym-cache" if folder is None else Path(folder)
    kept = place / hashlib.sha1(ADDRESS.format(vocabulary).encode(), usedforsecurity=False).hexdigest()
    try:
        # With other bytes tiktoken would throw the file away and ask the network.
        if folder == "" or hashlib.sha256(kept.read_bytes()).hexdigest() != DIGESTS[vocabulary]:
            return None
        import tiktoken  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415 - few have it
    except (ImportError, OSError):
        return None
    encoding = tiktoken.get_encoding(vocabulary)
    return lambda text: float(len(encoding.encode_ordinary(without_surrogates(text))))


def without_surrogates(text: str) -> str:
    """Return a text that can be encoded."""
    return text.encode("utf-8", "replace").decode()


def prompt_tokens(body: bytes, task: str, count: Callable[[str], float]) -> float:
    """Return about how many tokens a prompt of this JSON is charged; pictures and sound count nothing."""
    asked: Any = orjson.loads(body)
    if task != "chat":
        return looked_at(asked if isinstance(asked, str) else body.decode(), count)
    texts = [text for message in asked for text in texts_of(message)]
    return ANSWER_TOKENS + MESSAGE_TOKENS * len(asked) + sum(looked_at(text, count) for text in texts)


def looked_at(text: str, count: Callable[[str], float]) -> float:
    """Return the tokens of a text, of a very long one by three stretches of it."""
    length = len(text)
    if length <= MOST_LOOKED_AT:
        return max(1.0, count(text))
    third = MOST_LOOKED_AT // 3
    middle = (length - third) // 2
    seen = text[:third] + text[middle : middle + third] + text[-third:]
    return count(seen) * length / len(seen)


def texts_of(message: Mapping[str, Any]) -> list[str]:
    """Return the texts of a chat message; what else a message may carry counts as its JSON does."""
    found: list[str] = []
    for key, value in message.items():
        if key == "role" or value is None:
            continue
        if isinstance(value, str):
            found.append(value)
        elif key == "content" and isinstance(value, list):
            found += [
                part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str)
            ]
        else:
            found.append(orjson.dumps(value).decode())
    return found


def holds_more_than_text(body: bytes) -> bool:
    """Whether a chat prompt carries pictures, sound or files, whose tokens nobody can tell from here."""
    if not any(name.encode() in body for name in NOT_TEXT):
        return False
    return any(
        isinstance(part, dict) and part.get("type") in NOT_TEXT
        for message in orjson.loads(body)
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for part in message["content"]
    )


def parameter_tokens(params: Mapping[str, Any], count: Callable[[str], float]) -> float:
    """Return about what tools and answer schemas among a chat request's parameters add to each prompt."""
    carried = [params[name] for name in ("tools", "functions", "response_format") if params.get(name)]
    return sum(count(orjson.dumps(value).decode()) for value in carried)
