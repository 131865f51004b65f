"""How is one file opened? `read/formats.py` says which reader does it."""

from __future__ import annotations

from dataclasses import replace

from batchscore.read.encoding import with_encoding
from batchscore.read.formats import FORMATS
from batchscore.read.input_file import UTF_8, InputFile
from batchscore.read.options import ReadOptions
from batchscore.rows import Table


def open_table(file: InputFile, options: ReadOptions) -> Table:
    """Open one file and read only as much as its columns need; iterating its rows opens it again.

    Raises `UnreadableFile` if nothing of it can be read. A table may be dropped unread: no file is open
    before the first row is read, and it is closed after the last, or when `rows` is closed.
    """
    known = FORMATS[file.suffix]
    if known.layout == "footer":
        return known.reader(file, options)
    file = with_encoding(file, options)
    table = known.reader(file, options)
    if file.encoding not in {None, UTF_8}:
        table = replace(table, notes=(f"encoding {file.encoding}", *table.notes))
    return table
