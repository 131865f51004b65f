"""What does a reply mean: for the rows of its request, and for the requests after it?

A pure table (`RULES`) from status and code to one of a few outcomes; the first rule that matches counts.
Every failure is retried, unless it is the row's fault or a fault of every request. Words of a message count
only if services have no code for the case, and whatever they say is confirmed by a probe before a run stops.
Messages for records are our own: the service's may quote the input. `refusal` reads what a reply says,
`rate_headers` the waits.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from batchscore.errors import BatchscoreError, ErrorCode, name_settings, setting_name
from batchscore.request import account_words
from batchscore.request.error_shapes import code_of, error_in
from batchscore.request.refusal import (
    CONTENT_STATUSES,
    Refusal,
    adaptable,
    adaptable_by_words,
    fitting_part,
    is_filtered,
    is_quota_for_now,
    is_too_long,
    never_fits,
    read_refusal,
    redirect_text,
)
from batchscore.request.send import NoReply
from batchscore.request.service_codes import shown_detail
from batchscore.rows import InvalidReply, Reply, RowError


class Action(Enum):
    """What to do with the rows of a request."""

    KEEP = "keep"
    RETRY = "retry"  # the service's fault, perhaps for a moment only
    SPLIT = "split"  # the content's fault: halve the request, or settle its one row
    ADAPT = "adapt"  # the service requires another form of a parameter that is ours to choose
    RENEW_TOKEN = "renew_token"  # noqa: S105 - an action, not a secret
    STOP = "stop"  # this deployment refuses every request


@dataclass(frozen=True, slots=True)
class Outcome:
    """An action, and the error that a row gets if no retry helps.

    `reason` is the message if the run stops; `detail` distinguishes one 400 from another, and names the wrong
    form of a reply that would be the same again. It is not shown, since it may hold a word of the service.
    `fitting` is the part of a too long request that would fit, if the service said so. `needs_action`:
    waiting does not help, if nothing was answered before or the failure is `lasting`. `by_chance`: the
    service is well, and this request was refused by bad luck. `words` is what the service says to our own
    probe. `of_rows`: it is known by words only, which may quote a row; this is what it means then.
    """

    action: Action
    code: ErrorCode
    reason: str
    status: int | None = None
    detail: str = ""
    fitting: float | None = None
    needs_action: bool = False
    lasting: bool = False
    by_chance: bool = False
    words: str = ""
    of_rows: Outcome | None = None

    def error(self, attempts: int) -> RowError:
        """Return the row's error after this many attempts."""
        return RowError(self.code, name_settings(self.reason), self.status, attempts)

    def is_like(self, other: Outcome) -> bool:
        """Whether two refusals have the same cause, as far as the service says."""
        return (self.action, self.status, self.code, self.detail) == (
            other.action,
            other.status,
            other.code,
            other.detail,
        )


#: The outcome of a good answer.
ANSWERED = Outcome(Action.KEEP, ErrorCode.INVALID_RESPONSE, "")


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


#: Redirects and proxies do not look at the content of a request.
NEVER_ABOUT_ONE = {*range(300, 400), 407}

#: 400s that the same request may not get again: the model's answer did not match the schema (Groq).
BY_CHANCE_CODES = {"json_validate_failed", "tool_use_failed"}

#: Codes of parameters. Some gateways give every error of the service behind them as a 500 (new-api).
PARAMETER_CODES = {
    "invalid_request_error", "unknown_parameter", "unsupported_parameter", "unsupported_value",
    "invalid_type", "invalid_value", "missing_required_parameter", "integer_above_max_value",
    "integer_below_min_value", "decimal_above_max_value", "decimal_below_min_value",
    "invalid_json_schema",
}  # fmt: skip


def always(refusal: Refusal) -> bool:
    """Whether the status alone decides."""
    del refusal
    return True


class Rule(NamedTuple):
    """What a status means if `when` holds. The braces in `reason` are for the status and the code."""

    statuses: Container[int]
    when: Callable[[Refusal], bool]
    action: Action
    code: ErrorCode
    reason: str


