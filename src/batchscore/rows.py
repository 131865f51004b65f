"""The nouns that flow from file to record.

It imports nothing of ours but the error codes, so that every stage can speak of them
without knowing another stage. None is changed once it is made; those of every row or
request are not frozen all the same, for that makes making them take four times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

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


@dataclass(slots=True)
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


@dataclass(slots=True)
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


@dataclass(slots=True)
class Settled:
    """A row with its one result: what a record is made of.

    `id` is the text of the `--id` column, `kept` the `--keep` columns by name; `truncated`: only the
    beginning of its text was asked, since the whole is longer than the model takes.
    """

    file: str
    row: int
    result: Score | RowError
    id: str | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)
    truncated: bool = False


@dataclass(slots=True)
class Prompt:
    """What one row asks: `body` is the JSON that goes into the request, a text or chat messages.

    `truncated`: it is only the beginning of the row's text.
    """

    file: str
    row: int
    body: bytes
    id: str | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)
    truncated: bool = False


@dataclass(slots=True)
class Reply:
    """What came back over the wire: `headers` ignore case, `seconds` is the round trip."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


@dataclass(slots=True)
class Attempt:
    """Event: one request was sent and ended, well or not.

    `status` is `None` where no reply came; `cause` names why it was not kept (`""` where it was).
    Token counts are the service's own, 0 where it said none. `asked` are the rows' prompts,
    `deployment` is the name of the one that was asked.
    """

    rows: int
    status: int | None
    seconds: float
    cause: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    asked: Sequence[Prompt] = ()
    deployment: str = ""


@dataclass(slots=True)
class RowsSettled:
    """Event: rows got their records. `errors` counts them by code, `finish_reasons` by reason."""

    ok: int
    errors: Mapping[ErrorCode, int] = field(default_factory=dict)
    finish_reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expected:
    """Event: what a run has before it, all its files together, rows of earlier runs among them.

    `prompt_tokens` and `requests` are estimates; so is `rows`, unless it is `exact`. `prompt_bytes` are those
    of the prompts' JSON, 0 where they are not known.
    """

    rows: int
    prompt_tokens: int
    requests: int
    exact: bool
    prompt_bytes: int = 0


@dataclass(frozen=True, slots=True)
class FileOpened:
    """Event: an input file is read from now on; `known` of its rows have their records from earlier runs."""

    file: str
    known: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How one deployment stands at a moment.

    `state` is `up`, `down` (probed now and then) or `stopped`; `in_flight` requests are under way, `waiting`
    workers wait for their turn and `backing_off` before another attempt. `rpm` and `tpm` are the limits that
    are kept to now, a minute; `None` where none is known. `paused_seconds` are left of a pause that the
    service asked for; `for_quota`: within the last second a request waited for the quota. `last_failure` is
    the code of the latest failure of a deployment that is not up, `failing_seconds` how long it has failed
    and `probe_seconds` when it is asked again.
    """

    deployment: str
    state: str
    in_flight: int
    waiting: int
    backing_off: int
    rpm: float | None
    tpm: float | None
    paused_seconds: float
    for_quota: bool
    last_failure: str = ""
    failing_seconds: float = 0.0
    probe_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Pulse:
    """Event, once a second while a run asks: how its deployments stand.

    `unwritten`: parts that wait to be written; while there are any, no more may be asked. `oldest_seconds`:
    how long the oldest request in flight is under way. `stopping`: nothing more is asked.
    """

    deployments: tuple[Standing, ...]
    unwritten: int = 0
    oldest_seconds: float = 0.0
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class FileFinished:
    """Event: an input file is through, or as far as the run came.

    `state` is `complete`, `partial`, `unreadable`, or `not_started` where the run stopped before. `known`
    of its `rows` had their records from an earlier run. `complete`: the file was read to its end, so
    `rows` are all that it holds; those without a record were read and not answered. `attempts` are the
    requests that held rows of it, tokens those that were billed, and kept in records, in all runs.
    """

    file: str
    state: str
    rows: int
    ok: int
    errors: int
    empty: int
    known: int = 0
    problem: str = ""
    complete: bool = True
    attempts: int = 0
    tokens_billed: int = 0
    tokens_kept: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """Event: something that a person should know while it happens. Quotes no cell."""

    text: str


Event: TypeAlias = "Attempt | RowsSettled | Expected | FileOpened | Pulse | FileFinished | Notice"

#: Whoever wants to know what happens gives such a callable; it must be quick and must not raise.
Listen: TypeAlias = Callable[[Event], None]
