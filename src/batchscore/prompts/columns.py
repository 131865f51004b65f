"""Which column does a name mean, and which one holds the text if none is named?

It knows a table's columns and its first rows. A column is taken by itself only if there is no doubt: an id or
an empty column costs as much as a text.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from typing import Any

from batchscore.errors import InputError, UnreadableFile, count_text, setting_name
from batchscore.prompts.cells import is_blank
from batchscore.prompts.messages import as_value, conversation_of
from batchscore.rows import TEXT_COLUMN, Row, Table
from batchscore.settings.secrets import mask_text
from batchscore.task import TASKS, Task

#: Rows from which a column is chosen.
SAMPLE_ROWS = 100

#: The columns of a file of requests for OpenAI's Batch API; the row's own are in `body`.
BATCH_COLUMNS = frozenset({"custom_id", "url", "body"})

_ID_NAME = re.compile(r"(?i)(.*[^a-z])?(ids?|key|uuid|guid|index|hash|sha(1|256)?|md5|checksum|url|uri)")
_CAMEL_ID = re.compile(r".*[a-z](Id|ID|Key|Uuid|UUID)")
_ID_CELL = re.compile(r"[0-9][0-9 ./:_-]*|[0-9a-fA-F-]{16,}|[A-Za-z]{1,5}[-_#:]?[0-9]+")
_TEXT_NAME = re.compile(
    r"(?i)(text|content|body|title|prompt|input|question|message|comment|review|description|abstract|summary|"
    "sentence|passage|document|query|note|name|answer|said)"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The column that holds the text, and why it was taken; `why` is empty if the user named it.

    `hidden`: no message quotes its name.
    """

    column: str
    why: str = ""
    hidden: bool = False


def named_row(values: Mapping[str, Any], names: Mapping[str, str]) -> Mapping[str, Any]:
    """Return a row in which each name also finds the column or the inner value that it means."""
    found = dict(values)
    for name, path in names.items():
        try:
            found[name] = inner_value(values, path)
        except KeyError:
            found.pop(name, None)
    return found


def inner_value(values: Mapping[str, Any], path: str) -> Any:
    """Return a cell, or with dots a value within one; raises `KeyError`."""
    if path in values:
        return values[path]
    head, dot, rest = path.partition(".")
    while dot:
        inner = values.get(head)
        if isinstance(inner, Mapping):
            return inner_value(inner, rest)
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    raise KeyError(path)


def resolve(table: Table, wanted: Sequence[tuple[str, str]], rows: Iterable[Any]) -> dict[str, str]:
    """Return what each name means in this table, if not a column of exactly that name.

    `wanted` are names and the settings that have them. If rows may have more columns than the first ones, a
    name that these lack is searched in all `rows`. Raises `InputError` for a name that means nothing.
    """
    known = [name for name, _ in wanted]
    for name, setting in wanted:
        if name in table.repeated:
            numbered = [own for own in table.columns if re.fullmatch(rf"{re.escape(name)}_[0-9]+", own)]
            raise InputError(
                f"several columns have the name {shorten_name(name)!r} ({setting_name(setting)}). Name each "
                f"differently, or choose a later one by its number: {shorten_names(numbered)}."
            )
    found = {name: path for name in known if (path := path_of(table, name)) is not None}
    late = {name for name in known if name not in found}
    if late and table.varies:
        for row in rows:
            if isinstance(row, Row):
                late = {name for name in late if not _has(row.values, name)}
                if not late:
                    break
        found |= {name: name for name in known if name not in found and name not in late}
    for name, setting in wanted:
        if name in late:
            raise _no_column(table, name, setting)
    return {name: path for name, path in found.items() if name != path or "." in name}


def _has(values: Mapping[str, Any], name: str) -> bool:
    try:
        inner_value(values, name)
    except KeyError:
        return False
    return True


def path_of(table: Table, name: str) -> str | None:
    """Return the column, or the way to a value within a cell, that a name means; `None` if it means none."""
    if name in table.columns:
        return name
    alike = [own for own in table.columns if _plain(own) == _plain(name)]
    if len(alike) == 1:
        return alike[0]
    heads = [name[: dot.start()] for dot in re.finditer(r"\.", name)]
    inner = [head for head in heads if head in table.columns and head not in table.text_columns]
    return name if inner and not table.varies else None


