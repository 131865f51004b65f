"""How many bytes will the output have, and how long are the vectors?

Pure arithmetic with the sizes that our own writers produce. A figure that cannot be known is `None`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from batchscore.settings.fields import Settings
from batchscore.task import TASKS

#: The length of vectors by model (OpenAI's page on embeddings, seen 2026-09).
DIMENSIONS: Mapping[str, int] = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}

#: Maximum tokens of one input, by model (OpenAI's pages of models, seen 2026-09).
MOST_INPUT_TOKENS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"text-embedding-3-(small|large)|text-embedding-ada-002"), 8192),
    (re.compile(r"gpt-4\.1"), 1_047_576),
    (re.compile(r"gpt-5"), 272_000),
    (re.compile(r"(^|[/:])o[134]"), 200_000),
    (re.compile(r"gpt-4o|gpt-4-turbo"), 128_000),
    (re.compile(r"gpt-3\.?5-turbo"), 16_385),
    (re.compile(r"gpt-4-32k"), 32_768),
    (re.compile(r"gpt-4($|-0613)"), 8192),
)

#: Bytes of a vector's number: the shortest text of a float32 and a comma, or a float32.
NUMBER_BYTES = {"jsonl": 12.5, "parquet": 4.0}

#: Bytes of a record besides names, vector or text: keys, quotes, row numbers.
RECORD_BYTES = {"jsonl": 40.0, "parquet": 8.0}

#: Bytes per token of an answer, rather too high.
TOKEN_BYTES = 4.5


def dimensions_of(settings: Settings) -> int | None:
    """Return the length of the vectors; `None` if neither settings nor the model's name say it."""
    length = settings.dimensions or settings.param.get("dimensions")
    if isinstance(length, int):
        return length
    name = settings.model.rpartition("/")[2].lower()
    return next((length for known, length in DIMENSIONS.items() if name.startswith(known)), None)


def most_input_tokens(settings: Settings) -> int | None:
    """Return the maximum tokens of one prompt; `None` if the model is unknown.

    The simulator's maximum depends on the task alone.
    """
    if settings.simulate:
        return TASKS[settings.task].simulated_input_tokens
    return next((most for pattern, most in MOST_INPUT_TOKENS if pattern.search(settings.model)), None)


def output_bytes(
    settings: Settings,
    kind: str,
    *,
    rows: float,
    carried_bytes: float,
    dimensions: int | None,
    answer_tokens: float,
) -> int | None:
    """Return the estimated bytes of the records of `rows` scores; `None` if they cannot be known.

    `kind` is `jsonl` or `parquet`; `carried_bytes` are those of file names, ids and kept columns.
    """
    if settings.raw or settings.usage:
        return None
    each = 0.0
    if TASKS[settings.task].answer == "vector":
        if dimensions is None:
            return None
        each = dimensions * NUMBER_BYTES[kind]
    return round(rows * (each + RECORD_BYTES[kind]) + carried_bytes + answer_tokens * TOKEN_BYTES)
