"""Which reader opens a file? One table decides by the suffix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from batchscore.errors import SettingsError, setting_name
from batchscore.read.columnar import arrow_table, parquet_table
from batchscore.read.delimited import delimited_table
from batchscore.read.document import json_table
from batchscore.read.files import InputFile
from batchscore.read.lines import json_lines_table, text_document_table, text_table
from batchscore.rows import Table


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    `txt`: whether each line of a txt file is a row, or the whole file. `max_row_bytes`: a larger row gets an
    error; it also bounds a reader's memory.
    """

    txt: Literal["lines", "document"] = "lines"
    max_row_bytes: int = 16 * 2**20

    def __post_init__(self) -> None:
        if self.max_row_bytes < 1:
            raise SettingsError(f"{setting_name('max_row_bytes')} is {self.max_row_bytes}: use at least 1")
        if self.txt not in {"lines", "document"}:
            raise SettingsError(f"{setting_name('txt')} is {self.txt!r}: use 'lines' or 'document'")


def _text_table(file: InputFile, options: ReadOptions) -> Table:
    reader = text_table if options.txt == "lines" else text_document_table
    return reader(file, options.max_row_bytes)


_READERS: dict[str, Callable[[InputFile, ReadOptions], Table]] = {
    ".csv": lambda file, options: delimited_table(file, ",", options.max_row_bytes),
    ".tsv": lambda file, options: delimited_table(file, "\t", options.max_row_bytes),
    ".json": lambda file, options: json_table(file, options.max_row_bytes),
    ".jsonl": lambda file, options: json_lines_table(file, options.max_row_bytes),
    ".ndjson": lambda file, options: json_lines_table(file, options.max_row_bytes),
    ".txt": _text_table,
    ".parquet": lambda file, options: parquet_table(file, options.max_row_bytes),
    ".arrow": lambda file, options: arrow_table(file, options.max_row_bytes),
    ".feather": lambda file, options: arrow_table(file, options.max_row_bytes),
    ".ipc": lambda file, options: arrow_table(file, options.max_row_bytes),
}


def open_table(file: InputFile, options: ReadOptions) -> Table:
    """Open one file and read only as much as its columns need; iterating its rows opens it again.

    Raises `UnreadableFile` if nothing of it can be read. A table may be dropped unread: no file is open
    before the first row is read, and it is closed after the last, or when `rows` is closed.
    """
    return _READERS[file.suffix](file, options)
