"""About how many tokens does a prompt have?

The estimate needs no vocabulary and no download: it is the number of bytes times a ratio. The ratio starts at
a third (high for English, accurate for Chinese, code and hex) and follows the `usage` of the replies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchscore.rows import Prompt

#: Tokens per byte before any reply, and the weight of that guess in bytes of replies.
FIRST_GUESS = 1 / 3
WEIGHT_OF_THE_GUESS = 500.0

#: Tokens of images, by the published rules, that these rules weigh: a model may have others.
WEIGHT_OF_THE_RULES = 1000.0

#: Observations count half after this many more bytes, so that the ratio follows the files.
HALVED_AFTER_BYTES = 2_000_000.0

#: No known tokenizer needs less for prose. A row is refused without a request only if it is surely too long.
LEAST_TOKENS_PER_BYTE = 1 / 5


@dataclass(slots=True)
class Estimator:
    """The token ratio of one model and kind of text, corrected by the `usage` of each reply."""

    prompt_bytes: float = WEIGHT_OF_THE_GUESS
    prompt_tokens: float = WEIGHT_OF_THE_GUESS * FIRST_GUESS
    ratio: float = FIRST_GUESS
    answers: float = 0.0
    answer_tokens: float = 0.0
    image_tokens: float = WEIGHT_OF_THE_RULES
    billed_image_tokens: float = WEIGHT_OF_THE_RULES

    def tokens(self, size: int) -> float:
        """Return the estimated tokens of prompts with this many bytes of JSON. O(1)."""
        return size * self.ratio + 1

    def tokens_of(self, prompts: Sequence[Prompt], size: int) -> float:
        """Return the estimated tokens of the prompts of a request of this many bytes. O(1)."""
        first = prompts[0]
        if not first.image_tokens:
            return size * self.ratio + 1
        # A request with images has one prompt.
        scale = self.billed_image_tokens / self.image_tokens
        return self.tokens(size - first.image_bytes) + first.image_tokens * scale

    def at_least(self, size: int) -> float:
        """Return a lower bound of the tokens of prompts with this many bytes."""
        return size * min(self.ratio, LEAST_TOKENS_PER_BYTE)

    @property
    def usual_answer(self) -> float:
        """The average tokens of an answer so far, for answers without a limit."""
        return self.answer_tokens / self.answers if self.answers else 0.0

    def learn_from(self, prompts: Sequence[Prompt], size: int, tokens: int, answer_tokens: int) -> None:
        """Learn from the token counts of a reply to these prompts of `size` bytes."""
        first = prompts[0]
        if not first.image_tokens or tokens <= 0:
            self.learn(size, tokens, answer_tokens, len(prompts))
            return
        # The ratio of texts is known well enough: the rest is the images'.
        billed = max(0.0, tokens - self.tokens(size - first.image_bytes))
        self.image_tokens += first.image_tokens
        self.billed_image_tokens += billed
        self.answers += len(prompts)
        self.answer_tokens += answer_tokens

    def learn(self, size: int, prompt_tokens: int, completion_tokens: int, answers: int) -> None:
        """Update the ratio with the token counts of a reply to prompts of `size` bytes."""
        if prompt_tokens <= 0:
            return
        self.prompt_bytes += size
        self.prompt_tokens += prompt_tokens
        self.answers += answers
        self.answer_tokens += completion_tokens
        if self.prompt_bytes > HALVED_AFTER_BYTES:
            self.prompt_bytes, self.prompt_tokens = self.prompt_bytes / 2, self.prompt_tokens / 2
            self.answers, self.answer_tokens = self.answers / 2, self.answer_tokens / 2
        self.ratio = self.prompt_tokens / self.prompt_bytes
