"""How is one file opened? `read/formats.py` says which reader does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace

from batchscore.read.formats import FORMATS
from batchscore.read.input_file import InputFile
from batchscore.read.lines import text_table
from batchscore.read.problems import Rows
from batchscore.rows import Row, Table, UnreadableRow


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    `txt`: a row of a txt file is one of its "lines", or the whole "document". `max_row_bytes`: a larger row
    gets an error; it also bounds a reader's memory. `columns` are those that the rows need, `None` for all: a
    columnar file's other columns are not read.
    """

    txt: str = "lines"
    max_row_bytes: int = 16 * 2**20
    columns: frozenset[str] | None = None


def open_table(file: InputFile, options: ReadOptions) -> Table:
    """Open one file and read only as much as its columns need; iterating its rows opens it again.

    Raises `UnreadableFile` if nothing of it can be read. A table may be dropped unread: no file is open
    before the first row is read, and it is closed after the last, or when `rows` is closed.
    """
    if file.suffix == ".txt":
        return text_table(file, options.max_row_bytes, document=options.txt == "document")
    reader: Callable[..., Table] = FORMATS[file.suffix].reader
    chosen = {"columns": options.columns} if FORMATS[file.suffix].layout == "footer" else {}
    return with_partitions(reader(file, options.max_row_bytes, **chosen), file, options.columns)


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