_INVALID = ERROR_TEXTS[ErrorCode.INVALID_REQUEST] + " ({})."
_NOT_FOUND = (
    f"no such model, deployment or path ({{}}). Check {setting_name('model')}, {setting_name('deployment')}, "
    f"{setting_name('api_version')} and the endpoint's path."
)
_NOT_ACCEPTED = "the endpoint does not accept such requests at all ({}). Check its address."
_CREDENTIALS = (
    "the service refused the credentials ({}). Check the key or the sign-in, and that they belong to this "
    "endpoint. If none was given, set the variable BATCHSCORE_API_KEY."
)
_EXHAUSTED = "the quota is exhausted ({}). Add credit or request a higher quota."
_CLIENT_ERRORS = range(400, 500)

RULES = (
    Rule({400, 422, 500}, lambda refusal: bool(adaptable(refusal)), Action.ADAPT,
         ErrorCode.INVALID_REQUEST, _INVALID),
    Rule({*CONTENT_STATUSES, 403, 500}, is_filtered, Action.SPLIT,
         ErrorCode.CONTENT_FILTER, ERROR_TEXTS[ErrorCode.CONTENT_FILTER]),
    Rule({413, 429}, never_fits, Action.SPLIT, ErrorCode.OVER_QUOTA,
         "The service says that the row needs more tokens than its rate limit allows ({})."),
    Rule({*CONTENT_STATUSES, 403, 500}, is_too_long, Action.SPLIT,
         ErrorCode.INPUT_TOO_LONG, ERROR_TEXTS[ErrorCode.INPUT_TOO_LONG]),
    Rule({400, 402, 403, 422}, is_quota_for_now, Action.RETRY, ErrorCode.RATE_LIMITED,
         "the service's quota is used up for now ({})."),
    Rule({*_CLIENT_ERRORS} - {401, 404},
         lambda refusal: account_words.is_exhausted(refusal.status, refusal.codes, refusal.message),
         Action.STOP, ErrorCode.RATE_LIMITED, _EXHAUSTED),
    Rule({400, 422}, lambda refusal: account_words.is_restricted(refusal.codes, refusal.message),
         Action.STOP, ErrorCode.INVALID_REQUEST,
         "the account or its organization is restricted ({}). Ask the service's support."),
    Rule({400, 422}, lambda refusal: refusal.has_code(*BY_CHANCE_CODES), Action.RETRY,
         ErrorCode.INVALID_ANSWER, "The model's answer did not have the requested form ({})."),
    Rule({400, 422}, lambda refusal: account_words.is_about_the_key(refusal.codes, refusal.message),
         Action.RENEW_TOKEN, ErrorCode.INVALID_REQUEST, _CREDENTIALS),
    Rule({400, 422, 500}, lambda refusal: bool(adaptable_by_words(refusal)), Action.ADAPT,
         ErrorCode.INVALID_REQUEST, _INVALID),
    Rule(CONTENT_STATUSES, always, Action.SPLIT, ErrorCode.INVALID_REQUEST, _INVALID),
    Rule({500}, lambda refusal: refusal.has_code(*PARAMETER_CODES), Action.SPLIT,
         ErrorCode.INVALID_REQUEST, _INVALID),
    Rule({304}, always, Action.STOP, ErrorCode.INVALID_REQUEST,
         "what answers is a cache that has no answer ({}), not a model. Check the address; if the address is "
         "right, let the cache or proxy pass POST requests on."),
    Rule(range(400), always, Action.STOP, ErrorCode.INVALID_REQUEST,
         "the endpoint redirects requests ({}). Check its address: redirects are not followed."),
    Rule({401}, always, Action.RENEW_TOKEN, ErrorCode.INVALID_REQUEST, _CREDENTIALS),
    # Services with prepaid credit say 402 (DeepSeek's and OpenRouter's error pages).
    Rule({402}, always, Action.STOP, ErrorCode.RATE_LIMITED, _EXHAUSTED),
    Rule({403}, always, Action.STOP, ErrorCode.INVALID_REQUEST,
         "access is denied ({}). Check that the key or identity may use this model; on Azure with Entra ID "
         "it needs the role 'Cognitive Services OpenAI User' on the resource. A firewall or a suspended "
         "resource gives the same reply."),
    Rule({404, 405, 410, 501}, always, Action.STOP, ErrorCode.INVALID_REQUEST, _NOT_FOUND),
    # 411 to 428 and 505 are about the form of requests, 511 is a network that wants a person to sign in, and
    # above 599 no status is defined (RFC 9110, RFC 6585).
    Rule({406, 411, 412, 415, 417, 418, 426, 428, 505, 511, *range(600, 1000)}, always, Action.STOP,
         ErrorCode.INVALID_REQUEST, _NOT_ACCEPTED),
    Rule({407}, always, Action.STOP, ErrorCode.CONNECTION_ERROR,
         "the proxy requires authentication (407). Put its user and password into HTTPS_PROXY."),
    Rule({429}, always, Action.RETRY, ErrorCode.RATE_LIMITED, ERROR_TEXTS[ErrorCode.RATE_LIMITED] + " ({})."),
    # 408, 409, 5xx, and gateways' own (424, 499): none is the row's fault.
    Rule(range(1000), always, Action.RETRY, ErrorCode.SERVER_ERROR,
         ERROR_TEXTS[ErrorCode.SERVER_ERROR] + " ({})."),
)  # fmt: skip


