"""How is one file opened? `read/formats.py` says which reader does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace

from batchscore.read.encoding import with_encoding
from batchscore.read.formats import FORMATS
from batchscore.read.input_file import UTF_8, InputFile
from batchscore.read.options import ReadOptions
from batchscore.read.problems import Rows
from batchscore.rows import Row, Table, UnreadableRow


def open_table(file: InputFile, options: ReadOptions) -> Table:
    """Open one file and read only as much as its columns need; iterating its rows opens it again.

    Raises `UnreadableFile` if nothing of it can be read. A table may be dropped unread: no file is open
    before the first row is read, and it is closed after the last, or when `rows` is closed.
    """
    known = FORMATS[file.suffix]
    if not known.is_text:
        return with_partitions(known.reader(file, options), file, options.columns)
    file = with_encoding(file, options)
    table = known.reader(file, options)
    if file.encoding not in {None, UTF_8}:
        table = replace(table, notes=(f"encoding {file.encoding}", *table.notes))
    return with_partitions(table, file, options.columns)


@contextmanager
def open_rows(
    file: InputFile, options: ReadOptions, columns: frozenset[str] | None = None
) -> Iterator[Table]:
    """Open a file's table, and close it even if its rows were not all read.

    Its rows have at least these `columns`, by default all.
    """
    table = open_table(file, replace(options, columns=columns))
    try:
        yield table
    finally:
        close = getattr(table.rows, "close", None)
        if close is not None:
            close()


def with_partitions(table: Table, file: InputFile, columns: frozenset[str] | None) -> Table:
    """Return the table with the columns that the file's folders stand for; its own of that name win."""
    cells = {name: text for name, text in file.partitions if name not in table.columns}
    if not cells or table.headerless or not table.columns:
        return table
    wanted = {name: text for name, text in cells.items() if columns is None or name in columns}
    rows = add_cells(table.rows, wanted) if wanted else table.rows
    return replace(table, columns=(*table.columns, *cells), rows=rows)


def add_cells(rows: Iterator[Row | UnreadableRow], cells: Mapping[str, str | None]) -> Rows:
    """Yield the rows with these cells too; a row's own of that name win. Closing it closes `rows`."""
    with closing(rows):  # type: ignore[type-var]
        for row in rows:
            if isinstance(row, Row):
                row.values = {**cells, **row.values}
            yield row
