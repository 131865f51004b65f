"""Records as Parquet and Arrow columns: types that do not depend on the data, and the same rows back."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.errors import BrokenInvariant, OutputError
from batchscore.output.records import columnar
from batchscore.output.records.arrow_arrays import column_of, vectors_of
from batchscore.output.records.columnar import (
    arrow_error_schema,
    arrow_schema,
    decode_errors,
    decode_scores,
    open_writer,
    score_table,
)
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import Score, Settled
from batchscore.stores.storage import replace_file, write_whole
from output_samples import FAILED, all_comparable, answered, embedded, stored, vector

EMBEDDINGS = RecordSchema("embeddings", dimensions=3)
CHAT = RecordSchema("chat")


def encode_scores(settled: Sequence[Settled], schema: RecordSchema) -> bytes:
    return b"".join(columnar.encode_scores(settled, schema))


def encode_errors(settled: Sequence[Settled], schema: RecordSchema) -> bytes:
    return b"".join(columnar.encode_errors(settled, schema))


def written(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data))


@pytest.mark.parametrize(
    ("schema", "columns"),
    [
        (EMBEDDINGS, "file: string, row: int64, embeddings: fixed_size_list<element: float not null>[3]"),
        (CHAT, "file: string, row: int64, chat: string, finish_reason: string"),
        (
            RecordSchema("completions", with_id=True, keep=("k",), many=True, with_usage=True, with_raw=True),
            (
                "file: string, row: int64, id: string, k: string, completions: list<item: string>, "
                "finish_reason: list<item: string>, "
                "usage: struct<prompt_tokens: int64, completion_tokens: int64, total_tokens: int64>, "
                "raw: string"
            ),
        ),
    ],
)
def test_the_columns_of_a_schema_are(schema: RecordSchema, columns: str) -> None:
    found = arrow_schema(schema)
    assert ", ".join(f"{field.name}: {field.type}" for field in found) == columns


def test_the_columns_of_errors_are() -> None:
    found = arrow_error_schema(RecordSchema("embeddings", with_id=True, keep=("k",)))
    assert ", ".join(f"{field.name}: {field.type}" for field in found) == (
        "file: string, row: int64, id: string, k: string, "
        "error: struct<code: string, message: string, status: int64, attempts: int64>"
    )


def test_types_do_not_depend_on_the_data() -> None:
    schema = RecordSchema("chat", with_id=True, keep=("k",))
    rows: list[list[Settled]] = [
        [],
        [answered(0, None, None, kept={"k": None})],
        [answered(0, "2024-01-01", "stop", id="7", kept={"k": 3})],
    ]
    for part in rows:
        assert written(encode_scores(part, schema)).schema.equals(arrow_schema(schema))


def test_kept_cells_of_other_types_become_json_text() -> None:
    cells: list[Any] = ["007", 7, 1.5, None, float("nan"), True, {"a": [1]}, date(2024, 1, 2), b"\xff"]
    cells += [b"text", "a\ud800"]
    schema = RecordSchema("chat", keep=("k",))
    table = written(encode_scores([answered(0, "x", kept={"k": cell}) for cell in cells], schema))
    assert table["k"].to_pylist() == [
        "007", "7", "1.5", None, None, "true", '{"a":[1]}', "2024-01-02", "/w==", "text", "a\ufffd",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "rows"),
    [
        (EMBEDDINGS, [embedded(row) for row in range(3000)]),
        (
            replace(EMBEDDINGS, with_id=True, keep=("k", "l")),
            [embedded(0, id="007", kept={"k": "x", "l": None})],
        ),
        (CHAT, [answered(0, None, None), answered(1, "x", "length"), answered(2, "", "stop")]),
        (
            RecordSchema("chat", many=True, with_usage=True, with_raw=True),
            [
                Settled("a", 0, Score(["x", None], ["stop", None], {"total_tokens": 3}, {"a": [1, None]})),
                Settled("a", 1, Score([], [], {}, "raw text")),
                Settled("a", 2, Score(None, None, None, None)),
            ],
        ),
    ],
)
def test_rows_come_back_as_they_were(tmp_path: Path, schema: RecordSchema, rows: Sequence[Settled]) -> None:
    data = encode_scores(rows, schema)
    (tmp_path / "x.parquet").write_bytes(data)
    assert all_comparable(list(decode_scores(stored(data), schema))) == all_comparable(rows)
    assert all_comparable(list(decode_scores(tmp_path / "x.parquet", schema))) == all_comparable(rows)


def test_errors_come_back_as_they_were() -> None:
    schema = RecordSchema("embeddings", with_id=True, keep=("k",))
    rows = [
        Settled("a", 1, FAILED, "7", {"k": "x"}),
        Settled("a", 2, replace(FAILED, status=None), None, {"k": None}),
    ]
    data = encode_errors([embedded(0), *rows], schema)
    assert list(decode_errors(stored(data), schema)) == rows


def test_the_length_of_the_vectors_need_not_be_known_to_read_them() -> None:
    data = encode_scores([embedded(0)], EMBEDDINGS)
    assert len(list(decode_scores(stored(data), replace(EMBEDDINGS, dimensions=None)))) == 1


@settings(deadline=None)
@given(
    st.integers(1, 5).flatmap(
        lambda size: st.lists(
            st.lists(
                st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=size, max_size=size
            ),
            min_size=1,
            max_size=4,
        )
    )
)
def test_any_vector_comes_back_bit_for_bit(numbers: list[list[float]]) -> None:
    schema = RecordSchema("embeddings", dimensions=len(numbers[0]))
    rows = [Settled("a", number, Score(vector(*row))) for number, row in enumerate(numbers)]
    assert all_comparable(list(decode_scores(stored(encode_scores(rows, schema)), schema))) == all_comparable(
        rows
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MAYBE = st.none() | TEXT


@settings(deadline=None)
@given(TEXT, st.integers(0, 2**62), st.tuples(MAYBE, MAYBE, MAYBE, MAYBE))
def test_any_text_id_and_kept_text_survives(
    file: str, number: int, texts: tuple[str | None, str | None, str | None, str | None]
) -> None:
    id_, answer, reason, kept = texts
    schema = RecordSchema("chat", with_id=True, keep=("k",))
    row = Settled(file, number, Score(answer, reason), id_, {"k": kept})
    assert list(decode_scores(stored(encode_scores([row], schema)), schema)) == [row]


def cells_of(kind: Any) -> st.SearchStrategy[Any]:
    """Cells of a type, of which any may be null."""
    if pa.types.is_struct(kind):
        return st.none() | st.fixed_dictionaries(
            {}, optional={each.name: cells_of(each.type) for each in kind}
        )
    if pa.types.is_list(kind):
        return st.none() | st.lists(cells_of(kind.value_type), max_size=3)
    some: dict[Any, st.SearchStrategy[Any]] = {
        pa.string(): TEXT,
        pa.bool_(): st.booleans(),
        pa.int64(): st.integers(-(2**63), 2**63 - 1),
        pa.float64(): st.floats(allow_nan=False),
    }
    return st.none() | some[kind]


LEAVES = [pa.string(), pa.bool_(), pa.int64(), pa.float64()]
NESTED = pa.struct([("a", pa.list_(pa.struct([("b", pa.string())]))), ("c", pa.int64())])


@settings(deadline=None)
@given(
    st.sampled_from([*LEAVES, NESTED, pa.list_(NESTED), *map(pa.list_, LEAVES)]).flatmap(
        lambda kind: st.tuples(st.just(kind), st.lists(cells_of(kind), max_size=20))
    ),
)
def test_a_column_is_what_arrow_makes_of_its_cells(given: tuple[Any, list[Any]]) -> None:
    kind, cells = given
    expected = pa.array(cells, kind)
    # The second limit is that of the largest cell.
    for most in (2**31 - 1, max([1, *(4 * len(str(cell)) for cell in cells)])):
        column = column_of(cells, kind, most)
        column.validate(full=True)
        assert column.to_pylist() == expected.to_pylist()
        assert column.null_count == expected.null_count


def test_texts_that_one_array_cannot_hold_become_several() -> None:
    column = column_of(["12345", None, "678", "90", ""], pa.string(), 8)
    assert [chunk.to_pylist() for chunk in column.chunks] == [["12345", None], ["678", "90", ""]]
    with pytest.raises(OverflowError, match="please report this"):
        column_of(["123456789"], pa.string(), 8)


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        *((1.5, pa.int64()), ("1", pa.int64()), (2**63, pa.int64()), (1, pa.string())),
        *((1, pa.bool_()), ("ab", pa.list_(pa.string())), ({"a": 1}, pa.list_(pa.string()))),
    ],
)
def test_no_cell_of_another_type_is_changed_to_fit(cell: Any, kind: Any) -> None:
    with pytest.raises((TypeError, OverflowError, AttributeError)):
        column_of([cell], kind)


def test_vectors_of_a_slice_are_those_of_its_rows() -> None:
    numbers = pa.array(range(12), pa.float32())
    later = pa.FixedSizeListArray.from_arrays(numbers[4:], 2)[1:]
    lists = [pa.FixedSizeListArray.from_arrays(numbers, 2)]
    lists += [pa.array([[1, 2], [3, 4]] * 3, pa.list_(kind)) for kind in (pa.float32(), pa.float64())]
    lists += [
        pa.array([[1, 2]] * 6, kind(pa.float64())) for kind in (pa.large_list, lambda of: pa.list_(of, 2))
    ]
    for each in [*lists, later]:
        for part in (each, each[2:5], each[1:].slice(1, 2), each[:0]):
            found = vectors_of(pa.chunked_array([part, each[:0]]))
            assert [vector.tolist() for vector in found] == part.to_pylist()
            assert {vector.dtype.name for vector in found} <= {"float32"}


@pytest.mark.parametrize(
    "cells", [[[1, 2], None], [[1, 2], None, [3, 4], None], [[1, 2], [3]], [[1], [2, 3], [4, 5, 6]], [["x"]]]
)
def test_cells_that_are_no_vectors_of_one_length_are_refused(cells: list[Any]) -> None:
    """Their numbers could be divided among the rows in another way."""
    lengths = {len(cell) for cell in cells if cell is not None}
    arrays = [pa.array(cells)]
    if len(lengths) == 1 and arrays[0].type.value_type != pa.string():
        arrays.append(pa.array(cells, pa.list_(pa.float32(), *lengths)))
    for array in arrays:
        with pytest.raises(ValueError, match=r"missing|lengths|convert"):
            vectors_of(pa.chunked_array([array]))


@pytest.mark.parametrize(
    "values",
    [
        [vector(1, 2, 3), vector(1, 2, float("nan"))],
        [vector(1, 2, 3), vector(1, 2)],
        [vector(1, 2, 3), np.array([1.0, 2.0, 3.0])],
        [vector(1, 2, 3), None],
    ],
)
def test_only_finite_float32_vectors_are_written(values: list[Any]) -> None:
    rows = [Settled("a.csv", number, Score(value)) for number, value in enumerate(values)]
    with pytest.raises(BrokenInvariant, match=r"a\.csv, row 1"):
        encode_scores(rows, EMBEDDINGS)


def test_columns_need_the_length_of_vectors_and_the_names() -> None:
    with pytest.raises(BrokenInvariant, match="length of the vectors"):
        arrow_schema(RecordSchema("embeddings"))
    with pytest.raises(BrokenInvariant, match="need the names of kept columns"):
        arrow_schema(RecordSchema("chat", keep=None))


def test_records_that_no_run_writes_are_named() -> None:
    vectors = pa.array([[1, 2, 3], None], arrow_schema(EMBEDDINGS).field("embeddings").type)
    table = pa.table({"file": ["a", "a"], "row": [0, 1], "embeddings": vectors})
    failed = pa.table(
        {
            "file": ["a"],
            "row": [0],
            "error": pa.array([{"code": "other"}], arrow_error_schema(CHAT).field("error").type),
        }
    )
    for each, read, schema in ((table, decode_scores, EMBEDDINGS), (failed, decode_errors, CHAT)):
        sink = io.BytesIO()
        pq.write_table(each, sink)
        with pytest.raises(OutputError, match=r"cannot be read as Parquet .*changed or cut"):
            list(read(stored(sink.getvalue()), schema))


@pytest.mark.parametrize("cut", [0, 4, -1, -50])
def test_a_damaged_file_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "part.parquet"
    path.write_bytes(encode_scores([embedded(0)], EMBEDDINGS)[:cut])
    with pytest.raises(OutputError, match=r"part\.parquet: .*; the file was changed or cut"):
        list(decode_scores(path, EMBEDDINGS))


def test_a_file_of_other_columns_is_refused() -> None:
    data = encode_scores([answered(0, "x")], CHAT)
    with pytest.raises(OutputError, match="columns are not those of this run"):
        list(decode_scores(stored(data), RecordSchema("chat", with_usage=True)))
    with pytest.raises(OutputError):
        list(decode_scores(stored(data), RecordSchema("embeddings")))


def test_a_part_of_a_run_with_other_inputs_may_lack_kept_columns_or_have_them_without_values() -> None:
    """If all columns are kept, they are those of the inputs of one run."""
    rows = [answered(0, "x", kept={"k": "1"}), answered(1, "y", kept={"k": "2"})]
    data = encode_scores(rows, RecordSchema("chat", with_id=True, keep=("l", "k")))
    (table,) = columnar.score_tables(stored(data), RecordSchema("chat", keep=("k", "m")))
    assert table.schema.equals(arrow_schema(RecordSchema("chat", keep=("k", "m"))))
    assert table.select(["k", "m"]).to_pylist() == [{"k": "1", "m": None}, {"k": "2", "m": None}]
    found = list(decode_scores(stored(data), RecordSchema("chat", with_id=True, keep=("k", "m"))))
    assert found == [replace(row, kept={**row.kept, "m": None}) for row in rows]
    with pytest.raises(OutputError, match="columns are not those of this run"):
        list(decode_scores(stored(data), RecordSchema("chat", keep=("m",))))
    errors = encode_errors([Settled("a", 0, FAILED, None, {"k": "1"})], RecordSchema("chat", keep=("k",)))
    (failed,) = decode_errors(stored(errors), RecordSchema("chat", with_id=True, keep=("k", "m")))
    assert failed == Settled("a", 0, FAILED, None, {"k": "1", "m": None})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_file_has_groups_of_some_thousand_rows_for_any_batches(
    tmp_path: Path, kind: Literal["parquet", "arrow"]
) -> None:
    path = tmp_path / f"x.{kind}"
    rows = [embedded(row) for row in range(10_000)]
    with replace_file(path) as sink, open_writer(sink, EMBEDDINGS, f".{kind}") as append:
        for start, end in ((0, 1), (1, 1), (1, 9000), (9000, 10_000)):
            append(score_table(rows[start:end], EMBEDDINGS))
    if kind == "parquet":
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            table = file.read()
    else:
        with pa.OSFile(str(path)) as opened, pa.ipc.open_file(opened) as file:
            groups = [file.get_batch(batch).num_rows for batch in range(file.num_record_batches)]
            table = file.read_all()
    assert groups == [4096, 4096, 1808]
    assert table["row"].to_pylist() == list(range(10_000))
    assert table.schema.equals(arrow_schema(EMBEDDINGS))


def test_a_part_is_encoded_by_row_groups_and_never_whole() -> None:
    schema = RecordSchema("embeddings", dimensions=2048)
    numbers = np.linspace(0, 1, 2048, dtype=np.float32)
    rows = [Settled("a", row, Score(numbers + row, None)) for row in range(600)]
    pieces = list(columnar.encode_scores(rows, schema))
    assert len(pieces) >= 6
    assert max(map(len, pieces)) < 128 * 2048 * 5
    assert written(b"".join(pieces))["row"].to_pylist() == list(range(600))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_long_texts_are_never_in_memory_together(tmp_path: Path, kind: Literal["parquet", "arrow"]) -> None:
    """Neither to write them nor to read them, and a row group has few of them."""
    schema = RecordSchema("chat", keep=("k",))
    texts = [os.urandom(500_000).hex() for _ in range(60)]
    rows = [answered(row, "x", kept={"k": text}) for row, text in enumerate(texts)]
    source, merged = tmp_path / "x.parquet", tmp_path / f"y.{kind}"
    write_whole(source, columnar.encode_scores(rows, schema))
    assert pq.read_metadata(source).num_row_groups > 5
    pool, most = pa.default_memory_pool(), 0
    before = pool.bytes_allocated()
    with replace_file(merged) as sink, open_writer(sink, schema, f".{kind}") as append:
        for table in columnar.score_tables(source, schema):
            append(table)
            most = max(most, pool.bytes_allocated() - before)
    assert most < 40_000_000
    with ds.dataset(merged, format=kind).scanner(columns=["k"], use_threads=False).to_reader() as reader:
        batches = [batch["k"].to_pylist() for batch in reader]
    assert [text for batch in batches for text in batch] == texts
    assert max(map(len, batches)) < 30


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_failed_write_leaves_nothing(tmp_path: Path, kind: Literal["parquet", "arrow"]) -> None:
    def break_off() -> None:
        with replace_file(tmp_path / "x") as sink, open_writer(sink, EMBEDDINGS, f".{kind}") as append:
            append(score_table([embedded(row) for row in range(5000)], EMBEDDINGS))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert list(tmp_path.iterdir()) == []


def test_counts_that_a_column_cannot_hold_are_left_out() -> None:
    """A service may report any number."""
    schema = RecordSchema("chat", with_usage=True)
    usage = {"prompt_tokens": 2**64 - 1, "completion_tokens": True, "total_tokens": 5}
    data = encode_scores([Settled("a", 0, Score("x", "stop", usage))], schema)
    (row,) = decode_scores(stored(data), schema)
    assert isinstance(row.result, Score)
    assert row.result.usage == {"total_tokens": 5}


def test_the_counts_of_responses_come_back_with_their_details() -> None:
    schema = RecordSchema("responses", with_usage=True)
    details = {"input_tokens_details": {"cached_tokens": 2}, "output_tokens_details": {"reasoning_tokens": 3}}
    usages = [
        {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12, **details},
        {"input_tokens": 5, "output_tokens": 7, "input_tokens_details": None},
        {"output_tokens_details": {"reasoning_tokens": 2**64}, "total_tokens": 5},
        None,
    ]
    data = encode_scores([Settled("a", 0, Score("x", "stop", usage)) for usage in usages], schema)
    found = [row.result.usage for row in decode_scores(stored(data), schema) if isinstance(row.result, Score)]
    assert found == [
        usages[0],
        {"input_tokens": 5, "output_tokens": 7},
        {"output_tokens_details": {}, "total_tokens": 5},
        None,
    ]
