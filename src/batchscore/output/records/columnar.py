"""How do records look as Parquet and Arrow columns, and how are they read back?

It must not look at the data to choose a type: the `RecordSchema` alone decides, so that all parts of a
folder have one schema and `pyarrow.dataset`, DuckDB and Spark read them together. Kept columns are
therefore all text: what JSON has no text for (numbers, lists, ...) stands as JSON text, null stays null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from batchscore.errors import BrokenInvariant, OutputError
from batchscore.output.records.jsonl import checked_vector, error_fields, error_from, json_text
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import RowError, Score, Settled, replace_surrogates
from batchscore.stores.address import Place, StoredPath
from batchscore.stores.errors import StoreFailure
from batchscore.stores.objects import StoredFile
from batchscore.stores.storage import Sink

_ROW_GROUP = 4096
_BATCH_ROWS = 2048

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_USAGE = pa.struct([(name, pa.int64()) for name in _COUNTS])
_ERROR = pa.struct(
    [("code", pa.string()), ("message", pa.string()), ("status", pa.int64()), ("attempts", pa.int64())]
)


def arrow_schema(schema: RecordSchema) -> pa.Schema:
    """Return the columns of score records.

    A vector's items are never null, which halves the time to read them.
    """
    fields = _head_fields(schema)
    if schema.is_vector:
        if schema.dimensions is None:
            raise BrokenInvariant("the length of the vectors is not known yet; please report this")
        item = pa.field("element", pa.float32(), nullable=False)
        fields.append((schema.task, pa.list_(item, schema.dimensions)))
    else:
        text = pa.list_(pa.string()) if schema.many else pa.string()
        fields += [(schema.task, text), ("finish_reason", text)]
    if schema.with_truncated:
        fields.append(("truncated", pa.bool_()))
    if schema.with_usage:
        fields.append(("usage", _USAGE))
    if schema.with_raw:
        fields.append(("raw", pa.string()))
    return pa.schema(fields)


def arrow_error_schema(schema: RecordSchema) -> pa.Schema:
    """Return the columns of error records."""
    return pa.schema([*_head_fields(schema), ("error", _ERROR)])


def encode_scores(settled: Sequence[Settled], schema: RecordSchema) -> bytes:
    """Return a Parquet file of the score records of those rows that have a score."""
    return _parquet(score_table(settled, schema))


def encode_errors(settled: Sequence[Settled], schema: RecordSchema) -> bytes:
    """Return a Parquet file of the error records of those rows that have an error."""
    rows = [(row, row.result) for row in settled if isinstance(row.result, RowError)]
    columns = _head_columns([row for row, _ in rows], schema)
    columns["error"] = [error_fields(error) for _, error in rows]
    return _parquet(_table(columns, arrow_error_schema(schema)))


def decode_scores(source: Place | bytes, schema: RecordSchema) -> Iterator[Settled]:
    """Yield the rows of a Parquet score file, a batch in memory at a time; vectors are equal bit by bit.

    Kept columns come back as the text that stands in the file, `usage` with its three counts. Raises
    `OutputError` where the file is damaged or has other columns.
    """
    for table in score_tables(source, schema):
        yield from _rows(table, schema, _scores)


def decode_errors(source: Place | bytes, schema: RecordSchema) -> Iterator[Settled]:
    """Yield the rows of a Parquet error file; raises likewise."""
    for table in _tables(source, lambda _: arrow_error_schema(schema)):
        yield from _rows(table, schema, _errors)


def score_table(settled: Sequence[Settled], schema: RecordSchema) -> pa.Table:
    """Return the score records of those rows that have a score, as one table."""
    rows = [(row, row.result) for row in settled if isinstance(row.result, Score)]
    columns = _head_columns([row for row, _ in rows], schema)
    arrow = arrow_schema(schema)
    if schema.is_vector:
        columns[schema.task] = _vectors(rows, schema, arrow.field(schema.task).type)
    else:
        columns[schema.task] = [_texts(score.value) for _, score in rows]
        columns["finish_reason"] = [_texts(score.finish_reason) for _, score in rows]
    if schema.with_truncated:
        columns["truncated"] = [row.truncated for row, _ in rows]
    if schema.with_usage:
        columns["usage"] = [_usage(score.usage) for _, score in rows]
    if schema.with_raw:
        columns["raw"] = [None if score.raw is None else json_text(score.raw) for _, score in rows]
    return _table(columns, arrow)


def score_tables(source: Place | bytes, schema: RecordSchema) -> Iterator[pa.Table]:
    """Yield a Parquet score file as tables of some thousand rows; raises `OutputError` as `decode_scores`."""

    def expected(found: pa.Schema) -> pa.Schema:
        if schema.is_vector and schema.dimensions is None:
            return arrow_schema(replace(schema, dimensions=found.field(schema.task).type.list_size))
        return arrow_schema(schema)

    return _tables(source, expected)


class Stream:
    """One Parquet or Arrow file that grows by batches, in constant memory; opened by `streaming`."""

    def __init__(self, writer: Any, schema: RecordSchema) -> None:
        self._writer = writer
        self._schema = schema
        self._pending: list[pa.Table] = []
        self.rows = 0

    def append(self, settled: Sequence[Settled]) -> None:
        """Add the score records of those rows that have a score."""
        self.append_table(score_table(settled, self._schema))

    def append_table(self, table: pa.Table) -> None:
        """Add records that are columns already, with the types of `arrow_schema`."""
        self.rows += table.num_rows
        self._pending.append(table)
        while sum(pending.num_rows for pending in self._pending) >= _ROW_GROUP:
            self._write(_ROW_GROUP)

    def finish(self) -> None:
        """Write what is pending."""
        if any(pending.num_rows for pending in self._pending):
            self._write(_ROW_GROUP)

    def _write(self, rows: int) -> None:
        pending = pa.concat_tables(self._pending)
        self._writer.write_table(pending.slice(0, rows).combine_chunks())
        self._pending = [pending.slice(rows)]


@contextmanager
def streaming(sink: Sink, schema: RecordSchema, kind: Literal["parquet", "arrow"]) -> Iterator[Stream]:
    """Give a `Stream` into `sink`, whose file is complete once the block ends well.

    Row groups (in Arrow: record batches) have 4,096 rows, the last one what is left.
    """
    arrow = arrow_schema(schema)
    if kind == "parquet":
        writer = pq.ParquetWriter(sink, arrow, **_options(arrow))
    else:
        writer = pa.ipc.new_file(sink, arrow)
    stream = Stream(writer, schema)
    try:
        yield stream
        stream.finish()
        writer.close()
    except BaseException:
        # Else the garbage collector would write the footer: a whole file with rows missing.
        writer.is_open = False
        raise


# --- out


def _head_fields(schema: RecordSchema) -> list[Any]:
    if schema.keep is None:
        raise BrokenInvariant("kept columns must be named for Parquet and Arrow; please report this")
    fields = [("file", pa.string()), ("row", pa.int64())]
    if schema.with_id:
        fields.append(("id", pa.string()))
    return fields + [(name, pa.string()) for name in schema.keep]


def _head_columns(rows: Sequence[Settled], schema: RecordSchema) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "file": [replace_surrogates(row.file) for row in rows],
        "row": [row.row for row in rows],
    }
    if schema.with_id:
        columns["id"] = [_texts(row.id) for row in rows]
    for name in schema.keep or ():
        columns[name] = [_cell(row.kept.get(name)) for row in rows]
    return columns


def _table(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    arrays = [
        pa.array(values, type=field.type) if isinstance(values, list) else values
        for field, values in zip(schema, (columns[name] for name in schema.names), strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _vectors(rows: Sequence[tuple[Settled, Score]], schema: RecordSchema, kind: pa.DataType) -> pa.Array:
    if not rows:
        return pa.array([], type=kind)
    try:
        block = np.stack([score.value for _, score in rows])
    except ValueError:  # unequal lengths
        block = np.empty(0)
    # One check of the block costs half of one a row; the rows are asked only to name the culprit.
    if block.dtype != np.float32 or block.shape[1:] != (schema.dimensions,) or not np.isfinite(block).all():
        block = np.stack([checked_vector(score.value, row, schema.dimensions) for row, score in rows])
    return pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), type=kind)


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return replace_surrogates(value)
    text = json_text(value)
    if text == "null":  # NaN
        return None
    # A date or a Decimal is text in JSON: no quotes around it, so that others can cast it.
    return str(orjson.loads(text)) if text.startswith('"') else text


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        return replace_surrogates(value)
    return [_texts(item) for item in value] if isinstance(value, list) else value


def _usage(usage: Mapping[str, Any] | None) -> dict[str, int] | None:
    if usage is None:
        return None
    return {name: usage[name] for name in _COUNTS if isinstance(usage.get(name), int)}


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **_options(table.schema))
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _options(schema: pa.Schema) -> dict[str, Any]:
    """How Parquet packs the columns.

    Of 1,536 random unit dimensions, zstd level 1 over split bytes leaves 85 % at 80,000 rows/s; without
    compression it is 100 % at 130,000, level 3 is slower and no smaller, lz4 and snappy leave 92 %.
    """
    vectors = [f"{field.name}.list.element" for field in schema if pa.types.is_fixed_size_list(field.type)]
    labels = [field.name for field in schema if pa.types.is_string(field.type) and field.name != "raw"]
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_byte_stream_split": vectors or False,
        "use_dictionary": labels,
        "write_statistics": ["file", "row"],
    }


# --- and back


def _tables(source: Place | bytes, expected: Callable[[pa.Schema], pa.Schema]) -> Iterator[pa.Table]:
    name = "these records" if isinstance(source, bytes) else source
    try:
        with pq.ParquetFile(at_any_place(source)) as file:
            if not file.schema_arrow.equals(expected(file.schema_arrow)):
                raise OutputError(f"{name}: its columns are not those of this run")
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                yield pa.Table.from_batches([batch])
    except StoreFailure as error:
        raise OutputError(f"cannot read {name}: {error.strerror}") from error
    except (pa.ArrowException, OSError, KeyError, AttributeError) as error:
        raise OutputError(
            f"{name}: cannot be read as Parquet ({error}); the file was changed or cut after it was "
            "written: `batchscore verify --repair` scores its missing rows again"
        ) from error


def at_any_place(source: Place | bytes) -> Any:
    """Return what pyarrow opens, wherever it stands."""
    if isinstance(source, bytes):
        return pa.BufferReader(source)
    return pa.PythonFile(StoredFile(source), "r") if isinstance(source, StoredPath) else source


def _rows(
    table: pa.Table, schema: RecordSchema, results: Callable[[pa.Table, RecordSchema], Iterator[Any]]
) -> Iterator[Settled]:
    nothing = [None] * table.num_rows
    ids = table["id"].to_pylist() if schema.with_id else nothing
    names = schema.keep or ()
    kept = zip(*(table[name].to_pylist() for name in names), strict=True) if names else nothing
    cut = table["truncated"].to_pylist() if "truncated" in table.column_names else [False] * table.num_rows
    for file, row, result, id_, cells, truncated in zip(
        table["file"].to_pylist(),
        table["row"].to_pylist(),
        results(table, schema),
        ids,
        kept,
        cut,
        strict=True,
    ):
        yield Settled(file, row, result, id_, dict(zip(names, cells or (), strict=True)), truncated)


def _errors(table: pa.Table, _: RecordSchema) -> Iterator[RowError]:
    return map(error_from, table["error"].to_pylist())


def _scores(table: pa.Table, schema: RecordSchema) -> Iterator[Score]:
    nothing = [None] * table.num_rows
    values = vectors_of(table[schema.task]) if schema.is_vector else table[schema.task].to_pylist()
    reasons = nothing if schema.is_vector else table["finish_reason"].to_pylist()
    usages = table["usage"].to_pylist() if schema.with_usage else nothing
    raws = table["raw"].to_pylist() if schema.with_raw else nothing
    for value, reason, usage, raw in zip(values, reasons, usages, raws, strict=True):
        yield Score(value, reason, counts_of(usage), None if raw is None else orjson.loads(raw))


def vectors_of(column: pa.ChunkedArray) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    """Return a column of vectors as rows of one array a chunk, without copying where Arrow allows."""
    return [
        vector
        for chunk in column.chunks
        for vector in chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), -1)
    ]


def counts_of(usage: Mapping[str, int | None] | None) -> dict[str, int] | None:
    """Return a `usage` cell without the counts that the service did not name."""
    return None if usage is None else {name: count for name, count in usage.items() if count is not None}
