"""What does a reply mean: for the rows of its request, for the wait before the next one, and for the quota?

A pure table from status and code to one of a few outcomes. Every failure is retried, unless its status is in
`CONTENT_STATUSES` (the row's fault) or `REFUSALS_OF_ALL` (a fault of every request). It judges by status and
code, never by the words of a message, with one exception (`too_long`). Messages for records are our own: the
service's may quote the input. In headers, absent, unreadable and negative values mean "unknown". Zero does
too, except in a remaining amount: Azure sends -1 and 0 if it does not know (facts seen 2026-09).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from batchscore.errors import ErrorCode, name_settings, setting_name
from batchscore.request.service_codes import shown_detail
from batchscore.request.too_long import fitting_part, is_too_long
from batchscore.rows import InvalidReply, Reply, RowError, load_json


class Action(Enum):
    """What to do with the rows of a request."""

    KEEP = "keep"
    RETRY = "retry"  # the service's fault, perhaps for a moment only
    SPLIT = "split"  # the content's fault: halve the request, or settle its one row
    RENAME = "rename"  # the model requires max_completion_tokens
    RENEW_TOKEN = "renew_token"  # noqa: S105 - an action, not a secret
    STOP = "stop"  # this deployment refuses every request


@dataclass(frozen=True, slots=True)
class Outcome:
    """An action, and the error that a row gets if no retry helps.

    `reason` is the message if the run stops; `detail` distinguishes one 400 from another, and is not shown,
    since it may hold a word of the service; `fitting` is the
    part of a too long request that would fit, if the service said so. `needs_action`: waiting does not help.
    """

    action: Action
    code: ErrorCode
    reason: str
    status: int | None = None
    detail: str = ""
    fitting: float | None = None
    needs_action: bool = False

    def error(self, attempts: int) -> RowError:
        """Return the row's error after this many attempts."""
        return RowError(self.code, name_settings(self.reason), self.status, attempts)


#: The outcome of a good answer.
ANSWERED = Outcome(Action.KEEP, ErrorCode.INVALID_RESPONSE, "")

#: A service's codes that name the content as the reason, with 400 or, at gateways, with 403.
CONTENT_CODES = {
    "content_filter": ErrorCode.CONTENT_FILTER,
    "content_policy_violation": ErrorCode.CONTENT_FILTER,
    "ResponsibleAIPolicyViolation": ErrorCode.CONTENT_FILTER,
    "context_length_exceeded": ErrorCode.INPUT_TOO_LONG,
    "string_above_max_length": ErrorCode.INPUT_TOO_LONG,
    "max_tokens_exceeded": ErrorCode.INPUT_TOO_LONG,
    "exceed_context_size_error": ErrorCode.INPUT_TOO_LONG,  # llama.cpp
    "tokens_limit_reached": ErrorCode.INPUT_TOO_LONG,  # GitHub Models
    "model_max_prompt_tokens_exceeded": ErrorCode.INPUT_TOO_LONG,  # GitHub Copilot
}

#: The message of an error record, or its beginning.
ERROR_TEXTS = {
    ErrorCode.CONTENT_FILTER: "The service's content filter refused the row.",
    ErrorCode.INPUT_TOO_LONG: "The row is longer than the model's context.",
    ErrorCode.INVALID_REQUEST: "The service refused the request as invalid",
    ErrorCode.RATE_LIMITED: "The service's rate limit refused the request",
    ErrorCode.SERVER_ERROR: "The service failed",
    ErrorCode.TIMEOUT: "No reply arrived in time",
    ErrorCode.CONNECTION_ERROR: "The connection to the service failed",
    ErrorCode.INVALID_RESPONSE: "The service's reply could not be used",
}

#: Refusals that are about the content of the request.
CONTENT_STATUSES = {400, 413, 414, 422, 431, 451}

#: 429 codes that waiting does not help (OpenAI's error codes page, seen 2026-09).
EXHAUSTED_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}

_NOT_FOUND = (
    f"no such model, deployment or path ({{}}). Check {setting_name('model')}, {setting_name('deployment')}, "
    f"{setting_name('api_version')} and the endpoint's path."
)
_NOT_ACCEPTED = "the endpoint does not accept such requests at all ({}). Check its address."

#: Statuses (300: any redirect) with which a deployment refuses every request. The braces are for the status
#: and its code.
REFUSALS_OF_ALL = {
    300: "the endpoint redirects requests ({}). Check its address: redirects are not followed.",
    401: "the service refused the credentials (401). Check the key or the sign-in, and that they belong to "
    "this endpoint. If none was given, set the variable BATCHSCORE_API_KEY.",
    # Services with prepaid credit say 402 (DeepSeek's and OpenRouter's error pages).
    402: "the quota is exhausted ({}). Add credit or request a higher quota.",
    403: "access is denied ({}). Check that the key or identity may use this model; on Azure with Entra ID "
    "it needs the role 'Cognitive Services OpenAI User' on the resource. A firewall or a suspended resource "
    "gives the same reply.",
    404: _NOT_FOUND,
    405: _NOT_FOUND,
    406: _NOT_ACCEPTED,
    407: "the proxy requires authentication (407). Put its user and password into HTTPS_PROXY.",
    410: _NOT_FOUND,
    415: _NOT_ACCEPTED,
    426: _NOT_ACCEPTED,
    501: _NOT_FOUND,
}
_CODES_OF_REFUSALS = {402: ErrorCode.RATE_LIMITED, 407: ErrorCode.CONNECTION_ERROR}

