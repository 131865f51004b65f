"""What does a reply mean for the rows that it answers?

A pure table from status and code to one of a few outcomes. It judges by status and code, never by the
words of a message, with one exception that says so. Messages for records are our own words: what a
service writes may quote the input.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

from batchscore.errors import ErrorCode
from batchscore.rows import Reply, RowError


class Verdict(Enum):
    """What to do with the rows of a request."""

    KEPT = "kept"
    AGAIN = "again"  # the service's fault, and it may pass
    SPLIT = "split"  # the content's fault: halve the request, or settle its one row
    RENAME = "rename"  # the model wants max_completion_tokens
    NEW_TOKEN = "new_token"  # noqa: S105 - a verdict, not a secret
    STOP = "stop"  # no request of this deployment will do better


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, and the error that a row gets should it come to that.

    `reason` is what a person reads where the run stops; `detail` tells one 400 from another; `fitting` is
    the part of a too long request that would fit, where the service said so. `needs_person`: waiting alone
    will not mend it.
    """

    verdict: Verdict
    code: ErrorCode
    reason: str
    status: int | None = None
    detail: str = ""
    fitting: float | None = None
    needs_person: bool = False

    def error(self, attempts: int) -> RowError:
        """Return the row's error after so many attempts."""
        return RowError(self.code, self.reason, self.status, attempts)


#: What a good answer means: nothing is to be done.
KEPT = Outcome(Verdict.KEPT, ErrorCode.INVALID_RESPONSE, "")

#: Codes of a service that name the content as the reason, be it with 400 or, at gateways, with 403.
CONTENT_CODES = {
    "content_filter": ErrorCode.CONTENT_FILTER,
    "content_policy_violation": ErrorCode.CONTENT_FILTER,
    "ResponsibleAIPolicyViolation": ErrorCode.CONTENT_FILTER,
    "context_length_exceeded": ErrorCode.INPUT_TOO_LONG,
    "string_above_max_length": ErrorCode.INPUT_TOO_LONG,
    "max_tokens_exceeded": ErrorCode.INPUT_TOO_LONG,
}

WORDS = {
    ErrorCode.CONTENT_FILTER: "The service's content filter refused the row.",
    ErrorCode.INPUT_TOO_LONG: "The row is longer than the model takes.",
    ErrorCode.INVALID_REQUEST: "The service refused the request as invalid",
    ErrorCode.RATE_LIMITED: "The service's rate limit refused the request",
    ErrorCode.SERVER_ERROR: "The service failed",
    ErrorCode.TIMEOUT: "No answer came in time",
    ErrorCode.CONNECTION_ERROR: "The connection to the service failed",
    ErrorCode.INVALID_RESPONSE: "The service's reply could not be used",
}

#: Refusals that are about the content of the request.
CONTENT_STATUSES = {400, 413, 414, 422, 431, 451}

#: 429 codes that no waiting helps (OpenAI's error codes page, seen 2026-09).
EXHAUSTED_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}

#: Services say "too long" for embeddings in words only; the one place where words count.
TOO_LONG_WORDS = re.compile(
    r"maximum context length|must have less than \d+ tokens|too many tokens", re.IGNORECASE
)

TOKEN_COUNTS = re.compile(
    r"maximum context length is (\d{1,12}) tokens\D+(?:you requested|resulted in) (\d{1,12}) tokens"
)

SAFE_WORD = re.compile(r"^[A-Za-z][\w.\[\]-]{0,63}\Z")


