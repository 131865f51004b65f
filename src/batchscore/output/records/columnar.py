"""How are records written as Parquet and Arrow columns, and how are they read back?

The `RecordSchema` alone decides the types, never the data, so all parts of a folder have one schema and
`pyarrow.dataset`, DuckDB and Spark read them together. Kept columns are therefore all text: other values
(numbers, lists, ...) become JSON text, null stays null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from batchscore.errors import BrokenInvariant, OutputError
from batchscore.output.parts import memory_of
from batchscore.output.records.answer_types import AnswerType, answer_type
from batchscore.output.records.arrow_arrays import column_of, float_array, vectors_of
from batchscore.output.records.json_value import json_text, kept_text
from batchscore.output.records.jsonl import check_vector, error_fields, error_from
from batchscore.output.records.schema import ANSWER_SCHEMA, ROW_FIELDS, RecordSchema, damage_text
from batchscore.output.records.usage_column import counts_of, usage_cell, usage_type
from batchscore.prompts.kept_cells import with_unpacked_cells
from batchscore.rows import RowError, Score, Settled
from batchscore.stores.address import Place
from batchscore.stores.errors import StoreFailure
from batchscore.stores.objects import open_parquet_part
from batchscore.stores.sink import Sink
from batchscore.task import TASKS

_ROW_GROUP = 4096
_GROUP_NUMBERS = 2**18
_GROUP_BYTES = 2**23
_BATCH_ROWS = 2048

_ROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_ERROR = pa.struct(
    [("code", pa.string()), ("message", pa.string()), ("status", pa.int64()), ("attempts", pa.int64())]
)

_Rows: TypeAlias = "Sequence[tuple[Settled, Any]]"

#: Name and type of a column, and its cells of rows with their results; `None`: vectors, which are one block.
_Column: TypeAlias = tuple[str, Any, Callable[[_Rows], list[Any]] | None]


def arrow_schema(schema: RecordSchema) -> pa.Schema:
    """Return the columns of score records; the answers' own schema is in the metadata of their column."""
    return _arrow_schema(_score_columns(schema), schema)


def arrow_error_schema(schema: RecordSchema) -> pa.Schema:
    """Return the columns of error records."""
    return pa.schema([column[:2] for column in _error_columns(schema)])


def encode_scores(settled: Sequence[Settled], schema: RecordSchema) -> Iterator[bytes]:
    """Yield a Parquet file of the score records of the rows with a score."""
    rows = [(row, row.result) for row in settled if isinstance(row.result, Score)]
    return _parquet_file(rows, _score_columns(schema), schema)


def encode_errors(settled: Sequence[Settled], schema: RecordSchema) -> Iterator[bytes]:
    """Yield a Parquet file of the error records of the rows with an error."""
    rows = [(row, row.result) for row in settled if isinstance(row.result, RowError)]
    return _parquet_file(rows, _error_columns(schema), schema)


def decode_scores(source: Place, schema: RecordSchema) -> Iterator[Settled]:
    """Yield the rows of a Parquet score file, batch by batch; vectors are equal to those written.

    Kept columns come back as the text in the file, `usage` with the counts that have a column. Raises
    `OutputError` if the file is damaged or has other columns.
    """
    with _readable(source):
        for table in score_tables(source, schema):
            yield from _rows(table, schema, _scores_of(table, schema))


def decode_errors(source: Place, schema: RecordSchema) -> Iterator[Settled]:
    """Yield the rows of a Parquet error file; raises `OutputError` like `decode_scores`."""
    with _readable(source):
        for table in _read_tables(source, schema, lambda _: arrow_error_schema(schema)):
            yield from _rows(table, schema, map(error_from, table["error"].to_pylist()))


def score_table(settled: Sequence[Settled], schema: RecordSchema) -> pa.Table:
    """Return the score records of the rows with a score, as one table."""
    rows = [(row, row.result) for row in settled if isinstance(row.result, Score)]
    return _table(rows, _score_columns(schema), schema)


