"""What a cell of any type is as text and as JSON: a value or an error of its row, never a crash."""

from __future__ import annotations

import collections
import enum
import math
import tracemalloc
import uuid
from dataclasses import replace
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import ErrorCode
from batchscore.output.records.json_value import json_text
from batchscore.prompts.cells import UnreadableCellError, cell_text, id_text, is_blank, is_missing, json_bytes
from batchscore.prompts.prompt import PromptSpec, builder_for
from batchscore.rows import Prompt, Row, RowError, Settled, Table
from batchscore.task import CHAT

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
        (timedelta(days=1, hours=6, minutes=5), "30:05:00"),
        (timedelta(seconds=-90, microseconds=5), "-0:01:29.999995"),
        (np.timedelta64(108_300, "s"), "30:05:00"),
        (np.timedelta64(-1500, "ms"), "-0:00:01.500000"),
        (np.timedelta64(3, "M"), "3 months"),
        (np.datetime64("2026-01-05T10:00", "ns"), "2026-01-05T10:00:00"),
        (np.datetime64("2026-01-05T10:00:00.000000001"), "2026-01-05T10:00:00.000000001"),
        (np.datetime64("2026-01-05"), "2026-01-05"),
        (np.datetime64("20260-01-01T00"), "20260-01-01T00"),
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


class Point(NamedTuple):
    x: int
    y: Any


class Pair(tuple[int, ...]):
    """A tuple that is not one to the JSON library."""

    __slots__ = ()


class Colour(enum.Enum):
    RED = (1, 2)


class Broken:
    def __str__(self) -> str:
        raise ValueError("the customer's words")

    __repr__ = __str__


class Endless:
    def __str__(self) -> str:
        return str(self)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Point(1, Point(2, None)), "[1,[2,null]]"),
        ([Point(1, 2)], "[[1,2]]"),
        (Pair((1, 2)), "[1,2]"),
        (collections.deque([1]), "[1]"),
        (collections.UserDict(a=1), '{"a":1}'),
        (range(3), "[0,1,2]"),
        ({2, 1}, "[1,2]"),
        (frozenset("a"), '["a"]'),
        pytest.param(memoryview(b"x"), "x", id="memoryview"),
        ({b"a": 1, (1, 2): 3}, '{"a":1,"[1,2]":3}'),
        (Colour.RED, "Colour.RED"),
        (np.float32(0.1), "0.1"),
        (np.float16(0.1), "0.1"),
        (np.int64(3), "3"),
        (np.bool_(True), "true"),
        (np.str_("a"), "a"),
        (np.array([["a", None]], object), '[["a",null]]'),
        (np.array([0.1, 2], np.float32), "[0.1,2.0]"),
        (np.array(3), "3"),
        (np.array(["2024-01-02", "NaT"], "datetime64[ns]"), '["2024-01-02T00:00:00",null]'),
        (np.datetime64("2024-01-02"), "2024-01-02"),
        (np.array([{"role": "user", "more": np.array([1])}], object), '[{"role":"user","more":[1]}]'),
        (pd.Series([1, 2]), "[1,2]"),
        (pd.Timestamp("2024-01-02"), "2024-01-02T00:00:00"),
        ([pd.NA, {"a": pd.NaT}], '[null,{"a":null}]'),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_cell_of_any_library_is_plain_json(cell: Any, text: str) -> None:
    assert cell_text(cell) == text
    if text[0] in "[{":
        assert orjson.loads(json_bytes(cell)) == orjson.loads(text)


@pytest.mark.parametrize(
    "cell",
    [
        None,
        math.nan,
        pd.NA,
        pd.NaT,
        np.float32("nan"),
        np.datetime64("NaT"),
        np.timedelta64("NaT"),
        Decimal("NaN"),
    ],
    ids=repr,
)
def test_every_missing_value_is_empty(cell: Any) -> None:
    assert is_missing(cell)
    assert is_blank(cell)
    assert cell_text(cell) == ""
    assert id_text(cell) is None
    assert orjson.loads(json_bytes([cell])) == [None]


@pytest.mark.parametrize(
    "cell", [np.array([]), np.array([math.nan]), np.float32(0), Decimal("sNaN"), 0, "", [None]], ids=repr
)
def test_other_values_are_not_missing(cell: Any) -> None:
    assert not is_missing(cell) or isinstance(cell, Decimal)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (10.0, "10"),
        (-3.0, "-3"),
        (2.5, "2.5"),
        (2.0**53, "9007199254740992"),
        (1e300, "1e+300"),
        (7, "7"),
        ("07", "07"),
    ],
)
def test_a_whole_float_is_an_id_without_its_point(cell: Any, text: str) -> None:
    assert id_text(cell) == text


@pytest.mark.parametrize(
    "cell", [b"caf\xc3\xa9", date(2024, 1, 2), Point(1, 2), {b"k": 1}, np.float32(0.1)], ids=repr
)
def test_a_cell_is_kept_as_it_is_sent(cell: Any) -> None:
    sent = cell_text(cell)
    assert json_text(cell) in {sent, f'"{sent}"'}


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "cell",
    [Broken(), Endless(), LOOP, {"a": LOOP}, object(), lambda: 0, (each for each in "ab"), b"\xff", math.inf],
)
def test_a_cell_without_a_text_costs_its_row_and_is_not_quoted(cell: Any) -> None:
    table = Table(("text", "at"), ("text",), headerless=False, rows=iter(()))
    as_text, as_id = PromptSpec(CHAT, column="at"), PromptSpec(CHAT, column="text", id="at")
    for spec in (as_text, as_id):
        built = builder_for(table, spec).build(Row("f", 0, {"text": "a", "at": cell}))
        assert isinstance(built, Settled)
        assert isinstance(built.result, RowError)
        assert built.result.code is ErrorCode.UNREADABLE_ROW
        assert "customer" not in built.result.message


def test_a_builder_names_the_columns_that_it_needs() -> None:
    table = Table(("id", "text", "image", "lang"), ("text",), headerless=False, rows=iter(()))
    spec = PromptSpec(CHAT, column="text")
    assert builder_for(table, spec).columns == {"text"}
    assert builder_for(table, replace(spec, id="id", keep=("lang",))).columns == {"text", "id", "lang"}
    assert builder_for(table, replace(spec, keep=("*",))).columns is None


def test_with_all_columns_a_column_id_is_the_id() -> None:
    table = Table(("id", "text"), ("text",), headerless=False, rows=iter(()))
    builder = builder_for(table, PromptSpec(CHAT, column="text", keep=("*",)))
    built = builder.build(Row("f", 0, {"id": 7.0, "text": "a"}))
    assert isinstance(built, Prompt)
    assert built.id == "7"


def test_the_json_of_a_text_keeps_little_more_memory_than_it_needs() -> None:
    text = "x" * 800
    json_bytes(text)
    tracemalloc.start()
    try:
        held = [json_bytes(text) for _ in range(50)]
        memory = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert memory < 2 * sum(map(len, held))
