"""Are the first cells of a table the names of its columns, or a row?"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from batchscore.errors import setting_name

#: Headers that are remembered: the files of a folder often have the same.
_HEADERS = 64

_LONGEST = 60
_E_MAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_NUMBER = re.compile(r"[-+]?[0-9][0-9.,:/-]*")

#: The form of a column's name, and words of which such names are made and texts are not.
_NAME = re.compile(r"[^\W\d][\w .\-/()#%:]{0,39}")
_NO_LETTER = re.compile(r"[\W_]+")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_WORD = re.compile(
    "id|ids|key|uuid|guid|index|idx|no|nr|num|number|row|rank|text|content|body|title|"
    "subject|prompt|input|output|question|answer|message|messages|comment|comments|review|reviews|"
    "description|abstract|summary|sentence|passage|document|doc|query|note|notes|name|names|"
    "label|labels|category|class|type|kind|topic|tag|tags|language|lang|locale|date|day|month|"
    "year|time|timestamp|created|updated|url|uri|link|source|author|user|username|customer|"
    "product|item|order|sku|price|amount|total|count|score|rating|stars|status|state|country|"
    "city|address|email|phone|group|target|value|values|first|last|column|field|remark|remarks|"
    "said|split",
    re.IGNORECASE,
)

#: What divides a header from the rows, as sqlcmd and Markdown write it.
_DASHES = re.compile(r"\s*:?-+:?\s*")

#: Signs of names, which divide no cells, and those that programs put between cells.
_OF_NAMES = frozenset(" _.-()[]{}'\"\\?!*$%@+\r\n\udc00")
_OFTEN = frozenset(",;\t|")

#: So short cells say nothing.
_SHORT = 2

#: A line without quotes, which `csv` divides at each delimiter.
_PLAIN_LINE = re.compile(rb"[\t -!#-~]+")


@lru_cache(_HEADERS)
def header_doubt(columns: tuple[str, ...]) -> str:
    """Return why a first line is more likely a row than the header, and what to do; else nothing."""
    names = list(columns)
    # A title above the table is one cell, and Excel pads it with empty ones.
    padded = len(names) > 2 and list(unnamed(len(names)))[1:] == names[1:]
    text = len(names) == 1 and len(names[0].split()) > 1
    if padded or text or any(_is_cell(name) for name in names):
        return (
            f"Its first line looks like a row, not like a header: if it is a row, give "
            f"{setting_name('no_header', True)}, and the columns are {', '.join(unnamed(min(len(names), 3)))}"
            f"{'…' if len(names) > 3 else ''}; if the header comes later, give {setting_name('skip_lines')} "
            "and the number of lines before it"
        )
    return ""


def divider_of(records: Sequence[Sequence[str]]) -> str:
    """Return the sign that divides the only cell of each record into as many parts, empty if none does."""
    if len(records) < 2 or any(len(cells) != 1 for cells in records):
        return ""
    head, *rows = [cells[0] for cells in records]
    for sign in dict.fromkeys(head):
        if sign.isalnum() or sign in _OF_NAMES:
            continue
        parts = _parts(head, sign)
        if (
            len(parts) > 1
            and all(map(str.strip, parts))
            and all(len(_parts(row, sign)) == len(parts) for row in rows)
        ):
            return sign
    return ""


def _parts(text: str, sign: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=sign), [])
    except (csv.Error, TypeError, ValueError):  # not every sign can be a delimiter
        return []


def divider_doubt(sign: str) -> str:
    """Return why a column that this sign divides may be several, and what to do; empty without a sign."""
    if not sign:
        return ""
    if sign in _OFTEN:
        return (
            "Each of its lines is one quoted cell that seems to hold several: divide them in a spreadsheet "
            "program (text to columns), and save the file as csv again"
        )
    named = setting_name("delimiter", sign)
    if not sign.isprintable():
        named = f"{setting_name('delimiter')} $'\\x{ord(sign):02x}' in bash"
    return f"Each of its lines has {sign!r}, which may divide cells: if it does, give {named}"


@dataclass(slots=True)
class HeaderLines:
    """Finds lines among the rows that belong to a header; `below`: the number of a row directly below one.

    A row of a single column is never one: a text may well be the column's name, or dashes.
    """

    cells: Sequence[Any] = ()
    below: int = -1

    def problem(self, number: int, cells: Sequence[Any]) -> str:
        """Return why these cells are no row, as `unreadable_row` takes it; nothing for a row."""
        head = self.cells
        if len(head) < 2 or (cells[-1] != head[-1] and number != self.below):
            return ""
        first = cells[0].removeprefix("\ufeff") if isinstance(cells[0], str) else cells[0]
        if [first, *cells[1:]] == head:
            self.below = number + 1
            return "it repeats the header, as in files that were put together: remove it"
        # Markdown has delimiters at both ends.
        inner = cells[1:-1] if head[0] == head[-1] == cells[0] == cells[-1] == "" else cells
        dashes = number == self.below and all(_DASHES.fullmatch(str(cell)) for cell in inner)
        if dashes and any("--" in str(cell) for cell in inner):
            return "it is a line of dashes below the header: remove it"
        return ""


def look_like_names(columns: Iterable[str]) -> bool:
    """Whether a first line surely is a header: messages may quote its cells only then.

    All cells have the form of a name, and one of them is made of words that are usual in names.
    """
    names = list(columns)
    usual = any(_is_usual(name) for name in names) or all(len(name) <= _SHORT for name in names)
    return usual and all(_NAME.fullmatch(name) or not name for name in names)


@lru_cache(_HEADERS)
def hidden_names(given: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the names that may be cells of a row: all but usual words, if it is not a header."""
    if look_like_names(given):
        return ()
    return tuple(name for name in names if not _is_made_of_words(name))


def _is_made_of_words(name: str) -> bool:
    parts = _PART.findall(name)
    return bool(parts) and "".join(parts) == _NO_LETTER.sub("", name) and all(map(_WORD.fullmatch, parts))


def _is_usual(name: str) -> bool:
    parts = [bool(_WORD.fullmatch(part)) for part in _PART.findall(name) if not part.isdecimal()]
    # A text has spaces between its words: `customerId`, but not `Good product`.
    return all(parts) and bool(parts) if " " in name else any(parts)


def _is_cell(name: str) -> bool:
    return (
        bool(_NUMBER.fullmatch(name) or _E_MAIL.fullmatch(name))
        or len(name) > _LONGEST
        or (" " in name and name.endswith((".", "!", "?")))
    )


def unnamed(count: int) -> Iterator[str]:
    """Return the names of columns without a header."""
    return (f"column_{place}" for place in range(count))


def plain_header(content: bytes, delimiter: str) -> list[str]:
    """Return the columns if the first line is surely all of the header, as in most files; else none."""
    line = content.partition(b"\n")[0].removesuffix(b"\r")
    if not _PLAIN_LINE.fullmatch(line) or not line.strip(b" \t"):
        return []
    return [name or f"column_{place}" for place, name in enumerate(line.decode().split(delimiter))]