def classify(reply: Reply, sent: bytes = b"") -> Outcome:
    """Return what a reply to the body `sent` means. A 200 is `ANSWERED` until its body proves otherwise."""
    if 200 <= reply.status < 300:
        return ANSWERED
    refusal = read_refusal(reply)
    rules = (rule for rule in RULES if refusal.status in rule.statuses and rule.when(refusal))
    outcome = outcome_of(refusal, next(rules), reply, sent)
    if outcome.action is Action.ADAPT and not adaptable(refusal):
        return replace(outcome, of_rows=outcome_of(refusal, next(rules), reply, sent))
    return outcome


def outcome_of(refusal: Refusal, rule: Rule, reply: Reply, sent: bytes) -> Outcome:
    """Return what a reply means by a rule."""
    code = rule.code
    if refusal.status < 400:
        shown = redirect_text(reply.headers.get("location", ""))
    else:
        shown = shown_detail(refusal.code, refusal.param, sent)
    reason = rule.reason.format(f"{refusal.status}, {shown}" if shown else refusal.status)
    detail = " ".join(filter(None, (refusal.code, refusal.param))) or str(refusal.status)
    fitting = None
    if rule.action is Action.ADAPT:
        detail = adaptable(refusal) or adaptable_by_words(refusal)
    elif code in {ErrorCode.CONTENT_FILTER, ErrorCode.INPUT_TOO_LONG, ErrorCode.OVER_QUOTA}:
        detail, fitting = code.value, fitting_part(refusal)
    by_chance = code is ErrorCode.INVALID_ANSWER
    return Outcome(rule.action, code, reason, refusal.status, detail, fitting, by_chance=by_chance)


def needs_body(status: int) -> bool:
    """Whether a status means little without its body: an answer, or a refusal of the content."""
    return 200 <= status < 300 or status in CONTENT_STATUSES


def over_quota(tokens: float, answer_tokens: float, most: float) -> RowError:
    """Return the error of a row that needs more than a minute's quota, so that nothing is sent."""
    needs = f"about {tokens:,.0f} tokens"
    if answer_tokens:
        needs += f", {answer_tokens:,.0f} of them for the answer"
    message = f"The row needs {needs}, and the quota is {most:,.0f} tokens a minute."
    return RowError(ErrorCode.OVER_QUOTA, message, None, 0)


