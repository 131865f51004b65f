"""How is one file opened? `read/formats.py` says which reader does it."""

from __future__ import annotations

from dataclasses import dataclass

from batchscore.read.formats import FORMATS
from batchscore.read.input_file import InputFile
from batchscore.read.lines import text_table
from batchscore.rows import Table


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    `txt`: a row of a txt file is one of its "lines", or the whole "document". `max_row_bytes`: a larger row
    gets an error; it also bounds a reader's memory.
    """

    txt: str = "lines"
    max_row_bytes: int = 16 * 2**20


def open_table(file: InputFile, options: ReadOptions) -> Table:
    """Open one file and read only as much as its columns need; iterating its rows opens it again.

    Raises `UnreadableFile` if nothing of it can be read. A table may be dropped unread: no file is open
    before the first row is read, and it is closed after the last, or when `rows` is closed.
    """
    if file.suffix == ".txt":
        return text_table(file, options.max_row_bytes, document=options.txt == "document")
    return FORMATS[file.suffix].reader(file, options.max_row_bytes)
