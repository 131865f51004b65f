"""What a reply means: a table of status and body, and the promise that no provider's words get out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import format_datetime
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchscore.errors import ErrorCode, name_settings
from batchscore.request.attempt import cause_of
from batchscore.request.outcome_rules import Action, Outcome, classify, failure_outcome
from batchscore.request.rate_headers import wait_seconds
from batchscore.rows import Reply
from batchscore.simulator.too_long import WORDINGS, too_long
from hypothesis_profiles import examples

RETRY, SPLIT, STOP = Action.RETRY, Action.SPLIT, Action.STOP
INVALID, FILTER, LONG = ErrorCode.INVALID_REQUEST, ErrorCode.CONTENT_FILTER, ErrorCode.INPUT_TOO_LONG
LIMIT, SERVER, OVER = ErrorCode.RATE_LIMITED, ErrorCode.SERVER_ERROR, ErrorCode.OVER_QUOTA

# The table below is read across: a case a line where it fits.
# ruff: noqa: E501

#: What a service may write; it quotes the row.
QUOTE = "ROW-QUOTED: my secret diary"


def judged(
    status: int, body: Any = None, sent: bytes = b"", headers: Mapping[str, str] = MappingProxyType({})
) -> Outcome:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return classify(Reply(status, headers, data, 0.0), sent)


def error(code: Any = None, message: str = QUOTE, **more: Any) -> dict[str, Any]:
    return {
        "error": {"message": message, "type": "invalid_request_error", "code": code, "param": None, **more}
    }


AZURE_FILTER = error(
    "content_filter",
    status=400,
    innererror={
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {"hate": {"filtered": True}},
    },
)
LENGTH = "This model's maximum context length is 8192 tokens, however you requested 9000: "

CASES: dict[str, tuple[int, Any, Action, ErrorCode]] = {
    "Azure: content filter": (400, AZURE_FILTER, SPLIT, FILTER),
    "Azure: content filter told by the inner code only": (
        400, error("BadRequest", innererror={"code": "ResponsibleAIPolicyViolation"}), SPLIT, FILTER,
    ),
    "Azure: an inner error that is no object": (400, error("BadRequest", innererror="x"), SPLIT, INVALID),
    "Azure: too long": (400, error("context_length_exceeded"), SPLIT, LONG),
    "Azure: key": (401, error("401"), Action.RENEW_TOKEN, INVALID),
    "Azure: no deployment": (404, error("DeploymentNotFound"), STOP, INVALID),
    "Azure: no path": (404, error("404"), STOP, INVALID),
    "Azure: rate": (429, error("429"), RETRY, LIMIT),
    "Azure: rate, named": (429, error("RateLimitReached"), RETRY, LIMIT),
    "Azure: management, no error object": (401, {"statusCode": 401, "message": QUOTE}, Action.RENEW_TOKEN, INVALID),
    "Azure: firewall": (403, error("AccessDenied"), STOP, INVALID),
    "Azure: bad gateway": (502, b"<html>502</html>", RETRY, SERVER),
    "OpenAI: policy": (400, error("content_policy_violation"), SPLIT, FILTER),
    "OpenAI: too long": (400, error("context_length_exceeded", param="messages"), SPLIT, LONG),
    "OpenAI: text too long": (400, error("string_above_max_length"), SPLIT, LONG),
    "OpenAI: embeddings too long in words": (400, error(None, LENGTH + QUOTE), SPLIT, LONG),
    "OpenAI: unknown parameter": (400, error("unknown_parameter", param="tempreature"), SPLIT, INVALID),
    "OpenAI: max_tokens": (400, error("unsupported_parameter", param="max_tokens"), Action.ADAPT, INVALID),
    "OpenAI: response_format": (400, error(None, param="response_format"), Action.ADAPT, INVALID),
    "Azure: a schema": (400, error(None, param="response_format.json_schema.schema"), Action.ADAPT, INVALID),
    "DeepSeek: response_format in words": (
        400, error(None, "This response_format type is unavailable now"), Action.ADAPT, INVALID,
    ),
    "Groq: response_format in words": (
        400, error(None, "This model does not support response format `json_schema`."), Action.ADAPT, INVALID,
    ),
    "OpenAI: another parameter": (400, error("unsupported_parameter", param="logprobs"), SPLIT, INVALID),
    "OpenAI: key": (401, error("invalid_api_key"), Action.RENEW_TOKEN, INVALID),
    "OpenAI: country": (403, error("unsupported_country_region_territory"), STOP, INVALID),
    "OpenAI: model": (404, error("model_not_found"), STOP, INVALID),
    "OpenAI: quota": (429, error("insufficient_quota"), STOP, LIMIT),
    "OpenAI: quota, told by the type only": (
        429, {"error": {"type": "insufficient_quota", "message": QUOTE}}, STOP, LIMIT,
    ),
    "OpenAI: billing": (429, error("billing_not_active"), STOP, LIMIT),
    "OpenAI: rate": (429, error("rate_limit_exceeded"), RETRY, LIMIT),
    "OpenAI: failed": (500, error("server_error"), RETRY, SERVER),
    "OpenAI: overloaded": (503, error(), RETRY, SERVER),
    "vLLM: fields at the top": (
        400, {"object": "error", "message": LENGTH + QUOTE, "type": "BadRequestError", "code": 400}, SPLIT, LONG,
    ),
    "TEI: words only": (413, {"message": "`inputs` must have less than 512 tokens", "code": 413}, SPLIT, LONG),
    "gateway: filtered with 403": (403, error("content_filter"), SPLIT, FILTER),
    "OpenRouter: filtered with 403": (
        403, error(403, "It requires moderation. " + QUOTE, metadata={"flagged_input": QUOTE, "reasons": ["a"]}), SPLIT, FILTER,
    ),
    "xAI: filtered with 403": (
        403, {"code": "The caller has no permission", "error": "Content violates usage guidelines. " + QUOTE}, SPLIT, FILTER,
    ),
    "DashScope: filtered": (400, error("data_inspection_failed", "Input may be inappropriate."), SPLIT, FILTER),
    "DashScope: filtered, in words": (400, error(None, "Input data may contain inappropriate content."), SPLIT, FILTER),
    "DeepSeek: filtered": (400, error("invalid_request_error", "Content Exists Risk"), SPLIT, FILTER),
    "Zhipu: filtered": (400, error("1301", "系统检测到输入或生成内容可能包含不安全或敏感内容"), SPLIT, FILTER),
    "Moonshot: filtered": (400, error(None, type="content_filter"), SPLIT, FILTER),
    "Volcengine: filtered": (400, error("InputTextSensitiveContentDetected"), SPLIT, FILTER),
    "Anthropic: filtered": (400, error(None, "Output blocked by content filtering policy"), SPLIT, FILTER),
    "Bedrock: filtered": (400, {"message": "The input is blocked by guardrail. " + QUOTE}, SPLIT, FILTER),
    "LiteLLM: filtered": (
        400, error("400", "litellm.BadRequestError: litellm.ContentPolicyViolationError: AzureException - " + QUOTE), SPLIT, FILTER,
    ),
    "Azure: filtered, without a code": (
        400,
        error(None, "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."),
        SPLIT, FILTER,
    ),
    "a firewall: blocked with 403": (403, error(None, "The request was blocked by content policy"), STOP, INVALID),
    "a parameter that is not sensitive": (400, error(None, "This request was rejected: temperature is 3"), SPLIT, INVALID),
    "LiteLLM: budget": (400, error("400", type="budget_exceeded"), STOP, LIMIT),
    "LiteLLM: budget, 429": (429, error(429, type="budget_exceeded"), STOP, LIMIT),
    "LiteLLM: budget in words": (400, error("400", "Budget has been exceeded! " + QUOTE), STOP, LIMIT),
    "LiteLLM: max_tokens in words": (
        400,
        error("400", "AzureException - Unsupported parameter: 'max_tokens' is not supported with this model. "
              "Use 'max_completion_tokens' instead."),
        Action.ADAPT, INVALID,
    ),
    "DashScope: arrears": (400, error("Arrearage"), STOP, LIMIT),
    "OpenAI: hard limit as a 400": (400, error("billing_hard_limit_reached"), STOP, LIMIT),
    "the same in other letters": (400, error("BILLING_HARD_LIMIT_REACHED"), STOP, LIMIT),
    "the same without underscores": (400, error("BillingHardLimitReached"), STOP, LIMIT),
    "Moonshot: quota": (429, error(None, type="exceeded_current_quota_error"), STOP, LIMIT),
    "Groq: restricted": (400, error("organization_restricted"), STOP, INVALID),
    "Anthropic: disabled": (400, error(None, "This organization has been disabled. " + QUOTE), STOP, INVALID),
    "a row that says so": (400, error(None, "Invalid: your account is suspended"), SPLIT, INVALID),
    "Anthropic: credit in words": (400, error(None, "Your credit balance is too low. " + QUOTE), STOP, LIMIT),
    "Gemini: a rate limit in words of a quota": (429, error("429", "You exceeded your current quota"), RETRY, LIMIT),
    "Groq: larger than the tokens of a minute": (413, error("rate_limit_exceeded"), SPLIT, OVER),
    "OpenAI: larger than the limit": (429, error("rate_limit_exceeded", "Limit 30000, Requested 342389. " + QUOTE), SPLIT, OVER),
    "OpenAI: fits later": (429, error("rate_limit_exceeded", "Limit 30000, Used 29000, Requested 2000. " + QUOTE), RETRY, LIMIT),
    "OpenAI: fits the limit": (429, error("rate_limit_exceeded", "Limit 30000, Requested 2000. " + QUOTE), RETRY, LIMIT),
    "Groq: dice": (400, error("json_validate_failed"), RETRY, ErrorCode.INVALID_ANSWER),
    "Groq: dice with tools": (400, error("tool_use_failed"), RETRY, ErrorCode.INVALID_ANSWER),
    "new-api: a parameter as a 500": (500, error("unsupported_value", type="new_api_error"), SPLIT, INVALID),
    "new-api: a filter as a 500": (500, error("content_filter"), SPLIT, FILTER),
    "new-api: too long as a 500": (500, error("context_length_exceeded"), SPLIT, LONG),
    "vLLM: numbers only": (400, error("BadRequest", param="encoding_format"), Action.ADAPT, INVALID),
    "FastAPI: numbers only": (422, {"detail": [{"loc": ["body", "encoding_format"], "msg": QUOTE}]}, Action.ADAPT, INVALID),
    "gateway: no credit": (402, error("insufficient_balance"), STOP, LIMIT),
    "gateway: the error is a text": (400, {"error": QUOTE}, SPLIT, INVALID),
    "gateway: the error is a text, 500": (500, {"error": QUOTE}, RETRY, SERVER),
    "gateway: too large": (413, b"<html>413 Request Entity Too Large</html>", SPLIT, INVALID),
    "gateway: body is a list": (422, [{"detail": QUOTE}], SPLIT, INVALID),
    "gateway: detail": (422, {"detail": [{"msg": QUOTE}]}, SPLIT, INVALID),
    "gateway: rate in HTML": (429, b"<html>slow down</html>", RETRY, LIMIT),
    "gateway: sign-in page": (302, b"<html>sign in</html>", STOP, INVALID),
    "gateway: moved": (308, b"", STOP, INVALID),
    "empty: 400": (400, b"", SPLIT, INVALID),
    "empty: 401": (401, b"", Action.RENEW_TOKEN, INVALID),
    "empty: 403": (403, b"", STOP, INVALID),
    "empty: 404": (404, b"", STOP, INVALID),
    "empty: 405": (405, b"", STOP, INVALID),
    "empty: 408": (408, b"", RETRY, SERVER),
    "empty: 409": (409, b"", RETRY, SERVER),
    "empty: 410": (410, b"", STOP, INVALID),
    "empty: 406": (406, b"", STOP, INVALID),
    "empty: 407": (407, b"", STOP, ErrorCode.CONNECTION_ERROR),
    "empty: 415": (415, b"", STOP, INVALID),
    **{f"empty: {status}": (status, b"", STOP, INVALID) for status in (411, 412, 417, 418, 426, 428)},
    **{f"empty: {status}": (status, b"", STOP, INVALID) for status in (505, 511, 600, 999)},
    "empty: 424": (424, b"", RETRY, SERVER),
    "empty: 451": (451, b"", SPLIT, INVALID),
    "empty: 499": (499, b"", RETRY, SERVER),
    "empty: 425": (425, b"", RETRY, SERVER),
    "empty: 429": (429, b"", RETRY, LIMIT),
    "empty: 431": (431, b"", SPLIT, INVALID),
    "empty: 504": (504, b"", RETRY, SERVER),
    "empty: 529": (529, b"", RETRY, SERVER),
    "broken: cut off": (500, b'{"error": {"mess', RETRY, SERVER),
    "broken: not UTF-8": (400, b"\xff\xfe", SPLIT, INVALID),
    "broken: deep": (400, b"[" * 5000, SPLIT, INVALID),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body", "action", "code"), CASES.values(), ids=CASES)
def test_status_and_code_decide(status: int, body: Any, action: Action, code: ErrorCode) -> None:
    outcome = judged(status, body)
    assert (outcome.action, outcome.code, outcome.status) == (action, code, status)
    assert outcome.reason.endswith(".")
    assert "secret" not in outcome.reason + outcome.detail


@pytest.mark.parametrize("status", [200, 201, 204])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": {"code": "content_filter"}}'])
def test_a_success_is_kept_until_its_body_proves_otherwise(status: int, body: bytes) -> None:
    assert judged(status, body).action is Action.KEEP


def test_the_services_code_and_parameter_are_shown() -> None:
    sent = orjson.dumps({"messages": [{"content": "prompt"}], "temperature": 1})
    reason = judged(400, error("unknown_parameter", param="messages[0].name"), sent).reason
    assert "(400, unknown_parameter parameter messages)" in reason
    assert "(400, unknown_parameter)" in judged(400, error("unknown_parameter", param="top_p"), sent).reason
    assert "(400, unknown_parameter)" in judged(400, error("unknown_parameter", param="a"), b"[").reason


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 418, 429, 500, 503])
@pytest.mark.parametrize("name", ["code", "type", "param"])
def test_a_word_of_the_prompt_is_not_shown_as_a_code(status: int, name: str) -> None:
    sent = orjson.dumps({"messages": [{"content": "MARKROW0"}]})
    for word in ("MARKROW0", "messages[0].MARKROW0", "messages.MARKROW0", "markrow0"):
        fields = {"code": None, "type": None, "innererror": {"code": word}, "message": word} | {name: word}
        for body in ({"error": fields}, fields):
            outcome = judged(status, body, sent)
            assert "markrow0" not in outcome.reason.lower()
            assert "markrow0" not in outcome.error(1).message.lower()


@pytest.mark.parametrize(
    "word", ["my secret", "secret!", "secret\n", "s" * 65, "1secret", "", 7, None, ["secret"]]
)
def test_a_code_that_may_be_more_than_a_name_is_not_shown(word: Any) -> None:
    outcome = judged(400, {"error": {"code": word, "param": word, "type": word}})
    assert "s" * 65 not in outcome.reason
    assert "secret" not in outcome.reason
    assert outcome.detail == "400"


def test_different_refusals_are_distinguished_and_equal_ones_are_equal() -> None:
    def detail(code: str, param: str, message: str) -> str:
        return judged(400, error(code, message, param=param)).detail

    assert detail("a", "b", "x") == detail("a", "b", "y") != detail("a", "c", "x")


WORD = st.sampled_from(
    [
        None,
        400,
        "",
        "429",
        "unsupported_parameter",
        "content_filter",
        "insufficient_quota",
        "max_tokens",
        QUOTE,
    ]
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    message = draw(
        st.sampled_from([QUOTE, LENGTH + QUOTE, "too many tokens " + QUOTE, [QUOTE], {"x": QUOTE}])
    )
    fields = {
        "message": message,
        "code": draw(WORD),
        "type": draw(WORD),
        "param": draw(WORD),
        "innererror": draw(st.sampled_from([None, QUOTE, {"code": QUOTE}, {"code": "content_filter"}])),
    }
    shape = draw(st.sampled_from([{"error": fields}, fields, {"error": message}, [fields], message]))
    body = orjson.dumps(shape)
    return body[: draw(st.integers(0, len(body)))] if draw(st.booleans()) else body


@given(status=st.integers(100, 599) | st.just(410), body=bodies(), attempts=st.integers(0, 9))
def test_no_reason_ever_contains_the_providers_message(status: int, body: bytes, attempts: int) -> None:
    outcome = judged(status, body)
    row = outcome.error(attempts)
    assert (row.code, row.message, row.status, row.attempts) == (
        outcome.code, name_settings(outcome.reason), outcome.status, attempts,
    )  # fmt: skip
    for word in ["ROW", "QUOTED", "secret", "diary"]:
        assert word not in outcome.reason + outcome.detail


@given(st.integers(100, 999), st.binary(max_size=40))
def test_any_reply_has_a_meaning(status: int, body: bytes) -> None:
    outcome = judged(status, body)
    assert (outcome.action is Action.KEEP) == (200 <= status < 300)


@pytest.mark.parametrize("code", [ErrorCode.TIMEOUT, ErrorCode.CONNECTION_ERROR, ErrorCode.INVALID_RESPONSE])
def test_a_request_without_reply_is_retried(code: ErrorCode) -> None:
    for outcome in [failure_outcome(code), failure_outcome(code, "after 3 s")]:
        assert (outcome.action, outcome.code, outcome.status) == (RETRY, code, None)
        assert outcome.reason.endswith(".")
        assert not outcome.reason.endswith("..")


@pytest.mark.parametrize(
    ("status", "headers", "action", "code"),
    [
        (403, {"retry-after": "10"}, RETRY, LIMIT),
        (402, {"retry-after-ms": "10"}, RETRY, LIMIT),
        (424, {"ms-azureml-model-error-statuscode": "400"}, SPLIT, INVALID),
        (424, {"ms-azureml-model-error-statuscode": "404"}, STOP, INVALID),
        (424, {"ms-azureml-model-error-statuscode": "429"}, RETRY, LIMIT),
        (424, {"ms-azureml-model-error-statuscode": "503"}, RETRY, SERVER),
        (424, {"ms-azureml-model-error-statuscode": "200"}, RETRY, SERVER),
        (424, {"ms-azureml-model-error-statuscode": "x"}, RETRY, SERVER),
        (500, {"ms-azureml-model-error-statuscode": "400"}, RETRY, SERVER),
    ],
)
def test_headers_say_what_a_gateways_status_means(
    status: int, headers: dict[str, str], action: Action, code: ErrorCode
) -> None:
    outcome = classify(Reply(status, headers, b"{}", 0.0))
    assert (outcome.action, outcome.code) == (action, code)


def test_the_part_that_fits_a_rate_limit_is_known() -> None:
    outcome = judged(429, error("rate_limit_exceeded", "Limit 100, Requested 400."))
    assert outcome.fitting == 0.25


NOW = datetime(2026, 9, 1, 12, 0, 0, tzinfo=timezone.utc)

EPOCH = int(NOW.timestamp())

CASES: list[tuple[dict[str, str], float | None]] = [
    ({}, None),
    ({"retry-after-ms": "250"}, 0.25),
    ({"retry-after-ms": "0.5"}, 0.0005),
    ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    ({"retry-after-ms": "-1", "retry-after": "9"}, 9),
    ({"retry-after-ms": "0", "retry-after": "9"}, 9),
    ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
    ({"retry-after": "1"}, 1),
    ({"retry-after": " 1 "}, 1),
    ({"retry-after": "0.2"}, 0.2),
    ({"retry-after": "86400"}, 86400),
    ({"retry-after": "0"}, None),
    ({"retry-after": "-1"}, None),
    ({"retry-after": ""}, None),
    ({"retry-after": "nan"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "Tue, 01 Sep 2026 12:00:05 GMT"}, 5),
    ({"retry-after": "Tue, 01 Sep 2026 14:00:05 +0200"}, 5),
    ({"retry-after": "Tue Sep  1 12:00:05 2026"}, 5),
    ({"retry-after": "Tuesday, 01-Sep-26 12:00:05 GMT"}, 5),
    ({"retry-after": "Tue, 01 Sep 2026 12:00:00 GMT"}, None),
    ({"retry-after": "Tue, 01 Sep 2015 12:00:00 GMT"}, None),
    ({"retry-after": "Tue, 99 Sep 2026 12:00:00 GMT"}, None),
    ({"retry-after": "-1", "x-ratelimit-reset-requests": "2s"}, 2),
    ({"retry-after": "3", "x-ratelimit-reset-requests": "2s"}, 3),
    ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 1),
    ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
    ({"ratelimit-reset": "7", "ratelimit-remaining": "0"}, 7),
    ({"ratelimit": "limit=10, remaining=0, reset=5"}, 5),
    ({"ratelimit": '"default";r=0;t=5'}, 5),
    ({"ratelimit": '"default"'}, None),
    ({"x-ratelimit-reset-tokens": "1h0m0s"}, 3600),
    ({"x-ratelimit-reset-tokens": "1h"}, 3600),
    ({"x-ratelimit-reset-tokens": "2m"}, 120),
    ({"x-ratelimit-reset-tokens": "7.66s"}, 7.66),
    ({"x-ratelimit-reset-tokens": "2m59.56s"}, 179.56),
    ({"x-ratelimit-reset-tokens": "1s500ms"}, 1.5),
    ({"x-ratelimit-reset-tokens": "12"}, 12),
    ({"X-RateLimit-Reset-Tokens": "12"}, 12),
    ({"x-ratelimit-reset-tokens": "0s"}, None),
    ({"x-ratelimit-reset-tokens": "-1"}, None),
    ({"x-ratelimit-reset-tokens": "0"}, None),
    ({"x-ratelimit-reset-tokens": ""}, None),
    ({"x-ratelimit-reset-tokens": "1d"}, None),
    ({"x-ratelimit-reset-tokens": "s"}, None),
    ({"x-ratelimit-remaining-tokens": "5"}, None),
    ({"retry-after": str(EPOCH + 30)}, 30),
    ({"retry-after": str((EPOCH + 30) * 1000)}, 30),
    ({"retry-after": str(EPOCH - 30)}, None),
    ({"x-ratelimit-reset": str((EPOCH + 5) * 1000), "x-ratelimit-remaining": "0"}, 5),
    ({"x-ratelimit-reset-tokens": "3000000h"}, None),
    (
        {
            "x-ratelimit-remaining-tokens-minute": "20",
            "x-ratelimit-reset-tokens-minute": "5.4",
            "x-ratelimit-remaining-requests-day": "970",
            "x-ratelimit-reset-requests-day": "33011.4",
        },
        5.4,
    ),
    (
        {
            "x-ratelimit-remaining-tokens": "9000",
            "x-ratelimit-reset-tokens": "6s",
            "x-ratelimit-remaining-requests": "9000",
            "x-ratelimit-reset-requests": "2h24m0s",
        },
        6,
    ),
    (
        {
            "x-ratelimit-remaining-tokens": "9000",
            "x-ratelimit-reset-tokens": "6s",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "10s",
        },
        10,
    ),
    (
        {
            "x-ratelimit-remaining-tokens": "900",
            "x-ratelimit-reset-tokens": "9m",
            "x-ratelimit-remaining-requests": "20",
            "x-ratelimit-reset-requests": "5s",
        },
        540,
    ),
]

LIKE_ONE = st.text("0123456789.-+hms ,:eE_GMTueSpinfa", max_size=30)
DATES = st.datetimes(timezones=st.just(timezone.utc)).map(lambda when: format_datetime(when, usegmt=True))
VALUES = st.one_of(st.text(max_size=20), LIKE_ONE, DATES, st.floats().map(str), st.integers().map(str))
NAMES = ["retry-after-ms", "retry-after", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"]


@pytest.mark.parametrize(("headers", "seconds"), CASES, ids=lambda value: str(value)[:70])
def test_a_reply_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    found = wait_seconds(headers, limited=True, now=NOW.timestamp(), tokens=1000)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_a_reset_of_a_quota_that_was_not_the_reason_is_ignored() -> None:
    said = {"x-ratelimit-reset-requests": "8m24s", "x-ratelimit-remaining-requests": "9999"}
    assert wait_seconds(said, limited=False, now=NOW.timestamp()) is None


def test_of_two_quotas_the_one_that_is_used_up_counts() -> None:
    said = {
        "x-ratelimit-reset-requests": "8m24s",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-tokens": "6s",
        "X-RateLimit-Remaining-Tokens": "0",
    }
    assert wait_seconds(said, limited=True, now=NOW.timestamp()) == 6


@settings(max_examples=examples(50))
@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
@example({"retry-after-ms": "1e-323"})
@example({"x-ratelimit-reset-tokens": "9" * 400 + "h"})
@example({"x-ratelimit-reset-tokens": "9" * 5000})
@example({"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"})
@example({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"})
@example({"retry-after": "Fri, 31 Dec 9999 23:59:59 -999999999999"})
def test_whatever_the_headers_the_wait_is_positive_and_finite_or_unknown(headers: dict[str, str]) -> None:
    found = wait_seconds(headers, limited=True, now=NOW.timestamp())
    assert found is None or (found > 0 and math.isfinite(found))


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("https://gw.example:8443/v1/a text of a row?key=s3cret", "(301, to https://gw.example:8443)"),
        ("https://gw.example", "(301, to https://gw.example)"),
        ("/v1/embeddings/", "(301, on the same host)"),
        ("https://user:s3cret@gw.example/", "(301)"),
        ("", "(301)"),
    ],
)
def test_a_redirect_says_to_which_host(location: str, words: str) -> None:
    outcome = classify(Reply(301, {"location": location} if location else {}, b"", 0.0))
    assert f"redirects requests {words}. Check its address" in outcome.reason


def test_a_cache_that_says_that_nothing_has_changed_is_no_redirect() -> None:
    reason = classify(Reply(304, {"etag": "x"}, b"", 0.0)).reason
    assert reason.startswith(
        "what answers is a cache that has no answer (304), not a model. Check the address"
    )


# --- too long, in the words of each service


@pytest.mark.parametrize("wording", WORDINGS)
@pytest.mark.parametrize(("limit", "tokens"), [(512, 534), (8192, 20_000), (1_048_576, 1_200_293)])
def test_an_input_that_is_too_long_is_known_in_the_words_of_each_service(
    wording: str, limit: int, tokens: int
) -> None:
    outcome = judged(*too_long(wording, limit=limit, tokens=tokens, place=57))
    assert (outcome.action, outcome.code) == (SPLIT, LONG)
    assert outcome.fitting is None or outcome.fitting == pytest.approx(limit / tokens, rel=0.05)
    assert (outcome.fitting is None) == (
        wording in {"openai", "litellm", "ollama", "ollama_native", "dashscope", "voyage", "plain"}
    )


@pytest.mark.parametrize(
    "message",
    [
        *(
            "Input text too long",
            "Content too long: 9000 tokens",
            "input length 9000 exceeds max_input_length 8192",
        ),
        *(
            "The input length exceeds the limit",
            "Input exceeds maximum allowed length",
            "String should have at most 8000 characters",
        ),
        *("Maximum tokens exceeded: 9000/8192", "Please ensure that the input is less than 8192 tokens."),
        "The total length of the input (600) exceeds the model max length of 512",
        "sequence length is longer than the specified maximum (600 > 512)",
    ],
)
def test_other_words_for_too_long_are_known(message: str) -> None:
    assert judged(400, error(None, message)).code is LONG


@pytest.mark.parametrize("status", [400, 402, 403, 422])
@pytest.mark.parametrize(
    "message",
    [
        *(
            "Key limit exceeded (total limit).",
            "You have reached your monthly spending cap",
            "Usage limit reached",
        ),
        *(
            "Daily limit reached. Resets at midnight.",
            "You have no remaining credits",
            "余额不足或无可用资源包,请充值。",
        ),
        *("Your account balance is insufficient", "You didn't have enough credit to make this call"),
        *("Your account has run out of credits", "ExceededBudget: End User=x over budget. Spend: 1.0"),
        "The free tier quota for this project has been exhausted",
        "You have exceeded your monthly included credits for Inference Providers.",
        "Insufficient balance or no resource package. Please recharge.",
        *("Billing hard limit has been reached.", "You do not have enough API credits", "该令牌额度已用尽"),
        *("Daily spending cap of $50.00 reached for this key", "You've hit your monthly spend limit."),
        *(
            "Usage limits exceeded for the Virtual Key.",
            "You have run out of tokens for this billing period.",
        ),
        *("ExceededTokenBudget: Current spend for token: 3.0", "Current spend 10.2 exceeds max budget 10.0"),
        *(
            "token remaining balance is not enough",
            "No remaining tokens in your plan",
            "Please enter billing info",
        ),
        "Account x is suspended, possibly due to failure to pay past invoices.",
        "You have used all available credits or reached the limit.",
    ],
)
def test_words_for_an_account_without_credit_are_known(status: int, message: str) -> None:
    outcome = judged(status, error(None, message))
    assert (outcome.action, outcome.code) == (STOP, LIMIT)


@pytest.mark.parametrize(
    ("message", "action"),
    [
        ("Insufficient balance or no resource package. Please recharge.", STOP),
        ("余额不足或无可用资源包,请充值。", STOP),
        ("You have exceeded your monthly included credits.", STOP),
        ("You have depleted your monthly included credits.", STOP),
        ("Credit limit exceeded. Please add credits.", STOP),
        ("Your team x has used all available credits or reached its monthly spending limit.", STOP),
        ("Authentication Error, ExceededTokenBudget: Current spend for token: 7.2e-05", STOP),
        ("You've exceeded the token budget of this minute.", RETRY),
        (
            "You exceeded your current quota, please check your plan and billing details. Please retry in 35s.",
            RETRY,
        ),
        ("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free requests", RETRY),
        ("Rate limit reached. Upgrade to Dev Tier, or top up your credit balance.", RETRY),
    ],
)
def test_a_429_about_the_account_stops_and_one_about_the_rate_waits(message: str, action: Action) -> None:
    assert judged(429, error(None, message)).action is action


@pytest.mark.parametrize(
    ("message", "headers", "action"),
    [
        ("AI token rate limit exceeded for provider(s): openai", {}, RETRY),
        ("Too many tokens per day, please wait before trying again.", {}, RETRY),
        ("Daily budget exceeded.", {"retry-after": "60"}, RETRY),
        ("Daily budget exceeded.", {}, STOP),
        ("Cannot parse: 'the rate limit'", {}, SPLIT),
        ("Unknown value.", {"retry-after": "60"}, SPLIT),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_a_400_about_a_limit_for_now_waits(
    status: int, message: str, headers: dict[str, str], action: Action
) -> None:
    assert judged(status, error(None, message), headers=headers).action is action


def test_a_type_counts_beside_a_code_that_is_not_known() -> None:
    outcome = judged(429, error("project_budget_exceeded", type="insufficient_quota"))
    assert (outcome.action, outcome.code) == (STOP, LIMIT)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Your input is too long"}},
        [{"error": {"message": "Your input is too long"}}],
        {"errors": [{"message": "Your input is too long", "code": 7003}], "success": False},
        {"errors": ["Your input is too long"]},
        {"error": {"error": {"message": "Your input is too long"}}},
        {"detail": {"error": "Your input is too long"}},
        {"detail": "Your input is too long"},
        {"detail": [{"msg": "Your input is too long"}]},
        {"detail": {"message": "Your input is too long"}, "message": ""},
        {"fault": {"faultstring": "Your input is too long"}},
        {"Message": "Your input is too long"},
        {"message": "Your input is too long", "detail": {}, "errors": []},
    ],
)
def test_the_message_is_found_in_each_shape_of_an_error(body: Any) -> None:
    assert judged(400, body).code is LONG


@pytest.mark.parametrize(
    ("status", "body", "action", "code"),
    [
        (400, error("context_length_exceeded", detail={"tokens": 9000}), SPLIT, LONG),
        (400, error("context_length_exceeded", errors=[{"message": "m"}]), SPLIT, LONG),
        (400, error("content_filter", detail={"x": 1}), SPLIT, FILTER),
        (400, error("content_filter", error={"x": 1}), SPLIT, FILTER),
        (400, error("BadRequest", details=[{"code": "content_filter", "target": "x"}]), SPLIT, FILTER),
        (400, {"error": {"message": "m", "detail": {"code": "context_length_exceeded"}}}, SPLIT, LONG),
        (400, {"message": "m", "code": "context_length_exceeded", "errors": ["x"]}, SPLIT, LONG),
        (400, {"message": "Not valid", "errors": [{"message": "Your input is too long"}]}, SPLIT, LONG),
        (400, {"code": "context_length_exceeded", "error": "x"}, SPLIT, LONG),
        (400, {"Error": {"Code": "content_filter", "Message": "m"}}, SPLIT, FILTER),
        (429, error("insufficient_quota", errors=[{"message": "m", "reason": "quotaExceeded"}]), STOP, LIMIT),
        (
            429,
            {"error": {"code": 429, "message": "m", "errors": [{"reason": "insufficient_quota"}]}},
            STOP,
            LIMIT,
        ),
        (429, {"code": "insufficient_quota", "error": {"message": "m"}}, STOP, LIMIT),
        (429, {"type": "error", "error": {"type": "insufficient_quota", "message": "m"}}, STOP, LIMIT),
        (429, {"code": "insufficient_quota", "error": {"code": "other", "message": "m"}}, RETRY, LIMIT),
        (
            400,
            {"error": {"code": 400, "message": "m", "details": [{"reason": "API_KEY_INVALID"}]}},
            Action.RENEW_TOKEN,
            INVALID,
        ),
        (422, {"message": "m", "detail": [{"loc": ["body", "encoding_format"]}]}, Action.ADAPT, INVALID),
    ],
)
def test_what_an_error_holds_within_hides_neither_its_code_nor_its_message(
    status: int, body: Any, action: Action, code: ErrorCode
) -> None:
    outcome = judged(status, body)
    assert (outcome.action, outcome.code) == (action, code)


@pytest.mark.parametrize(
    "message",
    [
        *(
            "API key not valid. Please pass a valid API key.",
            "Invalid API Key",
            "API key expired. Please renew it.",
        ),
        *("Your API key is invalid", "Missing API key", "API_KEY_INVALID: x"),
    ],
)
def test_credentials_that_are_refused_with_400_are_not_called_a_parameter(message: str) -> None:
    known = judged(400, error(None, message)).action is Action.RENEW_TOKEN
    assert known is (message != "API_KEY_INVALID: x")
    assert judged(400, error(None, f"Invalid input: {message}")).action is SPLIT, "a row may be quoted"


def test_a_rate_limit_with_403_is_waited_for() -> None:
    outcome = judged(403, {"error": {"message": "User rate limit exceeded", "status": "PERMISSION_DENIED"}})
    assert (outcome.action, outcome.code) == (RETRY, LIMIT)


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.",
        "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than the `context_window` for this model",
        "Bad request: rpc error: code = InvalidArgument desc = max_tokens (10000) cannot exceed 8192. Please reduce the length of max output tokens generated.",
        "'max_tokens' or 'max_completion_tokens' is too large: 9000. This model's maximum context length is 8192 tokens and your request has 30 input tokens (9000 > 8192 - 30).",
        "Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 9000, please reduce your message size.",
        "Invalid 'input': array too long. Expected an array with maximum length 2048, but got an array with length 3000 instead.",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "Token quota is exceeded. Try again in 10 seconds.",
        "batch size is invalid, it should not be larger than 10.: input.contents",
        "Invalid value for 'dimensions' = 5000. Must be between 1 and 3072.",
        QUOTE,
    ],
)
@pytest.mark.parametrize("status", [400, 413, 500])
def test_a_refusal_of_something_else_is_not_too_long(status: int, message: str) -> None:
    assert judged(status, error(None, message)).code is not LONG


@pytest.mark.parametrize(
    ("message", "fitting"),
    [
        (
            "too many tokens: size limit exceeded by 11326 tokens. The limit for this model is 128000 tokens.",
            128_000 / 139_326,
        ),
        (
            "maximum context length is 512 tokens. However, your prompt contains at least 513 input tokens.",
            None,
        ),
        ("Input id 57 has 9000 tokens, exceeding max 8,192 tokens.", 8192 / 9000),
        ("The model gpt-4-32k's context length is 100 tokens, 3 messages have 50, 60 and 400 tokens", None),
        ("exceeds the context length of 99999999999999999999999999 tokens", None),
    ],
)
def test_the_part_that_fits_is_read_only_where_it_is_sure(message: str, fitting: float | None) -> None:
    outcome = judged(400, error(None, message))
    assert outcome.code is LONG
    assert outcome.fitting == (None if fitting is None else pytest.approx(fitting))


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        *(
            (302, "redirected"),
            (304, "invalid_request"),
            (308, "redirected"),
            (401, "access_denied"),
            (403, "access_denied"),
        ),
        *((404, "not_found"), (405, "not_found"), (501, "not_found"), (415, "invalid_request")),
        *((402, "rate_limited"), (407, "connection_error"), (500, "server_error"), (429, "rate_limited")),
    ],
)
def test_a_failed_request_is_counted_by_its_own_cause(status: int, cause: str) -> None:
    assert cause_of(judged(status)) == cause
