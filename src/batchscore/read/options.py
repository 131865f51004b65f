"""How are files to be read? The settings of reading, as the readers take them."""

from __future__ import annotations

from dataclasses import dataclass

#: The value of a setting that is found from the beginning of each file.
AUTO = "auto"


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    `txt`: a row of a txt file is one of its "lines", or the whole "document". `max_row_bytes`: a larger row
    gets an error; it also bounds a reader's memory. `encoding` is that of every text format. `delimiter`,
    `quote`, `escape` (the last two may be "none"), `no_header` and `skip_lines` describe csv and tsv;
    `skip_lines` is `None` to find where the header is. `records` names the member of a JSON object that holds
    the rows, with dots for members of members, or is "." if the object itself is the row. `sheet` is that of
    a workbook, by name or number from 1, `None` for the first; `no_header` and `skip_lines` hold for its
    rows, too. `columns` are those that the rows need, `None` for all: a columnar file's other columns are not
    read.
    """

    txt: str = "lines"
    max_row_bytes: int = 16 * 2**20
    encoding: str = AUTO
    delimiter: str = AUTO
    quote: str = AUTO
    escape: str = AUTO
    no_header: bool = False
    skip_lines: int | None = None
    records: str | None = None
    sheet: str | None = None
    columns: frozenset[str] | None = None
