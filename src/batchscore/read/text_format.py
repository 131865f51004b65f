"""Which format has a text whose name does not say it, as standard input?

It opens the text with the readers of the formats and looks at the first rows. In doubt a text is a table or
JSON: what these cannot be is refused with a message, and bare texts would be paid for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice
from statistics import mode

import orjson

from batchscore.errors import UnreadableFile, setting_name
from batchscore.read.delimited import delimited_table
from batchscore.read.dialect import DELIMITERS, SAMPLE, begin
from batchscore.read.header import look_like_names
from batchscore.read.input_file import AUTO, InputFile, ReadOptions
from batchscore.read.json_rows import BETWEEN, DECODER, PEEKED_BYTES
from batchscore.read.lines import ARRAY
from batchscore.read.stream import beginning, text_blocks, with_encoding
from batchscore.rows import TEXT_COLUMN, Row

#: Rows of a table, and lines of other texts, that are looked at.
_ROWS, _LINES = 100, 20

#: Line ends of all formats; a string of JSON may hold what else Python takes for one.
_LINE_END = re.compile(r"[\r\n]+")

#: Characters that show whether a text begins as an array.
_START = 4096

#: A value may be cut this many characters before the end of the sample, a string anywhere.
_CUT = 16


def suffix_of_text(file: InputFile, named: Collection[str], options: ReadOptions) -> str:
    """Return the suffix of a text by its content; `named` are the columns that the settings name.

    Raises `UnreadableFile` if it is not text, or if it is not clear whether it has a header.
    """
    file = with_encoding(replace(file, suffix=".txt"), options)
    with text_blocks(file) as blocks:
        sample, whole = beginning(blocks, PEEKED_BYTES)
    text = sample.decode(errors="replace").lstrip()
    lines = list(filter(None, map(str.strip, _LINE_END.split(text))))
    if not whole and len(lines) > 1:
        lines.pop()
    if not lines:
        return ".csv"  # has no rows, whichever columns the settings name
    return _json_suffix(text, lines[:_LINES], whole=whole) or _table_suffix(file, lines, named, options)


def _json_suffix(text: str, lines: list[str], *, whole: bool) -> str:
    """Return the suffix of JSON, empty for other texts."""
    objects = sum(map(_is_object, lines))
    if text.startswith("{"):
        if _is_object(lines[0]):
            return ".jsonl" if len(lines[0]) < SAMPLE else ".json"  # which is read in the same way
        return ".jsonl" if objects and _is_broken(text, whole=whole) else ".json"
    is_array = ARRAY.match(text[:_START].encode()) is not None or (
        text.startswith("[") and _is_json(lines[0])
    )
    if is_array and not (objects and _is_json(lines[0])):
        return ".json"
    return ".jsonl" if objects and objects * 2 >= len(lines) else ".json" if is_array else ""


def _is_object(line: str) -> bool:
    try:
        return isinstance(orjson.loads(line.strip(BETWEEN)), dict)
    except ValueError:
        return False


def _is_json(line: str) -> bool:
    try:
        orjson.loads(line)
    except ValueError:
        return False
    return True


def _is_broken(text: str, *, whole: bool) -> bool:
    """Whether the JSON with which a text begins has a mistake, and is not only cut off."""
    try:
        DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        is_cut = error.msg.startswith("Unterminated string") or error.pos >= len(text.rstrip()) - _CUT
        return whole or not is_cut
    except (ValueError, RecursionError):
        pass
    return False


def _table_suffix(file: InputFile, lines: list[str], named: Collection[str], options: ReadOptions) -> str:
    """Return the suffix of a table if the text is one, else of bare texts."""
    if options.delimiter != AUTO:
        return ".csv"
    own = "\t" if lines and "\t" in lines[0] else ","
    suffix = ".tsv" if own == "\t" else ".csv"
    try:
        own = begin(file, options, own)[0].delimiter
        suffix = ".tsv" if own == "\t" else ".csv"
        table = delimited_table(file, options, delimiter=own)
    except UnreadableFile:
        return suffix if _are_alike(lines) else ".txt"
    good = rows = 0
    with closing(table.rows), suppress(UnreadableFile):  # type: ignore[type-var]
        for row in islice(table.rows, _ROWS):
            good, rows = good + isinstance(row, Row), rows + 1
    names = {name.strip() for name in table.columns}
    if (named and names.issuperset(named)) or table.columns == (TEXT_COLUMN,):
        return suffix
    if len(table.columns) < 2:
        if not named and table.columns and look_like_names(table.columns) and len(table.columns[0]) > 2:
            csv, txt = (setting_name("stdin_format", each) for each in ("csv", "txt"))
            choice = f"if it is, give {csv}, and if it is a text, {txt}"
            raise UnreadableFile(file.name, f"its first line may be the header of a column: {choice}")
        return suffix if _are_alike(lines[1:]) else ".txt"
    return suffix if good * 2 > rows or look_like_names(table.columns) else ".txt"


def _are_alike(lines: list[str]) -> bool:
    """Whether nearly all of several lines have the same delimiters: the text is a damaged table."""
    if len(lines) < 2:
        return False
    counts = ([line.count(delimiter) for line in lines] for delimiter in DELIMITERS)
    return any((usual := mode(each)) > 0 and each.count(usual) * 5 >= len(each) * 4 for each in counts)
