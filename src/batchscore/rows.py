"""The nouns that flow from file to record.

It imports nothing of ours but the error codes, so that every stage can speak of them
without knowing another stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchscore.errors import ErrorCode

#: The column of a row that has no columns of its own: a line of text, a JSON string.
TEXT_COLUMN = "text"


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a row has no score.

    `message` is ours, for a person: it never quotes the input, nor the provider where that may
    quote it. `status` is the HTTP status of the last attempt, `attempts` the requests sent.
    """

    code: ErrorCode
    message: str
    status: int | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One row as read: `number` is its zero-based position in `file`.

    `file` is the path below the input root, with `/`. `values` are the cells by column: text from
    csv, tsv and txt, JSON and Arrow values otherwise, `None` for null.
    """

    file: str
    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that stands in the file but cannot be read."""

    file: str
    number: int
    error: RowError


@dataclass(frozen=True, slots=True)
class Table:
    """One open file: what it holds, and its rows, once, in order.

    `columns` are the names in file order (of a JSON file: those of its first rows; empty where
    there is no row); `text_columns` those that hold text. `headerless`: rows are bare texts under
    `TEXT_COLUMN`. Iterating `rows` may raise `UnreadableFile` where the file breaks off; rows
    given before that stand.
    """

    columns: tuple[str, ...]
    text_columns: tuple[str, ...]
    headerless: bool
    rows: Iterator[Row | UnreadableRow]


@dataclass(frozen=True, slots=True)
class Score:
    """A model's answer to one row.

    `value` is a `(d,)` float32 array for embeddings, otherwise the text (`None` where the model gave
    none), or a list of texts where more than one answer a row was asked for; `finish_reason` likewise
    (`None` for embeddings). `usage` holds token counts as the service named them, `raw` the whole
    reply, both only on request.
    """

    value: Any
    finish_reason: str | list[str | None] | None = None
    usage: Mapping[str, Any] | None = None
    raw: Any = None


@dataclass(frozen=True, slots=True)
class Settled:
    """A row with its one result: what a record is made of.

    `id` is the text of the `--id` column, `kept` the `--keep` columns by name.
    """

    file: str
    row: int
    result: Score | RowError
    id: str | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)
