"""Which rows does a Parquet or Arrow file hold?

pyarrow is imported only when such a file is opened. Rows are read in batches of a few hundred, fewer if they
are large, so a huge row group streams in constant memory. Only the columns that a run names are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from batchscore.errors import UnreadableFile
from batchscore.read.arrow_cells import cells_of
from batchscore.read.first_bytes import ARROW_STREAM, looks_like, page_in
from batchscore.read.input_file import InputFile, ReadOptions
from batchscore.read.problems import Rows, too_large_row, unique_names, unreadable_row
from batchscore.read.stream import explain_read_errors
from batchscore.rows import Row, Table
from batchscore.stores.address import StoredPath
from batchscore.stores.objects import open_arrow_file

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_ROWS = 256
_BATCH_BYTES = 1 << 20

#: Bytes of a column's pages in memory; pyarrow's default is a row group's column.
_READ_BUFFER = 64 * 1024

#: From a store each such read is a request: larger for each column, and limited for all of them.
_LARGEST_RANGE = 2 << 20
_RANGES_BYTES = 32 << 20

#: Codecs of Parquet that pyarrow, or some builds of it, cannot decompress.
_CODEC = re.compile(
    r"\b(LZO|BROTLI|LZ4|ZSTD|GZIP|SNAPPY)\b(?=.*(not|n't) (currently )?(supported|implemented|built))",
    re.IGNORECASE,
)
_COMPRESSED = (
    "it is compressed with {}, which this pyarrow cannot decompress: write it again with snappy or zstd"
)

#: Where one Parquet file ends and another one begins, and how far before the end of the last one's indexes.
_SEAM, _MOST_INDEX = b"PAR1PAR1", 8 << 20
_SEVERAL = "If files were put together, score them as they were, or write their rows into one file"

Batches = Generator["pa.RecordBatch", None, None]


def parquet_table(file: InputFile, options: ReadOptions) -> Table:
    """Open a Parquet file by its footer. Cells are Python values, for any encoding."""
    with _parquet(file) as parquet:
        schema = parquet.schema_arrow
        _refuse_unknown_codecs(file, parquet.metadata)
        _refuse_several_files(file, parquet.metadata)
    return _table(file, schema, options, _parquet_batches)


def arrow_table(file: InputFile, options: ReadOptions) -> Table:
    """Open an Arrow file or stream, which the first bytes distinguish, by its schema."""
    with _arrow(file) as (reader, stream):
        schema = reader.schema
        if stream is None:
            _refuse_several_arrow_files(file)
    return _table(file, schema, options, _arrow_batches)


def rows_in_footer(file: InputFile, _options: ReadOptions) -> int | None:
    """Return a columnar file's number of rows without reading cells; `None` for an Arrow stream.

    Raises `UnreadableFile`.
    """
    if file.suffix == ".parquet":
        with _parquet(file) as parquet:
            return int(parquet.metadata.num_rows)
    with _arrow(file) as (reader, _):
        if not hasattr(reader, "num_record_batches"):
            return None
        return sum(int(reader.get_batch(place).num_rows) for place in range(reader.num_record_batches))


def _table(
    file: InputFile,
    schema: pa.Schema,
    options: ReadOptions,
    batches: Callable[[InputFile, list[str] | None], Batches],
) -> Table:
    columns, wanted = unique_names(file.name, schema.names), options.columns
    chosen = [name for name in columns if wanted is None or name in wanted]
    # Without a column to read there would be no rows, either.
    names = chosen if 0 < len(chosen) < len(columns) else None
    texts = tuple(field.name for field in schema if _holds_text(field.type))
    binary = tuple(field.name for field in schema if "binary" in str(field.type))
    rows = _rows(file, batches(file, names), options.max_row_bytes)
    return Table(columns, texts, headerless=False, rows=rows, binary=binary)


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
            raise UnreadableFile(file.name, _reason(error, what)) from error


def _reason(error: Exception, what: str) -> str:
    """Return why pyarrow cannot read a file: what it lacks is not the file's damage."""
    import pyarrow as pa  # noqa: PLC0415

    text = str(error).partition("\n")[0]
    if "crypt" in text:
        return "it has encrypted columns: decrypt it first"
    if codec := _CODEC.search(text):
        return _COMPRESSED.format(codec[0])
    if isinstance(error, pa.ArrowNotImplementedError):
        found = f"pyarrow {pa.__version__} cannot read one of its types ({text[:120]})"
        return f"{found}: write that column as another type"
    return f"it is damaged or not complete as {what}: write or copy it again"