def failure_outcome(
    code: ErrorCode, detail: str = "", *, status: int | None = None, needs_action: bool = False
) -> Outcome:
    """Return what a timeout, a broken connection or an unusable reply means."""
    text = f"{ERROR_TEXTS[code]}: {detail}" if detail else ERROR_TEXTS[code]
    text = text if text.endswith("?") else f"{text}."
    return Outcome(Action.RETRY, code, text, status, needs_action=needs_action)


def lost_outcome(reason: NoReply | BatchscoreError) -> Reply | Outcome:
    """Return what it means that no reply arrived; of one whose body cannot be used, the head may say it."""
    if isinstance(reason, BatchscoreError):
        # Signing in fails, and so will all other requests.
        return Outcome(Action.STOP, ErrorCode.CONNECTION_ERROR, reason.text, needs_action=True)
    status = None if reason.head is None else reason.head.status
    if reason.head is not None and not needs_body(reason.head.status):
        return reason.head
    return failure_outcome(reason.code, reason.detail, status=status, needs_action=reason.needs_action)


def unusable_outcome(reason: InvalidReply, reply: Reply, sent: bytes) -> Outcome:
    """Return what a reply means that has a good status and cannot be used; its body may hold the real status.

    If the service has never sent another one, waiting does not help.
    """
    if reason.status is not None:
        return classify(replace(reply, status=reason.status), sent)
    if reason.code is ErrorCode.INVALID_ANSWER:
        return Outcome(Action.RETRY, reason.code, str(reason), reply.status, by_chance=True)
    detail = str(reason)
    if reason.is_error:
        code = shown_detail(code_of(error_in(reply.body)), "", b"")
        detail += f" ({code})" if code else ""
    outcome = failure_outcome(reason.code, detail, needs_action=reason.code is ErrorCode.INVALID_RESPONSE)
    return replace(outcome, detail=reason.form, lasting=reason.lasting)


def over_limit(outcome: Outcome, wait: str) -> Outcome:
    """Return what a wait of hours means for a request if the service answers others."""
    text = (
        f"The service asks to wait {wait} for this request alone: it is larger than the deployment's "
        "limit ever allows."
    )
    return Outcome(Action.SPLIT, ErrorCode.OVER_QUOTA, text, outcome.status, "never fits")


def refused_alone(outcome: Outcome, *, first: bool) -> Outcome:
    """Return what a refusal of everything means if the service answers other requests.

    The `first` time it may be bad luck. Later runs try the row again, as the same status is given for keys,
    deployments and firewalls that change.
    """
    text = f"The service refused this request ({outcome.status}), though it answers others."
    code = ErrorCode.INVALID_REQUEST if outcome.status in CONTENT_STATUSES else ErrorCode.SERVER_ERROR
    action = Action.RETRY if first else Action.SPLIT
    return Outcome(action, code, text, outcome.status, f"{outcome.status} alone", by_chance=True)


def refused_for_now(outcome: Outcome) -> Outcome:
    """Return what the reply to our own probe means if the service has answered before.

    A gateway that starts again or changes its keys refuses everything for seconds, so the run waits for it.
    """
    passes = outcome.action is Action.RENEW_TOKEN or (
        outcome.action is Action.STOP and outcome.status in {403, 404}
    )
    if not passes or outcome.code is not ErrorCode.INVALID_REQUEST:
        return outcome
    return replace(outcome, action=Action.RETRY, code=ErrorCode.SERVER_ERROR, needs_action=True, lasting=True)


def cause_of(outcome: Outcome) -> str:
    """Return why an attempt failed, for the report: refusals of every row have their own names."""
    if outcome.action is Action.RENEW_TOKEN or (outcome.action is Action.STOP and outcome.status == 403):
        return "access_denied"
    if outcome.action is Action.STOP and outcome.status is not None and outcome.status < 400:
        return "invalid_request" if outcome.status == 304 else "redirected"
    if outcome.action is Action.STOP and outcome.status in {404, 405, 410, 501}:
        return "not_found"
    return outcome.code.value
