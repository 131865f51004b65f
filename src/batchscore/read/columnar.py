"""Which rows does a Parquet or Arrow file hold?

pyarrow is imported only when such a file is opened. Rows are read in batches of a few hundred, fewer if they
are large, so a huge row group streams in constant memory.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

from batchscore.errors import UnreadableFile
from batchscore.read.input_file import InputFile
from batchscore.read.problems import Rows, too_large_row, unique_names, unreadable_row
from batchscore.read.stream import ARROW_STREAM, explain_read_errors, looks_like
from batchscore.rows import Row, Table
from batchscore.stores.address import StoredPath
from batchscore.stores.objects import open_arrow_file

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 256
_BATCH_BYTES = 1 << 20

#: Bytes of a column's pages in memory; pyarrow's default is a row group's column.
_READ_BUFFER = 64 * 1024

#: From a store each such read is a request: larger for each column, and limited for all of them.
_LARGEST_RANGE = 2 << 20
_RANGES_BYTES = 32 << 20

Batches = Generator["pa.RecordBatch", None, None]


def parquet_table(file: InputFile, max_row_bytes: int) -> Table:
    """Open a Parquet file by its footer. Cells are Python values, for any encoding."""
    with _parquet(file) as parquet:
        schema = parquet.schema_arrow
    return _table(file, schema, _rows(file, _parquet_batches(file), max_row_bytes))


def arrow_table(file: InputFile, max_row_bytes: int) -> Table:
    """Open an Arrow file or stream, which the first bytes distinguish, by its schema."""
    with _arrow(file) as reader:
        schema = reader.schema
    return _table(file, schema, _rows(file, _arrow_batches(file), max_row_bytes))


def rows_in_footer(file: InputFile) -> int | None:
    """Return a columnar file's number of rows without reading cells; `None` for an Arrow stream.

    Raises `UnreadableFile`.
    """
    if file.suffix == ".parquet":
        with _parquet(file) as parquet:
            return int(parquet.metadata.num_rows)
    with _arrow(file) as reader:
        if not hasattr(reader, "num_record_batches"):
            return None
        return sum(int(reader.get_batch(place).num_rows) for place in range(reader.num_record_batches))


def _table(file: InputFile, schema: pa.Schema, rows: Rows) -> Table:
    columns = unique_names(file.name, schema.names)
    texts = tuple(field.name for field in schema if _holds_text(field.type))
    return Table(columns, texts, headerless=False, rows=rows)


def _holds_text(kind: pa.DataType) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return True
    # pyarrow 15 has no views.
    is_view = getattr(pa.types, "is_string_view", None)
    return is_view is not None and bool(is_view(kind))


@contextmanager
def _open_checked(file: InputFile, what: str) -> Iterator[bytes]:
    """Give the first bytes of a file that is not empty; turn pyarrow's errors into `UnreadableFile`."""
    import pyarrow as pa  # noqa: PLC0415

    with explain_read_errors(file.name):
        with file.open() as raw:
            head = raw.read(4096)
        if not head:
            raise UnreadableFile(file.name, f"it is empty, not {what}")
        try:
            yield head
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise UnreadableFile(
                file.name, f"it is damaged or not complete as {what}: write or copy it again"
            ) from error


