"""What is known of an input file before its rows are read, and how must they be read?"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

from batchscore.stores.address import Place
from batchscore.stores.storage import open_raw

UTF_8 = "utf-8"


class StandardInput(str):
    """The path of the copy of standard input; the type distinguishes it from an INPUT that the user named."""

    __slots__ = ()


def is_standard_input(inputs: Iterable[str]) -> bool:
    """Whether a run's INPUT is standard input, which has no other INPUT beside it."""
    return any(isinstance(each, StandardInput) for each in inputs)


@dataclass(frozen=True)
class InputFile:
    r"""One file to read.

    `name` is its path below the base folder, with `/`, as in records (bytes that are not UTF-8 as `\xff`).
    `suffix` is in lower case, with its dot, without the suffix of the `compression`, which is `"gz"`,
    `"zst"`, `"bz2"`, `"xz"` or `None`. `size` is in bytes, as stored. `encoding` is Python's name of a text's
    encoding, `None` if unknown as yet. `partitions` are the columns that its folders (`lang=en`) give,
    with their text. `root` is the folder of its INPUT, which the files that its rows name may not leave.
    """

    path: Place
    name: str
    suffix: str
    compression: str | None
    size: int
    encoding: str | None = None
    partitions: tuple[tuple[str, str | None], ...] = ()
    root: Place | None = None

    def open(self) -> io.RawIOBase:
        """Open the bytes as stored, to read them from start to end; failures are an `OSError`."""
        return open_raw(self.path)


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
