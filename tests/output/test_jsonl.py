"""Records as lines of JSON: their exact text, and the same rows back."""

from __future__ import annotations

import base64
import math
import uuid
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.errors import BrokenInvariant, OutputError, UsageError
from batchscore.output.records.jsonl import (
    decode_errors,
    decode_scores,
    encode_errors,
    encode_scores,
    row_to_json,
    settled_from_json,
)
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import Score, Settled
from output_samples import FAILED, all_comparable, answered, embedded, stored, vector

EMBEDDINGS = RecordSchema("embeddings")
CHAT = RecordSchema("chat")


def text(chunks: Iterator[bytes]) -> str:
    return b"".join(chunks).decode()


@pytest.mark.parametrize(
    ("schema", "row", "line"),
    [
        (
            EMBEDDINGS,
            Settled("a.csv", 0, Score(vector(0.1, -2, 1e-7, 1e-45))),
            '{"file":"a.csv","row":0,"embeddings":[0.1,-2.0,1e-7,1e-45]}',
        ),
        (
            RecordSchema("embeddings", with_id=True, keep=("label", "n"), with_usage=True, with_raw=True),
            Settled(
                "a.csv", 7, Score(vector(1), usage={"total_tokens": 3}), "007", {"label": "x", "other": 1}
            ),
            (
                '{"file":"a.csv","row":7,"id":"007","label":"x","n":null,"embeddings":[1.0],'
                '"usage":{"total_tokens":3},"raw":null}'
            ),
        ),
        (
            CHAT,
            answered(0, "2024-01-01", "stop"),
            '{"file":"a.csv","row":0,"chat":"2024-01-01","finish_reason":"stop"}',
        ),
        (
            CHAT,
            answered(1, None, "content_filter"),
            '{"file":"a.csv","row":1,"chat":null,"finish_reason":"content_filter"}',
        ),
        (
            RecordSchema("completions", many=True, with_id=True, with_raw=True),
            Settled("a.csv", 2, Score(["x", None], ["stop", None], raw={"id": "c1"})),
            (
                '{"file":"a.csv","row":2,"id":null,"completions":["x",null],"finish_reason":["stop",null],'
                '"raw":{"id":"c1"}}'
            ),
        ),
        (
            RecordSchema("chat", keep=None),
            answered(0, "x", kept={"label": 1, "file": "not this", "chat": "nor this", "row": 9}),
            '{"file":"a.csv","row":0,"label":1,"chat":"x","finish_reason":"stop"}',
        ),
    ],
)
def test_a_score_record_reads(schema: RecordSchema, row: Settled, line: str) -> None:
    assert text(encode_scores([row], schema)) == line + "\n"


def test_an_error_record_reads() -> None:
    schema = RecordSchema("chat", with_id=True, keep=("label",), with_usage=True)
    assert text(encode_errors([Settled("d/a.csv", 3, FAILED, "7", {"label": "x"})], schema)) == (
        '{"file":"d/a.csv","row":3,"id":"7","label":"x","error":{"code":"input_too_long",'
        '"message":"9000 tokens, the model takes 8192","status":400,"attempts":1}}\n'
    )


def test_scores_and_errors_are_separated() -> None:
    rows = [answered(0, "x"), Settled("a.csv", 1, FAILED), answered(2, "y")]
    scores = b"".join(encode_scores(rows, CHAT))
    errors = b"".join(encode_errors(rows, CHAT))
    assert list(decode_scores(stored(scores), CHAT)) == [rows[0], rows[2]]
    assert list(decode_errors(stored(errors), CHAT)) == [rows[1]]
    assert list(encode_scores([], CHAT)) == list(decode_scores(stored(b""), CHAT)) == []


def test_chunks_are_whole_lines_of_about_a_megabyte() -> None:
    rows = [embedded(row, dimensions=400) for row in range(450)]
    chunks = list(encode_scores(rows, EMBEDDINGS))
    assert len(chunks) == 2
    assert all(chunk.endswith(b"\n") and len(chunk) < 1.1 * 2**20 for chunk in chunks)
    assert all_comparable(list(decode_scores(stored(b"".join(chunks)), EMBEDDINGS))) == all_comparable(rows)