@contextmanager
def _parquet(file: InputFile) -> Iterator[Any]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    with _open_checked(file, "a Parquet file") as head, ExitStack() as stack:
        if head.startswith(b"PARE"):
            raise UnreadableFile(file.name, "it is an encrypted Parquet file: decrypt it first")
        if not head.startswith(b"PAR1"):
            raise _wrong_format(file, looks_like(head), "a Parquet file")
        source = stack.enter_context(open_arrow_file(file.path))
        metadata, buffer = pq.read_metadata(source), _READ_BUFFER
        if isinstance(file.path, StoredPath):
            buffer = max(buffer, min(_LARGEST_RANGE, _RANGES_BYTES // (metadata.num_columns or 1)))
        parquet = pq.ParquetFile(source, metadata=metadata, pre_buffer=False, buffer_size=buffer)
        yield stack.enter_context(parquet)


def _parquet_batches(file: InputFile) -> Batches:
    with _parquet(file) as parquet:
        groups = [parquet.metadata.row_group(group) for group in range(parquet.metadata.num_row_groups)]
        largest = max((group.total_byte_size / (group.num_rows or 1) for group in groups), default=0)
        yield from parquet.iter_batches(batch_size=_rows_at_once(largest), use_threads=False)


@contextmanager
def _arrow(file: InputFile) -> Iterator[Any]:
    import pyarrow as pa  # noqa: PLC0415

    with _open_checked(file, "an Arrow file") as head, ExitStack() as stack:
        if head.startswith(b"FEA1"):
            raise UnreadableFile(file.name, "it is a Feather file of version 1: write it again as Parquet")
        if head.startswith(b"ARROW1"):
            # A file's buffers may be anywhere in it; mapped pages are not our memory.
            source = stack.enter_context(open_arrow_file(file.path, mapped=True))
            yield stack.enter_context(pa.ipc.open_file(source))
            return
        what = looks_like(head)
        if what is not None and not head.startswith(ARROW_STREAM):
            raise _wrong_format(file, what, "an Arrow file")
        stored = isinstance(file.path, StoredPath)
        stream = pa.PythonFile(file.open(), "r") if stored else open_arrow_file(file.path)
        yield stack.enter_context(pa.ipc.open_stream(stack.enter_context(stream)))


def _arrow_batches(file: InputFile) -> Batches:
    """Yield small slices of each record batch; the format needs a full batch in memory."""
    with _arrow(file) as reader:
        count = getattr(reader, "num_record_batches", None)  # a stream has none
        for batch in reader if count is None else map(reader.get_batch, range(count)):
            step = _rows_at_once(batch.nbytes / (batch.num_rows or 1)) if _is_sound(batch) else 1
            for start in range(0, batch.num_rows, step):
                yield batch.slice(start, step)
            del batch  # before the next one is decompressed


def _is_sound(batch: pa.RecordBatch) -> bool:
    """Whether the offsets are within the buffers: Arrow data is used directly from the file."""
    import pyarrow as pa  # noqa: PLC0415

    try:
        batch.validate(full=True)
    except pa.ArrowException:
        return False
    return True


def _wrong_format(file: InputFile, what: str | None, expected: str) -> UnreadableFile:
    reason = f"it is not {expected}, but {what}" if what else f"its first bytes are not those of {expected}"
    return UnreadableFile(file.name, reason)


def _rows_at_once(row_bytes: float) -> int:
    return max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / (row_bytes or 1))))


def _rows(file: InputFile, batches: Batches, limit: int) -> Rows:
    name, number = file.name, 0
    with closing(batches):
        for batch in batches:
            large = batch.nbytes > limit
            for values in _values(batch):
                if isinstance(values, str):
                    yield unreadable_row(name, number, values)
                elif large and _size(values) > limit:
                    yield too_large_row(name, number, limit)
                else:
                    yield Row(name, number, values)
                number += 1
            del batch  # it keeps the record batch in memory that it is a slice of


def _values(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    """Return each row's cells by column, or why they cannot be read."""
    names = batch.schema.names
    if not names:
        return ({} for _ in range(batch.num_rows))
    if batch.num_rows == 1:  # unsound batches come like this: check their cells before use
        return iter([_row_values(batch)])
    try:
        cells = [_cells(column) for column in batch.columns]
    except Exception:  # any cell that Python cannot hold: bytes that are not UTF-8, dates after 9999
        return (_row_values(batch.slice(row, 1)) for row in range(batch.num_rows))
    return (dict(zip(names, row)) for row in zip(*cells))  # noqa: B905 - of one batch


def _row_values(row: pa.RecordBatch) -> dict[str, Any] | str:
    values = {}
    for column, cells in zip(row.schema.names, row.columns, strict=True):
        try:
            cells.validate(full=True)
            values[column] = _cells(cells)[0]
        except Exception:
            return f"its cell in column {column!r} cannot be read: bytes that are not UTF-8, or out of range"
    return values


def _cells(column: pa.Array) -> list[Any]:
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return list(column.to_pylist())


def _size(values: dict[str, Any]) -> int:
    """Return about how many bytes a row's cells take as text."""
    return sum(len(cell if isinstance(cell, bytes) else str(cell).encode()) for cell in values.values())