def score_tables(source: Place, schema: RecordSchema) -> Iterator[pa.Table]:
    """Yield a Parquet score file as tables of some thousand rows; raises like `decode_scores`."""
    arrow = None if schema.is_vector and schema.dimensions is None else arrow_schema(schema)

    def expected(found: pa.Schema) -> pa.Schema:
        if arrow is None:
            return arrow_schema(replace(schema, dimensions=found.field(schema.task).type.list_size))
        place = arrow.get_field_index(schema.task)
        if schema.answer is not None and found.field(schema.task).type != arrow.field(place).type:
            older = _answer_type(schema.answer, many=schema.many, lossless=False)
            return arrow.set(place, arrow.field(place).with_type(older.arrow))
        return arrow

    for table in _read_tables(source, schema, expected):
        is_older = arrow is not None and not table.schema.equals(arrow)
        rows = _rows(table, schema, _scores_of(table, schema)) if is_older else ()
        yield score_table(list(rows), schema) if is_older else table


@contextmanager
def open_writer(sink: Sink, schema: RecordSchema, suffix: str) -> Iterator[Callable[[pa.Table], None]]:
    """Give a function that adds a table to the file in `sink`, which is complete if the block succeeds.

    `suffix` is `.parquet` or `.arrow`. Row groups (in Arrow: record batches) have 4,096 rows at most, and
    fewer if vectors or texts are long. Memory: one of them.
    """
    arrow = arrow_schema(schema)
    if suffix == ".parquet":
        writer = pq.ParquetWriter(sink, arrow, **_options(arrow))
    else:
        writer = pa.ipc.new_file(sink, arrow)
    pending: list[pa.Table] = []
    group = _group_rows(arrow)

    def write(least: int) -> None:
        while (
            sum(table.num_rows for table in pending) >= least
            or sum(table.nbytes for table in pending) >= _GROUP_BYTES
        ):
            rows = pa.concat_tables(pending)
            writer.write_table(rows.slice(0, group).combine_chunks())
            pending[:] = [rows.slice(group)]

    def append(table: pa.Table) -> None:
        pending.append(table)
        write(group)

    try:
        yield append
        write(1)
        writer.close()
    except BaseException:
        # Else the garbage collector would write the footer: a valid file with missing rows.
        writer.is_open = False
        raise


# --- out


def _score_columns(schema: RecordSchema) -> list[_Column]:
    columns = _head_columns(schema)
    if schema.is_vector:
        if schema.dimensions is None:
            raise BrokenInvariant("the length of the vectors is unknown; please report this")
        # Items that are declared not null halve the time to read vectors.
        item = pa.field("element", pa.float32(), nullable=False)
        columns.append((schema.task, pa.list_(item, schema.dimensions), None))
    else:
        text = pa.list_(pa.string()) if schema.many else pa.string()
        if schema.answer is None:
            columns.append((schema.task, text, lambda rows: [score.value for _, score in rows]))
        else:
            kind = _answer_type(schema.answer, many=schema.many)
            columns.append(
                (schema.task, kind.arrow, lambda rows: [kind.to_cell(score.value) for _, score in rows])
            )
        columns.append(("finish_reason", text, lambda rows: [score.finish_reason for _, score in rows]))
    if schema.with_truncated:
        columns.append(("truncated", pa.bool_(), lambda rows: [row.truncated for row, _ in rows]))
    if schema.with_usage:
        counts = TASKS[schema.task].usage_counts
        kind_of_usage = usage_type(counts)
        columns.append(
            ("usage", kind_of_usage, lambda rows: [usage_cell(score.usage, counts) for _, score in rows])
        )
    if schema.with_raw:
        columns.append(("raw", pa.string(), lambda rows: [_raw(score.raw) for _, score in rows]))
    return columns


def _error_columns(schema: RecordSchema) -> list[_Column]:
    return [
        *_head_columns(schema),
        ("error", _ERROR, lambda rows: [error_fields(error) for _, error in rows]),
    ]


def _head_columns(schema: RecordSchema) -> list[_Column]:
    if schema.keep is None:
        raise BrokenInvariant("Parquet and Arrow need the names of kept columns; please report this")
    columns: list[_Column] = [
        (name, _ROW_TYPES[ROW_FIELDS[name][0]], partial(_row_cells, attrgetter(name)))
        for name in schema.row_fields
    ]
    return columns + [(name, pa.string(), partial(_kept_cells, name)) for name in schema.keep]