def test_long_lines_are_chunks_of_their_own() -> None:
    rows = [embedded(row, dimensions=1536) for row in range(20)]
    chunks = list(encode_scores(rows, EMBEDDINGS))
    assert [chunk.count(b"\n") for chunk in chunks] == [1] * 20
    assert all_comparable(list(decode_scores(stored(b"".join(chunks)), EMBEDDINGS))) == all_comparable(rows)


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_any_vector_comes_back_bit_for_bit(numbers: list[float]) -> None:
    rows = [Settled("a.csv", 0, Score(vector(*numbers)))]
    assert all_comparable(
        list(decode_scores(stored(text(encode_scores(rows, EMBEDDINGS)).encode()), EMBEDDINGS))
    ) == (all_comparable(rows))


def test_the_one_float32_with_an_ambiguous_shortest_text_comes_back() -> None:
    """7.038531e-26 is the shortest text of a float32 whose neighbour is nearer to that text's float64."""
    betrayed = np.array([0x15AE43FD, 0x95AE43FD, 0], dtype=np.uint32).view(np.float32)
    line = text(encode_scores([Settled("7.038531e-26", 0, Score(betrayed))], EMBEDDINGS))
    assert line == '{"file":"7.038531e-26","row":0,"embeddings":[7.0385307e-26,-7.0385307e-26,0.0]}\n'
    back = np.array(orjson.loads(line)["embeddings"], dtype=np.float32)
    assert back.tobytes() == betrayed.tobytes()


@pytest.mark.slow
def test_a_hundred_million_floats_of_every_size_come_back() -> None:
    """Every 21st bit pattern; all of them were tested before."""
    for low in range(0, 0x7F800000, 21 << 20):
        bits = np.arange(low, min(low + (21 << 20), 0x7F800000), 21, dtype=np.uint32)
        line = text(encode_scores([Settled("a", 0, Score(bits.view(np.float32)))], EMBEDDINGS))
        back = np.array(orjson.loads(line)["embeddings"], dtype=np.float32)
        assert back.tobytes() == bits.tobytes()


@pytest.mark.parametrize(
    "value",
    [
        vector(1, math.nan),
        vector(math.inf),
        vector(-math.inf),
        np.array([1.0]),
        np.array([[1]], dtype=np.float32),
        [1.0],
        None,
    ],
)
def test_only_finite_float32_vectors_are_written(value: Any) -> None:
    with pytest.raises(BrokenInvariant, match=r"a\.csv, row 4"):
        list(encode_scores([Settled("a.csv", 4, Score(value))], EMBEDDINGS))


def test_a_vector_of_another_length_is_never_written() -> None:
    with pytest.raises(BrokenInvariant, match="3 dimensions instead of 4"):
        list(encode_scores([embedded(0)], replace(EMBEDDINGS, dimensions=4)))


def test_a_vector_that_is_a_view_with_strides_is_written() -> None:
    row = Settled("a.csv", 0, Score(vector(1, 2, 3, 4)[::2]))
    assert '"embeddings":[1.0,3.0]' in text(encode_scores([row], EMBEDDINGS))


