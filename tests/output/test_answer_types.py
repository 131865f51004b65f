"""Which columns do answers with a schema have in Parquet, and do they come back as they were?"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.api.read_scores import read_scores
from batchscore.output.records.answer_types import answer_type
from batchscore.output.records.columnar import decode_scores, encode_scores, score_table, score_tables
from batchscore.output.records.jsonl import encode_scores as encode_lines
from batchscore.output.records.schema import RecordSchema, schema_of
from batchscore.rows import Score, Settled
from tickets import ANSWER, SCHEMA, closed

TEXT = {"type": "string"}
ITSELF = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}

#: 2 ** 40 columns, if each reference were one.
WIDE = {
    "$ref": "#/$defs/0",
    "$defs": {
        str(level): closed(a={"$ref": f"#/$defs/{level + 1}"}, b={"$ref": f"#/$defs/{level + 1}"})
        for level in range(40)
    }
    | {"40": TEXT},
}


def test_a_nested_schema_has_a_struct_of_typed_fields() -> None:
    assert answer_type(SCHEMA).arrow == pa.struct(
        [
            ("category", pa.string()),
            ("priority", pa.string()),
            ("summary", pa.string()),
            ("sentiment", pa.float64()),
            ("language", pa.string()),
            ("is_angry", pa.bool_()),
            ("refund", pa.float64()),
            (
                "order",
                pa.struct(
                    [("number", pa.string()), ("items", pa.list_(pa.string())), ("paid", pa.float64())]
                ),
            ),
            ("tags", pa.list_(pa.string())),
            ("contacts", pa.list_(pa.struct([("name", pa.string()), ("role", pa.string())]))),
            ("replies", pa.int64()),
            ("due", pa.string()),
        ]
    )


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ({"type": ["string", "integer"]}, ["a", 1]),
        ({"anyOf": [TEXT, closed(a=TEXT)]}, ["a", {"a": "b"}]),
        ({"type": "object", "additionalProperties": TEXT}, [{"any": "key"}, {}]),
        ({"type": "object", "properties": {"a": TEXT}, "additionalProperties": True}, [{"a": "b", "c": 1}]),
        ({"type": "array", "prefixItems": [TEXT, {"type": "integer"}]}, [["a", 1]]),
        ({"type": "object", "properties": {}, "additionalProperties": False}, [{}]),
        (
            {"type": "object", "properties": {"a": TEXT, "A": TEXT}, "additionalProperties": False},
            [{"a": "x"}],
        ),
        ({"enum": ["a", 1, None]}, ["a", 1, None]),
        ({"enum": [2**63]}, [2**63]),
        ({"enum": [1, 2**63, None]}, [1, 2**63, None]),
        ({"const": 2**64 - 1}, [2**64 - 1]),
        (WIDE, [{"a": "x"}]),
        (ITSELF, [{"next": {"next": None}}]),
    ],
)
def test_what_arrow_cannot_say_is_json_text_and_comes_back(part: Any, values: list[Any]) -> None:
    kind = answer_type(part)
    cells = [kind.to_cell(value) for value in values]
    if part is not ITSELF:
        assert kind.arrow == pa.string()
    written = pa.array(cells, type=kind.arrow)
    assert [kind.from_cell(cell) for cell in written.to_pylist()] == values


@pytest.mark.parametrize(
    ("part", "arrow", "values"),
    [
        ({"enum": [1, 2, None]}, pa.int64(), [1, None]),
        ({"const": True}, pa.bool_(), [True]),
        ({"type": ["integer", "number"]}, pa.float64(), [1.0, 2.5]),
        ({"enum": [2**63, 1.5]}, pa.float64(), [float(2**63), 1.5]),
        ({"allOf": [TEXT]}, pa.string(), ["a"]),
        ({"oneOf": [{"type": "null"}, {"type": "integer"}]}, pa.int64(), [None, 3]),
        ({"type": "array", "items": {"type": ["boolean", "null"]}}, pa.list_(pa.bool_()), [[True, None], []]),
    ],
)
def test_simple_types_are_those_of_the_schema(part: Any, arrow: Any, values: list[Any]) -> None:
    kind = answer_type(part)
    assert kind.arrow == arrow
    assert [
        kind.from_cell(cell) for cell in pa.array(map(kind.to_cell, values), type=arrow).to_pylist()
    ] == values


def test_a_whole_number_may_have_a_fraction_of_zero_and_a_number_none() -> None:
    kind = answer_type(closed(a={"type": "integer"}, b={"type": "number"}))
    cells = [kind.to_cell({"a": 3.0, "b": 2**63})]
    assert pa.array(cells, type=kind.arrow).to_pylist() == [{"a": 3, "b": float(2**63)}]


def test_a_field_that_was_left_out_is_left_out_again() -> None:
    part = {
        "type": "object",
        "properties": {"a": TEXT, "b": {"type": ["string", "null"]}},
        "additionalProperties": False,
    }
    kind = answer_type(part)
    assert [kind.from_cell(kind.to_cell(each)) for each in ({}, {"b": None})] == [{}, {"b": None}]


def test_a_struct_has_the_whole_of_an_object_with_other_fields() -> None:
    kind = answer_type(
        {"type": "object", "properties": {"json": TEXT, "in": {"type": "object", "properties": {"a": TEXT}}}}
    )
    inner = pa.struct([("a", pa.string()), ("json", pa.string())])
    assert kind.arrow == pa.struct([("json", pa.string()), ("in", inner), ("json_1", pa.string())])
    assert kind.to_cell({"json": "x", "in": {"a": "b", "c": 1}}) == {
        "json": "x",
        "in": {"a": "b", "json": '{"a":"b","c":1}'},
        "json_1": None,
    }
    assert answer_type(SCHEMA).arrow == answer_type(SCHEMA, lossless=False).arrow


LEAVES = [
    (TEXT, st.text(st.characters(exclude_categories=["Cs"]), max_size=3)),
    ({"type": "integer"}, st.integers(-(2**63), 2**63 - 1)),
    ({"type": ["number", "null"]}, st.none() | st.floats(-9, 9)),
    ({"type": "boolean"}, st.booleans()),
    ({"enum": ["a", None, 1]}, st.sampled_from(["a", None, 1])),
    ({}, st.none() | st.just({"any": [1, "b"]})),
]


@st.composite
def schema_and_answers(draw: st.DrawFn, depth: int = 3) -> tuple[Any, st.SearchStrategy[Any]]:
    """Return a JSON Schema and the strategy of values that match it."""
    kind = draw(st.sampled_from(["object", "object", "array", "leaf"])) if depth else "leaf"
    if kind == "leaf":
        return draw(st.sampled_from(LEAVES))
    if kind == "array":
        items, values = draw(schema_and_answers(depth - 1))
        return {"type": "array", "items": items}, st.lists(values, max_size=3)
    names = draw(st.lists(st.sampled_from(["a", "b", "json", "json_1"]), unique=True, max_size=3))
    fields = {name: draw(schema_and_answers(depth - 1)) for name in names}
    required = [name for name in names if draw(st.booleans())]
    schema = {
        "type": "object",
        "properties": {name: each for name, (each, _) in fields.items()},
        "required": required,
        **draw(st.sampled_from([{}, {}, {"additionalProperties": False}, {"additionalProperties": True}])),
    }
    is_open = schema.get("additionalProperties") is not False
    others = st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 3), max_size=2)
    return schema, st.builds(
        lambda more, known: {**more, **known},
        others if is_open else st.just({}),
        st.fixed_dictionaries(
            {name: fields[name][1] for name in required},
            optional={name: fields[name][1] for name in names if name not in required},
        ),
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@given(st.data())
def test_answers_are_read_as_they_were_given(suffix: str, data: st.DataObject) -> None:
    answer, values = data.draw(schema_and_answers())
    answers = data.draw(st.lists(values, min_size=1, max_size=4))
    assert all(jsonschema.Draft202012Validator(answer).is_valid(each) for each in answers)
    schema = RecordSchema("chat", answer=answer)
    rows = [Settled("a.csv", row, Score(value, "stop")) for row, value in enumerate(answers)]
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder, f"part{suffix}")
        encode = encode_scores if suffix == ".parquet" else encode_lines
        part.write_bytes(b"".join(encode(rows, schema)))
        assert read_scores(part)["chat"].tolist() == answers


def test_other_fields_of_an_answer_in_parquet_are_in_the_column_of_whole_answers(tmp_path: Path) -> None:
    schema = RecordSchema("chat", answer={"type": "object", "properties": {"a": TEXT}})
    answers = [{"a": "x"}, {"a": "y", "b": 1}]
    rows = [Settled("a.csv", row, Score(value, "stop")) for row, value in enumerate(answers)]
    (tmp_path / "part.parquet").write_bytes(b"".join(encode_scores(rows, schema)))
    frame = read_scores(tmp_path / "part.parquet", flatten=True)
    assert frame[["a", "answer"]].to_numpy().tolist() == [["x", None], ["y", answers[1]]]


@pytest.mark.parametrize("many", [False, True])
def test_a_part_of_an_earlier_version_is_read_and_merged(tmp_path: Path, *, many: bool) -> None:
    """Its structs have no whole objects."""
    answer = {
        "type": "object",
        "properties": {"a": TEXT, "in": {"type": "object", "properties": {"b": TEXT}}},
    }
    schema = RecordSchema("chat", many=many, answer=answer)
    older = answer_type({"type": "array", "items": answer} if many else answer, answer, lossless=False)
    value, reason = ([{"a": "x"}], ["stop"]) if many else ({"a": "x"}, "stop")
    table = pa.table(
        {
            "file": ["a.csv"],
            "row": pa.array([0], pa.int64()),
            "chat": pa.array([older.to_cell(value)], older.arrow),
            "finish_reason": pa.array([reason], pa.list_(pa.string()) if many else pa.string()),
        }
    )
    part = tmp_path / "part.parquet"
    pq.write_table(table, part)
    rows = [Settled("a.csv", 0, Score(value, reason))]
    assert list(decode_scores(part, schema)) == rows
    (found,) = score_tables(part, schema)
    assert found.equals(score_table(rows, schema))


@pytest.mark.parametrize("many", [False, True])
def test_a_part_in_parquet_says_the_schema_of_its_answers(tmp_path: Path, *, many: bool) -> None:
    schema = RecordSchema("chat", many=many, answer=SCHEMA)
    answers = [ANSWER, {**ANSWER, "order": None, "tags": []}, None]
    rows = [
        Settled("a.csv", row, Score([value, ANSWER], ["stop", "stop"]) if many else Score(value, "stop"))
        for row, value in enumerate(answers)
    ]
    part = tmp_path / "part.parquet"
    part.write_bytes(b"".join(encode_scores(rows, schema)))
    assert list(decode_scores(part, schema)) == rows
    found = schema_of(part, "chat")
    assert (found.answer, found.many) == (SCHEMA, many)
    assert list(decode_scores(part, found)) == rows
    kind = pq.read_schema(part).field("chat").type
    assert (kind.value_type if many else kind).field("replies").type == pa.int64()
