"""How does openpyxl get the parts of a workbook, and how much memory may they take?

Each part passes a bound while it is read, whatever its name: a small zip archive can hold gigabytes. It
imports openpyxl, so other modules import it only when they open a workbook. It knows no cells.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from itertools import repeat
from operator import itemgetter
from typing import IO, TYPE_CHECKING, Any
from zipfile import ZipFile

from openpyxl.reader.excel import ExcelReader
from openpyxl.worksheet._reader import WorkSheetParser
from openpyxl.xml.constants import SHARED_STRINGS, SHEET_MAIN_NS
from openpyxl.xml.functions import iterparse

from batchscore.errors import UnreadableFile

if TYPE_CHECKING:
    from openpyxl.workbook import Workbook

DAMAGED = (
    "it is damaged or not complete as an Excel workbook: open it in a spreadsheet program and save it again"
)
_STRICT = (
    "it is saved as Strict Open XML, which cannot be read: open it in a spreadsheet program and save it as "
    "Excel workbook (.xlsx)"
)
_TOO_MUCH = (
    "its sheet has more rows, or more in one row, than a spreadsheet program can hold: open it in one and "
    "save it again"
)

#: All texts that cells share are in memory while the file is read.
_MOST_TEXTS = 512 * 2**20
_TOO_MUCH_TEXT = f"its texts take more than {_MOST_TEXTS >> 20} MB: save the sheet as csv"

#: Most rows of a sheet, and most bytes and tags in memory at once: of one row, of one shared text, or of all
#: parts that are read as a whole. A tag with four attributes counts twice.
_MOST_ROWS = 1_048_576
_MOST_BYTES = 64 * 2**20
_MOST_TAGS = 500_000
_BLOCK = 2**20

_ROW = re.compile(rb"<(?:\w+:)?(?:row|sheetData)[\s/>]")
_TEXT = re.compile(rb"<(?:\w+:)?(?:si|sst)[\s/>]")
_STRICT_NAMES = b'="http://purl.oclc.org/ooxml/'
_SECTIONS = ((b"<!--", b"-->"), (b"<![CDATA[", b"]]>"))

_SI, _T, _R = (f"{{{SHEET_MAIN_NS}}}{name}" for name in ("si", "t", "r"))


def _out_of_order(number: int, last: int) -> str:
    what = f"row {number} after row {last}" if number < last else f"row {number} twice"
    what = what if number <= last else f"two cells at one place of row {number}"
    return (
        f"its sheet has {what}: open it in a spreadsheet program, look for what is missing, and save it again"
    )


@dataclass(slots=True)
class _Held:
    """How much of a part is in memory: what came since its last `unit` began; without one, all of it.

    `open_until` is the end of a comment that is open, and `tail` the end of the last block.
    """

    file: str
    unit: re.Pattern[bytes] | None = None
    problem: str = DAMAGED
    units: int = 0
    size: int = 0
    tags: int = 0
    open_until: bytes = b""
    tail: bytes = b""

    def add(self, block: bytes) -> None:
        """Count a block; raises `UnreadableFile` if it is too much or declares entities."""
        text = self.tail + block
        units = sum(1 for _ in self.unit.finditer(block)) if self.unit else 0
        if not self.units and b"<!DOCTYPE" in (text.replace(b"\0", b"") if b"\0" in text else text):
            raise UnreadableFile(self.file, DAMAGED)
        if self.unit is None and _STRICT_NAMES in text:
            raise UnreadableFile(self.file, _STRICT)
        endless = bool(self.open_until) and self.open_until not in text
        self.open_until = next((end for start, end in _SECTIONS if text.rfind(start) > text.rfind(end)), b"")
        self.tail = block[-16:]
        self.units += units
        if units:
            self.size = self.tags = 0
        else:
            self.size += len(block)
            self.tags += block.count(b"<") + block.count(b"=") // 4
        too_many = self.unit is _ROW and self.units > _MOST_ROWS + 1
        if endless or too_many or self.size > _MOST_BYTES or self.tags > _MOST_TAGS:
            raise UnreadableFile(self.file, self.problem)


class _Bounded(RawIOBase):
    """A part that is read in blocks, each of which is counted."""

    def __init__(self, part: IO[bytes], held: _Held) -> None:
        self._part, self._held = part, held

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._part.read(len(buffer))
        self._held.add(block)
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._part.close()
        super().close()


class Parts(ZipFile):
    """The parts of a workbook, in any order; the sizes that the archive states do not count."""

    def __init__(self, source: Any, file: str) -> None:
        super().__init__(source)
        self.file = file
        self._whole = _Held(file)

    def open(self, name: Any, *_: Any, **__: Any) -> Any:
        """Open the part of a sheet."""
        return self._stream(name, _Held(self.file, _ROW, _TOO_MUCH))

    def texts(self, name: str) -> Any:
        """Open the part of the texts that cells share."""
        return self._stream(name, _Held(self.file, _TEXT, _TOO_MUCH_TEXT))

    def read(self, name: Any, pwd: bytes | None = None) -> bytes:
        """Return a part; what is read so counts together, since openpyxl keeps it."""
        blocks = []
        with super().open(name, "r", pwd) as part:
            while block := part.read(_BLOCK):  # without a size it would inflate all at once
                self._whole.add(block)
                blocks.append(block)
        return b"".join(blocks)

    def rows(self, sheet: Any) -> Iterator[Sequence[Any]]:
        """Yield the cells of each row of a sheet, also of those that are missing between two others.

        openpyxl itself would leave out what comes late or twice. Raises `UnreadableFile` for it and for a
        row that is too far.
        """
        last = 0
        held = _Held(self.file, _ROW, _TOO_MUCH)
        with self._stream(sheet._worksheet_path, held) as xml:  # noqa: SLF001 - it has no public name
            epoch = sheet.parent.epoch
            parser = WorkSheetParser(xml, sheet._shared_strings, data_only=True, epoch=epoch)  # noqa: SLF001
            for number, cells in parser.parse():
                columns = [cell["column"] for cell in cells]
                placed = sorted({*columns})
                if number <= last or len(placed) < len(columns):
                    raise UnreadableFile(self.file, _out_of_order(number, last))
                if number > _MOST_ROWS:
                    raise UnreadableFile(self.file, _TOO_MUCH)
                if placed != columns:
                    cells.sort(key=itemgetter("column"))
                yield from repeat((), number - last - 1)
                yield sheet._get_row(cells)  # noqa: SLF001
                last = number
        if not last and held.units > 1:  # rows, but none by a name that openpyxl knows
            raise UnreadableFile(self.file, DAMAGED)

    def _stream(self, name: str, held: _Held) -> Any:
        return BufferedReader(_Bounded(super().open(name), held), _BLOCK)


class _Reader(ExcelReader):  # type: ignore[misc] # openpyxl has no types
    """Reads shared texts as they are, with their escapes, and no charts."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.fp, read_only=True, data_only=True, keep_links=False)
        self.archive: Parts = parts
        self.charts = 0

    def read_strings(self) -> None:
        part = self.package.find(SHARED_STRINGS)
        if part is None:
            return
        left = _MOST_TEXTS
        with self.archive.texts(part.PartName[1:]) as xml:
            events = iterparse(xml, events=("start", "end"))
            _, root = next(events)
            for event, node in events:
                if event == "end" and node.tag == _SI:
                    runs = [
                        each if each.tag == _T else each.find(_T) for each in node if each.tag in {_T, _R}
                    ]
                    text = "".join([run.text or "" for run in runs if run is not None])
                    left -= sys.getsizeof(text) + 8
                    if left < 0:
                        raise UnreadableFile(self.archive.file, _TOO_MUCH_TEXT)
                    self.shared_strings.append(text)
                    root.clear()

    def read_chartsheet(self, sheet: Any, rel: Any) -> None:  # noqa: ARG002 - of openpyxl
        self.charts += 1


def load_book(parts: Parts) -> Workbook:
    """Return the workbook, whose sheets are read later; raises any error if it is damaged.

    Its dates are numbers: a cell shows days that no calendar has.
    """
    reader = _Reader(parts)
    reader.read()
    book: Workbook = reader.wb
    if len(book.sheetnames) + reader.charts != len(reader.parser.sheets):
        raise UnreadableFile(parts.file, DAMAGED)  # openpyxl leaves out a sheet that is missing
    book._date_formats = book._timedelta_formats = set()  # noqa: SLF001
    return book