def classify(reply: Reply) -> Outcome:
    """Return what a reply means. A 200 is `KEPT` until its body proves otherwise."""
    status = reply.status
    if 200 <= status < 300:
        return KEPT
    body = error_body(reply.body)
    code = safe(body.get("code")) or safe(body.get("type"))
    param = safe(body.get("param"))
    detail = " ".join(part for part in (code, f"parameter {param}" if param else "") if part)
    if status == 401:
        return Outcome(
            Verdict.NEW_TOKEN,
            ErrorCode.INVALID_REQUEST,
            "the service refused the credentials (401). Check the key or the sign-in, and that they belong "
            "to this endpoint; where none was given, put a key into BATCHSCORE_API_KEY.",
            status,
        )
    if status == 403 and code in CONTENT_CODES:
        return refused_content(body, status, code, param, detail)
    if status == 403:
        return Outcome(
            Verdict.STOP,
            ErrorCode.INVALID_REQUEST,
            f"access is denied (403{said(detail)}). Check that the key or identity may use this model; on "
            "Azure with Entra ID it needs the role 'Cognitive Services OpenAI User' on the resource. A "
            "firewall or a suspended resource answers so, too.",
            status,
        )
    if status in {404, 405, 410, 501}:
        return Outcome(
            Verdict.STOP,
            ErrorCode.INVALID_REQUEST,
            f"no such model, deployment or path ({status}{said(detail)}). Check --model, --deployment, "
            "--api-version and the endpoint's path.",
            status,
        )
    if status < 400:
        return Outcome(
            Verdict.STOP,
            ErrorCode.INVALID_REQUEST,
            f"the endpoint redirects requests ({status}). Check its address: redirects are not followed.",
            status,
        )
    # Services with prepaid credit say 402 (DeepSeek's and OpenRouter's error pages).
    if status == 402 or (status == 429 and code in EXHAUSTED_CODES):
        return Outcome(
            Verdict.STOP,
            ErrorCode.RATE_LIMITED,
            f"the quota is exhausted ({status}{said(detail)}). It needs more credit or a higher quota.",
            status,
        )
    if status in CONTENT_STATUSES:
        return refused_content(body, status, code, param, detail)
    if status == 407:
        return Outcome(
            Verdict.STOP,
            ErrorCode.CONNECTION_ERROR,
            "the proxy wants to be signed in to (407). Put its user and password into HTTPS_PROXY.",
            status,
        )
    if status in {406, 415, 426}:
        return Outcome(
            Verdict.STOP,
            ErrorCode.INVALID_REQUEST,
            f"the endpoint does not take such requests at all ({status}{said(detail)}). Check its address.",
            status,
        )
    if status == 429:
        return Outcome(
            Verdict.AGAIN, ErrorCode.RATE_LIMITED, worded(ErrorCode.RATE_LIMITED, "429", detail), 429
        )
    # 408, 409, 5xx, and what gateways say of themselves (424, 499): nothing that is the row's fault.
    return Outcome(
        Verdict.AGAIN, ErrorCode.SERVER_ERROR, worded(ErrorCode.SERVER_ERROR, str(status), detail), status
    )


def refused_content(body: dict[str, Any], status: int, code: str, param: str, detail: str) -> Outcome:
    """Return what a 400-like status means: this content, or a parameter that no row can do with."""
    inner = body.get("innererror")
    inner_code = safe(inner.get("code")) if isinstance(inner, dict) else ""
    if code == "unsupported_parameter" and param == "max_tokens":
        return Outcome(
            Verdict.RENAME,
            ErrorCode.INVALID_REQUEST,
            worded(ErrorCode.INVALID_REQUEST, str(status), detail),
            status,
            detail,
        )
    named = CONTENT_CODES.get(code) or CONTENT_CODES.get(inner_code)
    if named is None and TOO_LONG_WORDS.search(str(body.get("message") or "")):
        named = ErrorCode.INPUT_TOO_LONG
    if named is not None:
        fitting = fitting_part(str(body.get("message") or ""))
        return Outcome(Verdict.SPLIT, named, WORDS[named], status, named.value, fitting)
    return Outcome(
        Verdict.SPLIT,
        ErrorCode.INVALID_REQUEST,
        worded(ErrorCode.INVALID_REQUEST, str(status), detail),
        status,
        detail or str(status),
    )


def fitting_part(message: str) -> float | None:
    """Return limit / requested where a message names both.

    As in "... maximum context length is 8192 tokens, however you requested 10000 tokens ...".
    """
    found = TOKEN_COUNTS.search(message)
    if found is None:
        return None
    limit, requested = int(found[1]), int(found[2])
    return limit / requested if 0 < limit < requested else None


def no_reply(code: ErrorCode, detail: str = "", *, needs_person: bool = False) -> Outcome:
    """Return what a timeout, a broken connection or an unusable reply means."""
    text = WORDS[code]
    if not text.endswith("."):
        said_so = f"{text}: {detail}" if detail else text
        text = said_so if said_so.endswith("?") else f"{said_so}."
    return Outcome(Verdict.AGAIN, code, text, needs_person=needs_person)


def refused_alone(outcome: Outcome) -> Outcome:
    """Return what a refusal of everything means after all, where other requests are answered."""
    words = f"The service refused this request ({outcome.status}), though it answers others."
    return Outcome(Verdict.SPLIT, ErrorCode.INVALID_REQUEST, words, outcome.status, f"{outcome.status} alone")


def error_body(body: bytes) -> dict[str, Any]:
    """Return the error object of a reply; gateways put its fields at the top. Never raises."""
    try:
        whole = orjson.loads(body)
    except ValueError:
        return {}
    if not isinstance(whole, dict):
        return {}
    error = whole.get("error")
    return error if isinstance(error, dict) else whole


def safe(word: Any) -> str:
    """Return a code or parameter name, or nothing where it might be more than a name."""
    return word if isinstance(word, str) and SAFE_WORD.match(word) else ""


def said(detail: str) -> str:
    """Return the service's code as an aside."""
    return f", {detail}" if detail else ""


def worded(code: ErrorCode, status: str, detail: str) -> str:
    """Return our words for a code with the status and the service's own code."""
    return f"{WORDS[code]} ({status}{said(detail)})."
