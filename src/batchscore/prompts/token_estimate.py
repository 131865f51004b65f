"""How many tokens is a prompt, about?

It needs no vocabulary and no download: bytes times a ratio, which begins at a third (on the high side for
English, near the truth for Chinese, code and hex) and follows the `usage` of the replies.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Tokens a byte before any reply, and the bytes of replies that weigh as much as that guess.
FIRST_GUESS = 1 / 3
WEIGHT_OF_THE_GUESS = 500.0

#: What was seen counts half after so many bytes more, so that the ratio follows the files.
HALVED_AFTER_BYTES = 2_000_000.0

#: No tokenizer is known to need less on prose; what is refused before it was asked must be beyond doubt.
LEAST_TOKENS_PER_BYTE = 1 / 5


@dataclass(slots=True)
class Estimator:
    """The ratio of one model and kind of text; corrected by every reply that says its `usage`."""

    prompt_bytes: float = WEIGHT_OF_THE_GUESS
    prompt_tokens: float = WEIGHT_OF_THE_GUESS * FIRST_GUESS
    ratio: float = FIRST_GUESS
    answers: float = 0.0
    answer_tokens: float = 0.0

    def tokens(self, size: int) -> float:
        """Return the estimated tokens of prompts of so many bytes of JSON. O(1)."""
        return size * self.ratio + 1

    def at_least(self, size: int) -> float:
        """Return tokens that prompts of so many bytes surely have, as far as one can know."""
        return size * min(self.ratio, LEAST_TOKENS_PER_BYTE)

    @property
    def usual_answer(self) -> float:
        """The tokens of an answer whose length nobody bounded, by those that came."""
        return self.answer_tokens / self.answers if self.answers else 0.0

    def learn(self, size: int, prompt_tokens: int, completion_tokens: int, answers: int) -> None:
        """Take in what a reply says its prompts of `size` bytes and its answers came to."""
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
