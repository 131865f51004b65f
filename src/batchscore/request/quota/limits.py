"""How fast may this deployment be asked: what is its quota at this moment?

It knows numbers, not tasks. Limits come from the settings, else from the headers of the replies, else they
are found: unlimited until the first 429, then what was let through, grown and cut as TCP does. A factor
moves within every limit, for a quota may be lowered for hours or be shared with somebody else: a 429
cuts it once for all requests that were admitted before the cut, and it grows only while it is really
used (learn.microsoft.com: temporary adjustments, `x-ratelimit-limit-tokens`; seen 2026-09).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from batchscore.request.quota.share import Sharing
from batchscore.request.quota.windows import Rates
from batchscore.request.reply_headers import LimitHeaders

#: What a burst of 429s leaves of the rate, and how much of the whole is won back each second.
CUT = 0.93
GROWTH_PER_SECOND = 0.02

#: What was found when the first 429 came is mostly too little; until the second it grows faster.
SEARCH_PER_SECOND = 1.0

LEAST_FACTOR = 0.02

#: Headers of a request limit may count per 10 s where they look like minutes (learn.microsoft.com Q&A on
#: `x-ratelimit-limit-requests`, seen 2026-09), so that such a limit may turn out six times as high.
MOST_OF_A_HEADER_LIMIT = 6.0

#: After a try that was refused the next waits so long, and twice as long after each.
TRY_MORE_SECONDS = 600.0

#: Over so many seconds it is measured what an unknown limit lets through.
MEASURED_SECONDS = 2.0


@dataclass(slots=True)
class Limits:
    """The quota of one deployment; RPM and TPM per minute as people and headers say them.

    `share` is the part of it that this worker begins with where other machines use it, too (1: alone).
    `most_tokens` is the most that one request may ever be charged: a minute's quota.
    """

    rpm: float | None = None
    tpm: float | None = None
    share: float = 1.0
    header_rpm: float | None = None
    header_tpm: float | None = None
    found: float | None = None
    searching: bool = True
    factor: float = 1.0
    sharing: Sharing | None = None
    requests_factor: float = 1.0
    try_more_at: float = float("-inf")
    try_more_after: float = TRY_MORE_SECONDS
    cut_at: float = float("-inf")
    moved_at: float = float("-inf")
    since: float | None = None
    let_through: float = 0.0
    rates: Rates = field(init=False)
    most_tokens: float = inf

    def __post_init__(self) -> None:
        """Begin with the share."""
        self.sharing = Sharing(self.share) if self.share < 1 else None
        self.settle()

    def settle(self) -> None:
        """Work out the rates anew."""
        tpm, rpm = self.tpm, self.rpm
        if self.header_tpm is not None:
            tpm = self.header_tpm if tpm is None else min(tpm, self.header_tpm)
        if rpm is None and self.header_rpm is not None:
            rpm = self.header_rpm * self.requests_factor
        self.most_tokens = inf if tpm is None else tpm
        part = self.factor if self.sharing is None else self.sharing.part
        tokens = None if tpm is None else tpm / 60 * part
        requests = None if rpm is None else rpm / 60 * part
        if self.found is not None:
            tokens = self.found if tokens is None else min(tokens, self.found)
        self.rates = Rates(tokens, requests)

    def told(self, said: LimitHeaders, now: float) -> bool:
        """Take in what a reply says; True where a limit was learned by it for the first time."""
        learned = (said.tokens is not None and self.header_tpm is None and self.tpm is None) or (
            said.requests is not None and self.header_rpm is None and self.rpm is None
        )
        # A reply that says nothing changes nothing.
        tokens, requests = said.tokens or self.header_tpm, said.requests or self.header_rpm
        if (tokens, requests) != (self.header_tpm, self.header_rpm):
            self.header_tpm, self.header_rpm = tokens, requests
            self.settle()
        whole = self.most_tokens / 60
        left = said.remaining_tokens
        if self.sharing and left is not None and whole < inf and self.sharing.told(left, whole, now):
            self.settle()
        return learned

    def passed(self, tokens: float, now: float, *, used: bool) -> None:
        """Note that a request was answered; `used`: it had to wait for the quota."""
        if self.since is None:
            self.since = now
        elapsed = now - self.since
        if elapsed > MEASURED_SECONDS:
            self.let_through *= 0.5
            self.since += elapsed / 2
        self.let_through += tokens
        if used and self.sharing is None:
            self.grow(now)

    def grow(self, now: float) -> None:
        """Win back what was cut, by the time that has passed."""
        passed = min(now - self.moved_at, 1.0)
        if passed < 0.1:
            return
        self.moved_at = now
        if now - self.cut_at < 0.5:
            return
        self.factor = min(1.0, self.factor + GROWTH_PER_SECOND * passed)
        if self.found is not None:
            growth = SEARCH_PER_SECOND if self.searching else GROWTH_PER_SECOND
            self.found *= 1 + growth * passed
        if self.rpm is None and self.header_rpm is not None and self.factor >= 1 and now >= self.try_more_at:
            self.requests_factor = min(
                MOST_OF_A_HEADER_LIMIT, self.requests_factor * (1 + GROWTH_PER_SECOND * passed)
            )
        self.settle()

    def refused(self, admitted: float, now: float) -> bool:
        """Cut for a 429, once for all that was admitted under the same limit; whether it was cut."""
        if admitted <= self.cut_at:
            return False
        if not self.rates.limited:
            self.cut_at = self.moved_at = now
            if self.let_through:
                self.found = self.measured(now)
                self.settle()
        else:
            self.cut(now, CUT)
        return True

    def cut(self, now: float, part: float) -> None:
        """Leave `part` of the rate."""
        self.cut_at = self.moved_at = now
        if self.sharing is not None:
            self.sharing.refused()
        elif self.requests_factor > 1:
            # What the header says was meant.
            self.requests_factor = 1.0
            self.try_more_at = now + self.try_more_after
            self.try_more_after *= 2
        elif self.found is not None:
            self.found = min(self.found, self.measured(now)) if self.searching else self.found * part
            self.searching = False
        else:
            self.factor = max(LEAST_FACTOR, self.factor * part)
        self.settle()

    def measured(self, now: float) -> float:
        """Return what an unknown limit has let through a second."""
        elapsed = 1.0 if self.since is None else max(1.0, now - self.since)
        return max(self.let_through / elapsed, 1.0)