def column_of(table: Table, path: str) -> str:
    """Return the column that holds what a path means."""
    heads = (path[: dot.start()] for dot in re.finditer(r"\.", path))
    return path if path in table.columns else next((each for each in heads if each in table.columns), path)


def _plain(name: str) -> str:
    """Return a name in one form: letters with marks may be written in two ways, which look the same."""
    return unicodedata.normalize("NFC", name).strip()


def _no_column(table: Table, name: str, setting: str) -> InputError:
    lower = {own.lower(): own for own in reversed(table.columns)}
    near = [lower[each] for each in difflib.get_close_matches(name.lower(), lower)]
    nearest = [*near, *(own for own in table.columns if own not in near)]
    meant = f" Is it {near[0]!r}?" if near else ""
    doubt = f" {table.doubt}." if table.doubt else ""
    read = next((note for note in table.notes if note.startswith("sheet ")), "")
    sheet = f" It is read from {read}: {setting_name('sheet')} names another." if read else ""
    return InputError(
        f"no column {name!r} ({setting_name(setting)}); {_columns_text(table, nearest)}.{meant}{doubt}{sheet}"
    )


def first_rows(table: Table, *, whole: bool) -> tuple[list[Mapping[str, Any]], Iterator[Any]]:
    """Return the values of the first rows, and all rows.

    Raises `UnreadableFile` if the file breaks off among them, and it must be `whole`.
    """
    first: list[Any] = []
    try:
        first.extend(islice(table.rows, SAMPLE_ROWS))
    except UnreadableFile:
        if whole:
            raise
    return [row.values for row in first if isinstance(row, Row)], chain(first, table.rows)


def ready_column(table: Table, task: Task, sample: Sequence[Mapping[str, Any]]) -> Choice | None:
    """Return the column that the task's own requests would have, if its cells fit; raises `InputError`."""
    if table.headerless:
        return None
    names = dict.fromkeys((task.input_key, *task.conversation_keys))
    name = next((name for name in names if name in table.columns), task.input_key)
    if set(table.columns) >= BATCH_COLUMNS:
        path = f"body.{task.input_key}"
        urls = sorted({str(values.get("url"))[:40] for values in sample})
        paths = [f"/{other.path}" for other in TASKS.values() if other.input_key == task.input_key]
        is_other = any(url.endswith(tuple(paths)) and not url.endswith(f"/{task.path}") for url in urls)
        if is_other or not any(_has(values, path) for values in sample):
            raise InputError(
                f"it is a file of batch requests for {', '.join(urls[:3])}, not for {task.name}: "
                f"choose the {setting_name('task')} that they are for."
            )
        return Choice(path, "a file of batch requests, of which nothing else is used")
    if name not in table.columns:
        return None
    cells = [values.get(name) for values in sample]
    others = [each for each in table.text_columns if each != name]
    if others and _mostly_empty(cells):
        return None
    if name in task.conversation_keys and not holds_conversations(cells, task):
        takes_text = bool(task.system_key)
        if any(isinstance(cell if takes_text else as_value(cell), list) for cell in cells):
            raise InputError(
                f"its column {name!r} holds lists that are not conversations: each message needs a role and "
                "a content, as in the API."
            )
        if takes_text and name == task.input_key:
            return Choice(name, f"the column of this name is sent for {task.name}")
        if takes_text:
            return None
        raise InputError(
            f"its column {name!r} holds plain text, not conversations. Name the column to send with "
            f"{setting_name('column')}."
        )
    return Choice(name, f"the column of this name is sent for {task.name}")


