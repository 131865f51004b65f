"""How fast may this deployment be called: what is its quota at this moment?

It knows numbers, not tasks. Limits come from the settings or from the headers of replies. If neither names
one, it is measured: unlimited until the first 429, then the observed rate, raised and cut as TCP does. A
factor changes within every limit, since a quota may be lowered for hours or be shared with other clients. A
429 cuts it once for all requests that were admitted before the cut; it grows only while the quota is used
(learn.microsoft.com: temporary adjustments, `x-ratelimit-limit-tokens`; seen 2026-09).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from batchscore.request.quota.windows import QuotaRates
from batchscore.request.rate_headers import LimitHeaders

#: Seconds between two looks at the remaining quota.
EVERY_SECONDS = 0.35

#: The remaining quota should reach this part of its observed maximum, within this many seconds.
TARGET_LEFT = 0.6
HORIZON_SECONDS = 2.0

#: The part of the difference that each look corrects, and how many rises in a row make the steps larger.
GAIN = 0.2
MOST_RISES = 6

#: If nearly all quota is left, its change means nothing; then at least this part of the quota counts as free.
FULL = 0.9
FREE_WHEN_FULL = 0.6

SHARE_CUT = 0.95
LEAST_SHARE = 0.02


@dataclass(slots=True)
class QuotaShare:
    """One worker's part of a quota that workers on other machines, which it cannot see, use too.

    It begins with `share` and changes between almost none and all. The service reports how much quota is left
    to all workers; the change of that figure shows how much nobody uses, or how far all exceed it. Each
    worker takes from the free quota in equal steps, which grow while quota stays free. It gives back in
    proportion to its part. So the parts become equal.
    """

    share: float
    part: float = field(init=False)
    most_left: float = 0.0
    left: float | None = None
    looked_at: float = 0.0
    rises: int = 0

    def __post_init__(self) -> None:
        self.part = self.share

    def observe(self, left: float, rate: float, now: float) -> bool:
        """Note that `left` tokens remain of a quota of `rate` per second; return whether the part changed."""
        # A quota holds at least one second's worth; a late worker would aim at the little that it sees.
        self.most_left = max(self.most_left, left, rate)
        before, passed = self.left, now - self.looked_at
        if before is None or passed > 10 * EVERY_SECONDS:
            self.left, self.looked_at = left, now
            return False
        if passed < EVERY_SECONDS:
            return False
        self.left, self.looked_at = left, now
        free = (left - before) / (rate * passed)
        filled = left / self.most_left
        if filled > FULL and free > -0.1:
            free = max(free, FREE_WHEN_FULL)
        self.adjust(free + (filled - TARGET_LEFT) * self.most_left / rate / HORIZON_SECONDS)
        return True

    def adjust(self, change: float) -> None:
        """Take more or less; `change` is what all workers together should add."""
        change = max(-1.0, min(change, 1.0))
        if change > 0:
            self.rises = min(self.rises + 1, MOST_RISES)
            self.part = min(1.0, self.part + self.share * change * GAIN * self.rises)
        else:
            self.rises = 0
            self.part = max(LEAST_SHARE * self.share, self.part * (1 + change * GAIN))

    def cut(self) -> None:
        """Take less after a 429."""
        self.rises = 0
        self.part = max(LEAST_SHARE * self.share, self.part * SHARE_CUT)


#: The part of the rate that remains after a burst of 429s, and the part of the limit regained each second.
CUT = 0.93
GROWTH_PER_SECOND = 0.02

#: The rate measured at the first 429 is usually too low; until the second one it grows faster.
SEARCH_PER_SECOND = 1.0

LEAST_FACTOR = 0.02

#: A request limit in headers may count 10 seconds although it looks like a minute's (learn.microsoft.com Q&A
#: on `x-ratelimit-limit-requests`, seen 2026-09), so the real limit may be six times as high.
MOST_OF_A_HEADER_LIMIT = 6.0

#: Seconds to wait after a refused attempt to exceed a header's limit; doubled after each.
TRY_MORE_SECONDS = 600.0

#: The rate of an unknown limit is observed over this many seconds.
OBSERVED_SECONDS = 2.0

#: Fewer answers than this are not a rate; if the 429 names no wait, it may not even be about one.
FEWEST_ANSWERS = 8
ENOUGH_ANSWERS = 32


@dataclass(slots=True)
class Limits:
    """The quota of one deployment; `rpm` and `tpm` are per minute, as settings and headers give them.

    `share` is this worker's initial part if other machines use the quota too (1: this worker alone).
    `most_tokens` is the most that one request may ever be charged: a minute's quota. It has many fields,
    since each source of a limit (settings, headers, observation, cuts) has a state of its own.
    """

    rpm: float | None = None
    tpm: float | None = None
    share: float = 1.0
    header_rpm: float | None = None
    header_tpm: float | None = None
    searched_tokens: float | None = None
    searching: bool = True
    factor: float = 1.0
    quota_share: QuotaShare | None = None
    requests_factor: float = 1.0
    try_more_at: float = float("-inf")
    try_more_after: float = TRY_MORE_SECONDS
    cut_at: float = float("-inf")
    grown_at: float = float("-inf")
    observed_since: float | None = None
    observed_tokens: float = 0.0
    answers: int = 0
    answered_at: float = float("-inf")
    rates: QuotaRates = field(init=False)
    most_tokens: float = inf

    def __post_init__(self) -> None:
        self.quota_share = QuotaShare(self.share) if self.share < 1 else None
        self.update_rates()

    def update_rates(self) -> None:
        """Compute the rates from all that is known."""
        tpm, rpm = self.tpm, self.rpm
        if self.header_tpm is not None:
            tpm = self.header_tpm if tpm is None else min(tpm, self.header_tpm)
        if rpm is None and self.header_rpm is not None:
            rpm = self.header_rpm * self.requests_factor
        self.most_tokens = inf if tpm is None else tpm
        part = self.factor if self.quota_share is None else self.quota_share.part
        tokens = None if tpm is None else tpm / 60 * part
        requests = None if rpm is None else rpm / 60 * part
        if self.searched_tokens is not None:
            tokens = self.searched_tokens if tokens is None else min(tokens, self.searched_tokens)
        self.rates = QuotaRates(tokens, requests)

    def learn(self, headers: LimitHeaders, now: float) -> bool:
        """Take over the limits in a reply's headers; return whether a limit is known for the first time."""
        first = (headers.tokens is not None and self.header_tpm is None and self.tpm is None) or (
            headers.requests is not None and self.header_rpm is None and self.rpm is None
        )
        # A reply without limits changes nothing.
        tokens, requests = headers.tokens or self.header_tpm, headers.requests or self.header_rpm
        if (tokens, requests) != (self.header_tpm, self.header_rpm):
            self.header_tpm, self.header_rpm = tokens, requests
            self.update_rates()
        per_second = self.most_tokens / 60
        left, share = headers.remaining_tokens, self.quota_share
        if share and left is not None and per_second < inf and share.observe(left, per_second, now):
            self.update_rates()
        return first

    def note_answer(self, tokens: float, now: float, *, used: bool) -> None:
        """Note that a request was answered; `used`: it had to wait for the quota."""
        if self.observed_since is None:
            self.observed_since = now
        elapsed = now - self.observed_since
        if elapsed > OBSERVED_SECONDS:
            self.observed_tokens *= 0.5
            self.observed_since += elapsed / 2
        self.observed_tokens += tokens
        self.answers += 1
        self.answered_at = now
        if used and self.quota_share is None:
            self.grow(now)

    def grow(self, now: float) -> None:
        """Regain what was cut, in proportion to the time that has passed."""
        passed = min(now - self.grown_at, 1.0)
        if passed < 0.1:
            return
        self.grown_at = now
        if now - self.cut_at < 0.5:
            return
        self.factor = min(1.0, self.factor + GROWTH_PER_SECOND * passed)
        if self.searched_tokens is not None:
            growth = SEARCH_PER_SECOND if self.searching else GROWTH_PER_SECOND
            self.searched_tokens *= 1 + growth * passed
        if self.rpm is None and self.header_rpm is not None and self.factor >= 1 and now >= self.try_more_at:
            self.requests_factor = min(
                MOST_OF_A_HEADER_LIMIT, self.requests_factor * (1 + GROWTH_PER_SECOND * passed)
            )
        self.update_rates()

    def note_rate_limit(self, admitted: float, now: float, *, blind: bool = False) -> bool:
        """Cut for a 429, once for all requests admitted under the same limit; return whether it was cut.

        `blind`: it names no wait. Then a few answers are not a rate, and without any since the last cut there
        is nothing to learn.
        """
        if admitted <= self.cut_at:
            return False
        unanswered = self.answered_at <= self.cut_at
        if not self.rates.limited:
            self.cut_at = self.grown_at = now
            if self.observed_tokens and self.answers >= (ENOUGH_ANSWERS if blind else FEWEST_ANSWERS):
                self.searched_tokens = self.observed_rate(now)
                self.update_rates()
        elif unanswered and (blind or self.searched_tokens is not None):
            self.cut_at = self.grown_at = now
        else:
            self.cut(now, CUT)
        return True

    def cut(self, now: float, part: float) -> None:
        """Reduce the rate to `part` of it."""
        self.cut_at = self.grown_at = now
        if self.quota_share is not None:
            self.quota_share.cut()
        elif self.requests_factor > 1:
            # The header's limit was a minute's after all.
            self.requests_factor = 1.0
            self.try_more_at = now + self.try_more_after
            self.try_more_after *= 2
        elif self.searched_tokens is not None:
            observed = self.observed_rate(now)
            self.searched_tokens = (
                min(self.searched_tokens, observed) if self.searching else self.searched_tokens * part
            )
            self.searching = False
        else:
            self.factor = max(LEAST_FACTOR, self.factor * part)
        self.update_rates()

    def observed_rate(self, now: float) -> float:
        """Return the observed throughput per second while the limit is unknown."""
        elapsed = 1.0 if self.observed_since is None else max(1.0, now - self.observed_since)
        return max(self.observed_tokens / elapsed, 1.0)
