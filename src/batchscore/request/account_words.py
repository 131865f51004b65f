"""Does a refusal mean that the account is closed or has no credit, quota or budget left, or a wrong key?

Services say so with any 4xx, in codes and in words. It knows codes and words only. A message may quote its
row, so a probe confirms each finding before a run stops.
"""

from __future__ import annotations

import re
from collections.abc import Collection


def plain_code(code: str) -> str:
    """Return a code as it is compared: gateways write the same one in other letters."""
    return code.replace("_", "").replace("-", "").lower()


#: Codes (the error pages of OpenAI, LiteLLM, DashScope, Moonshot, DeepSeek, OpenRouter, Groq, Z.ai and Azure,
#: seen 2026-11).
EXHAUSTED_CODES = {plain_code(each) for each in (
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "budget_exceeded", "Arrearage",
    "exceeded_current_quota_error", "exceeded_current_quota", "insufficient_balance", "insufficient_credits",
    "insufficient_funds", "insufficient_user_quota", "credit_balance_too_low", "payment_required",
    "AccountOverdue", "AccountOverdueError", "blocked_api_access", "pre_consume_token_quota_failed",
)}  # fmt: skip

#: An account or organization that may send nothing, with 400 (Groq's error page; Anthropic in words only).
_RESTRICTED_CODES = (
    "organization_restricted", "organization_deactivated", "organization_disabled", "account_deactivated",
    "access_terminated", "deactivated_workspace",
)  # fmt: skip
RESTRICTED_CODES = set(map(plain_code, _RESTRICTED_CODES))
RESTRICTED_WORDS = re.compile(
    r"^\W*(?:(?:this|your|the) )?(?:organi[sz]ation|account|workspace) (?:has been|is|was) (?:\w+ )?"
    r"(?:restricted|disabled|deactivated|suspended|terminated)\b",
    re.IGNORECASE,
)

#: A limit of money, and any limit of an account.
MONEY_LIMIT = r"(?:spend(?:ing)?|billing|credits?) (?:hard )?(?:limits?|cap)"
LIMIT = rf"(?:{MONEY_LIMIT}|(?:usage|key|daily|monthly) (?:limits?|cap))"
MONEY = r"(?:credits?|balance|funds)"

#: Words between two that count, such as `of $50.00`.
BETWEEN = r"(?:[\w$€£.,'-]{1,40} )"

#: Words that mean an empty account with any status. Rate limits (429) advise to add credit or to top up, too.
EMPTY_WORDS = re.compile(
    r"(?:insufficient|(?:not|n't) (?:have )?enough|no(?: more| remaining)?|out of|used all|depleted|used up)"
    rf" (?:\w+ ){{0,4}}{MONEY}\b"
    rf"|{MONEY} (?:is|are|was|were|has been|have been) (?:\w+ )?"
    r"(?:insufficient|not enough|low|negative|exhausted|depleted|used up)"
    rf"|{MONEY_LIMIT} {BETWEEN}{{0,5}}(?:exceeded|exhausted|reached)"
    rf"|(?:exceeded|reached|hit|over) {BETWEEN}{{0,4}}{MONEY_LIMIT}"
    r"|exceeded (?:\w+ ){0,3}included credits|Exceeded\w{0,20}Budget"
    r"|余额不足|欠费|额度不足|额度已用尽",
    re.IGNORECASE,
)

#: With 429 these may be the words of an ordinary rate limit.
LIMIT_WORDS = re.compile(
    r"(?:insufficient|not enough|no more|no remaining|out of) (?:\w+ )?(?:quota|tokens)\b"
    rf"|(?:budget|quota|credits?|balance|allowance|{LIMIT}) {BETWEEN}{{0,5}}"
    r"(?:exceeded|exhausted|used up|depleted|reached)"
    rf"|(?:exceed(?:s|ed)|reached|hit|exhausted|over|crossed|used up) {BETWEEN}{{0,4}}"
    rf"(?:budget|quota|credits|allowance|{LIMIT})"
    r"|current spend|max budget|credit balance|in arrears|overdue payment|past (?:due )?invoices"
    r"|payment (?:required|method)|billing (?:account|details|info|to be enabled)",
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

#: A rate limit with 403, and with 400, where words further behind may be the row's.
RATE_WORDS = re.compile(r"\brate limit|too many (?:requests|tokens per)", re.IGNORECASE)
RATE_BEGINNING = re.compile(rf"(?:[\w.:]{{1,40}} ){{0,5}}(?:{RATE_WORDS.pattern})", re.IGNORECASE)

#: How far into a message the words are looked for.
MOST_WORDS = 10_000

#: Statuses of rate limits.
RATE_STATUSES = {413, 429}


def is_for_now(status: int, message: str, *, names_wait: bool) -> bool:
    """Whether a quota of the account is used up for a while; a 400 or 422 is so by its words only."""
    if status in {402, 403}:
        return names_wait or (status == 403 and bool(RATE_WORDS.search(message)))
    by_words = RATE_BEGINNING.match(message) or (names_wait and LIMIT_WORDS.search(message[:MOST_WORDS]))
    return bool(by_words)


def is_exhausted(status: int, codes: Collection[str], message: str) -> bool:
    """Whether the account has no credit, quota or budget left; `codes` are plain."""
    message = message[:MOST_WORDS]
    by_words = EMPTY_WORDS.search(message) or (status not in RATE_STATUSES and LIMIT_WORDS.search(message))
    return not EXHAUSTED_CODES.isdisjoint(codes) or bool(by_words)


def is_restricted(codes: Collection[str], message: str) -> bool:
    """Whether the account may send nothing, whatever it sends; `codes` are plain."""
    return not RESTRICTED_CODES.isdisjoint(codes) or bool(RESTRICTED_WORDS.search(message))


def is_about_the_key(codes: Collection[str], message: str) -> bool:
    """Whether the credentials are refused; `codes` are plain."""
    return not KEY_CODES.isdisjoint(codes) or bool(KEY_WORDS.search(message))
