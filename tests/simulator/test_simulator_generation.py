from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from batchscore.simulator.words import (
    CONTENT_FILTER_TRIGGER,
    EMPTY_REPLY_TRIGGER,
    FILTERED_REPLY_TRIGGER,
    PARTLY_FILTERED_REPLY_TRIGGER,
    count_tokens,
)

pytestmark = pytest.mark.process

Refused = Callable[..., dict[str, Any]]
TEXT = "The Senate passed a bill that taxes sugar. Farmers objected to the tax. Sugar prices rose."


def said(text: str) -> Any:
    return [{"role": "system", "content": "Answer in json."}, {"role": "user", "content": text}]


def test_a_chat_answer_is_short_readable_and_always_the_same(azure: openai.AzureOpenAI) -> None:
    replies = [azure.chat.completions.create(model="gpt-4o", messages=said(TEXT)) for _ in range(2)]
    first, second = replies
    choice = first.choices[0]
    assert choice.message.content == (
        "The Senate passed a bill that taxes sugar. Key words: sugar, senate, passed, bill, taxes."
    )
    assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
    assert first.model == "simulator:gpt-4o"
    assert (first.id, first.choices) == (second.id, second.choices)


def test_usage_counts_prompt_and_answer(azure: openai.AzureOpenAI) -> None:
    reply = azure.chat.completions.create(model="gpt-4o", messages=said(TEXT), n=2)
    assert reply.usage is not None
    answer_tokens = sum(count_tokens(one.message.content or "") for one in reply.choices)
    assert reply.usage.completion_tokens == answer_tokens
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + answer_tokens
    assert reply.usage.completion_tokens_details is not None
    assert reply.usage.completion_tokens_details.reasoning_tokens == 0


def test_n_answers_differ_and_are_numbered(plain: openai.OpenAI) -> None:
    reply = plain.chat.completions.create(model="gpt-4o", messages=said(TEXT), n=3)
    assert [one.index for one in reply.choices] == [0, 1, 2]
    assert len({one.message.content for one in reply.choices}) == 3


def test_a_schema_in_the_system_message_is_answered_like_one_in_a_parameter(plain: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "due": {"type": "string", "format": "date"},
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
            "short": {"type": "string", "maxLength": 4},
        },
    }
    words = [{"role": "system", "content": f"Match this JSON Schema:\n{json.dumps(schema)}"}, *said(TEXT)[1:]]
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    create: Any = plain.chat.completions.create
    answers = [
        create(model="gpt-4o", messages=words).choices[0].message.content,
        create(model="gpt-4o", messages=said(TEXT), response_format=form).choices[0].message.content,
    ]
    for answer in map(json.loads, answers):
        assert answer == {"due": "2026-11-30", "score": 5, "short": "The "}


def test_an_answer_is_cut_at_max_tokens_and_at_a_stop_word(plain: openai.OpenAI) -> None:
    create = plain.chat.completions.create
    cut = create(model="gpt-4o", messages=said(TEXT), max_tokens=5)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 5
    assert TEXT.startswith(cut.choices[0].message.content or "-")
    stopped = create(model="gpt-4o", messages=said(TEXT), stop=["zebra", " passed"])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("The Senate", "stop")


def test_json_mode_answers_json_and_needs_the_word_in_the_messages(
    plain: openai.OpenAI, refused: Refused
) -> None:
    create = plain.chat.completions.create
    reply = create(model="gpt-4o", messages=said(TEXT), response_format={"type": "json_object"})
    assert json.loads(reply.choices[0].message.content or "")["keywords"][0] == "sugar"
    lacking: Any = [{"role": "user", "content": "hello"}]
    error = refused(create, model="gpt-4o", messages=lacking, response_format={"type": "json_object"})
    assert error["param"] == "messages"