@pytest.mark.parametrize(
    ("cell", "json"),
    [
        (math.nan, "null"),
        ([math.inf, 1.5], "[null,1.5]"),
        (np.float64("nan"), "null"),
        (np.int64(3), "3"),
        (np.float32(0.1), "0.1"),
        (np.bool_(True), "true"),
        (np.array(["a", "b"]), '["a","b"]'),
        (np.array([[1, 2]]), "[[1,2]]"),
        (datetime(2024, 1, 2, 3, 4, 5), '"2024-01-02T03:04:05"'),  # noqa: DTZ001
        (datetime(2024, 1, 2, tzinfo=timezone.utc), '"2024-01-02T00:00:00+00:00"'),
        (date(2024, 1, 2), '"2024-01-02"'),
        (time(3, 4, tzinfo=timezone.utc), '"03:04:00+00:00"'),
        (timedelta(seconds=90), '"0:01:30"'),
        (Decimal("1.10"), '"1.10"'),
        (b"\xff\x00", f'"{base64.b64encode(bytes([255, 0])).decode()}"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (2**64 - 1, "18446744073709551615"),
        (2**64, '"18446744073709551616"'),
        (-(2**63) - 1, '"-9223372036854775809"'),
        ({"a": 10**30}, '{"a":"1000000000000000000000000000000"}'),
        ({1: "x", None: True}, '{"1":"x","null":true}'),
        ({b"\xff": b"a", b"k": {(1, 2): 3}}, '{"/w==":"a","k":{"[1,2]":3}}'),
        (object(), "null"),
        ([("k", 1)], '[["k",1]]'),
        ("a\ud800b", '"a\ufffdb"'),
        ({"\udfff": ["\ud83d\ude00"]}, '{"\ufffd":["\U0001f600"]}'),
        ('quote " and\nnewline', '"quote \\" and\\nnewline"'),
    ],
)
def test_a_kept_cell_of_any_type_is_sensible_json(cell: Any, json: str) -> None:
    line = text(encode_scores([answered(0, "x", kept={"k": cell})], RecordSchema("chat", keep=("k",))))
    assert line == f'{{"file":"a.csv","row":0,"k":{json},"chat":"x","finish_reason":"stop"}}\n'


def test_a_cell_nested_too_deeply_for_other_readers_becomes_text() -> None:
    deep: Any = "core"
    for _ in range(600):
        deep = [deep]
    schema = RecordSchema("chat", keep=("k",))
    line = text(encode_scores([answered(0, "x", kept={"k": deep})], schema))
    found = orjson.loads(line)["k"]
    while isinstance(found, list):
        (found,) = found
    assert found.strip("[]") == '"core"'


def test_a_cell_nested_as_deeply_as_json_allows_does_not_stop_the_run() -> None:
    schema = RecordSchema("chat", keep=("k",))
    row = answered(0, "x", kept={"k": orjson.loads(b"[" * 1000 + b"]" * 1000)})
    (back,) = decode_scores(stored(text(encode_scores([row], schema)).encode()), schema)
    assert back.result == row.result


def test_lone_surrogates_are_replaced_in_all_text() -> None:
    schema = RecordSchema("chat", with_id=True)
    row = Settled("\udc80.csv", 0, Score("a\ud800", "stop"), id="\udcff")
    assert list(decode_scores(stored(text(encode_scores([row], schema)).encode()), schema)) == [
        Settled("\ufffd.csv", 0, Score("a\ufffd", "stop"), id="\ufffd")
    ]


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(TEXT, st.integers(0, 2**62), st.none() | TEXT, st.none() | TEXT, st.tuples(JSON, JSON))
def test_any_text_id_and_kept_value_survives(
    file: str, number: int, id_: str | None, answer: str | None, cells: tuple[Any, Any]
) -> None:
    kept, raw = cells
    schema = RecordSchema("chat", with_id=True, keep=None, with_raw=True)
    row = Settled(file, number, Score(answer, None, raw=raw), id_, {"k": kept})
    assert list(decode_scores(stored(text(encode_scores([row], schema)).encode()), schema)) == [row]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"file":"a.csv","row":0,"embeddings":[1.0,2.',
        b"[]",
        b'{"row":0,"embeddings":[1.0]}',
        b'{"file":"a.csv","row":"0","embeddings":[1.0]}',
        b'{"file":"a.csv","row":0,"embeddings":null}',
        b'{"file":"a.csv","row":0,"embeddings":[null]}',
        b'{"file":"a.csv","row":0,"embeddings":[[1.0]]}',
        b'{"file":"a.csv","row":0,"embeddings":[1.0,2.0]}',
        b'{"file":"a.csv","row":0,"chat":"x","finish_reason":"stop"}',
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "part.jsonl"
    path.write_bytes(b'{"file":"a.csv","row":0,"embeddings":[1.0]}\n' + line + b"\n")
    with pytest.raises(OutputError, match=r"part\.jsonl, line 2 is not .*; the file was changed or cut"):
        list(decode_scores(path, replace(EMBEDDINGS, dimensions=1)))


def test_a_missing_file_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot read"):
        list(decode_errors(tmp_path / "x", CHAT))


@pytest.mark.parametrize("keep", [("file",), ("x", "chat"), ("x", "x")])
def test_a_kept_column_may_not_have_a_name_of_the_records_own(keep: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"^keep "):
        RecordSchema("chat", keep=keep)


def test_the_journal_keeps_every_field_of_a_row() -> None:
    score = Score("yes", "stop", usage={"total_tokens": 3}, raw={"id": 1}, size=3)
    row = Settled("a.csv", 7, score, id="k", kept={"c": "v"}, truncated=True)
    for each in (row, score):
        assert all(getattr(each, field.name) != field.default for field in fields(each)), "give all a value"
    assert settled_from_json(orjson.loads(orjson.dumps(row_to_json(row))), iter(())) == row
