"""Which reader opens a file? One table decides by the suffix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from batchscore.read.columnar import arrow_table, parquet_table
from batchscore.read.delimited import delimited_table
from batchscore.read.document import json_table
from batchscore.read.files import InputFile
from batchscore.read.lines import json_lines_table, text_table
from batchscore.rows import Table


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    `txt`: a row of a txt file is one of its "lines", or the whole "document". `max_row_bytes`: a larger row
    gets an error; it also bounds a reader's memory.
    """

    txt: str = "lines"
    max_row_bytes: int = 16 * 2**20


_READERS: dict[str, Callable[[InputFile, int], Table]] = {
    ".csv": partial(delimited_table, delimiter=","),
    ".tsv": partial(delimited_table, delimiter="\t"),
    ".json": json_table,
    ".jsonl": json_lines_table,
    ".ndjson": json_lines_table,
    ".txt": text_table,
    ".parquet": parquet_table,
    ".arrow": arrow_table,
    ".feather": arrow_table,
    ".ipc": arrow_table,
}


def open_table(file: InputFile, options: ReadOptions) -> Table:
    """Open one file and read only as much as its columns need; iterating its rows opens it again.

    Raises `UnreadableFile` if nothing of it can be read. A table may be dropped unread: no file is open
    before the first row is read, and it is closed after the last, or when `rows` is closed.
    """
    if file.suffix == ".txt":
        return text_table(file, options.max_row_bytes, document=options.txt == "document")
    return _READERS[file.suffix](file, options.max_row_bytes)
