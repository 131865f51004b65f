"""Which formats can be read, and how is one file opened?

There is one table by suffix: to add a format, write its reader and add a line here.
"""

# A folder may have a million files: paths are strings.
# ruff: noqa: PTH119, PTH122

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

from batchscore.errors import setting_name
from batchscore.read.columnar import arrow_table, parquet_table, rows_in_footer
from batchscore.read.delimited import delimited_table
from batchscore.read.document import json_table
from batchscore.read.input_file import UTF_8, InputFile, ReadOptions
from batchscore.read.lines import json_lines_table, text_table
from batchscore.read.problems import Rows
from batchscore.read.stream import named_encoding, with_encoding
from batchscore.read.workbook import rows_of_sheet, workbook_table
from batchscore.rows import Row, Table, UnreadableRow
from batchscore.stores.address import path_text

RowLayout: TypeAlias = Literal["lines", "records", "document", "footer"]

#: Images, which rows may name.
IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for name in ("png", "jpg", "jpeg", "jfif", "gif", "webp", "bmp", "tif", "tiff", "heic", "avif", "svg")
)
#: Why images are not read as rows.
IMAGE = f"an image, for rows that name it ({setting_name('image')})"

#: Suffixes of compressed files; the suffix of the format is before them.
COMPRESSIONS = {".gz": "gz", ".zst": "zst", ".bz2": "bz2", ".xz": "xz"}


@dataclass(frozen=True)
class InputFormat:
    """How files with one suffix are read.

    `reader` opens a file with the options of reading. `layout` says how a plan may read a
    part of a file. "lines": every line is a row, so reading may begin at any line. "records": a row ends at a
    line end. "document": the file is one value. "footer": the file says how many rows there are, and
    is read by rows and not by bytes. `compressible`: it may also be compressed (`COMPRESSIONS`).
    `same_columns`: all rows of a file have the same columns. `stated` reads that number of rows;
    of a workbook it is an estimate.
    """

    reader: Callable[[InputFile, ReadOptions], Table]
    layout: RowLayout
    compressible: bool
    same_columns: bool
    stated: Callable[[InputFile, ReadOptions], int | None] | None = None

    @property
    def is_text(self) -> bool:
        """Whether a file is text in some encoding."""
        return self.layout != "footer"


_CSV = InputFormat(partial(delimited_table, delimiter=","), "records", compressible=True, same_columns=True)
_TSV = InputFormat(partial(delimited_table, delimiter="\t"), "records", compressible=True, same_columns=True)
_JSON = InputFormat(json_table, "document", compressible=True, same_columns=False)
_JSON_LINES = InputFormat(json_lines_table, "lines", compressible=True, same_columns=False)
_TEXT = InputFormat(text_table, "lines", compressible=True, same_columns=True)
_BINARY = partial(InputFormat, layout="footer", compressible=False, same_columns=True)
_PARQUET = _BINARY(parquet_table, stated=rows_in_footer)
_XLSX = _BINARY(workbook_table, stated=rows_of_sheet)
_ARROW = _BINARY(arrow_table, stated=rows_in_footer)

#: The formats, in the order of messages.
FORMATS: dict[str, InputFormat] = {
    ".csv": _CSV,
    ".tsv": _TSV,
    ".json": _JSON,
    ".jsonl": _JSON_LINES,
    ".ndjson": _JSON_LINES,
    ".txt": _TEXT,
    ".parquet": _PARQUET,
    ".arrow": _ARROW,
    ".feather": _ARROW,
    ".ipc": _ARROW,
    ".xlsx": _XLSX,
}


def stated_rows(file: InputFile, options: ReadOptions) -> int | None:
    """Return the number of rows that a file states, `None` if it states none; raises `UnreadableFile`."""
    stated = FORMATS[file.suffix].stated
    return None if stated is None else stated(file, options)


def formats_text() -> str:
    """Return all suffixes, as in a message."""
    plain = " ".join(suffix for suffix, known in FORMATS.items() if not known.compressible)
    compressible = " ".join(suffix for suffix, known in FORMATS.items() if known.compressible)
    return f"{compressible} (also with {', '.join(COMPRESSIONS)}) {plain}"


def suffix_of(path: str) -> tuple[str, str | None] | None:
    """Return format and compression by the name, or None."""
    stem, suffix = os.path.splitext(os.path.basename(path).lower())
    compression = COMPRESSIONS.get(suffix)
    if compression is not None:
        suffix = os.path.splitext(stem)[1]
    known = FORMATS.get(suffix)
    if known is None or (compression is not None and not known.compressible):
        return None
    return suffix, compression


def unknown_suffix(path: str) -> str:
    """Return why a name is that of no format."""
    stem, suffix = os.path.splitext(os.path.basename(path))
    if suffix.lower() in IMAGE_SUFFIXES:
        return IMAGE
    if suffix.lower() in COMPRESSIONS:
        suffix = os.path.splitext(stem)[1] + suffix
    return f"suffix {path_text(suffix)} is not one that batchscore reads" if suffix else "it has no suffix"


def open_table(file: InputFile, options: ReadOptions) -> Table:
    """Open one file and read only as much as its columns need; iterating its rows opens it again.

    Raises `UnreadableFile` if nothing of it can be read. A table may be dropped unread: no file is open
    before the first row is read, and it is closed after the last, or when `rows` is closed.
    """
    known, columns = FORMATS[file.suffix], options.columns
    if known.is_text:
        file = with_encoding(file, options)
    table = known.reader(file, options) if file.again is None else file.again()
    if file.encoding and file.size and not (file.encoding == UTF_8 == (named_encoding(options) or UTF_8)):
        table = replace(table, notes=(f"encoding {file.encoding}", *table.notes))
    # The columns that the names of the file's folders give; its own of that name win.
    cells = {name: text for name, text in file.partitions if name not in table.columns}
    if not cells or table.headerless or not table.columns:
        return table
    wanted = {name: text for name, text in cells.items() if columns is None or name in columns}
    rows = add_cells(table.rows, wanted) if wanted else table.rows
    return replace(table, columns=(*table.columns, *cells), rows=rows)


@contextmanager
def open_rows(
    file: InputFile, options: ReadOptions, columns: frozenset[str] | None = None
) -> Iterator[Table]:
    """Open a file's table with at least these `columns`, by default all; close it even if rows are left."""
    table = open_table(file, options if options.columns == columns else replace(options, columns=columns))
    try:
        yield table
    finally:
        close = getattr(table.rows, "close", None)
        if close is not None:
            close()


def add_cells(rows: Iterator[Row | UnreadableRow], cells: Mapping[str, str | None]) -> Rows:
    """Yield the rows with these cells too; a row's own of that name win. Closing it closes `rows`."""
    with closing(rows):  # type: ignore[type-var]
        for row in rows:
            if isinstance(row, Row):
                row.values = {**cells, **row.values}
            yield row
