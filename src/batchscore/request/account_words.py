"""Does a refusal mean that the account has no credit, quota or budget left, or that its key is wrong?

Services say so with any 4xx, in codes and in words. It knows codes and words only. A message may quote its
row, so a probe confirms each finding before a run stops.
"""

from __future__ import annotations

import re
from collections.abc import Collection


def plain_code(code: str) -> str:
    """Return a code as it is compared: gateways write the same one in other letters."""
    return code.replace("_", "").replace("-", "").lower()


#: Codes (the error pages of OpenAI, LiteLLM, DashScope, Moonshot, DeepSeek, OpenRouter, Z.ai and Azure, seen
#: 2026-11).
EXHAUSTED_CODES = {plain_code(each) for each in (
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "budget_exceeded", "Arrearage",
    "exceeded_current_quota_error", "exceeded_current_quota", "insufficient_balance", "insufficient_credits",
    "insufficient_funds", "insufficient_user_quota", "credit_balance_too_low", "payment_required",
    "AccountOverdue", "AccountOverdueError",
)}  # fmt: skip

#: Words that mean an empty account with any status. Rate limits (429) advise to add credit or to top up, too.
EMPTY_WORDS = re.compile(
    r"(?:insufficient|not enough|no(?: more| remaining)?|out of|n't (?:have )?enough)"
    r" (?:\w+ ){0,2}(?:credits?|balance|funds)\b"
    r"|(?:credits?|balance|funds) (?:is|are|was|were|has been|have been) (?:\w+ )?"
    r"(?:insufficient|low|negative|exhausted|depleted|used up)"
    r"|exceeded (?:\w+ ){0,3}included credits|余额不足|欠费",
    re.IGNORECASE,
)

LIMIT = r"(?:spend(?:ing)?|usage|key|billing|credit|daily|monthly) (?:limit|cap)"

#: With 429 these may be the words of an ordinary rate limit.
LIMIT_WORDS = re.compile(
    r"(?:insufficient|not enough|no more|out of) (?:\w+ )?quota"
    rf"|(?:budget|quota|credits?|balance|{LIMIT}) (?:\w+ ){{0,5}}"
    r"(?:exceeded|exhausted|used up|depleted|reached)"
    rf"|(?:exceeded|reached|exhausted|over|used up) (?:\w+ ){{0,4}}(?:budget|quota|credits|{LIMIT})"
    r"|ExceededBudget|credit balance|in arrears|overdue payment|payment required",
    re.IGNORECASE,
)

#: Credentials that are refused with 400 (Google), by a code or in words only.
_KEY_CODES = ("api_key_invalid", "key_invalid", "invalid_api_key", "authentication_error")
KEY_CODES = set(map(plain_code, _KEY_CODES))
KEY_WORDS = re.compile(
    r"^\W*(?:(?:invalid|incorrect|expired|missing|no) API[ _-]?key"
    r"|(?:your |the )?API[ _-]?key (?:is )?(?:not valid|not found|invalid|incorrect|expired|missing))\b",
    re.IGNORECASE,
)

#: A rate limit with 403.
RATE_WORDS = re.compile(r"\brate limit|too many requests", re.IGNORECASE)

#: Statuses of rate limits.
RATE_STATUSES = {413, 429}


def is_exhausted(status: int, codes: Collection[str], message: str) -> bool:
    """Whether the account has no credit, quota or budget left; `codes` are plain."""
    by_words = EMPTY_WORDS.search(message) or (status not in RATE_STATUSES and LIMIT_WORDS.search(message))
    return not EXHAUSTED_CODES.isdisjoint(codes) or bool(by_words)


def is_about_the_key(codes: Collection[str], message: str) -> bool:
    """Whether the credentials are refused; `codes` are plain."""
    return not KEY_CODES.isdisjoint(codes) or bool(KEY_WORDS.search(message))
