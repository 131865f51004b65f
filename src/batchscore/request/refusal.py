"""What does a reply without answers say: which status and codes has it, and is the content the reason?

It must not know what follows from that: `outcome_rules` decides, by `RULES`. A new error code starts in
`errors`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from batchscore.request import account_words, too_long
from batchscore.request.account_words import plain_code
from batchscore.request.content_words import is_about_content
from batchscore.request.error_shapes import (
    code_of,
    error_in,
    inner_code_of,
    message_of,
    param_of,
    safe_name,
)
from batchscore.rows import Reply

#: Codes that say that the content is too long for the model.
TOO_LONG_CODES = {plain_code(each) for each in (
    "context_length_exceeded", "string_above_max_length", "max_tokens_exceeded",
    "exceed_context_size_error",  # llama.cpp
    "tokens_limit_reached",  # GitHub Models
    "model_max_prompt_tokens_exceeded",  # GitHub Copilot
)}  # fmt: skip

#: Refusals that are about the content of the request.
CONTENT_STATUSES = {400, 413, 414, 422, 431, 451}

#: A request that is larger than the whole limit, with 429 (OpenAI) or 413 (Groq).
NEVER_FITS = re.compile(r"\bLimit:? (\d{1,12}),? Requested:? (\d{1,12})\b")

#: Parameters of which another form is ours to choose, and how a service without a code refuses the first.
ADAPTABLE = {
    "max_tokens": re.compile(r"'max_tokens' is not supported.{0,400}'max_completion_tokens'", re.DOTALL),
    "encoding_format": re.compile(r"\bencoding_format\b|\bbase64\b.{0,40}support", re.IGNORECASE),
    "response_format": re.compile(r"\bresponse[_ ]format\b|\bjson_schema\b", re.IGNORECASE),
}

#: Azure ML gives the status of the model's container here, and 424 as the status.
CONTAINER_STATUS = "ms-azureml-model-error-statuscode"


class Refusal(NamedTuple):
    """What a reply without answers says, as far as the rules look at it. `message` is never shown."""

    status: int
    code: str
    param: str
    message: str
    inner_code: str
    names_wait: bool
    error: Mapping[str, Any]

    @property
    def codes(self) -> set[str]:
        """The code and the type of the error, and the code of what it holds within, as they are compared."""
        kind = safe_name(self.error.get("type"))
        return {plain_code(self.code), plain_code(kind), plain_code(self.inner_code)}

    def has_code(self, *codes: str) -> bool:
        """Whether the error itself has one of these codes."""
        return plain_code(self.code) in map(plain_code, codes)


def is_quota_for_now(refusal: Refusal) -> bool:
    """Whether a quota is used up for now: API Management names a moment, others a rate limit."""
    for_now = account_words.is_for_now(refusal.status, refusal.message, names_wait=refusal.names_wait)
    return for_now and account_words.EXHAUSTED_CODES.isdisjoint(refusal.codes)


def is_filtered(refusal: Refusal) -> bool:
    """Whether the content filter refused the content."""
    return is_about_content(refusal.status, refusal.codes, refusal.message, refusal.error)


def is_too_long(refusal: Refusal) -> bool:
    """Whether the content is too long for the model; a firewall's 403 says so by its code only."""
    by_words = refusal.status != 403 and too_long.is_too_long(refusal.message)
    return not TOO_LONG_CODES.isdisjoint(refusal.codes) or by_words


def never_fits(refusal: Refusal) -> bool:
    """Whether this request alone is larger than the rate limit."""
    counts = NEVER_FITS.search(refusal.message)
    if counts is None:
        return refusal.status == 413 and refusal.has_code("rate_limit_exceeded")
    return int(counts[2]) > int(counts[1])


def adaptable(refusal: Refusal) -> str:
    """Return the parameter that is named and may be accepted in another form, "" if there is none."""
    name = refusal.param.partition(".")[0]  # `response_format.json_schema.schema`
    if refusal.param.startswith("text.format"):  # the Responses API's name of it
        return "response_format"
    if name in {"encoding_format", "response_format"}:
        return name
    known = refusal.has_code("unsupported_parameter") and refusal.param in ADAPTABLE
    return refusal.param if known else ""


def adaptable_by_words(refusal: Refusal) -> str:
    """Return the parameter that a message without `param` seems to be about, "" if there is none."""
    if refusal.param:
        return ""
    return next((name for name, words in ADAPTABLE.items() if words.search(refusal.message)), "")


def read_refusal(reply: Reply) -> Refusal:
    """Return what a reply without answers says. Never raises."""
    error = error_in(reply.body)
    code, inner, param = code_of(error), inner_code_of(error), param_of(error)
    names_wait = any(reply.headers.get(name) for name in ("retry-after", "retry-after-ms"))
    return Refusal(status_of(reply), code, param, message_of(error), inner, names_wait, error)


def status_of(reply: Reply) -> int:
    """Return the status that decides: at Azure ML the one of the model's container."""
    given = reply.headers.get(CONTAINER_STATUS, "").strip() if reply.status == 424 else ""
    return int(given) if re.fullmatch("[3-5][0-9][0-9]", given, re.ASCII) else reply.status


def fitting_part(refusal: Refusal) -> float | None:
    """Return limit / requested if a refusal for its size names both."""
    if counts := NEVER_FITS.search(refusal.message):
        return too_long.part(int(counts[1]), int(counts[2]))
    return too_long.fitting_part(refusal.error, refusal.message)


def redirect_text(location: str) -> str:
    """Return where a reply redirects to: only a known form of host, since a path may quote the input."""
    found = re.match(r"(https?://[\w.-]{1,99}(:\d{1,5})?)(?=[/?#]|$)", location)
    return f"to {found[1]}" if found else "on the same host" if location.startswith("/") else ""