def test_a_json_schema_is_filled_in(plain: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "mood": {"enum": ["glad", "sugar"]},
            "words": {"type": "integer"},
            "parts": {"type": "array", "items": {"type": "string"}},
            "sure": {"type": ["boolean", "null"]},
        },
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    reply = plain.chat.completions.create(model="gpt-4o", messages=said(TEXT), response_format=form)
    value = json.loads(reply.choices[0].message.content or "")
    assert value == {"mood": "sugar", "words": 16, "parts": [TEXT[:42]], "sure": True}


def test_references_of_a_schema_are_followed(plain: openai.OpenAI) -> None:
    step = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/step"}, {"type": "null"}]}}}
    schema = {
        "type": "object",
        "properties": {
            "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}},
            "mood": {"$ref": "#/$defs/mood"},
            "both": {"allOf": [{"$ref": "#/$defs/named"}, {"properties": {"size": {"type": "integer"}}}]},
            "self": {"type": "array", "items": {"$ref": "#"}},
        },
        "$defs": {
            "step": step,
            "mood": {"enum": ["glad", "sad"]},
            "named": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    reply = plain.chat.completions.create(model="gpt-4o", messages=said("so sad"), response_format=form)
    answer = json.loads(reply.choices[0].message.content or "")
    assert answer["mood"] == "sad"
    assert isinstance(answer["steps"][0]["next"], dict)
    assert isinstance(answer["both"]["name"], str)
    assert isinstance(answer["both"]["size"], int)
    assert answer["self"][0]["mood"] == "sad"


def test_text_parts_of_a_message_are_read(plain: openai.OpenAI) -> None:
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": "Only this."}]}]
    reply = plain.chat.completions.create(model="gpt-4o", messages=parts)
    assert (reply.choices[0].message.content or "").startswith("Only this.")


@pytest.mark.parametrize("model", ["o1", "o3-mini", "o4-mini", "gpt-5-nano"])
def test_reasoning_models_refuse_max_tokens_and_temperature(
    azure: openai.AzureOpenAI, refused: Refused, model: str
) -> None:
    create = azure.chat.completions.create
    error = refused(create, model=model, messages=said(TEXT), max_tokens=5)
    assert (error["code"], error["param"]) == ("unsupported_parameter", "max_tokens")
    assert refused(create, model=model, messages=said(TEXT), temperature=0)["code"] == "unsupported_value"


def test_reasoning_uses_up_the_answers_tokens(azure: openai.AzureOpenAI) -> None:
    create = azure.chat.completions.create
    short = create(model="o3-mini", messages=said(TEXT), max_completion_tokens=10)
    assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("", "length")
    whole = create(model="o3-mini", messages=said(TEXT), max_completion_tokens=500)
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.completion_tokens_details is not None
    assert whole.usage.completion_tokens_details.reasoning_tokens == 64


def test_a_filtered_prompt_is_refused(
    azure: openai.AzureOpenAI, plain: openai.OpenAI, refused: Refused
) -> None:
    prompt = f"Please {CONTENT_FILTER_TRIGGER} this"
    for client in (azure, plain):
        error = refused(client.chat.completions.create, model="gpt-4o", messages=said(prompt))
        assert error["code"] == "content_filter"
        error = refused(client.completions.create, model="instruct", prompt=prompt)
        assert error["code"] == "content_filter"


def test_a_filtered_answer_has_no_text_or_half(azure: openai.AzureOpenAI) -> None:
    create = azure.chat.completions.create
    none = create(model="gpt-4o", messages=said(f"Do {FILTERED_REPLY_TRIGGER}")).choices[0]
    assert (none.message.content, none.finish_reason) == (None, "content_filter")
    assert none.model_dump()["content_filter_results"]["violence"]["filtered"] is True
    half = create(model="gpt-4o", messages=said(f"Do {PARTLY_FILTERED_REPLY_TRIGGER}")).choices[0]
    assert half.message.content
    assert half.finish_reason == "content_filter"


def test_an_empty_answer_is_null(plain: openai.OpenAI) -> None:
    reply = plain.chat.completions.create(model="gpt-4o", messages=said(f"Do {EMPTY_REPLY_TRIGGER}"))
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == (None, "stop")


def test_messages_beyond_the_context_are_refused(plain: openai.OpenAI, refused: Refused) -> None:
    error = refused(plain.chat.completions.create, model="gpt-4o", messages=said("word " * 100_000))
    assert error["code"] == "context_length_exceeded"


def in_schema(schema: Any, *, name: str | None = "x", strict: bool = False) -> dict[str, Any]:
    form = {"schema": schema, "strict": strict} | ({} if name is None else {"name": name})
    return {"response_format": {"type": "json_schema", "json_schema": form}}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"messages": []}, "empty_array"),
        ({"messages": "hello"}, "invalid_type"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "invalid_value"),
        ({"messages": [{"role": "user", "content": None}]}, None),
        ({"messages": None}, "missing_required_parameter"),
        ({"n": 0}, "integer_below_min_value"),
        ({"temperature": 3}, "decimal_above_max_value"),
        ({"max_tokens": "5"}, "invalid_type"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "array_above_max_length"),
        ({"max_tokens": 0}, "integer_below_min_value"),
        ({"response_format": {"type": "yaml"}}, "invalid_value"),
        (in_schema({"enum": 3}), None),
        (in_schema({"$ref": "#/$defs/absent"}), None),
        (in_schema({"properties": {"a": {"$ref": "https://example.org/a.json"}}}), None),
        (in_schema({"type": "object", "properties": {}}, strict=True), None),
        (in_schema({"type": "object"}, name="two words"), "invalid_value"),
        (in_schema({"type": "object"}, name=None), "missing_required_parameter"),
        ({"top_logprobs": 3}, None),
        ({"logprobs": True, "top_logprobs": 21}, "integer_above_max_value"),
        ({"logprobs": 3}, "invalid_type"),
        ({"stream": "false"}, "invalid_type"),
        ({"stream_options": {"include_usage": True}}, None),
        ({"tool_choice": "auto"}, None),
        ({"parallel_tool_calls": False}, None),
        ({"tools": []}, "empty_array"),
        ({"tools": [{"type": "function"}] * 129}, "array_above_max_length"),
        ({"logit_bias": {"50256": 101}}, "decimal_above_max_value"),
        ({"logit_bias": {"the": 1}}, None),
        ({"metadata": {"a": 1}}, "invalid_type"),
        ({"metadata": {str(at): "" for at in range(17)}}, "object_above_max_properties"),
        ({"reasoning_effort": "huge"}, "invalid_value"),
        ({"service_tier": "cheap"}, "invalid_value"),
        ({"verbosity": "loud"}, "invalid_value"),
        ({"user": 5}, "invalid_type"),
        ({"safety_identifier": "x" * 65}, "string_above_max_length"),
        ({"seed": 2**63}, "integer_above_max_value"),
        ({"data_sources": []}, "unknown_parameter"),
        ({"colour": "red"}, "unknown_parameter"),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_code(
    plain: openai.OpenAI, refused: Refused, wrong: dict[str, Any], code: str | None
) -> None:
    create = plain.chat.completions.create
    error = refused(create, model="gpt-4o", messages=said(TEXT), extra_body=wrong)
    assert error["code"] == code


def test_completions_answer_every_prompt_n_times_in_order(azure: openai.AzureOpenAI) -> None:
    reply = azure.completions.create(model="instruct", prompt=["Cats sleep. Dogs bark.", "Birds sing."], n=2)
    assert [(one.index, one.text.split()[0]) for one in reply.choices] == [
        (0, "Cats"),
        (1, "Dogs"),
        (2, "Birds"),
        (3, "Birds"),
    ]
    assert reply.model == "simulator:instruct"


def test_completions_write_16_tokens_by_default(plain: openai.OpenAI) -> None:
    reply = plain.completions.create(model="instruct", prompt=TEXT)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 16
    assert (
        plain.completions.create(model="instruct", prompt=TEXT, max_tokens=99).choices[0].finish_reason
        == "stop"
    )
