"""How does a csv or tsv file separate and quote its cells, and which line is its header?

Found from the first records of a file and from what the user says, and never changed on the way. Of several
readings the one is taken that gives the most records the header's number of cells.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import StringIO
from typing import Any

from batchscore.errors import UnreadableFile, count_text, setting_name
from batchscore.read.first_bytes import other_than_cells, what_it_is
from batchscore.read.header import divider_of
from batchscore.read.input_file import AUTO, InputFile, ReadOptions
from batchscore.read.stream import beginning, plain_text, text_blocks

#: Records of a file's beginning that are compared.
_RECORDS = 200

#: Bytes of a file from which its dialect is found.
SAMPLE = 64 * 1024

# `csv` of Python 3.10 refuses zero bytes; this replaces them, and no decoding produces it.
ZERO = "\udc00"

DELIMITERS = (",", ";", "\t", "|")

#: A line before the header that gives Excel the delimiter; programs that save it again add delimiters.
_PREFACE = re.compile(r'(?i)"?sep=([^\w\s"]|\t)"?[,;|\t]*')
_LINE = re.compile(r"([^\r\n]*)(\r\n|\n|\r|$)")

#: Placeholders for what follows an escape, and a mark that a cell was quoted; no decoding produces them.
_ESCAPE, _QUOTE, _QUOTED = "\udc01", "\udc02", "\udc03"

_NAMES = {"\t": "tab", " ": "blank"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How records are written; `own` is the delimiter that the suffix promises.

    `skipped` lines are before the header. `spaced`: blanks may be between a delimiter and a quote.
    `trailing`: the number of delimiters at the end of each record that the header lacks, or -1 if the header
    has one more. `sure`: the user named the quote. `preface`: the last skipped line names the delimiter.
    `divider`: a sign that may divide the only column.
    """

    own: str
    delimiter: str
    quote: str | None = '"'
    escape: str | None = None
    header: bool = True
    skipped: int = 0
    spaced: bool = False
    trailing: int = 0
    sure: bool = False
    preface: bool = False
    divider: str = ""

    @property
    def csv_options(self) -> dict[str, Any]:
        """The arguments of `csv.reader`. It is strict: text after a closing quote is an error."""
        quoting = csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL
        quote = self.quote if self.quote is not None else '"'
        return {"delimiter": self.delimiter, "quotechar": quote, "quoting": quoting, "strict": True}

    @property
    def is_prepared(self) -> bool:
        """Whether text must pass `prepare`, and cells with marks `restore`."""
        return self.quote is not None and (self.spaced or self.escape is not None)

    def prepare(self, text: str) -> str:
        """Return text that `csv` reads as meant: `csv` would also drop an escape in a cell without quotes."""
        assert self.quote is not None
        quote, delimiter = re.escape(self.quote), re.escape(self.delimiter)
        if self.spaced:
            # A quote that closes a cell, or one of two within it, may also follow a delimiter and a blank.
            end = rf"(?:{delimiter}|[\r\n]|$)"
            opening = rf"{quote}(?:(?!{quote}|{end})|{quote}(?={end})|{quote * 2}(?!{end}))"
            text = re.sub(rf"({delimiter}) +(?={opening})", r"\1", text)
        if self.escape is not None:
            text = text.replace(self.escape * 2, _ESCAPE).replace(self.escape + self.quote, _QUOTE)
            inner = rf"(?![{quote}{delimiter}\r\n]|$)"
            text = re.sub(rf"(^|[\r\n]|{delimiter}){quote}{inner}", rf"\1{self.quote}{_QUOTED}", text)
        return text

    def restore(self, cell: str) -> str:
        """Return the cell without the marks of `prepare`."""
        if _QUOTED in cell or _ESCAPE in cell or _QUOTE in cell:
            quoted, escape, quote = cell.startswith(_QUOTED), self.escape or "", self.quote or ""
            before = "" if quoted else escape
            cell = cell.replace(_QUOTED, "").replace(_ESCAPE, before + escape).replace(_QUOTE, before + quote)
        return cell

    def text(self) -> str:
        """Return what is not plain, for people; empty if nothing is."""
        said = []
        if self.delimiter != self.own:
            said.append(f"delimiter {_NAMES.get(self.delimiter, self.delimiter)}")
        if self.quote != '"':
            said.append(f"quote {self.quote or 'none'}")
        if self.escape is not None:
            said.append(f"escape {self.escape}")
        if self.skipped:
            said.append(f"{count_text(self.skipped, 'line')} before the header left out")
        if self.spaced:
            said.append("blanks before quotes left out")
        if self.trailing:
            said.append(
                f"the delimiter at the end of {'each row' if self.trailing > 0 else 'the header'} left out"
            )
        if not self.header:
            said.append("no header")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The first records as one dialect gives them; `fit` is the share with as many cells as the header."""

    dialect: Dialect
    records: list[list[str]]
    errors: int
    fit: float

    @property
    def width(self) -> int:
        return len(self.records[0]) if self.records else 0

    @property
    def is_perfect(self) -> bool:
        return not self.errors and self.fit == 1

    @property
    def rank(self) -> tuple[Any, ...]:
        own = self.dialect.delimiter == self.dialect.own
        clean = self.dialect.quote is None or not any(self.dialect.quote in cell for cell in self.records[0])
        return (self.width > 1, self.fit > 0, clean, round(self.fit, 1), self.width, own)


def find_dialect(name: str, sample: str, options: ReadOptions, *, own: str, cut: bool) -> Dialect:
    """Return the dialect of a file that begins with `sample`; `cut`: the file is longer.

    Raises `UnreadableFile` if the sample can be meant in two ways, or has no header for its rows.
    """
    if _is_plain(sample, options, own):
        return plain_dialect(own)
    found = Dialect(
        own,
        own if options.delimiter == AUTO else options.delimiter,
        header=not options.no_header,
        skipped=options.skip_lines or 0,
    )
    if options.quote != AUTO:
        found = replace(found, quote=None if options.quote == "none" else options.quote, sure=True)
    if options.escape not in (AUTO, "none", found.quote):
        found = replace(found, escape=options.escape)
    lines = [line[1] for line in _LINE.finditer(sample)]
    delimiters = list(dict.fromkeys((own, *DELIMITERS))) if options.delimiter == AUTO else [found.delimiter]
    first = next((place for place, line in enumerate(lines) if place >= found.skipped and line.strip()), None)
    preface = _PREFACE.fullmatch(lines[first]) if first is not None else None
    if preface and first is not None:
        found = replace(found, skipped=first + 1, preface=True)
        delimiters = [preface[1]] if options.delimiter == AUTO else delimiters
    elif options.skip_lines is None and first is not None and not options.no_header:
        comments = _after_comments(lines, first, delimiters)
        found = replace(found, skipped=comments) if comments else found
    text = sample
    if found.skipped:
        text = "".join([line[0] for line in list(_LINE.finditer(sample))[found.skipped :]])
    readings = [
        _refine(_read(dialect, text, cut=cut), text, options, cut=cut)
        for each in delimiters
        if each == delimiters[0] or each in text
        for dialect in [found if each == found.delimiter else replace(found, delimiter=each)]
    ]
    readings = [reading for reading in readings if reading.records]
    if not readings:
        count = len(sample.splitlines())
        if not cut and (options.skip_lines or 0) > count > 0:
            left_out = f"{setting_name('skip_lines')} leaves out {options.skip_lines:,}"
            raise UnreadableFile(name, f"it has only {count_text(count, 'line')}, and {left_out}")
        return found
    best = max(readings, key=lambda reading: reading.rank)
    if not options.no_header and not (best.width > 1 and best.fit):
        _refuse_preamble(name, [best, *readings])
    for number, cells in enumerate(best.records):
        if spans_rows(best.dialect, cells, best.width):
            raise UnreadableFile(name, f"in row {number - best.dialect.header} {SPANS_ROWS}")
    is_open = options.delimiter == options.quote == AUTO and not options.no_header
    divider = divider_of(best.records) if is_open else ""
    return replace(best.dialect, divider=divider) if divider else best.dialect


def _is_plain(sample: str, options: ReadOptions, own: str) -> bool:
    """Whether each line has as many delimiters of its own, and no sign that can mean another dialect."""
    named = (options.delimiter, options.quote, options.escape, options.no_header, options.skip_lines)
    text = sample.replace("\r\n", "\n")
    if named != (AUTO, AUTO, AUTO, False, None) or _other_signs(own).search(text):
        return False
    lines = [line for line in text.split("\n") if line.strip()]
    counts = {line.count(own) for line in lines}
    return len(counts) == 1 and counts != {0} and lines[0].lstrip()[:4].lower() != "sep="


@lru_cache
def plain_dialect(own: str) -> Dialect:
    """Return the dialect of most files with this delimiter."""
    return Dialect(own, own)


@lru_cache
def _other_signs(own: str) -> re.Pattern[str]:
    """Return the pattern of what can mean another dialect than that of this delimiter."""
    return re.compile("[" + re.escape("".join({*DELIMITERS, '"', "'", "\\", "#", "\r"} - {own})) + "]")


def _after_comments(lines: list[str], first: int, delimiters: list[str]) -> int:
    """Return the number of lines up to the header: those before it that begin with "#"."""
    after = first
    while after < len(lines) and (lines[after].startswith("#") or not lines[after].strip()):
        after += 1
    if after == first or after == len(lines):
        return 0
    last = max(place for place in range(first, after) if lines[place].strip())
    glued = not lines[last].startswith(("# ", "##", "#\t"))
    if glued and any(
        lines[last].count(each) == lines[after].count(each) > 0 for each in delimiters
    ):  # "#chromosome,position" is a header
        return last if last > first else 0
    return after if not glued or any(each in lines[after] for each in delimiters) else 0


def _read(dialect: Dialect, text: str, *, cut: bool) -> _Reading:
    records: list[list[str]] = []
    errors, broken = 0, False
    prepared = dialect.prepare(text) if dialect.is_prepared else text
    reader = csv.reader(StringIO(prepared, newline=""), **dialect.csv_options)
    ended = False
    while len(records) < _RECORDS:
        try:
            cells = next(reader)
        except StopIteration:
            ended = True
            break
        except csv.Error:
            errors, broken = errors + 1, True
        else:
            broken = False
            if any(cells) and not is_blank_line(cells):
                records.append(cells)
    if ended and cut:  # the last record is not complete
        errors -= broken
        if records and not broken:
            records.pop()
    if dialect.is_prepared:
        records = [[dialect.restore(cell) for cell in cells] for cells in records]
    widths = [len(cells) for cells in records[1:]]
    width = len(records[0]) if records else 0
    more = widths[0] - width if len(set(widths)) == 1 else 0
    ends = [cells[width:] for cells in records[1:]] if more > 0 else [records[0][-1:]] if more == -1 else []
    if ends and not any(map(any, ends)):
        return _Reading(replace(dialect, trailing=more), records, errors, 1 - errors / (len(widths) + errors))
    fit = widths.count(width) / (len(widths) + errors) if widths or errors else 1.0
    return _Reading(dialect, records, errors, fit)


def is_blank_line(cells: Sequence[str]) -> bool:
    """Whether a record is a line of blanks, or empty. A cell of quotes alone is a row."""
    return not cells or (len(cells) == 1 and bool(cells[0]) and not cells[0].strip(" \t"))


def _refine(plain: _Reading, text: str, options: ReadOptions, *, cut: bool) -> _Reading:
    """Return the reading with the quote, the escape and the blanks that make more records fit."""
    dialect, others = plain.dialect, list[Dialect]()
    if dialect.quote is None:
        return plain
    start = rf"(?:^|[\r\n]|{re.escape(dialect.delimiter)})"
    double = re.search(rf"{start} *{re.escape(dialect.quote)}", text)
    if options.quote == AUTO and not double and re.search(rf"{start} *'", text):
        others.append(replace(dialect, quote="'"))
    elif plain.is_perfect:
        return plain
    if options.escape == AUTO and f"\\{dialect.quote}" in text:
        others.append(replace(dialect, escape="\\"))
    if options.quote == AUTO and not plain.is_perfect and dialect.delimiter == "\t":
        others.append(replace(dialect, quote=None))
    if re.search(rf"{re.escape(dialect.delimiter)} +{re.escape(dialect.quote)}", text):
        others += [replace(each, spaced=True) for each in (dialect, *others)]
    elif others and others[0].quote == "'":
        others.append(replace(others[0], spaced=True))
    for other in others:
        reading = _read(other, text, cut=cut)
        wrong = len(reading.records) < len(plain.records) and plain.is_perfect
        if other.quote is None:
            ends = (dialect.quote, dialect.quote)
            wrong = any(
                len(cell) > 1 and (cell[0], cell[-1]) == ends for cells in reading.records for cell in cells
            )
        if reading.is_perfect and not wrong:
            return reading
        if (reading.fit, -reading.errors) > (plain.fit, -plain.errors) and other.quote == dialect.quote:
            plain = reading
    return plain


def _refuse_preamble(name: str, readings: Iterable[_Reading]) -> None:
    """Raise `UnreadableFile` if all rows have the same number of cells, and more than the header."""
    for reading in readings:
        widths = {len(cells) for cells in reading.records[1:]}
        rows = len(reading.records) - 1
        if reading.fit == 0 and rows > 1 and len(widths) == 1 and max(widths) > reading.width:
            first = count_text(reading.width, "cell")
            raise UnreadableFile(
                name,
                f"its first line has {first}, but each other line has {max(widths)}: if "
                f"lines before the header do not belong to the table, leave them out with "
                f"{setting_name('skip_lines')}; else name the delimiter with {setting_name('delimiter')}",
            )


SPANS_ROWS = (
    "a quote spans lines that look like rows of their own: if quotes are part of the texts, give "
    f"{setting_name('quote', 'none')}; if they enclose cells, give " + setting_name("quote", '"')
)


def spans_rows(dialect: Dialect, cells: list[str], width: int) -> bool:
    """Whether a record of several lines may be several rows, merged by a quote that is part of a text.

    Each of its lines has as many delimiters as a row. Commas are common in texts, so with delimiters other
    than a tab the first cells must also all be numbers.
    """
    text = dialect.delimiter.join(cells)
    # Two rows have twice as many delimiters as one; in the last cell, a line end alone is not a row.
    if dialect.sure or width < 2 or text.count(dialect.delimiter) < 2 * (width - 1):
        return False
    if "\n" not in text and "\r" not in text:
        return False
    lines = text.splitlines()
    return all(line.count(dialect.delimiter) == width - 1 for line in lines) and (
        dialect.delimiter == "\t"
        or all(line.split(dialect.delimiter)[0].strip().isdecimal() for line in lines)
    )


def begin(file: InputFile, options: ReadOptions, own: str) -> tuple[Dialect, bytes | None]:
    """Return the dialect of a file whose suffix promises `own` as the delimiter, and its text if short."""
    known = plain_text(file)
    if known is not None and len(known) < SAMPLE:
        sample, whole = known, True
    else:
        with text_blocks(file, size=SAMPLE) as blocks:
            sample, whole = beginning(blocks, SAMPLE)
    text = decode_text(sample)[0]
    if not (options.no_header or options.skip_lines) and (what := other_than_cells(sample, text, own)):
        raise UnreadableFile(file.name, what_it_is(what, file.compression))
    return find_dialect(file.name, text, options, own=own, cut=not whole), sample if whole else None


def decode_text(data: bytes) -> tuple[str, bool]:
    """Return the text, and whether it has replacements of bytes that are not UTF-8 or of zero bytes."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode(errors="surrogateescape")
    else:
        if b"\0" not in data:
            return text, False
    return text.replace("\0", ZERO), True
