"""Which columns do answers with a schema have in Parquet, and do they come back as they were?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchscore.output.records.answer_types import answer_type
from batchscore.output.records.columnar import decode_scores, encode_scores
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


def test_a_field_that_was_left_out_is_left_out_again_where_null_would_be_wrong() -> None:
    part = {
        "type": "object",
        "properties": {"a": TEXT, "b": {"type": ["string", "null"]}},
        "additionalProperties": False,
    }
    kind = answer_type(part)
    back = kind.from_cell(kind.to_cell({}))
    assert back == {"b": None}
    jsonschema.validate(back, part)


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
