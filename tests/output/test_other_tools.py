"""Other tools see every row of a folder: pandas over a glob, pyarrow.dataset, DuckDB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from batchscore.output.records.columnar import arrow_schema
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import Settled
from output_samples import answered, embedded, write_folder

CHAT = RecordSchema("chat", with_id=True)
EMBEDDINGS = RecordSchema("embeddings", with_id=True, dimensions=3)

# Names that readers skip or take for partitions, two alike; a first part without any text; texts that
# look like dates, ids that look like numbers and dates.
FILES = ("_x.csv", ".y.csv", "day=1/x.csv", "a/same.csv", "b/same.csv", "ü b%c[1].csv")
CHAT_PARTS = [
    [answered(0, None, None, id="001"), answered(1, None, None, id="2")],
    [answered(2, "2024-01-01", "stop", id="03"), answered(3, "7", None, id="2024-01-01")],
    [answered(4, 'say "hi"\n,', "length", id="x"), answered(5, "", "content_filter", id=None)],
]
EMBEDDINGS_PARTS = [
    [embedded(row, id=str(row)) for row in range(3)],
    [embedded(row, id="x") for row in range(3, 6)],
]

Rows = set[tuple[str, int]]
Read = Callable[[Path, RecordSchema], Rows]


def pairs(files: list[str], rows: list[int]) -> Rows:
    found = list(zip(files, rows, strict=True))
    assert len(set(found)) == len(found)
    return set(found)


def with_duckdb(folder: Path, _: RecordSchema) -> Rows:
    suffix = next(folder.iterdir()).suffix
    with duckdb.connect() as connection:
        rows = connection.execute(f"select file, row from '{folder}/*{suffix}'").fetchall()
    return pairs([file for file, _ in rows], [row for _, row in rows])


def with_pandas(folder: Path, _: RecordSchema) -> Rows:
    frame = pd.concat(
        [
            pd.read_json(path, lines=True) if path.suffix == ".jsonl" else pd.read_parquet(path)
            for path in sorted(folder.glob("part-*"))
        ]
    )
    return pairs(frame["file"].to_list(), frame["row"].to_list())


def with_pyarrow(folder: Path, schema: RecordSchema) -> Rows:
    """JSON needs explicit types: pyarrow takes them from the first part, which may be all null."""
    lines = any(folder.glob("*.jsonl"))
    types = arrow_schema(schema)
    if lines and schema.is_vector:  # pyarrow's JSON reader does not know fixed-size lists
        types = types.set(types.get_field_index(schema.task), pa.field(schema.task, pa.list_(pa.float32())))
    dataset = ds.dataset(folder, format="json", schema=types) if lines else ds.dataset(folder)
    table = dataset.to_table()
    return pairs(table["file"].to_pylist(), table["row"].to_pylist())


@pytest.mark.parametrize("read", [with_duckdb, with_pandas, with_pyarrow])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("schema", "parts"), [(CHAT, CHAT_PARTS), (EMBEDDINGS, EMBEDDINGS_PARTS)], ids=["chat", "embeddings"]
)
def test_every_row_is_seen(
    tmp_path: Path, read: Read, form: str, schema: RecordSchema, parts: list[list[Settled]]
) -> None:
    write_folder(tmp_path, schema, form, dict.fromkeys(FILES, parts))
    assert read(tmp_path / schema.task, schema) == {(file, row) for file in FILES for row in range(6)}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_duckdb_sees_the_texts_as_they_are(tmp_path: Path, form: str) -> None:
    write_folder(tmp_path, CHAT, form, dict.fromkeys(FILES, CHAT_PARTS))
    query = (
        f"select id, chat, finish_reason from '{tmp_path}/chat/*.{form}' where file = '_x.csv' order by row"
    )
    with duckdb.connect() as connection:
        assert connection.execute(query).fetchall() == [
            ("001", None, None),
            ("2", None, None),
            ("03", "2024-01-01", "stop"),
            ("2024-01-01", "7", None),
            ("x", 'say "hi"\n,', "length"),
            (None, "", "content_filter"),
        ]


def test_pyarrow_needs_no_types_for_parquet_and_finds_one_schema(tmp_path: Path) -> None:
    for schema, parts in ((CHAT, CHAT_PARTS), (EMBEDDINGS, EMBEDDINGS_PARTS)):
        write_folder(tmp_path, schema, "parquet", dict.fromkeys(FILES, parts))
        assert ds.dataset(tmp_path / schema.task).schema.equals(arrow_schema(schema))


def test_pandas_reads_parquet_vectors_as_float32(tmp_path: Path) -> None:
    write_folder(tmp_path, EMBEDDINGS, "parquet", {"a.csv": EMBEDDINGS_PARTS})
    frame = pd.read_parquet(tmp_path / "embeddings")
    assert all(cell.dtype == "float32" and cell.shape == (3,) for cell in frame["embeddings"])
