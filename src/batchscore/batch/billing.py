"""How is it reported what the lines of a batch cost? Answered ones are reported together, to save time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from batchscore.rows import Attempt, Listen, Prompt

#: Bytes of answered prompts that are in memory until they are reported.
MOST_BYTES = 8 * 2**20


@dataclass(slots=True)
class Billing:
    """The cost of one batch's lines. `pay` gets billed tokens, `name` is that of the deployment.

    `seconds` is how long the batch took. `is_first`: no run has read its results before. The fields from
    `prompts` on are of lines that are not reported yet.
    """

    listen: Listen
    pay: Callable[[int, int], None]
    name: str
    seconds: float
    is_first: bool = True
    prompts: list[Prompt] = field(default_factory=list)
    bytes: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    @property
    def is_full(self) -> bool:
        """Whether the answered lines should be reported now."""
        return self.bytes >= MOST_BYTES

    def answered(self, prompt: Prompt, prompt_tokens: int, answer_tokens: int) -> None:
        """Count a line that was answered."""
        self.prompts.append(prompt)
        self.bytes += len(prompt.body)
        self.prompt_tokens += prompt_tokens
        self.answer_tokens += answer_tokens

    def report(self) -> None:
        """Report the lines that were answered since the last time."""
        if count := len(self.prompts):
            tokens = self.prompt_tokens, self.answer_tokens
            self.pay(*tokens)
            self.listen(
                Attempt(count, 200, self.seconds, "", *tokens, tuple(self.prompts), self.name, requests=count)
            )
        self.prompts, self.bytes, self.prompt_tokens, self.answer_tokens = [], 0, 0, 0

    def probed(self, status: int | None, cause: str, tokens: tuple[int, int]) -> None:
        """Report the line of our own, which has no row, at the first reading. `cause` is "" for an answer."""
        if self.is_first:
            self.pay(*tokens)
            self.listen(Attempt(0, status, self.seconds, cause, *tokens, deployment=self.name))

    def failed(self, prompt: Prompt, status: int | None, cause: str, tokens: tuple[int, int]) -> None:
        """Report a line that was not answered."""
        self.pay(*tokens)
        self.listen(Attempt(1, status, self.seconds, cause, *tokens, (prompt,), self.name))