SAFE_NAME = re.compile(r"^[A-Za-z][\w.\[\]-]{0,63}\Z")


def classify(reply: Reply, sent: bytes = b"") -> Outcome:
    """Return what a reply to the body `sent` means. A 200 is `ANSWERED` until its body proves otherwise."""
    status = reply.status
    if 200 <= status < 300:
        return ANSWERED
    body = error_body(reply.body)
    code = safe_name(body.get("code")) or safe_name(body.get("type"))
    param = safe_name(body.get("param"))
    detail = shown_detail(code, param, sent)
    # llama.cpp and Ollama say "too long" with 500.
    if (
        status in CONTENT_STATUSES
        or (status == 403 and code in CONTENT_CODES)
        or (status == 500 and is_too_long(message_in(body)))
    ):
        return content_outcome(body, status, (code, param), detail)
    kind = 300 if status < 400 else 402 if status == 429 and code in EXHAUSTED_CODES else status
    refusal = REFUSALS_OF_ALL.get(kind)
    if refusal is not None:
        action = Action.RENEW_TOKEN if status == 401 else Action.STOP
        cause = _CODES_OF_REFUSALS.get(kind, ErrorCode.INVALID_REQUEST)
        detail = redirect_text(reply.headers.get("location", "")) if kind == 300 else detail
        return Outcome(action, cause, refusal.format(status_text(status, detail)), status)
    # 408, 409, 5xx, and gateways' own (424, 499): none is the row's fault.
    failure = ErrorCode.RATE_LIMITED if status == 429 else ErrorCode.SERVER_ERROR
    return Outcome(Action.RETRY, failure, error_text(failure, status, detail), status)


def redirect_text(location: str) -> str:
    """Return where a reply redirects to: only a known form of host, since a path may quote the input."""
    found = re.match(r"(https?://[\w.-]{1,99}(:\d{1,5})?)(?=[/?#]|$)", location)
    return f"to {found[1]}" if found else "on the same host" if location.startswith("/") else ""


def content_outcome(body: dict[str, Any], status: int, words: tuple[str, str], detail: str) -> Outcome:
    """Return what a 400-like status means: this content, or a parameter that fails every row.

    `words` are the service's code and parameter, which are compared; `detail` is what is shown of them.
    """
    code, param = words
    inner = body.get("innererror")
    inner_code = safe_name(inner.get("code")) if isinstance(inner, dict) else ""
    invalid = ErrorCode.INVALID_REQUEST
    if code == "unsupported_parameter" and param == "max_tokens":
        return Outcome(Action.RENAME, invalid, error_text(invalid, status, detail), status, detail)
    message = message_in(body)
    cause = CONTENT_CODES.get(code) or CONTENT_CODES.get(inner_code)
    if cause is None and is_too_long(message):
        cause = ErrorCode.INPUT_TOO_LONG
    if cause is not None:
        fitting = fitting_part(body, message)
        return Outcome(Action.SPLIT, cause, ERROR_TEXTS[cause], status, cause.value, fitting)
    kind = " ".join(word for word in words if word) or str(status)
    return Outcome(Action.SPLIT, invalid, error_text(invalid, status, detail), status, kind)


def failure_outcome(
    code: ErrorCode, detail: str = "", *, status: int | None = None, needs_action: bool = False
) -> Outcome:
    """Return what a timeout, a broken connection or an unusable reply means."""
    text = f"{ERROR_TEXTS[code]}: {detail}" if detail else ERROR_TEXTS[code]
    text = text if text.endswith("?") else f"{text}."
    return Outcome(Action.RETRY, code, text, status, needs_action=needs_action)


def unusable_outcome(reason: InvalidReply, reply: Reply, sent: bytes) -> Outcome:
    """Return what a reply means that has a good status and cannot be used; its body may hold the real status.

    If the service has never sent another one, waiting does not help.
    """
    if reason.status is not None:
        return classify(replace(reply, status=reason.status), sent)
    detail = str(reason)
    if reason.is_error:
        fields = error_body(reply.body)
        code = shown_detail(safe_name(fields.get("code")) or safe_name(fields.get("type")), "", b"")
        detail += f" ({code})" if code else ""
    return failure_outcome(reason.code, detail, needs_action=reason.code is ErrorCode.INVALID_RESPONSE)