def _row_cells(field: Callable[[Settled], Any], rows: _Rows) -> list[Any]:
    return [field(row) for row, _ in rows]


def _kept_cells(name: str, rows: _Rows) -> list[Any]:
    return [kept_text(row.kept.get(name)) for row, _ in rows]


def _raw(reply: Any) -> str | None:
    return None if reply is None else json_text(reply)


def _table(rows: _Rows, columns: list[_Column], schema: RecordSchema) -> pa.Table:
    # Once, and not again for each column.
    rows = [(with_unpacked_cells(row), result) for row, result in rows]
    arrays = [
        _vector_array(rows, schema, kind) if cells is None else column_of(cells(rows), kind)
        for _, kind, cells in columns
    ]
    return pa.Table.from_arrays(arrays, schema=_arrow_schema(columns, schema))


def _arrow_schema(columns: list[_Column], schema: RecordSchema) -> pa.Schema:
    said = {} if schema.answer is None else {ANSWER_SCHEMA: orjson.dumps(schema.answer)}
    return pa.schema(
        [pa.field(name, kind, metadata=said if name == schema.task else None) for name, kind, _ in columns]
    )


def _answer_type(answer: Mapping[str, Any], *, many: bool, lossless: bool = True) -> AnswerType:
    """Return the type of the answers' column; several answers a row are a list."""
    return answer_type({"type": "array", "items": answer} if many else answer, answer, lossless=lossless)


def answers_from(cells: Iterable[Any], answer: Mapping[str, Any], *, many: bool) -> list[Any]:
    """Return the answers of cells, which match this JSON Schema."""
    return list(map(_answer_type(answer, many=many).from_cell, cells))


def _vector_array(rows: Sequence[tuple[Settled, Score]], schema: RecordSchema, kind: pa.DataType) -> Any:
    if not rows:
        return pa.chunked_array([], kind)
    try:
        block = np.array([score.value for _, score in rows])  # `stack` takes twice as long
    except ValueError:  # unequal lengths
        block = np.empty(0)
    # One check of the block costs half of one check per row; check rows only to name the bad one.
    if block.dtype != np.float32 or block.shape[1:] != (schema.dimensions,) or not np.isfinite(block).all():
        block = np.stack([check_vector(score.value, row, schema.dimensions) for row, score in rows])
    return pa.FixedSizeListArray.from_arrays(float_array(block.reshape(-1)), type=kind)


class _Pieces(list[bytes]):
    """A file that is the list of what was written, without a copy; Arrow only asks where it is."""

    closed, size = False, 0

    def write(self, piece: bytes) -> None:
        self.size += len(piece)
        self.append(piece)

    def tell(self) -> int:
        return self.size


def _parquet_file(rows: _Rows, columns: list[_Column], schema: RecordSchema) -> Iterator[bytes]:
    """Yield the pieces of a Parquet file: only one row group is in memory."""
    arrow = _arrow_schema(columns, schema)
    sink = _Pieces()
    writer = pq.ParquetWriter(sink, arrow, **_options(arrow))
    most, start, size = _group_rows(arrow), 0, 0
    for end, (row, _) in enumerate(rows, 1):
        size += memory_of(row)
        if end - start == most or size >= _GROUP_BYTES or end == len(rows):
            writer.write_table(_table(rows[start:end], columns, schema))
            yield from sink
            sink.clear()
            start, size = end, 0
    writer.close()
    yield from sink