def only_text_column(table: Table, sample: Sequence[Mapping[str, Any]]) -> Choice:
    """Return the only column that holds text; raises `InputError` if there are none, several or doubts."""
    if table.headerless:
        return Choice(TEXT_COLUMN)
    column, prompt = setting_name("column"), setting_name("prompt")
    if not table.text_columns:
        raise InputError(
            f"no column holds text; {_columns_text(table, table.columns)}. Name one with {column}."
        )
    doubt = f" {table.doubt}." if table.doubt else ""
    texts = [name for name in table.text_columns if not _is_id_column(name, sample)]
    if len(table.text_columns) == 2 and len(texts) == 1 and not (doubt or table.hidden):
        other = next(name for name in table.text_columns if name not in texts)
        return Choice(texts[0], f"the only column of text besides the id {shorten_name(other)!r}")
    if len(table.text_columns) > 1:
        named = _columns_text(table, table.columns) if table.hidden else shorten_names(table.text_columns)
        raise InputError(
            f"several columns hold text{'; ' if table.hidden else ': '}{named}. "
            f"Choose one with {column}, or combine them with {prompt}.{doubt}"
        )
    if doubt:
        raise InputError(f"{doubt.strip()} Otherwise name the column with {column}.")
    only = table.text_columns[0]
    cells = [values.get(only) for values in sample]
    if len(table.columns) > 1:
        looks = "an id" if is_id(only, cells) else "mostly empty" if _mostly_empty(cells) else ""
        if looks:
            named = "" if only in table.hidden else f", {shorten_name(only)!r},"
            raise InputError(
                f"its only column of text{named} is {looks}; {_columns_text(table, table.columns)}. "
                f"Name the one to send with {column}."
            )
    why = "the only column of text"
    hidden = only in table.hidden
    return Choice(only, f"{why}, named by the first line" if hidden else why, hidden)


def holds_conversations(cells: Sequence[Any], task: Task) -> bool:
    """Whether a column has conversations, as far as its first cells show; no cell says nothing against it."""
    filled = [cell for cell in cells if not is_blank(cell)]
    return not filled or any(conversation_of(cell, task) is not None for cell in filled)


def _is_id_column(name: str, sample: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a column is named as ids are, and has no cell that is a text of several words."""
    cells = [values.get(name) for values in sample]
    named = bool(_ID_NAME.fullmatch(name) or _CAMEL_ID.fullmatch(name))
    return named and not any(isinstance(cell, str) and len(cell.split()) > 1 for cell in cells)


def is_id(name: str, cells: Sequence[Any]) -> bool:
    """Whether a column is one of ids, by its name or by its cells."""
    if _ID_NAME.fullmatch(name) or _CAMEL_ID.fullmatch(name):
        return True
    filled = [cell for cell in cells if isinstance(cell, str) and cell]
    return (
        not _TEXT_NAME.search(name)
        and len(filled) > 1
        and len(set(filled)) == len(filled)
        and all(map(_ID_CELL.fullmatch, filled))
    )


def _mostly_empty(cells: Sequence[Any]) -> bool:
    return len(cells) > 2 and sum(map(is_blank, cells)) * 2 > len(cells)


def _columns_text(table: Table, names: Sequence[str]) -> str:
    """Return which columns a file has; how many, if their names may be the cells of a row."""
    if table.hidden:
        # The doubt says what to do, too.
        choose = f": give a name as in that line, or {setting_name('no_header', True)} if it is a row"
        names_of = f"its first line names {count_text(len(names), 'column')}"
        sure = [name for name in names if name not in table.hidden]
        if sure:
            names_of += f": {shorten_names(sure)}, and {len(names) - len(sure):,} more"
        return f"{names_of}, not shown because they may be cells of a row{'' if table.doubt else choose}"
    return f"its columns are {shorten_names(names)}"


def shorten_names(names: Sequence[str], most: int = 20) -> str:
    """Return column names for a message; cut if there are many, or if one is as long as a cell."""
    shown = ", ".join(shorten_name(name) for name in names[:most]) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


@lru_cache(maxsize=1024)
def shorten_name(name: str, most: int = 40) -> str:
    """Return a column's name without secrets and control characters, cut to a usual length.

    It is quoted if it is empty or has spaces at an end.
    """
    name = mask_text(name[:1000])
    printable = "".join(char if char.isprintable() else "\ufffd" for char in name[: most + 1])
    shown = printable if len(printable) <= most else printable[: most - 1] + "\u2026"
    return shown if shown and shown == shown.strip() else repr(shown)
