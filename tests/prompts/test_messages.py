"""Whole conversations: from a file of templates, and from a ready column."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import ErrorCode, UsageError
from batchscore.prompts.messages import (
    columns_of,
    read_messages,
    render_messages_file,
    render_ready_messages,
)
from batchscore.prompts.template import parse_template
from batchscore.rows import RowError
from batchscore.task import CHAT, RESPONSES


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def from_file(messages: Any, **values: Any) -> Any:
    body = render_messages_file(
        read_messages(orjson.dumps(messages).decode(), CHAT, where="m.json"), {}, CHAT
    )(values)
    return body.code if isinstance(body, RowError) else orjson.loads(body)


def ready(cell: Any, opening: str | None = None, **values: Any) -> Any:
    template = None if opening is None else parse_template(opening, where="--system")
    body = render_ready_messages("messages", template, CHAT)({"messages": cell, **values})
    return body.code if isinstance(body, RowError) else orjson.loads(body)


def test_every_text_of_a_file_except_the_role_is_a_template() -> None:
    messages = [
        system("Be {tone}. {{no column}}"),
        user([{"type": "text", "text": "<{text}>"}, {"type": "image_url", "image_url": {"url": "{url}"}}]),
        {"role": "assistant", "content": None, "n": 1, "flag": True},
    ]
    assert from_file(messages, tone="kind", text="hi", url="http://x") == [
        system("Be kind. {no column}"),
        user([{"type": "text", "text": "<hi>"}, {"type": "image_url", "image_url": {"url": "http://x"}}]),
        {"role": "assistant", "content": None, "n": 1, "flag": True},
    ]


def test_columns_of_a_file_are_named_once_and_roles_are_not_templates() -> None:
    assert columns_of([{"role": "{x}", "content": "{b}{a}"}, user(["{b}", {"text": "{c}"}])]) == (
        "b",
        "a",
        "c",
    )


def test_a_row_with_one_filled_column_has_a_prompt() -> None:
    assert from_file([user("{a}|{b}")], a=None, b="x") == [user("|x")]


def test_a_row_with_no_filled_column_is_empty() -> None:
    assert from_file([user("{a}|{b}")], a=None, b=" ") is ErrorCode.EMPTY_INPUT


def test_a_row_that_lacks_a_column_says_so() -> None:
    assert from_file([user("{a}|{b}")], a="x") is ErrorCode.MISSING_COLUMN


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("{}", "is not a list of messages"),
        ("[]", "is not a list of messages"),
        ('["{a}"]', "has no role in message 0"),
        ('[{"role": "user", "content": "{a}"}, {"content": "x"}]', "has no role in message 1"),
        ('[{"role": 1, "content": "{a}"}]', "has no role in message 0"),
        (
            '[{"from": "tool", "value": "{a}"}]',
            "has an unknown sender in message 0; known are",
        ),
        ('[{"role": "user", "content": "the same"}]', "the prompt of all rows would be the same"),
        ('[{"role": "user", "content": "{a"}]', "the brace at character 1"),
    ],
)
def test_an_invalid_file_is_refused_by_name(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=r"^messages m\.json") as caught:
        read_messages(text, CHAT, where="messages m.json")
    assert why in str(caught.value)


def test_a_ready_column_is_a_list_or_its_json_text() -> None:
    said = [system("a"), user("{not a template}")]
    assert ready(said) == said
    assert ready(orjson.dumps(said).decode()) == said
    assert ready(orjson.dumps(said)) == said


@pytest.mark.parametrize("cell", [None, "", "  ", b""])
def test_an_empty_cell_of_messages_is_an_empty_row(cell: Any) -> None:
    assert ready(cell) is ErrorCode.EMPTY_INPUT


def test_a_row_without_the_ready_column_says_so() -> None:
    body = render_ready_messages("messages", None, CHAT)({"other": "x"})
    assert isinstance(body, RowError)
    assert body.code is ErrorCode.MISSING_COLUMN


@pytest.mark.parametrize(
    "cell",
    [
        "hello, secret", '"secret"', "[]", "{}", "1", "null", '["secret"]', '[{"content": "secret"}]',
        '[{"role": null}]', "[null]", [], {}, 1, True, ["secret"], [{"content": "secret"}], [user("x"), {}],
        '[{"role": "user", "content": NaN}]', b"\xff",
    ],
    ids=repr,
)  # fmt: skip
def test_an_invalid_conversation_is_an_error_that_quotes_nothing(cell: Any) -> None:
    body = render_ready_messages("messages", None, CHAT)({"messages": cell})
    assert isinstance(body, RowError)
    assert body.code is ErrorCode.INVALID_MESSAGES
    assert "secret" not in body.message


def test_nulls_that_arrow_adds_are_left_out_but_a_null_content_stays() -> None:
    column = pa.array(
        [
            [
                {"role": "assistant", "content": None, "refusal": "no", "name": "n"},
                {"role": "user", "content": "x"},
            ]
        ]
    )
    assert ready(column.to_pylist()[0]) == [
        {"role": "assistant", "content": None, "refusal": "no", "name": "n"},
        user("x"),
    ]


def test_an_item_without_a_role_has_no_null_content() -> None:
    items = [{"type": "item_reference", "id": "i", "content": None}, user("x")]
    body = render_ready_messages("input", None, RESPONSES)({"input": items})
    assert isinstance(body, bytes)
    assert orjson.loads(body) == {"input": [{"type": "item_reference", "id": "i"}, user("x")]}


def test_nulls_that_arrow_adds_to_parts_of_a_message_are_left_out() -> None:
    parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "u"}}]
    column = pa.array([[user(parts)]])
    assert None in column.to_pylist()[0][0]["content"][0].values(), "or the test shows nothing"
    assert ready(column.to_pylist()[0]) == [user(parts)]


def test_a_system_message_is_added_to_a_conversation_without_one() -> None:
    assert ready([user("x")], "Be {tone}.", tone="kind") == [system("Be kind."), user("x")]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_conversations_own_system_message_is_kept(role: str) -> None:
    said = [{"role": role, "content": "own"}, user("x")]
    assert ready(said, "Be {tone}.", tone="kind") == said


def test_a_row_that_lacks_the_systems_column_says_so() -> None:
    assert ready([user("x")], "Be {tone}.") is ErrorCode.MISSING_COLUMN


def test_the_rows_own_cell_is_not_changed() -> None:
    cell = [{"role": "user", "content": "x", "name": None}]
    ready(cell, "s")
    assert cell == [{"role": "user", "content": "x", "name": None}]


def test_a_conversation_too_deep_for_orjson_is_sent_unchanged() -> None:
    deep = "[" * 300 + "]" * 300
    assert ready(f'[{{"role":"user","content":{deep}}}]') == [user(orjson.loads(deep))]


@given(st.lists(st.builds(user, st.text() | st.none()), min_size=1, max_size=4))
def test_a_conversation_is_sent_unchanged(said: list[dict[str, Any]]) -> None:
    assert ready(said) == ready(orjson.dumps(said).decode()) == said
