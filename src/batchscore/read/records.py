"""Which rows does one JSON object hold: itself, its columns, or records that one of its members holds?

It knows JSON values, not files. Members are records only if there is no doubt: a service's answer that wraps
a list must not be scored as a row, and neither must a list that belongs to a row. In doubt it asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from batchscore.errors import setting_name

#: Names under which programs and services put lists of records.
_WRAPPERS = {
    *("data", "records", "rows", "items", "results", "result", "documents", "docs", "entries", "examples"),
    *("values", "value", "instances", "hits", "list", "elements", "objects", "samples", "collection"),
    *("content", "response", "body", "payload"),
}

#: Names of a table's list of column names, and of its list of rows.
_HEADERS = ("columns", "header", "headers", "fields", "names", "column_names")
_DEEPEST = 3

#: The column of the keys of a map of records.
KEY_COLUMN = "key"

#: A message's member that only conversations have.
_ROLE = "role"


class AmbiguousObjectError(ValueError):
    """It is not clear where the records are; the message says what to do, and quotes only names."""


@dataclass(frozen=True, slots=True)
class Records:
    """The rows, objects or texts, and how they were found: `note` is empty if that needs no mention.

    `key` is the column of a map's keys, which are no texts.
    """

    rows: list[Any]
    note: str = ""
    key: str | None = None


def records_of(value: dict[str, Any], wanted: str | None) -> Records:
    """Return the rows of an object; `wanted` names the member that holds them, "." is the object itself.

    Raises `AmbiguousObjectError`.
    """
    if wanted == ".":
        return Records([value])
    if wanted is not None:
        return _named(value, wanted)
    if not value or is_chat(value):
        return Records([value] if value else [])
    found = _table(value) or _columns(value) or _map(value)
    return found if found is not None else _wrapped(value)


def _named(value: dict[str, Any], wanted: str) -> Records:
    at: Any = value
    path: list[str] = []
    for name in [wanted] if wanted in value else wanted.split("."):
        if not isinstance(at, dict) or name not in at:
            members = [*(at if isinstance(at, dict) else ())][:20]
            has = ", ".join(".".join([*path, str(each)])[-80:] for each in members)
            raise AmbiguousObjectError(
                f"it has no {wanted[:80]!r} ({setting_name('records')}){f'; it has {has}' if has else ''}"
            )
        at = at[name]
        path.append(name)
    note = f"records in {wanted!r}"
    if isinstance(at, dict):
        inner = _table(at) or _columns(at) or _map(at)
        return Records([at], note) if inner is None else Records(inner.rows, note, inner.key)
    if not isinstance(at, list):
        raise AmbiguousObjectError(
            f"its {wanted[:80]!r} ({setting_name('records')}) is not a list of records"
        )
    return Records(at, note)


def _table(value: Mapping[str, Any]) -> Records | None:
    """Return the rows of a list of names and a list of lists, as pandas writes with `orient="split"`."""
    schema = value.get("schema")
    names: Any = next((value[name] for name in _HEADERS if isinstance(value.get(name), list)), None)
    if names is None and isinstance(schema, dict):
        names = next((schema[name] for name in _HEADERS if isinstance(schema.get(name), list)), None)
    columns = [each.get("name") if isinstance(each, dict) else each for each in names or ()]
    if not columns or not all(isinstance(each, (str, int)) for each in columns):
        return None
    for name, rows in value.items():
        if rows is names or not isinstance(rows, list) or name in _HEADERS:
            continue
        if rows and all(isinstance(row, list) and len(row) == len(columns) for row in rows):
            keys = [str(each) for each in columns]
            return Records([dict(zip(keys, row, strict=True)) for row in rows], f"a table in {name!r}")
        if schema is not None and rows and all(isinstance(row, dict) for row in rows):
            return Records(rows, f"records in {name!r}")
        if not rows and name in _WRAPPERS:
            return Records([], f"a table in {name!r}")
    return None


def _columns(value: Mapping[str, Any]) -> Records | None:
    """Return the rows of an object of columns: lists of the same length."""
    cells = [*value.values()]
    if not all(isinstance(cell, list) for cell in cells):
        return None
    filled = [cell for cell in cells if cell]
    if filled and all(_is_records(cell) for cell in filled):
        return None
    if len({len(cell) for cell in cells}) > 1:
        if any(_is_records(cell) or name in _WRAPPERS for name, cell in value.items()):
            return None
        lengths = ", ".join(f"{name[:40]!r}: {len(cell)}" for name, cell in [*value.items()][:5])
        raise AmbiguousObjectError(
            f"its columns differ in length ({lengths}): give each a value for every row; "
            "if the object is one row, write it in brackets, as an array of one"
        )
    return Records([dict(zip(value, row, strict=True)) for row in zip(*cells, strict=True)])


def _map(value: Mapping[str, Any]) -> Records | None:
    """Return the rows of an object of objects: columns or rows by their keys, as pandas writes a DataFrame.

    With `orient="index"`, where the outer keys are numbers and the inner ones are not, each object is a row.
    """
    cells = [*value.values()]
    if not all(isinstance(cell, dict) for cell in cells):
        return None
    keys = cells[0].keys()
    same = all(cell.keys() == keys for cell in cells)
    if same and all(map(str.isdecimal, keys)):
        return _by_column(value)
    if same and all(map(str.isdecimal, value)):
        return Records(cells)
    if len(cells) == 1 or not set(keys).intersection(*cells):
        return None
    columns = [[cell[key] for cell in cells] for key in keys] if same else []
    if same and _is_uniform(cells) and not _is_uniform([dict(enumerate(column)) for column in columns]):
        return _by_column(value)
    key = None if any(KEY_COLUMN in cell for cell in cells) else KEY_COLUMN
    rows = cells if key is None else [{key: name, **cell} for name, cell in value.items()]
    said = "" if key is None else f", whose keys are the column {key!r}"
    return Records(rows, f"an object of records{said}", key)


def _by_column(value: Mapping[str, Any]) -> Records:
    keys = [*next(iter(value.values()))]
    return Records([{column: cell[key] for column, cell in value.items()} for key in keys])


def _is_uniform(cells: list[dict[Any, Any]]) -> bool:
    """Whether the values within each object have one type."""
    return all(len({type(item) for item in cell.values() if item is not None}) <= 1 for cell in cells)


def _wrapped(value: dict[str, Any]) -> Records:
    """Return the records of the only list of objects within, or the object itself if it has none."""
    lists = [*_lists(value, "", _DEEPEST)]
    shallow = min((path.count(".") for path, _ in lists), default=0)
    # A list within is what its wrapper is about; several on one level are several things.
    known = [(path, rows) for path, rows in lists if path.rpartition(".")[2] in _WRAPPERS]
    known = [each for each in known if each[0].count(".") == min(path.count(".") for path, _ in known)]
    filled = [each for each in known if each[1]] or known
    if len(filled) == 1:
        path, rows = filled[0]
        if rows and all(isinstance(row, list) for row in rows):
            raise AmbiguousObjectError(f"the rows in its {path[:80]!r} have no names of columns")
        return Records(rows, f"records in {path!r}")
    tables = [(path, rows) for path, rows in lists if _is_records(rows)]
    only = [path for path, _ in tables if path.count(".") == shallow]
    if len(value) == len(only) == len(tables) == 1:
        return Records(tables[0][1], f"records in {only[0]!r}")
    members = [(name, member) for name, member in value.items() if isinstance(member, list)]
    if (
        not tables
        and not filled
        and _letters([each for _, each in members if len(each) > 1]) > (_letters(value, lists=False))
    ):
        filled = members
    if tables or filled:
        paths = ", ".join(path[:80] for path, _ in (tables or filled)[:5])
        raise AmbiguousObjectError(
            f"it is one object with lists of records: name the list with {setting_name('records')} ({paths}) "
            f"or give {setting_name('records', '.')} if the object itself is the row"
        )
    return Records([value])


def _lists(value: Mapping[str, Any], before: str, depth: int) -> Iterator[tuple[str, list[Any]]]:
    """Give the lists within that may be records, with their paths."""
    for name, member in value.items():
        path = f"{before}{name}"
        inner = None
        if isinstance(member, dict) and name in _WRAPPERS:
            inner = _table(member) or _columns(member) or _map(member)
        if inner is not None and inner.rows:
            yield path, inner.rows
        elif isinstance(member, dict) and depth and not is_chat(member):
            yield from _lists(member, f"{path}.", depth - 1)
        elif isinstance(member, list) and (_is_records(member) or (name in _WRAPPERS and _is_plain(member))):
            yield path, member


def _letters(value: Any, *, lists: bool = True) -> int:
    """Return the length of all texts within, or of those that are not in lists."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_letters(item, lists=lists) for item in value.values())
    return sum(map(_letters, value)) if isinstance(value, list) and lists else 0


def _is_records(rows: Any) -> bool:
    """Whether a value is a list of objects, and no conversation."""
    return any(rows) and all(row is None or (isinstance(row, dict) and _ROLE not in row) for row in rows)


def _is_plain(rows: list[Any]) -> bool:
    return all(isinstance(row, (str, list, dict)) for row in rows)


def is_chat(value: Mapping[str, Any]) -> bool:
    """Whether the object is one chat request: its `messages` are a list, but not a column."""
    messages = value.get("messages", ())
    return (
        isinstance(messages, list)
        and len(messages) > 0
        and all(isinstance(message, dict) and _ROLE in message for message in messages)
    )
