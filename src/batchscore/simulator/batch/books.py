"""What has a project enqueued, executed and to pay?

It must not know how a batch proceeds: that reports what it books and frees.
"""

from __future__ import annotations

from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from batchscore.simulator.batch.rules import BatchRules
from batchscore.simulator.state import RequestRecord

#: A batch costs this share of the live price.
PRICE_FACTOR = 0.5


@dataclass
class TokenUse:
    """The tokens of lines with status 200."""

    lines: int = 0
    input: int = 0
    output: int = 0
    reasoning: int = 0

    def add(self, input_tokens: int, output_tokens: int, reasoning_tokens: int) -> None:
        """Count a line."""
        self.lines += 1
        self.input += input_tokens
        self.output += output_tokens
        self.reasoning += reasoning_tokens


class Books:
    """The books of one project, with its last calls.

    Executions are in a file, since there may be millions of ids.
    """

    def __init__(self, folder: Path, record_last: int) -> None:
        self._log = folder / "executions.log"
        self._enqueued: dict[str, Counter[str]] = {"tokens": Counter(), "requests": Counter()}
        self._released: deque[tuple[float, str, int, int]] = deque()
        self._created: deque[float] = deque()
        self.used: dict[str, TokenUse] = {}
        #: Calls by kind, and those that were not refused; the latter also if the reply was lost.
        self.calls: Counter[str] = Counter()
        self._records: deque[tuple[str, RequestRecord]] = deque(maxlen=record_last)
        self.happened: Counter[str] = Counter()

    def record_call(self, call: str, record: RequestRecord) -> None:
        """Record a call on arrival."""
        self.calls[call] += 1
        self._records.append((call, record))

    def requests(self) -> list[dict[str, Any]]:
        """Return the last calls, oldest first. The body of an upload is its fields."""
        return [{"call": call, **record.to_json()} for call, record in self._records]

    def seconds_until_creation(self, now: float, most: int) -> float:
        """Count the creation of a batch, or return in how many seconds one is allowed again."""
        while self._created and self._created[0] <= now - 3600:
            self._created.popleft()
        if len(self._created) >= most:
            return self._created[0] + 3600 - now
        self._created.append(now)
        return 0.0

    def refusal(
        self, model: str, tokens: int, requests: int, rules: BatchRules, now: float
    ) -> tuple[str, str] | None:
        """Return the code and message if a model's limit does not leave room for a batch.

        `requests` counts only for embeddings.
        """
        self._free(now)
        most = rules.enqueued_tokens
        if most is not None and self._enqueued["tokens"][model] + tokens > most:
            return "token_limit_exceeded", (
                f"Enqueued token limit reached for {model} in organization org-simulator. Limit: {most:,}"
                " enqueued tokens. Please try again once some in_progress batches have been completed."
            )
        if requests and self._enqueued["requests"][model] + requests > rules.enqueued_requests:
            return "request_limit_exceeded", (
                f"Enqueued request limit reached for {model} in organization org-simulator. Limit:"
                f" {rules.enqueued_requests:,} enqueued requests."
            )
        return None

    def enqueue(self, model: str, tokens: int, requests: int) -> None:
        """Count a batch against the limits of its model."""
        self._enqueued["tokens"][model] += tokens
        self._enqueued["requests"][model] += requests

    def release(self, model: str, tokens: int, requests: int, at: float) -> None:
        """Count it no longer, from a moment on."""
        self._released.append((at, model, tokens, requests))

    def bill(self, model: str) -> TokenUse:
        """Return the account of a model."""
        return self.used.setdefault(model, TokenUse())

    def log_executions(self, custom_ids: list[bytes]) -> None:
        """Note that these lines were executed, each id as JSON."""
        with self._log.open("ab") as log:
            log.write(b"".join(identifier + b"\n" for identifier in custom_ids))

    def executions(self, at_least: int) -> dict[str, Any]:
        """Return how often each `custom_id` was executed, of those that were so at least this often."""
        counts: Counter[bytes] = Counter()
        with suppress(FileNotFoundError), self._log.open("rb") as log:
            counts.update(log)
        shown = {orjson.loads(raw): count for raw, count in counts.items() if count >= at_least}
        return {"executions": counts.total(), "ids": len(counts), "counts": shown}

    def to_json(self, now: float) -> dict[str, Any]:
        """Return all but the executions. `half_price_tokens` are what live calls of that price would have."""
        self._free(now)
        billed = {
            model: {
                "lines": use.lines,
                "input_tokens": use.input,
                "output_tokens": use.output,
                "half_price_tokens": (use.input + use.output) * PRICE_FACTOR,
            }
            for model, use in self.used.items()
        }
        return {
            "enqueued_tokens": +self._enqueued["tokens"],
            "enqueued_requests": +self._enqueued["requests"],
            "billed": billed,
            "calls": self.calls,
            "happened": self.happened,
        }

    def _free(self, now: float) -> None:
        for entry in [one for one in self._released if one[0] <= now]:
            self._released.remove(entry)
            _, model, tokens, requests = entry
            self.enqueue(model, -tokens, -requests)