@contextmanager
def _parquet(file: InputFile) -> Iterator[Any]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    with _open_checked(file, "a Parquet file") as head, ExitStack() as stack:
        if head.startswith(b"PARE"):
            raise UnreadableFile(file.name, "it is an encrypted Parquet file: decrypt it first")
        if not head.startswith(b"PAR1"):
            raise _wrong_format(file, looks_like(head) or page_in(head), "a Parquet file")
        source = stack.enter_context(open_arrow_file(file.path))
        metadata, buffer = pq.read_metadata(source), _READ_BUFFER
        if isinstance(file.path, StoredPath):
            buffer = max(buffer, min(_LARGEST_RANGE, _RANGES_BYTES // (metadata.num_columns or 1)))
        parquet = pq.ParquetFile(source, metadata=metadata, pre_buffer=False, buffer_size=buffer)
        yield stack.enter_context(parquet)


def _parquet_batches(file: InputFile, names: list[str] | None) -> Batches:
    with _parquet(file) as parquet:
        groups = (parquet.metadata.row_group(group) for group in range(parquet.metadata.num_row_groups))
        largest = max((_bytes_of(group, names) / (group.num_rows or 1) for group in groups), default=0)
        step = _rows_at_once(largest)
        for batch in parquet.iter_batches(batch_size=step, use_threads=False, columns=names):
            # A name may also be the beginning of another column's path.
            yield batch if names is None or batch.num_columns == len(names) else batch.select(names)


def _bytes_of(group: pq.RowGroupMetaData, names: list[str] | None) -> int:
    """Return the decompressed bytes of these columns in a row group."""
    if names is None:
        return int(group.total_byte_size)
    paths = tuple(f"{name}." for name in names)
    columns = map(group.column, range(group.num_columns))
    return sum(one.total_uncompressed_size for one in columns if f"{one.path_in_schema}.".startswith(paths))


def _refuse_unknown_codecs(file: InputFile, metadata: pq.FileMetaData) -> None:
    """Raise `UnreadableFile` if the first row group has no column that this pyarrow can decompress."""
    import pyarrow as pa  # noqa: PLC0415

    if not metadata.num_row_groups:
        return
    group = metadata.row_group(0)
    codecs = {group.column(place).compression for place in range(group.num_columns)}
    unknown = sorted(codec for codec in codecs if codec != "UNCOMPRESSED" and not _knows(pa, codec))
    if unknown and len(unknown) == len(codecs):
        raise UnreadableFile(file.name, _COMPRESSED.format(unknown[0]))


def _refuse_several_files(file: InputFile, metadata: pq.FileMetaData) -> None:
    """Raise `UnreadableFile` if other files are before the last one, whose footer would mean their pages.

    Between the last page and the footer are indexes only. If a whole file is there, so is its seam.
    """
    columns: list[pq.ColumnChunkMetaData] = []
    if metadata.num_row_groups:
        group = metadata.row_group(metadata.num_row_groups - 1)
        columns = [group.column(place) for place in range(group.num_columns)]
    starts = (
        min(filter(None, (one.dictionary_page_offset, one.data_page_offset)), default=0) for one in columns
    )
    end = max((at + one.total_compressed_size for at, one in zip(starts, columns, strict=True)), default=4)
    between = file.size - 8 - metadata.serialized_size - end
    if between < len(_SEAM):
        return
    begin = max(0, between - _MOST_INDEX)
    with open_arrow_file(file.path) as source:
        source.seek(begin)
        window = source.read(between + 4 - begin)
    if any(_has_footer(window, found.start()) for found in re.finditer(_SEAM, window)):
        raise UnreadableFile(file.name, f"several Parquet files are in it. {_SEVERAL}")


def _has_footer(data: bytes, end: int) -> bool:
    """Whether a footer and its size are right before the mark at `end`; a cell may hold the mark."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    start = end - 4 - int.from_bytes(data[end - 4 : end], "little")
    try:
        return start >= 0 and bool(pq.read_metadata(pa.BufferReader(b"PAR1" + data[start : end + 4])))
    except (pa.ArrowException, OSError):
        return False


def _refuse_several_arrow_files(file: InputFile) -> None:
    """Raise `UnreadableFile` if other files are before the last one of a local file, as above.

    Only the headers of the first one's batches are read, up to its footer.
    """
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(file.path, StoredPath):
        return
    with suppress(pa.ArrowException, OSError), open_arrow_file(file.path, mapped=True) as source:
        source.seek(8)
        for _ in pa.ipc.MessageReader.open_stream(source):
            pass
        if b"ARROW1ARROW1" in source.read(_MOST_INDEX):
            raise UnreadableFile(file.name, f"several Arrow files are in it. {_SEVERAL}")


def _knows(pa: Any, codec: str) -> bool:
    try:
        return bool(pa.Codec.is_available(codec.lower()))
    except ValueError:
        return False


@contextmanager
def _arrow(file: InputFile, fields: Sequence[int] = ()) -> Iterator[tuple[Any, Any]]:
    """Open an Arrow file or stream, and give what reads it, and the stream if it is one.

    Its batches have these fields, without any all of them.
    """
    import pyarrow as pa  # noqa: PLC0415

    with _open_checked(file, "an Arrow file") as head, ExitStack() as stack:
        options = pa.ipc.IpcReadOptions(included_fields=list(fields))
        if head.startswith(b"FEA1"):
            raise UnreadableFile(file.name, "it is a Feather file of version 1: write it again as Parquet")
        if head.startswith(b"ARROW1"):
            # A file's buffers may be anywhere in it; mapped pages are not our memory.
            source = stack.enter_context(open_arrow_file(file.path, mapped=True))
            yield stack.enter_context(pa.ipc.open_file(source, options=options)), None
            return
        what = looks_like(head) or page_in(head)
        if what is not None and not head.startswith(ARROW_STREAM):
            raise _wrong_format(file, what, "an Arrow file")
        stored = isinstance(file.path, StoredPath)
        stream = stack.enter_context(
            pa.PythonFile(file.open(), "r") if stored else open_arrow_file(file.path)
        )
        yield stack.enter_context(pa.ipc.open_stream(stream, options=options)), stream


def _arrow_batches(file: InputFile, names: list[str] | None) -> Batches:
    """Yield small slices of each record batch; the format needs a full batch in memory."""
    fields: list[int] = []
    if names is not None:
        with _arrow(file) as (reader, _):
            fields = [reader.schema.get_field_index(name) for name in names]
    rows = 0
    with _arrow(file, fields) as (reader, stream):
        count = getattr(reader, "num_record_batches", None)  # a stream has none
        for batch in reader if count is None else map(reader.get_batch, range(count)):
            step = _rows_at_once(batch.nbytes / (batch.num_rows or 1)) if _is_sound(batch) else 1
            for start in range(0, batch.num_rows, step):
                yield batch.slice(start, step)
            rows += batch.num_rows
            del batch  # before the next one is decompressed
        if stream is not None and stream.read(_BATCH_BYTES).strip(b"\0"):
            raise UnreadableFile(
                file.name,
                f"something follows the end of its Arrow stream (row {rows - 1} was the last). {_SEVERAL}",
            )


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
        cells = [cells_of(column) for column in batch.columns]
    except Exception:  # any cell that Python cannot hold: bytes that are not UTF-8, dates after 9999
        return (_row_values(batch.slice(row, 1)) for row in range(batch.num_rows))
    return (dict(zip(names, row)) for row in zip(*cells))  # noqa: B905 - of one batch


def _row_values(row: pa.RecordBatch) -> dict[str, Any] | str:
    values = {}
    for column, cells in zip(row.schema.names, row.columns, strict=True):
        try:
            cells.validate(full=True)
            values[column] = cells_of(cells)[0]
        except Exception as error:
            # Older releases of Arrow raise the error of pytz, whose text is only the name of the zone.
            if "timezone" in f"{type(error).__name__} {error}".lower():
                return f"the time zone of its column {column!r} is not known here: install the package tzdata"
            return f"its cell in column {column!r} cannot be read: bytes that are not UTF-8, or out of range"
    return values


def _size(values: dict[str, Any]) -> int:
    """Return about how many bytes a row's cells take as text."""
    return sum(len(cell if isinstance(cell, bytes) else str(cell).encode()) for cell in values.values())
