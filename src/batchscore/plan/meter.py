"""What does each row add to the figures: is it sent, how large is it, how many tokens does it have?

Counting tokens is expensive. So after the first rows of a file only some are counted, evenly over the rest;
their tokens per byte are used for all. It knows prompts and limits, but neither files nor earlier runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from batchscore.plan.figures import FileFigures
from batchscore.plan.vocabulary import holds_more_than_text, prompt_tokens
from batchscore.prompts.token_estimate import LEAST_TOKENS_PER_BYTE
from batchscore.rows import Prompt, RowError, Settled
from batchscore.task import Task

#: After the first bytes of a file one part in 16 is counted.
COUNTED_PART = 16


@dataclass(frozen=True, slots=True)
class Meter:
    """Measures rows for one run's settings.

    `count` returns the tokens of a text. Every prompt has `extra_tokens` more (tools and schemas), and its
    answers are charged `answer_tokens`. `most_tokens` is the model's input, `quota_tokens` a minute's quota.
    With `truncate` a row that is too long is shortened. `carried`: ids or columns go into records. The first
    `counted_bytes` of each file are counted.
    """

    task: Task
    count: Callable[[str], float]
    extra_tokens: float = 0.0
    answer_tokens: float = 0.0
    most_tokens: int | None = None
    quota_tokens: float | None = None
    truncate: bool = False
    carried: bool = False
    counted_bytes: int = 256 * 2**10

    def take(self, figures: FileFigures, item: Prompt | Settled) -> bool:
        """Add a row that is left to score; return whether it will be sent."""
        if self.carried:
            figures.record_bytes += size_of_carried(item)
        if isinstance(item, Settled):
            assert isinstance(item.result, RowError)
            figures.errors[item.result.code] += 1
            return False
        size = len(item.body)
        tokens: float | None = None
        # A token has at least one byte, so short prompts fit without being counted.
        if self.most_tokens is not None and size > self.most_tokens:
            tokens = self.tokens(item)
            if tokens > self.most_tokens and not self.truncate:
                figures.input_too_long += 1
                return False
            figures.truncated += tokens > self.most_tokens
            tokens = min(tokens, float(self.most_tokens))
        if (
            self.quota_tokens is not None
            and size * LEAST_TOKENS_PER_BYTE + self.answer_tokens > self.quota_tokens
        ):
            room = self.quota_tokens - self.answer_tokens
            if not self.truncate or room <= 0:
                figures.above_quota += 1
                return False
            figures.truncated += 1
            tokens = min(self.tokens(item) if tokens is None else tokens, room)
        self.add(figures, item, tokens)
        return True

    def add(self, figures: FileFigures, prompt: Prompt, tokens: float | None) -> None:
        """Add a prompt that is sent; its tokens are counted if it belongs to the sample."""
        size = len(prompt.body)
        figures.prompts += 1
        figures.prompt_bytes += size
        if self.task.takes_messages and holds_more_than_text(prompt.body):
            figures.with_pictures += 1
        counted = figures.counted_bytes
        if tokens is None and (counted < self.counted_bytes or figures.prompt_bytes > counted * COUNTED_PART):
            tokens = self.tokens(prompt)
        if tokens is not None:
            figures.counted_bytes += size
            figures.counted_tokens += tokens

    def tokens(self, prompt: Prompt) -> float:
        """Count the tokens of one prompt."""
        return prompt_tokens(prompt.body, self.task, self.count) + self.extra_tokens


def size_of_carried(item: Prompt | Settled) -> int:
    """Return the bytes of a row's id and kept columns in its record."""
    size = 0 if item.id is None else len(item.id) + 8
    for name, value in item.kept.items():
        if isinstance(value, str):
            size += len(name) + len(value) + 6
        else:
            size += len(name) + len(orjson.dumps(value, default=str)) + 4
    return size
