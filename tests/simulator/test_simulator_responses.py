"""The Responses API: what it accepts, and replies that the official SDK's types accept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from batchscore.simulator.words import (
    CONTENT_FILTER_TRIGGER,
    EMPTY_REPLY_TRIGGER,
    FILTERED_REPLY_TRIGGER,
    PARTLY_FILTERED_REPLY_TRIGGER,
    count_tokens,
)
from simulated import Deployment

pytestmark = pytest.mark.process

Refused = Callable[..., dict[str, Any]]
TEXT = "The Senate passed a bill that taxes sugar. Farmers objected to the tax. Sugar prices rose."
ANSWER = "The Senate passed a bill that taxes sugar. Key words: sugar, senate, passed, bill, taxes."
SCHEMA = {
    "type": "object",
    "properties": {"topic": {"type": "string", "enum": ["tax", "war"]}},
    "required": ["topic"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "name": "about", "schema": SCHEMA, "strict": True}


def created(client: openai.OpenAI, **request: Any) -> Response:
    """Return the typed response; raise if its JSON is not exactly of the SDK's type."""
    raw = client.responses.with_raw_response.create(**{"model": "gpt-4o", "input": TEXT, **request})
    Response.model_validate_json(raw.content, strict=True)
    return raw.parse()


def test_an_answer_is_one_message_and_always_the_same(plain: openai.OpenAI) -> None:
    first, second = created(plain), created(plain)
    assert first.output_text == ANSWER
    assert (first.status, first.model, first.store) == ("completed", "simulator:gpt-4o", True)
    assert first.id == second.id


def test_a_response_repeats_what_was_requested(azure_v1: openai.OpenAI) -> None:
    said = {"instructions": "Be kind.", "max_output_tokens": 500, "metadata": {"a": "b"}, "temperature": 0.5}
    reply = created(azure_v1, store=False, user="u", text={"format": FORM, "verbosity": "low"}, **said)
    assert {name: getattr(reply, name) for name in said} == said
    assert (reply.store, reply.user, reply.output_text) == (False, "u", '{"topic":"tax"}')
    assert reply.text is not None
    assert (reply.text.verbosity, reply.text.format.type) == ("low", "json_schema")  # type: ignore[union-attr]


def test_items_of_all_roles_are_read_and_the_users_last_text_is_answered(plain: openai.OpenAI) -> None:
    parts = [
        {"type": "input_text", "text": TEXT},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
        {"type": "input_file", "file_id": "file-1"},
    ]
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": parts},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call_output", "call_id": "c", "output": "{}"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Yes?", "annotations": []}]},
    ]
    assert created(plain, input=items).output_text == ANSWER


def test_usage_counts_instructions_reasoning_and_answer(plain: openai.OpenAI) -> None:
    plainly = created(plain).usage
    usage = created(plain, model="o4-mini", instructions="Be kind.", reasoning={"effort": "low"}).usage
    assert plainly is not None
    assert usage is not None
    assert usage.input_tokens == plainly.input_tokens + count_tokens("Be kind.") + 4
    assert usage.output_tokens_details.reasoning_tokens == 64
    assert usage.output_tokens == 64 + count_tokens(ANSWER)
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_a_reasoning_model_has_a_reasoning_item_first(plain: openai.OpenAI) -> None:
    assert [item.type for item in created(plain, model="o4-mini").output] == ["reasoning", "message"]
    cut = created(plain, model="o4-mini", max_output_tokens=16)
    assert [item.type for item in cut.output] == ["reasoning"]
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    assert created(plain, model="o4-mini", reasoning={"effort": "none"}).output_text == ANSWER


@pytest.mark.parametrize(
    ("text", "more", "status", "reason", "said"),
    [
        ("long " * 100, {"max_output_tokens": 16}, "incomplete", "max_output_tokens", "long"),
        (FILTERED_REPLY_TRIGGER, {}, "incomplete", "content_filter", ""),
        (PARTLY_FILTERED_REPLY_TRIGGER, {}, "incomplete", "content_filter", "simulate"),
        (EMPTY_REPLY_TRIGGER, {}, "completed", None, ""),
    ],
)
def test_an_incomplete_answer_says_why(
    plain: openai.OpenAI, text: str, more: dict[str, Any], status: str, reason: str | None, said: str
) -> None:
    reply = created(plain, input=text, **more)
    details = reply.incomplete_details
    assert (reply.status, details.reason if details else None) == (status, reason)
    assert reply.output_text.startswith(said)
    assert bool(reply.output_text) == bool(said)


