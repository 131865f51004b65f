"""json: which rows a JSON document holds: those of an array, of an object of columns, or one object.

An array is read element by element in constant memory, each by the standard library's decoder. ijson's
C backend is a third faster (its Python one ten times slower), but stops at the first bad element and at
the NaN that Python writes.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from batchscore.errors import UnreadableFile
from batchscore.read.files import InputFile
from batchscore.read.lines import (
    DECODER,
    HALF_CHARACTER,
    columns_of,
    is_text,
    json_line_rows,
    peeked,
    row_of,
)
from batchscore.read.problems import Rows, given, not_utf8, too_large, unreadable
from batchscore.read.stream import BLOCK, Kind, line_blocks, text_blocks
from batchscore.rows import Row, Table, UnreadableRow

#: An object cannot be read by parts; its Python values take up to ten times its bytes.
MAX_OBJECT_BYTES = 256 * 1024 * 1024

_INVALID = object()
_SPACE = re.compile(r"[ \t\n\r]*")
_ESCAPED = re.compile("[\udc80-\udcff]")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_INNER = re.compile(r'["\[\]{}]')
_OUTER = re.compile(r'["\[\]{},]')
_STRING_END = re.compile(r'["\\]')


def json_table(file: InputFile, max_row_bytes: int) -> Table:
    """Open a json file. An object is read whole here; an array only as far as its columns need.

    One object a line, as some tools write under this name, is read as jsonl.
    """
    start = _first_char(file)
    if start == b"[":
        return peeked(lambda cap: _array_rows(file, max_row_bytes, cap))
    if not start:
        return Table((), (), headerless=False, rows=given())
    if start != b"{":
        raise UnreadableFile(
            file.name,
            "it holds neither a JSON array nor an object; if it holds one value a line, call it .jsonl",
        )
    if _is_json_lines(file, max_row_bytes):
        return peeked(lambda cap: json_line_rows(file, max_row_bytes, cap))
    return _object_table(file, max_row_bytes)


def _first_char(file: InputFile) -> bytes:
    with text_blocks(file) as blocks:
        return next(filter(None, map(bytes.lstrip, blocks)), b"")[:1]


def _is_json_lines(file: InputFile, limit: int) -> bool:
    """Whether the first line that is not blank is an object by itself, and another line follows."""
    with text_blocks(file, size=limit) as blocks:
        parts = (
            (kind, line)
            for kind, data in line_blocks(blocks, limit)
            for line in (data.splitlines() if kind is Kind.LINES else [data])
            if line.strip()
        )
        kind, first = next(parts)
        return kind is Kind.LINES and _is_object(first) and next(parts, None) is not None


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        pass
    try:
        return isinstance(DECODER.decode(line.decode()), dict)
    except (ValueError, RecursionError):
        return False


def _object_table(file: InputFile, limit: int) -> Table:
    with text_blocks(file, cap=MAX_OBJECT_BYTES + 1) as blocks:
        data = b"".join(blocks)
    if len(data) > MAX_OBJECT_BYTES:
        raise UnreadableFile(
            file.name,
            f"one JSON object larger than {MAX_OBJECT_BYTES >> 20} MB, which cannot be read by parts: "
            "write it as jsonl, one object a line",
        )
    text = data.decode(errors="surrogateescape")
    value = _parsed(file, text)
    rows = _object_rows(file, value)
    if rows is None and len(data.strip()) > limit:
        return Table(tuple(value), (), headerless=False, rows=given([too_large(file.name, 0, limit)]))
    values = [value] if rows is None else rows
    columns, texts = columns_of(values)
    suspect = _is_suspect(text)
    read = (
        unreadable(file.name, number, f"it holds bytes that are not UTF-8, or {HALF_CHARACTER}")
        if suspect and not is_text(row)
        else Row(file.name, number, row)
        for number, row in enumerate(values)
    )
    return Table(columns or tuple(value), texts, headerless=False, rows=given(read))


def _parsed(file: InputFile, text: str) -> dict[str, Any]:
    try:
        value = DECODER.decode(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            reason = "several JSON documents one after another: write one a line, and call it .jsonl"
        else:
            reason = f"not valid JSON at line {error.lineno}, or it breaks off"
        raise UnreadableFile(file.name, reason) from None
    except (ValueError, RecursionError) as error:
        reason = "its JSON is nested too deeply, or holds too long a number"
        raise UnreadableFile(file.name, reason) from error
    assert isinstance(value, dict)  # it starts with a brace
    if _is_suspect(text) and not is_text(list(value)):
        raise UnreadableFile(file.name, "a column's name is not UTF-8: convert the file")
    return value


def _object_rows(file: InputFile, value: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Give the rows of an object of columns, or None where the object itself is the row.

    Columns are lists of one length; or objects of the same keys, as pandas writes a DataFrame (of
    `orient="index"`, whose outer keys are numbers and whose inner ones are not, each is a row). Raises
    `UnreadableFile` for lists of several lengths.
    """
    cells = list(value.values())
    if not cells:
        return []
    if all(isinstance(cell, list) for cell in cells):
        if _is_chat(value):
            return None
        if len({len(cell) for cell in cells}) > 1:
            lengths = ", ".join(f"{name[:40]!r}: {len(cell)}" for name, cell in [*value.items()][:5])
            raise UnreadableFile(
                file.name,
                f"its columns differ in length ({lengths}): give each a value for every row; "
                "if the object is one row, write it in brackets, as an array of one",
            )
        return [dict(zip(value, row, strict=True)) for row in zip(*cells, strict=True)]
    if all(isinstance(cell, dict) for cell in cells):
        keys = list(cells[0])
        if any(cell.keys() != cells[0].keys() for cell in cells):
            return None
        if all(map(str.isdecimal, value)) and not all(map(str.isdecimal, keys)):
            return cells
        return [{column: cell[key] for column, cell in value.items()} for key in keys]
    return None


