"""Which rows does a file of lines hold: txt and jsonl?

This module knows nothing of JSON documents that span lines, but recognizes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import chain, count, islice
from typing import Any

import orjson

from batchscore.errors import UnreadableFile
from batchscore.read.input_file import InputFile, ReadOptions
from batchscore.read.json_rows import (
    BETWEEN,
    DECODER,
    HALF_CHARACTER,
    PEEKED_BYTES,
    is_encodable,
    peek_table,
    row_of,
)
from batchscore.read.problems import Rows, not_utf8_row, too_large_row, unreadable_row
from batchscore.read.stream import BlockKind, line_blocks, text_blocks
from batchscore.rows import TEXT_COLUMN, Row, Table, UnreadableRow

#: Lines that may be objects with a mistake in them.
_PEEKED_LINES = 20

#: The start of an array of objects, texts or arrays.
ARRAY = re.compile(rb"\[\s*(?:[\[{\"]|\Z)")

_BETWEEN_BYTES = BETWEEN.encode()
_BIG_INTEGER = re.compile(rb"(?<![0-9.])[0-9]{19,}(?![0-9.eE])")
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")


def text_table(file: InputFile, options: ReadOptions) -> Table:
    """Open a txt file by lines: each that is not blank is a row, and `number` counts all lines.

    As a document the whole file, unchanged, is row 0; a blank file has no row.
    """
    with text_blocks(file) as blocks:
        next(blocks, None)  # raises at once if it is another kind of file
    rows = (_document_rows if options.txt == "document" else _text_rows)(file, options.max_row_bytes)
    return Table((TEXT_COLUMN,), (TEXT_COLUMN,), headerless=True, rows=rows)


def json_lines_table(file: InputFile, options: ReadOptions) -> Table:
    """Open a jsonl file: a line is an object, or a string (a text without columns), or null.

    Commas around an object and several objects on a line are accepted: common mistakes with a clear meaning.
    """
    limit = options.max_row_bytes
    _refuse_document(file, limit)
    return peek_table(lambda cap: json_line_rows(file, limit, cap))


def _text_rows(file: InputFile, limit: int) -> Rows:
    name, number = file.name, 0
    with text_blocks(file, size=limit) as blocks:
        for kind, data in line_blocks(blocks, limit):
            if kind is BlockKind.LINES:
                for line in data.splitlines():
                    try:
                        text = line.decode()
                    except UnicodeDecodeError:
                        yield not_utf8_row(name, number, file.encoding)
                    else:
                        if text and not text.isspace():
                            yield Row(name, number, {TEXT_COLUMN: text})
                    number += 1
            elif kind is BlockKind.LAST:
                yield too_large_row(name, number, limit)
                number += 1


def _document_rows(file: InputFile, limit: int) -> Rows:
    parts: list[bytes] = []
    with text_blocks(file, cap=limit + 1) as blocks:
        parts.extend(blocks)
    data = b"".join(parts)
    if len(data) > limit:
        yield too_large_row(file.name, 0, limit)
        return
    try:
        text = data.decode()
    except UnicodeDecodeError:
        yield not_utf8_row(file.name, 0, file.encoding)
        return
    if text and not text.isspace():
        yield Row(file.name, 0, {TEXT_COLUMN: text})


def json_line_rows(file: InputFile, limit: int, cap: int | None = None) -> Rows:
    """Read the rows of a jsonl file, or of its first `cap` bytes."""
    name, number, places, loads = file.name, 0, count(1), orjson.loads
    with text_blocks(file, size=limit, cap=cap) as blocks:
        for kind, data in line_blocks(blocks, limit):
            if kind is not BlockKind.LINES:
                if kind is BlockKind.LAST:
                    yield too_large_row(name, number, limit)
                    number += 1
                    next(places)
                continue
            # Nineteen digits in a row have two among every ninth byte: a quick test for large integers.
            exact = b"00" in data[::9].translate(_DIGITS_TO_ZERO)
            for line, place in zip(lines_in(data), places, strict=False):
                if not exact or not _BIG_INTEGER.search(line):
                    try:
                        value = loads(line)
                    except orjson.JSONDecodeError:
                        if not line.strip(_BETWEEN_BYTES):
                            continue
                    else:
                        is_object = type(value) is dict
                        yield Row(name, number, value) if is_object else row_of(name, number, value, place)
                        number += 1
                        continue
                for row in _slow_rows(file, number, line, place):
                    yield row
                    number += 1


def lines_in(data: bytes) -> Iterable[bytes]:
    """Return the lines of a block, maybe with their ends.

    Python looks for the ends of lines byte by byte, a file of bytes with the processor's help.
    """
    return data.splitlines() if b"\r" in data else BytesIO(data)


def _slow_rows(file: InputFile, number: int, line: bytes, place: int) -> Iterator[Row | UnreadableRow]:
    """Read a line that orjson refuses (NaN, tabs, several objects) or rounds (integers beyond 64 bits).

    `place` is the number of the line, from 1.
    """
    try:
        values = _values(line.decode().strip(BETWEEN))
    except UnicodeDecodeError:
        yield not_utf8_row(file.name, number, file.encoding, place)
        return
    except (ValueError, RecursionError):
        yield unreadable_row(file.name, number, "it is not JSON", place)
        return
    for row, value in enumerate(values, number):
        if is_encodable(value):
            yield row_of(file.name, row, value, place)
        else:
            yield unreadable_row(file.name, row, f"it holds {HALF_CHARACTER}", place)


def _values(text: str) -> list[Any]:
    """Return the value of a line, or its objects if there are several."""
    values, end = [], 0
    while end < len(text):
        value, end = DECODER.raw_decode(text, end)
        values.append(value)
        end += len(text) - end - len(text[end:].lstrip(BETWEEN))
    if len(values) != 1 and not all(isinstance(value, dict) for value in values):
        raise ValueError
    return values or [DECODER.decode(text)]


def _refuse_document(file: InputFile, limit: int) -> None:
    """Raise `UnreadableFile` for another format that is named jsonl: each line would be a bad row.

    One line of JSON among the first megabyte is enough for the file to be read: bad lines cost their rows.
    """
    start, looks_like_json = list[bytes](), False
    try:
        with text_blocks(file, size=limit, cap=PEEKED_BYTES) as blocks:
            kinds = line_blocks(blocks, limit)
            lines = filter(None, (line.strip() for _, data in kinds for line in lines_in(data)))
            start.extend(islice(lines, _PEEKED_LINES))
            looks_like_json = any(b"{" in line for line in start) or any(map(_is_json, chain(start, lines)))
    except UnreadableFile:
        if not start:  # else reading it gives the rows before the failure
            raise
        looks_like_json = True
    first, second = [*start, b"", b""][:2]
    if (
        first == b"["
        or (first == b"{" and not _is_json(second))
        or (ARRAY.match(first) and not (second and _is_json(first)))
    ):
        raise UnreadableFile(
            file.name,
            "it looks like one JSON document, not one JSON object per line: give it the suffix .json",
        )
    if second and not looks_like_json:
        raise UnreadableFile(
            file.name,
            "its lines are not JSON: give it the suffix of its format, such as .csv or .txt. No line of its "
            "first megabyte is JSON",
        )


def _is_json(line: bytes) -> bool:
    """Whether a line is read, as by `_slow_rows`."""
    try:
        _values(line.decode().strip(BETWEEN))
    except (ValueError, RecursionError):
        return False
    return True