def _group_rows(arrow: pa.Schema) -> int:
    """Return the rows of a row group: Arrow takes several times the memory of a group to write or read it."""
    numbers: int = sum(field.type.list_size for field in arrow if pa.types.is_fixed_size_list(field.type))
    return max(min(_ROW_GROUP, _GROUP_NUMBERS // max(numbers, 1)), 1)


def _options(schema: pa.Schema) -> dict[str, Any]:
    """Return the options of a Parquet writer.

    Random unit vectors of 1,536 dimensions: zstd level 1 over split bytes gives 85 % of the size at 80,000
    rows/s, no compression 100 % at 130,000; level 3 is slower and not smaller, lz4 and snappy give 92 %.
    """
    vectors = [f"{field.name}.list.element" for field in schema if pa.types.is_fixed_size_list(field.type)]
    labels = [field.name for field in schema if pa.types.is_string(field.type) and field.name != "raw"]
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_byte_stream_split": vectors or False,
        "use_dictionary": labels,
        "write_statistics": ["file", "row"],
        # Arrow's own allocator keeps 15 MiB more.
        "memory_pool": pa.system_memory_pool(),
    }


# --- and back


@contextmanager
def _readable(source: Place) -> Iterator[None]:
    """Raise `OutputError` for what a damaged file raises in the block."""
    try:
        yield
    except StoreFailure as error:
        raise OutputError(f"cannot read {source}: {error.strerror}") from error
    except (pa.ArrowException, OSError, KeyError, AttributeError, ValueError, TypeError) as error:
        raise OutputError(f"{source}: cannot be read as Parquet ({error}); {damage_text(source)}") from error


def _read_tables(
    source: Place, schema: RecordSchema, expected: Callable[[pa.Schema], pa.Schema]
) -> Iterator[pa.Table]:
    with _readable(source), open_parquet_part(source) as file:
        found = file.schema_arrow
        wanted = expected(found)
        for batch in file.iter_batches(batch_size=_rows_at_once(file)):
            table = pa.Table.from_batches([batch])
            fitting = table if found.equals(wanted) else _with_columns(table, wanted, schema)
            if fitting is None:
                raise OutputError(f"{source}: its columns are not those of this run")
            yield fitting


def _rows_at_once(file: pq.ParquetFile) -> int:
    """Return how many rows of a file to read at once, so that they have not too many bytes."""
    groups = map(file.metadata.row_group, range(file.num_row_groups))
    largest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=0)
    return max(min(_BATCH_ROWS, _group_rows(file.schema_arrow), int(_GROUP_BYTES / max(largest, 1))), 1)


def _with_columns(table: pa.Table, wanted: pa.Schema, schema: RecordSchema) -> pa.Table | None:
    """Return records with the columns that are wanted; `None` if they have others.

    If a run keeps all columns, its own inputs decide which they are. So a part of another run may lack kept
    columns and the id, or have such columns without any value.
    """
    found, own = table.schema, {*schema.own_names} - {"id"}
    for name in {*found.names, *wanted.names}:
        if name in found.names and name in wanted.names:
            fits = found.field(name).equals(wanted.field(name))
        else:
            fits = name not in own and (name in wanted.names or table[name].null_count == len(table))
        if not fits:
            return None
    columns = [
        table[field.name] if field.name in found.names else pa.nulls(len(table), field.type)
        for field in wanted
    ]
    return pa.Table.from_arrays(columns, schema=wanted)


def _rows(table: pa.Table, schema: RecordSchema, results: Iterable[Any]) -> Iterator[Settled]:
    nothing = [None] * table.num_rows
    heads = zip(*(table[name].to_pylist() for name in schema.row_fields), strict=True)
    names = schema.keep or ()
    kept = zip(*(table[name].to_pylist() for name in names), strict=True) if names else nothing
    cut = table["truncated"].to_pylist() if "truncated" in table.column_names else [False] * table.num_rows
    for head, result, cells, truncated in zip(heads, results, kept, cut, strict=True):
        yield Settled(
            **dict(zip(schema.row_fields, head, strict=True)),
            result=result,
            kept=dict(zip(names, cells, strict=True)) if cells else {},
            truncated=truncated,
        )


def _scores_of(table: pa.Table, schema: RecordSchema) -> Iterator[Score]:
    nothing = [None] * table.num_rows
    values = vectors_of(table[schema.task]) if schema.is_vector else table[schema.task].to_pylist()
    if schema.answer is not None:
        values = answers_from(values, schema.answer, many=schema.many)
    reasons = nothing if schema.is_vector else table["finish_reason"].to_pylist()
    usages = table["usage"].to_pylist() if schema.with_usage else nothing
    raws = table["raw"].to_pylist() if schema.with_raw else nothing
    for value, reason, usage, raw in zip(values, reasons, usages, raws, strict=True):
        yield Score(value, reason, counts_of(usage), None if raw is None else orjson.loads(raw))