@pytest.mark.parametrize("model", ["gpt-4o", "o4-mini"])
@pytest.mark.parametrize(
    "shape",
    [
        "failed",
        "failed_without_error",
        "failed_rate_limit",
        "failed_prompt",
        "failed_image",
        "cancelled",
        "queued",
        "no_output",
        "no_room",
        "refusal",
        "reasoning_only",
        "commentary",
        "function_call",
    ],
)
def test_a_reply_in_another_shape_has_the_sdks_type_too(
    plain: openai.OpenAI, deployment: Deployment, shape: str, model: str
) -> None:
    name = f"{model}-{deployment.name}"
    Deployment(str(plain.base_url).removesuffix("/v1/"), name).will(shape=shape)
    created(plain, model=name)


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        ({"n": 2}, "unknown_parameter", "n"),
        ({"max_tokens": 5}, "unknown_parameter", "max_tokens"),
        ({"messages": []}, "unknown_parameter", "messages"),
        ({"response_format": {"type": "json_object"}}, "unknown_parameter", "response_format"),
        ({"max_output_tokens": 15}, "integer_below_min_value", "max_output_tokens"),
        ({"max_output_tokens": "16"}, "invalid_type", "max_output_tokens"),
        ({"temperature": 2.1}, "decimal_above_max_value", "temperature"),
        ({"top_logprobs": 21}, "integer_above_max_value", "top_logprobs"),
        ({"store": "no"}, "invalid_type", "store"),
        ({"instructions": 1}, "invalid_type", "instructions"),
        ({"truncation": "middle"}, "invalid_value", "truncation"),
        ({"include": ["everything"]}, "invalid_value", "include[0]"),
        ({"metadata": {"a": 1}}, "invalid_type", "metadata.a"),
        ({"stream_options": {}}, None, "stream_options"),
        ({"background": True}, None, "background"),
        ({"reasoning": {"effort": "most"}}, "invalid_value", "reasoning.effort"),
        ({"reasoning": {"depth": 1}}, "unknown_parameter", "reasoning.depth"),
        ({"reasoning": {"effort": "low"}}, "unsupported_parameter", "reasoning.effort"),
        ({"text": "json"}, "invalid_type", "text"),
        ({"text": {"verbosity": "loud"}}, "invalid_value", "text.verbosity"),
        ({"text": {"schema": SCHEMA}}, "unknown_parameter", "text.schema"),
        ({"text": {"format": {"type": "json"}}}, "invalid_value", "text.format.type"),
        ({"text": {"format": {"type": "json_object"}}}, None, "input"),
        (
            {"text": {"format": {"type": "json_schema", "json_schema": FORM}}},
            "missing_required_parameter",
            "text.format.name",
        ),
        ({"text": {"format": {**FORM, "name": "a b"}}}, "invalid_value", "text.format.name"),
        (
            {"text": {"format": {**FORM, "schema": {"type": "object"}}}},
            "invalid_json_schema",
            "text.format.schema",
        ),
        ({"input": None}, "missing_required_parameter", "input"),
        ({"input": 7}, "invalid_type", "input"),
        ({"input": ["a"]}, "invalid_type", "input[0]"),
        ({"input": [{"role": "tool", "content": "a"}]}, "invalid_value", "input[0]"),
        ({"input": [{"type": "thought"}]}, "invalid_value", "input[0]"),
        ({"input": [{"role": "user"}]}, "invalid_type", "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
            "invalid_value",
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "missing_required_parameter",
            "input[0].content[0]",
        ),
        pytest.param({"input": "x" * 600_000}, "context_length_exceeded", "input", id="long"),
        ({"input": CONTENT_FILTER_TRIGGER}, "content_filter", "prompt"),
        ({"model": "o4-mini", "temperature": 1.0}, "unsupported_parameter", "temperature"),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused_with_its_code(
    plain: openai.OpenAI, refused: Refused, wrong: dict[str, Any], code: str | None, param: str
) -> None:
    fields = {"model": "gpt-4o", "input": TEXT}
    known = {name: value for name, value in wrong.items() if name in {"model", "input"} and value is not None}
    other = {name: value for name, value in wrong.items() if name not in known}
    error = refused(plain.responses.create, **{**fields, **known}, extra_body=other)
    assert (error["code"], error["param"]) == (code, param)


def test_azures_dated_api_has_it_beside_the_deployments(azure: openai.AzureOpenAI) -> None:
    assert created(azure).output_text == ANSWER
    below = azure.with_options(base_url=f"{azure.base_url}deployments/gpt-4o")
    with pytest.raises(openai.NotFoundError):
        below.responses.create(model="gpt-4o", input=TEXT)


def test_the_limit_of_the_answer_is_charged(plain: openai.OpenAI, deployment: Deployment) -> None:
    deployment.set_limits(tpm=6000, burst_seconds=10)
    created(plain, model=deployment.name, max_output_tokens=900)
    with pytest.raises(openai.RateLimitError):
        created(plain, model=deployment.name, max_output_tokens=900)