def _is_chat(value: dict[str, Any]) -> bool:
    """One request's `messages` are no column, though they are a list."""
    messages = value.get("messages", ())
    return len(messages) > 0 and all(isinstance(message, dict) and "role" in message for message in messages)


def _array_rows(file: InputFile, limit: int, cap: int | None = None) -> Rows:
    """Read the elements of an array. A bad one costs itself alone if its brackets and quotes are whole."""
    name, number = file.name, 0
    with text_blocks(file, size=limit, cap=cap) as blocks:
        text = _Text(blocks)
        text.next_char()
        text.at += 1  # the bracket that opens the array
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
                yield too_large(name, number, limit)
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
    """Give an element's value, where the comma or bracket behind it stands, and its size in characters.

    The place is -1 as long as it is not at hand; the value of what is not valid JSON is `_INVALID`.
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
            return too_large(name, number, limit)
    if text.suspect and _ESCAPED.search(text.text, text.at, end):
        return not_utf8(name, number)
    if value is _INVALID:
        return unreadable(name, number, "it is not valid JSON")
    if text.suspect and not is_text(value):
        return unreadable(name, number, f"it holds {HALF_CHARACTER}")
    return row_of(name, number, value)


def _after_space(text: str, place: int) -> int:
    space = _SPACE.match(text, place)
    assert space is not None  # it matches nothing, too
    return space.end()


def _is_suspect(text: str) -> bool:
    """Whether it holds bytes that are not UTF-8, or escapes that may be half characters."""
    if "\\u" in text and _HALF.search(text):
        return True
    try:
        text.encode()  # ten times as fast as a search for what cannot be encoded
    except UnicodeEncodeError:
        return True
    return False


class _Text:
    """The part of the document at hand: `text` from `at` on is still to be read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.text = ""
        self.at = 0
        self.suspect = False
        self._blocks = blocks
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode

    def more(self) -> bool:
        """Drop what is read, append as much as is left or more; False if nothing is to come.

        Doubling keeps the cost of parsing a long element again and again linear in its size.
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
        """Give the objects at hand that need no second look, and go behind their commas.

        The usual case, in about 1 µs a small object; what it leaves is for `_element` to judge.
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
        """Go to the next character that is not blank and give it; empty at the end."""
        while True:
            self.at = _after_space(self.text, self.at)
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def skip(self) -> bool:
        """Go to the end of the element, keeping nothing of it; False if it does not end."""
        scan = _Scan()
        while (end := scan.end(self.text, self.at)) < 0:
            self.at = len(self.text)
            if not self.more():
                return False
        self.at = end
        return True


class _Scan:
    """Finds the comma or bracket that ends an element, by its quotes and brackets alone."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escape = False  # the text before ended with a backslash

    def end(self, text: str, place: int) -> int:
        """Find the end's position in `text` from `place` on, or -1: it is still to come."""
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
