"""Which rows does a JSON document hold: those of an array, of an object of columns, or one object?

An array is read element by element in constant memory, with the standard library's decoder. ijson's C
backend is a third faster (its Python backend ten times slower), but stops at the first bad element and at
the NaN that Python writes.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

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
    rows_table,
)
from batchscore.read.lines import json_line_rows
from batchscore.read.problems import Rows, iterate, not_utf8_row, too_large_row, unreadable_row
from batchscore.read.records import AmbiguousObjectError, records_of
from batchscore.read.stream import BLOCK, BlockKind, line_blocks, text_blocks
from batchscore.rows import Row, Table, UnreadableRow

#: An object cannot be read in parts: its bytes, text and values are in memory together.
MAX_OBJECT_BYTES = 64 * 1024 * 1024

_INVALID = object()
_SPACE = re.compile(r"[ \t\n\r]*")
_ESCAPED = re.compile("[\udc80-\udcff]")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_INNER = re.compile(r'["\[\]{}]')
_OUTER = re.compile(r'["\[\]{},]')
_STRING_END = re.compile(r'["\\]')


def json_table(file: InputFile, options: ReadOptions) -> Table:
    """Open a json file. An object is read completely; an array only as far as its columns need.

    A file with one object per line, which some tools name json, is read as jsonl, and one with objects in a
    row, without an array around them, like an array.
    """
    limit = options.max_row_bytes
    start = _first_char(file)
    if start == b"[":
        return peek_table(lambda cap: _array_rows(file, limit, cap))
    if not start:
        return Table((), (), headerless=False, rows=iterate())
    if start != b"{":
        raise UnreadableFile(
            file.name,
            "it holds neither a JSON array nor an object; if it holds one value per line, name it .jsonl",
        )
    if _is_json_lines(file, limit):
        return peek_table(lambda cap: json_line_rows(file, limit, cap))
    if _is_sequence(file):
        return _sequence_table(file, limit)
    return _object_table(file, options)


def _first_char(file: InputFile) -> bytes:
    with text_blocks(file) as blocks:
        return next(filter(None, map(bytes.lstrip, blocks)), b"")[:1]


def _is_json_lines(file: InputFile, limit: int) -> bool:
    """Whether the first line that is not blank is an object, and another line follows."""
    with text_blocks(file, size=limit) as blocks:
        parts = (
            (kind, line)
            for kind, data in line_blocks(blocks, limit)
            for line in (data.splitlines() if kind is BlockKind.LINES else [data])
            if line.strip()
        )
        kind, first = next(parts)
        return kind is BlockKind.LINES and _is_object(first) and next(parts, None) is not None


def _is_sequence(file: InputFile) -> bool:
    """Whether another object follows the first one."""
    with text_blocks(file, cap=PEEKED_BYTES) as blocks:
        text = b"".join(blocks).decode(errors="ignore")
    try:
        _, end = DECODER.raw_decode(text, _after_space(text, 0))
    except (ValueError, RecursionError):
        return False
    return text[end:].lstrip(BETWEEN).startswith("{")


def _sequence_table(file: InputFile, limit: int) -> Table:
    table = peek_table(lambda cap: _sequence_rows(file, limit, cap))
    return replace(table, notes=("several JSON documents, each a row",))


def _sequence_rows(file: InputFile, limit: int, cap: int | None = None) -> Rows:
    """Read objects that follow each other without an array around them."""
    name, number = file.name, 0
    with text_blocks(file, size=limit, cap=cap) as blocks:
        text = _Text(blocks)
        while char := text.next_char():
            if char in BETWEEN:
                text.at += 1
                continue
            while True:
                try:
                    value, end = DECODER.raw_decode(text.text, text.at)
                except (ValueError, RecursionError):
                    if len(text.text) - text.at <= 2 * limit + BLOCK and text.more():
                        continue
                    reason = (
                        f"its JSON is not valid in row {number}, or it breaks off or exceeds {limit} bytes"
                    )
                    raise UnreadableFile(name, reason) from None
                break
            yield _row(name, number, text, end, value, limit)
            text.at = end
            number += 1


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(DECODER.decode(line.decode().rstrip(BETWEEN)), dict)
    except (ValueError, RecursionError):
        return False


def _object_table(file: InputFile, options: ReadOptions) -> Table:
    limit = options.max_row_bytes
    size = file.size if file.compression is None else 0
    data = b""
    if size <= MAX_OBJECT_BYTES:
        with text_blocks(file, cap=MAX_OBJECT_BYTES + 1) as blocks:
            data = b"".join(blocks)
    if max(size, len(data)) > MAX_OBJECT_BYTES:
        raise UnreadableFile(
            file.name,
            f"one JSON object larger than {MAX_OBJECT_BYTES >> 20} MB, which cannot be read in parts: "
            "write it as jsonl, one object per line",
        )
    text = data.decode(errors="surrogateescape")
    size = len(data)
    del data
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            return _sequence_table(file, limit)
        reason = "its JSON is nested too deeply, or holds too long a number"
        if isinstance(error, json.JSONDecodeError):
            reason = f"not valid JSON at line {error.lineno}, or it breaks off"
        raise UnreadableFile(file.name, reason) from None
    assert isinstance(value, dict)  # it starts with a brace
    suspect = _is_suspect(text)
    del text
    if suspect and not is_encodable(list(value)):
        raise UnreadableFile(file.name, "a column's name is not UTF-8: convert the file")
    try:
        found = records_of(value, options.records)
    except AmbiguousObjectError as error:
        raise UnreadableFile(file.name, str(error)) from None
    if found.rows == [value] and size > limit:
        return Table(tuple(value), (), headerless=False, rows=iterate([too_large_row(file.name, 0, limit)]))
    rows = [
        unreadable_row(file.name, number, f"it holds bytes that are not UTF-8, or {HALF_CHARACTER}")
        if suspect and not is_encodable(row)
        else row_of(file.name, number, row)
        for number, row in enumerate(found.rows)
    ]
    table = rows_table(rows)
    columns = table.columns or (() if found.note else tuple(value))
    texts = tuple(name for name in table.text_columns if name != found.key)
    notes = (found.note,) if found.note else ()
    return replace(table, columns=columns, text_columns=texts, notes=notes)


def _array_rows(file: InputFile, limit: int, cap: int | None = None) -> Rows:
    """Read the elements of an array. A bad element costs no other if its brackets and quotes are complete."""
    name, number = file.name, 0
    with text_blocks(file, size=limit, cap=cap) as blocks:
        text = _Text(blocks)
        text.next_char()
        text.at += 1  # skip the bracket that opens the array
        while True:
            for values in text.plain_objects(limit):
                yield Row(name, number, values)
                number += 1
            char = text.next_char()
            if char == "]":
                break
            if not char:
                raise _broken_off(name, number)
            value, end, size = _element(text)
            while end < 0 and size <= limit and len(text.text) - text.at <= 2 * limit + BLOCK:
                if not text.more():
                    raise _broken_off(name, number)
                value, end, size = _element(text)
            if end < 0:
                if not text.skip():
                    raise _broken_off(name, number)
                yield too_large_row(name, number, limit)
            else:
                yield _row(name, number, text, end, value, limit)
                text.at = end
            number += 1
            text.at += text.text[text.at] == ","
        text.at += 1
        if text.next_char():
            raise UnreadableFile(
                name, f"something follows the end of its JSON array (row {number - 1} was the last)"
            )


def _broken_off(name: str, number: int) -> UnreadableFile:
    return UnreadableFile(name, f"its JSON array breaks off in row {number}: write the file again")


def _element(text: _Text) -> tuple[Any, int, int]:
    """Return an element's value, the position of the comma or bracket after it, and its size in characters.

    The position is -1 if it is not read yet; the value is `_INVALID` for invalid JSON.
    """
    try:
        value, stop = DECODER.raw_decode(text.text, text.at)
    except (ValueError, RecursionError):
        pass
    else:
        end = _after_space(text.text, stop)
        if text.text[end : end + 1] in {",", "]"}:
            return value, end, stop - text.at
        if end == len(text.text):
            return value, -1, stop - text.at
    end = _Scan().end(text.text, text.at)
    stop = end if end >= 0 else len(text.text)
    return _INVALID, end, stop - text.at


def _row(name: str, number: int, text: _Text, end: int, value: Any, limit: int) -> Row | UnreadableRow:
    if (end - text.at) * 4 > limit:  # a character has at most four bytes
        raw = text.text[text.at : end].rstrip()
        if len(raw.encode(errors="surrogateescape")) > limit:
            return too_large_row(name, number, limit)
    if text.suspect and _ESCAPED.search(text.text, text.at, end):
        return not_utf8_row(name, number)
    if value is _INVALID:
        return unreadable_row(name, number, "it is not valid JSON")
    if text.suspect and not is_encodable(value):
        return unreadable_row(name, number, f"it holds {HALF_CHARACTER}")
    return row_of(name, number, value)


def _after_space(text: str, place: int) -> int:
    space = _SPACE.match(text, place)
    assert space is not None  # the pattern also matches nothing
    return space.end()


def _is_suspect(text: str) -> bool:
    """Whether a text has bytes that are not UTF-8, or escapes that may be half characters."""
    if "\\u" in text and _HALF.search(text):
        return True
    try:
        text.encode()  # ten times as fast as a search for such characters
    except UnicodeEncodeError:
        return True
    return False


class _Text:
    """The current part of the document: `text` from `at` on is not read yet."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.text = ""
        self.at = 0
        self.suspect = False
        self._blocks = blocks
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode

    def more(self) -> bool:
        """Drop the text that was read, and at least double the rest; False at the end.

        Doubling keeps the cost of parsing a long element repeatedly linear in its size.
        """
        parts, left, new = [self.text[self.at :]], len(self.text) - self.at, 0
        for block in self._blocks:
            parts.append(self._decode(block))
            new += len(parts[-1])
            if new > left:
                break
        else:
            parts.append(self._decode(b"", final=True))
            new += len(parts[-1])
        self.text, self.at = "".join(parts), 0
        self.suspect = _is_suspect(self.text)
        return new > 0

    def plain_objects(self, limit: int) -> Iterator[dict[str, Any]]:
        """Yield the next objects that are plainly valid, and move past their commas.

        This is the usual case, and takes about 1 µs per small object; `_element` handles the others.
        """
        text, place = self.text, _after_space(self.text, self.at)
        while not self.suspect:
            try:
                value, stop = DECODER.raw_decode(text, place)
            except (ValueError, RecursionError):
                return
            if type(value) is not dict or text[stop : stop + 1] != "," or (stop - place) * 4 > limit:
                return
            self.at = place = _after_space(text, stop + 1)
            yield value

    def next_char(self) -> str:
        """Move to the next character that is not blank and return it; empty at the end."""
        while True:
            self.at = _after_space(self.text, self.at)
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def skip(self) -> bool:
        """Move to the end of the element without keeping it; False if it does not end."""
        scan = _Scan()
        while (end := scan.end(self.text, self.at)) < 0:
            self.at = len(self.text)
            if not self.more():
                return False
        self.at = end
        return True


class _Scan:
    """Finds the comma or bracket that ends an element, by quotes and brackets only."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escape = False  # the text before ended with a backslash

    def end(self, text: str, place: int) -> int:
        """Return the position of the end in `text` from `place` on, or -1 if it is not in this text."""
        place += self._escape
        self._escape = False
        while True:
            kind = _STRING_END if self._quoted else _INNER if self._depth else _OUTER
            found = kind.search(text, place)
            if found is None:
                return -1
            char, place = found[0], found.end()
            if char == "\\":
                self._escape = place == len(text)
                place += 1
            elif char == '"':
                self._quoted = not self._quoted
            elif char in "[{":
                self._depth += 1
            elif not self._depth and char in ",]":
                return found.start()
            else:
                self._depth = max(0, self._depth - 1)
