"""Does a refusal mean that a content filter refused the content?

Services say so in codes and in words. It knows codes, words and fields of an error only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from batchscore.request.account_words import plain_code

#: Codes (the error pages of OpenAI, Azure, DashScope, Volcengine and Moonshot, seen 2026-11).
FILTER_CODES = {plain_code(each) for each in (
    "content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation", "moderation_blocked",
    "image_content_policy_violation", "data_inspection_failed", "SensitiveContentDetected",
    "InputTextSensitiveContentDetected", "InputImageSensitiveContentDetected",
    "OutputTextSensitiveContentDetected",
    "invalid_prompt", "bio_policy",  # OpenAI's reasoning models
)}  # fmt: skip

#: What a filter refuses, and other words on the way to its reason.
_CONTENT = r"\b(?:content|inputs?|prompts?|request|text|messages?|query|data|response|output)"
_MORE = r"(?:[\w',-]+ ){0,12}"

#: Words of services without a code (DeepSeek, DashScope, LiteLLM, Bedrock, Anthropic, Zhipu).
FILTER_WORDS = re.compile(
    r"ContentPolicyViolation|Content Exists Risk\b|敏感内容"
    rf"|{_CONTENT} (?:(?:is|are|was|were|has been) )?(?:flagged|filtered|blocked|rejected) {_MORE}"
    r"(?:content (?:\w+ )?(?:policy|filter)|usage polic(?:y|ies)|moderation|guardrails?|safety|high risk)\b"
    rf"|{_CONTENT} (?:data )?(?:may |might )?(?:contains?|violates?) {_MORE}"
    r"(?:inappropriate|sensitive|unsafe|(?:usage|content) (?:guidelines|polic(?:y|ies)))\b",
    re.IGNORECASE,
)

#: A firewall's 403 is about everybody, unless it begins like this (xAI).
REFUSED_CONTENT = re.compile(r"\W*Content violates usage guidelines\b")

#: How far into a message the words are looked for: behind them, it may quote the row.
MOST_CHARACTERS = 400


def is_about_content(status: int, codes: Collection[str], message: str, error: Mapping[str, Any]) -> bool:
    """Whether the content filter refused the content; `codes` are plain."""
    details = error.get("metadata")  # OpenRouter
    if not FILTER_CODES.isdisjoint(codes) or (isinstance(details, dict) and "flagged_input" in details):
        return True
    if status == 403:
        return bool(REFUSED_CONTENT.match(message))
    return bool(FILTER_WORDS.search(message[:MOST_CHARACTERS]))
