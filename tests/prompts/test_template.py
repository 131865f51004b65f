"""How templates are parsed, and how each type of cell is inserted."""

from __future__ import annotations

import math
import uuid
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import UsageError
from batchscore.prompts.template import (
    Column,
    Template,
    UnreadableCellError,
    cell_text,
    is_blank,
    json_bytes,
    parse_template,
    rename_columns,
)


def filled(text: str, **values: Any) -> str:
    return parse_template(text, where="--prompt").fill(values, cell_text)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", ()),
        ("no column", ("no column",)),
        ("{a}", (Column("a"),)),
        ("{ a }", (Column("a"),)),
        ("{a}{b}", (Column("a"), Column("b"))),
        ("x {a} y", ("x ", Column("a"), " y")),
        ("{{a}}", ("{a}",)),
        ("{{{a}}}", ("{", Column("a"), "}")),
        ("{{}}{a}{{", ("{}", Column("a"), "{")),
        ("{a name, with: signs.0!r}", (Column("a name, with: signs.0!r"),)),
        ('{{"k": {größe}}}', ('{"k": ', Column("größe"), "}")),
    ],
)
def test_a_template_is_texts_and_columns(text: str, pieces: tuple[str | Column, ...]) -> None:
    assert parse_template(text, where="--prompt").pieces == pieces


@pytest.mark.parametrize(
    ("text", "character"),
    [
        ("{", 1),
        ("}", 1),
        ("{}", 1),
        ("{  }", 1),
        ("ab{c", 3),
        ("a}", 2),
        ("{a{b}}", 1),
        ("{a}}", 4),
        ("}{", 1),
    ],
)
def test_a_single_brace_is_reported_with_its_position(text: str, character: int) -> None:
    with pytest.raises(UsageError, match=f"^--system: the brace at character {character} "):
        parse_template(text, where="--system")


def test_columns_are_named_once_and_in_order() -> None:
    assert parse_template("{b} {a} {b}", where="").columns == ("b", "a")


def test_a_cell_is_never_parsed_as_a_template() -> None:
    assert filled("<{a}>", a="{b} {{ }") == "<{b} {{ }>"


def test_a_column_that_a_row_lacks_is_a_key_error_with_its_name() -> None:
    with pytest.raises(KeyError, match="b"):
        filled("{a}{b}", a="x")


def test_a_template_cannot_read_attributes_of_a_cell() -> None:
    with pytest.raises(KeyError):
        filled("{a.__class__}", a="x")


def test_columns_are_renamed_to_those_of_the_table() -> None:
    parsed = parse_template("{a} {b}", where="")
    assert rename_columns(parsed, {"a": "text"}) == Template((Column("text"), " ", Column("b")))
    assert rename_columns(parsed, {}) is parsed


@given(st.text())
def test_any_text_survives_a_template_when_its_braces_are_doubled(text: str) -> None:
    assert filled(text.replace("{", "{{").replace("}", "}}")) == text


@given(st.text(), st.text(), st.text())
def test_any_text_survives_around_a_cell(before: str, cell: str, after: str) -> None:
    def doubled(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    assert filled(doubled(before) + "{a}" + doubled(after), a=cell) == before + cell + after


@given(st.text(st.sampled_from("{}ab "), max_size=12))
def test_a_template_is_parsed_or_refused_but_nothing_else(text: str) -> None:
    try:
        parsed = parse_template(text, where="--prompt")
    except UsageError as error:
        assert "brace at character" in str(error)  # noqa: PT017 - either ending is right
    else:
        assert all(name.strip() == name != "" for name in parsed.columns)


DEEP = orjson.loads("[" * 400 + "]" * 400)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("as it is ", "as it is "),
        ("", ""),
        (None, ""),
        (True, "true"),
        (0, "0"),
        (-1.5, "-1.5"),
        (2**63, "9223372036854775808"),
        (2**70, "1180591620717411303424"),
        (Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (timedelta(hours=1), "1:00:00"),
        (date(2024, 2, 29), "2024-02-29"),
        (time(1, 2, 3), "01:02:03"),
        (datetime(2024, 2, 29, 1, 2, tzinfo=timezone.utc), "2024-02-29T01:02:00+00:00"),
        ("bytes é".encode(), "bytes é"),
        ([], "[]"),
        ([1, None, "é"], '[1,null,"é"]'),
        ({"a": {"b": [True]}}, '{"a":{"b":[true]}}'),
        ({1: "x"}, '{"1":"x"}'),
        ([("key", 1)], '[["key",1]]'),
        ({"a": Decimal("1.5"), "b": b"x"}, '{"a":"1.5","b":"x"}'),
        ({"big": 2**70}, '{"big":1180591620717411303424}'),
        ({"half": "\ud800", "big": None}, '{"half":"\ud800","big":null}'),
        (DEEP, "[" * 400 + "]" * 400),
    ],
    ids=lambda value: repr(value)[:30].encode("ascii", "replace").decode(),
)
def test_each_type_of_cell_has_its_text(cell: Any, text: str) -> None:
    assert cell_text(cell) == text


@pytest.mark.parametrize(
    "cell", [b"\xff", {"a": b"\xff"}, math.inf, -math.inf, [1, math.nan], {"a": [math.inf, 2**70]}], ids=repr
)
def test_a_cell_without_an_equivalent_text_is_refused(cell: Any) -> None:
    with pytest.raises(UnreadableCellError):
        cell_text(cell)


@pytest.mark.parametrize("cell", [None, "", " \t\n", "\u2003", b"", b" ", math.nan])
def test_null_and_white_space_are_blank(cell: Any) -> None:
    assert is_blank(cell)


@pytest.mark.parametrize("cell", ["x", " x ", "\u200b", 0, False, [], {}, b"x", math.inf])
def test_other_cells_are_not_blank(cell: Any) -> None:
    assert not is_blank(cell)


@given(st.text())
def test_a_text_is_the_same_text_in_json(text: str) -> None:
    assert orjson.loads(json_bytes(text)) == text


@given(st.text(st.characters(codec=None), max_size=20))
def test_lone_surrogates_are_replaced_and_the_rest_stays(text: str) -> None:
    sent = orjson.loads(json_bytes([{"role": "user", "content": text}]))[0]["content"]
    assert sent == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.mark.parametrize("more", [2**70, "\udc00", Decimal(1), DEEP], ids=["big", "half", "decimal", "deep"])
def test_any_value_is_sent_as_valid_json(more: Any) -> None:
    day = datetime(2024, 1, 1, tzinfo=timezone.utc)
    sent = orjson.loads(json_bytes({"more": more, "nan": math.nan, "bytes": b"x", "day": day}))
    assert (sent["nan"], sent["bytes"], sent["day"]) == (None, "x", "2024-01-01T00:00:00+00:00")