def refused_alone(outcome: Outcome) -> Outcome:
    """Return what a refusal of everything means if the service answers other requests."""
    text = f"The service refused this request ({outcome.status}), though it answers others."
    return Outcome(Action.SPLIT, ErrorCode.INVALID_REQUEST, text, outcome.status, f"{outcome.status} alone")


def refused_by_chance(outcome: Outcome) -> Outcome:
    """Return what a refusal of the credentials means if the service accepts them for other requests."""
    text = (
        f"The service refused the credentials of this request ({outcome.status}), and accepts them in others."
    )
    return Outcome(Action.RETRY, ErrorCode.SERVER_ERROR, text, outcome.status)


def error_body(body: bytes) -> dict[str, Any]:
    """Return the error object of a reply; gateways put its fields at the top. Never raises."""
    try:
        document = load_json(body)
    except ValueError:
        return {}
    if isinstance(document, list) and document:
        document = document[0]  # Gemini
    if not isinstance(document, dict):
        return {}
    error = document.get("error")
    if isinstance(error, str):  # Ollama, text-embeddings-inference
        return {"message": error, **document}
    return error if isinstance(error, dict) else document


def message_in(error: Mapping[str, Any]) -> str:
    """Return the message of an error object; FastAPI calls it `detail`. It may quote the input."""
    detail = error.get("detail")
    first = detail[0] if isinstance(detail, list) and detail else None
    texts = [error.get("message"), detail, first.get("msg") if isinstance(first, dict) else None]
    return next((text for text in texts if isinstance(text, str) and text), "")


def safe_name(word: Any) -> str:
    """Return a code or parameter name, or nothing if it might be more than a name."""
    return word if isinstance(word, str) and SAFE_NAME.match(word) else ""


def status_text(status: int, detail: str) -> str:
    """Return a status with the service's code, if there is one."""
    return f"{status}, {detail}" if detail else str(status)


def error_text(code: ErrorCode, status: int, detail: str) -> str:
    """Return our message for a code, with the status and the service's own code."""
    return f"{ERROR_TEXTS[code]} ({status_text(status, detail)})."


DURATION = re.compile(r"^(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?$")

RESET = "x-ratelimit-reset-"
REMAINING = "x-ratelimit-remaining-"


def wait_seconds(headers: Mapping[str, str], *, limited: bool, now: float) -> float | None:
    """Return the seconds to wait by `retry-after-ms`, `retry-after`, else `x-ratelimit-reset-*`.

    `headers` are looked up by lower-case names; `now` is in seconds since 1970. `retry-after` may be seconds,
    with decimals, or an HTTP date (RFC 9110, 10.2.3). Resets are in every reply, so they count only if that
    quota was the reason (`limited`), and only for what is used up. The longer of two counts. Never raises.
    """
    after = headers.get("retry-after", "")
    seconds = positive(headers.get("retry-after-ms"), unit_seconds=0.001) or positive(after)
    seconds = seconds or until_date(after, now)
    if seconds is not None or not limited:
        return seconds
    lower = {name.lower(): value for name, value in headers.items()}
    resets = {name: value for name, value in lower.items() if name.startswith(RESET)}
    used_up = [name for name in resets if number(lower.get(name.replace(RESET, REMAINING))) == 0]
    waits = [duration(resets[name]) for name in used_up or resets]
    return max((wait for wait in waits if wait is not None), default=None)


def number(text: str | None) -> float | None:
    """Return a finite number that is not negative, else `None`."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def positive(text: str | None, *, unit_seconds: float = 1.0) -> float | None:
    """Return a positive finite number, in seconds if it has a unit, else `None`."""
    return (number(text) or 0.0) * unit_seconds or None


def until_date(text: str, now: float) -> float | None:
    """Return the seconds until an HTTP date; `None` if it has passed or is not a date."""
    try:
        then = parsedate_to_datetime(text)
        seconds = (then if then.tzinfo else then.replace(tzinfo=timezone.utc)).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if seconds > 0 else None


def duration(text: str) -> float | None:
    """Return the seconds of `1s`, `6m0s`, `120ms` or a bare number, else `None`."""
    match = DURATION.match(text.strip())
    if match is None:
        return positive(text)
    hours, minutes, seconds, milliseconds = (float(group or 0) for group in match.groups())
    total = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    return total if 0 < total < math.inf else None


@dataclass(frozen=True, slots=True)
class LimitHeaders:
    """The quota in a reply's headers: limits and what remains, each `None` if unknown."""

    tokens: float | None = None
    requests: float | None = None
    remaining_tokens: float | None = None


def limit_headers(headers: Mapping[str, str]) -> LimitHeaders:
    """Return the `x-ratelimit-*` of a reply. Never raises.

    A remaining amount without its limit is ignored, since services that send placeholders send both.
    """
    tokens = positive(headers.get("x-ratelimit-limit-tokens"))
    requests = positive(headers.get("x-ratelimit-limit-requests"))
    remaining = number(headers.get("x-ratelimit-remaining-tokens")) if tokens is not None else None
    return LimitHeaders(tokens, requests, remaining)
