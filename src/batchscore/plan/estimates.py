"""How long does a run take at given rate limits, and how many bytes does it write?

Pure arithmetic; a figure that cannot be known is `None`. It ignores latency: if limits are generous, the
service's own speed decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from batchscore.settings.fields import Settings
from batchscore.task import TASKS

#: The length of vectors by model (OpenAI's page on embeddings, seen 2026-09).
DIMENSIONS: Mapping[str, int] = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}

#: Maximum tokens of one input, by model (OpenAI's pages of models, seen 2026-09).
MOST_INPUT_TOKENS: Mapping[str, int] = {
    r"text-embedding-3-(small|large)|text-embedding-ada-002": 8192,
    r"gpt-4\.1": 1_047_576,
    r"gpt-5": 272_000,
    r"(^|[/:])o[134]": 200_000,
    r"gpt-4o|gpt-4-turbo": 128_000,
    r"gpt-3\.?5-turbo": 16_385,
    r"gpt-4-32k": 32_768,
    r"gpt-4($|-0613)": 8192,
}

#: Bytes of a vector's number: the shortest text of a float32 and a comma, or a float32.
NUMBER_BYTES = {"jsonl": 12.5, "parquet": 4.0}

#: Bytes of a record besides names, vector or text: keys, quotes, row numbers.
RECORD_BYTES = {"jsonl": 40.0, "parquet": 8.0}

#: Bytes per token of an answer, rather too high.
TOKEN_BYTES = 4.5


class RateLimits(NamedTuple):
    """What one deployment allows per minute; `None` if that is not known."""

    rpm: float | None
    tpm: float | None


#: Limits that deployments often have: Azure grants six requests a minute per thousand tokens
#: (learn.microsoft.com, Azure OpenAI quotas, seen 2026-09).
COMMON_LIMITS = tuple(
    RateLimits(rpm=tpm * 6 / 1000, tpm=tpm)
    for tpm in (30_000.0, 120_000.0, 350_000.0, 1_000_000.0, 5_000_000.0)
)


class Pace(NamedTuple):
    """How long the work takes; `decided_by` is `tokens`, `requests`, or empty if there is no work."""

    minutes: float
    decided_by: str


def rate_limits_of(settings: Settings) -> tuple[RateLimits, ...]:
    """Return this worker's share of the limits of the settings' deployments."""
    tables = settings.deployments or ({"rpm": settings.rpm, "tpm": settings.tpm},)
    limits = [[table.get(name) for name in ("rpm", "tpm")] for table in tables]
    part = settings.quota_share
    return tuple(RateLimits(*(None if each is None else each * part for each in pair)) for pair in limits)


def pace(requests: float, charged: float, deployments: Sequence[RateLimits]) -> Pace | None:
    """Return how long `requests` of `charged` tokens in total take; `None` if a deployment has no limit.

    Each deployment takes as much work as its own limits allow.
    """
    if requests <= 0:
        return Pace(0.0, "")
    mean = charged / requests
    rate = by_tokens = 0.0
    for each in deployments:
        tokens = None if each.tpm is None else each.tpm / max(mean, 1e-9)
        known = [limit for limit in (tokens, each.rpm) if limit is not None]
        if not known:
            return None
        rate += min(known)
        by_tokens += min(known) if tokens is not None and tokens <= min(known) else 0.0
    return Pace(requests / rate, "tokens" if by_tokens * 2 >= rate else "requests")


def dimensions_of(settings: Settings) -> int | None:
    """Return the length of the vectors; `None` if neither settings nor the model's name say it."""
    length = settings.dimensions or settings.param.get("dimensions")
    if isinstance(length, int):
        return length
    name = settings.model.rpartition("/")[2].lower()
    return next((length for known, length in DIMENSIONS.items() if name.startswith(known)), None)


def most_input_tokens(settings: Settings) -> int | None:
    """Return the maximum tokens of one prompt; `None` if the model is unknown."""
    if settings.simulate:
        return TASKS[settings.task].simulated_input_tokens
    return next((most for words, most in MOST_INPUT_TOKENS.items() if re.search(words, settings.model)), None)


def record_bytes(settings: Settings, kind: str, dimensions: int | None) -> float | None:
    """Return the bytes of a record in `jsonl` or `parquet`; `None` if they cannot be known.

    Names, ids, kept columns and answers' texts come on top.
    """
    if settings.raw or settings.usage:
        return None
    if TASKS[settings.task].answer == "text":
        return RECORD_BYTES[kind]
    return None if dimensions is None else RECORD_BYTES[kind] + dimensions * NUMBER_BYTES[kind]
