"""What does the request for some prompts hold, and what is the quota charged for it?

It knows how prompts become a body at each deployment, and how many tokens they have. It sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from batchscore.prompts.batches import BodyFormat
from batchscore.prompts.replies import ReplyScores
from batchscore.prompts.token_estimate import Estimator
from batchscore.prompts.truncate import DEFAULT_FRACTION
from batchscore.request.deployment import Deployment
from batchscore.request.outcome_rules import over_quota
from batchscore.request.request import Request
from batchscore.request.retry_budget import RetryBudget
from batchscore.rows import Prompt, RowError


@dataclass(slots=True)
class RequestBuilder:
    """Makes the requests of one engine.

    `forms` holds each deployment's JSON around the prompts. `answer_tokens` is the maximum per answer, `None`
    without a limit; `fixed_bytes` is what a schema adds to each request. `adapted` counts the changes of the
    forms. `truncated_bytes` is the size of the last truncated prompt that was answered.
    """

    forms: dict[Deployment, BodyFormat]
    estimator: Estimator
    max_retries: int
    answer_tokens: float | None = 0.0
    answers_per_row: int = 1
    fixed_bytes: int = 0
    truncate: Callable[[Prompt, float | None], Prompt | None] | None = None
    adapted: int = 0
    truncated_bytes: int = 0

    def request(self, prompts: Sequence[Prompt], size: int, budget: RetryBudget) -> Request:
        """Return the request for these prompts, and what the quota is charged for it."""
        answer = self.estimator.usual_answer if self.answer_tokens is None else self.answer_tokens
        extra = answer * self.answers_per_row * len(prompts)

        def body(deployment: Deployment, complaint: bytes) -> bytes:
            return self.forms[deployment].body(prompts, complaint)

        tokens = self.estimator.tokens_of(prompts, size + self.fixed_bytes) + extra
        return Request(body, len(prompts), tokens, extra, budget, prompts, size)

    def fitted(self, prompt: Prompt, most: float) -> tuple[Prompt, RowError | None]:
        """Return a prompt, maybe truncated, that fits into this many tokens, or with its error."""
        while True:
            request = self.request([prompt], len(prompt.body), RetryBudget(self.max_retries))
            needed = self.estimator.at_least(len(prompt.body) - prompt.image_bytes) + request.extra_tokens
            if needed <= most:
                return prompt, None
            fitting = max(most - request.extra_tokens, 0.0) / (needed - request.extra_tokens)
            shorter = self.shorter(prompt, fitting)
            if shorter is None:
                return prompt, over_quota(request.tokens, request.extra_tokens, most)
            prompt = shorter

    def shorter(self, prompt: Prompt, fitting: float | None) -> Prompt | None:
        """Return the beginning of a prompt of which this share fits; `None` if it may not be shortened.

        If the service did not say how much fits, each step is a refused request: it begins with what fitted.
        """
        if self.truncate is None:
            return None
        known = self.truncated_bytes / len(prompt.body)
        return self.truncate(prompt, known if fitting is None and 0 < known < DEFAULT_FRACTION else fitting)

    def learn(self, request: Request, answers: ReplyScores) -> None:
        """Correct the estimate of tokens by the usage of a reply."""
        if request.prompts[0].truncated:
            self.truncated_bytes = len(request.prompts[0].body)
        size = request.size + self.fixed_bytes
        self.estimator.learn_from(request.prompts, size, answers.prompt_tokens, answers.completion_tokens)

    def adapt(self, parameter: str) -> bool:
        """Use another form of a parameter in all requests; return whether there is one.

        Another worker may have done so while a request was in flight.
        """
        before = [form.tail for form in self.forms.values()]
        adapted = [form.adapt(parameter) for form in self.forms.values()]
        self.adapted += [form.tail for form in self.forms.values()] != before
        return any(adapted)
