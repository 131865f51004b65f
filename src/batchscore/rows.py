"""What flows from file to record, and which events does a run report?

Imports only the error codes, so that all stages share these types without knowing each other. No value is
changed after it is made. Types made per row or request are not frozen: creating them would take four times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from math import isfinite
from typing import Any, TypeAlias

import orjson

from batchscore.errors import ErrorCode

#: The column name for rows without columns: a line of text, a JSON string.
TEXT_COLUMN = "text"


def replace_surrogates(text: str) -> str:
    """Return the text with U+FFFD for each lone surrogate, which UTF-8 cannot encode; pairs are joined."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def load_json(body: bytes | memoryview) -> Any:
    """Return the JSON of a reply; raises `ValueError`.

    It reads what official clients read: UTF-16, a byte order mark, and lone surrogates, which a service sends
    if it cuts an answer within an emoji. NaN and infinity become null, and so do numbers beyond all bounds.
    """
    try:
        return orjson.loads(body)
    except ValueError:
        pass
    try:
        value = json.loads(
            bytes(body),
            parse_int=lambda digits: int(digits) if len(digits) < 309 else None,  # as of floats
            parse_float=lambda digits: number if isfinite(number := float(digits)) else None,
            parse_constant=lambda _: None,
        )
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise ValueError("too deep") from None
    return orjson.loads(replace_surrogates(text))


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a row has no score.

    `message` is ours, for people: it never quotes the input, nor a service's text that may quote it.
    `status` is the HTTP status of the last attempt, `attempts` the number of requests sent.
    """

    code: ErrorCode
    message: str
    status: int | None = None
    attempts: int = 0


@dataclass(slots=True)
class Row:
    """One row as read; `number` is its zero-based position in `file`.

    `file` is the path below the input root, with `/`. `values` are the cells by column: text from
    csv, tsv and txt, JSON or Arrow values otherwise, `None` for null.
    """

    file: str
    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row of the file that cannot be read."""

    file: str
    number: int
    error: RowError


@dataclass(slots=True)
class Table:
    """One open file: its columns, and its rows in order, to be iterated one time. `again` opens it once more.

    `columns` are the names in file order (of a JSON file: those of its first rows; empty if there are no
    rows); `text_columns` are those that hold text. `headerless`: rows are plain texts under `TEXT_COLUMN`.
    Iterating `rows` raises `UnreadableFile` if the file is truncated; rows before that are valid.
    `notes` say how the file is read if that is not plain. `varies`: rows may have more columns than
    `columns`. `repeated` are names that several columns of the file have. `doubt` says why the first line may
    not be the header, and what to do. `hidden` names may be cells of a row, so no message quotes them.
    `binary` are columns that may hold bytes, or text. `sheet_row` gives the place of a row in a spreadsheet.
    """

    columns: tuple[str, ...]
    text_columns: tuple[str, ...]
    headerless: bool
    rows: Iterator[Row | UnreadableRow]
    notes: tuple[str, ...] = ()
    varies: bool = False
    repeated: tuple[str, ...] = ()
    doubt: str = ""
    hidden: tuple[str, ...] = ()
    binary: tuple[str, ...] = ()
    sheet_row: Callable[[int], int | None] | None = None
    again: Callable[[], Table] | None = None


@dataclass(slots=True)
class Score:
    """A model's answer to one row.

    `value` is a `(d,)` float32 array for embeddings, otherwise the text (`None` if the model gave none), or a
    list of texts if several answers a row were requested; `finish_reason` likewise (`None` for embeddings).
    With a schema, values of JSON take the place of texts. `usage` holds token counts as the service
    names them, `raw` the whole reply; both are set only on request. `size` is the length of such texts, or 0.
    """

    value: Any
    finish_reason: str | list[str | None] | None = None
    usage: Mapping[str, Any] | None = None
    raw: Any = None
    size: int = field(default=0, compare=False, repr=False)


@dataclass(slots=True)
class Settled:
    """A row with its final result, from which its record is made.

    `id` is the text of the `id` column, `kept` the values of the `keep` columns by name. `truncated`: only
    the beginning of its text was sent, because all of it exceeds the model's context.
    """

    file: str
    row: int
    result: Score | RowError
    id: str | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)
    truncated: bool = False


@dataclass(slots=True)
class Prompt:
    """The prompt of one row; `body` is its JSON in the request, a text or chat messages.

    `truncated`: it holds only the beginning of the row's text. `image_bytes` of the body are images, which
    count about `image_tokens`.
    """

    file: str
    row: int
    body: bytes
    id: str | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)
    truncated: bool = False
    image_bytes: int = 0
    image_tokens: int = 0

    def settled(self, result: Score | RowError) -> Settled:
        """Return the row with its result."""
        return Settled(self.file, self.row, result, self.id, self.kept, self.truncated)


@dataclass(slots=True)
class Reply:
    """An HTTP response; `headers` ignore case, `seconds` is the round-trip time."""

    status: int
    headers: Mapping[str, str]
    received: bytes | memoryview
    seconds: float

    @property
    def body(self) -> bytes:
        """The body as bytes, which copies one that was received in place."""
        return bytes(self.received)


@dataclass(eq=False, repr=False)
class InvalidReply(Exception):  # noqa: N818 - a reason to retry, not an error of the run
    """A reply with a good status that cannot be used; the message says why, in our words.

    `code` is that of the row if no retry helps. `same_again`: the service answers in another form, so the
    same request would get the same reply. `is_error`: the body reports an error, and maybe its `status`. If
    the service is well and only the model's answer is invalid, the code is INVALID_ANSWER: `complaint` is the
    JSON of messages for the next request, and `results` are what the row gets if no answer is better.
    `lasting`: if all replies are of this form, waiting does not help, though others were before.
    """

    detail: str
    _: KW_ONLY
    code: ErrorCode = ErrorCode.INVALID_RESPONSE
    same_again: bool = True
    is_error: bool = False
    status: int | None = None
    complaint: bytes = b""
    results: Any = None
    lasting: bool = False

    @property
    def form(self) -> str:
        """The wrong form without numbers, which depend on the request; "" if the next may differ."""
        return re.sub(r"\d+", "", str(self)) if self.same_again else ""


@dataclass(slots=True)
class Attempt:
    """Event: one request has ended, successfully or not.

    `status` is `None` if no response came. `cause` is the code of the failure, `""` for success. Token counts
    are the service's, 0 if it reported none. `deployment` is the name of the deployment that was called.
    `full_price`: a run through batches has sent it live. `requests` counts the rows of a batch.
    """

    rows: int
    status: int | None
    seconds: float
    cause: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompts: Sequence[Prompt] = ()
    deployment: str = ""
    full_price: bool = False
    requests: int = 1


@dataclass(slots=True)
class RowsSettled:
    """Event: rows have results. `errors` and `finish_reasons` count them, `without_text` empty answers."""

    ok: int
    errors: Mapping[ErrorCode, int] = field(default_factory=dict)
    finish_reasons: Mapping[str, int] = field(default_factory=dict)
    without_text: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """Event: the size of the whole run, including rows that earlier runs have scored.

    `prompt_tokens` and `requests` are estimates; so is `rows`, unless `exact`. `prompt_bytes` is the size of
    the prompts' JSON, 0 if unknown.
    """

    rows: int
    prompt_tokens: int
    requests: int
    exact: bool
    prompt_bytes: int = 0


@dataclass(slots=True)
class FileOpened:
    """Event: reading of an input file starts; earlier runs have scored `known` of its rows."""

    file: str
    known: int


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """The state of one deployment at one moment.

    `state` is `up`, `down` (probed periodically) or `stopped`. `in_flight` counts requests, `waiting` the
    workers that wait for their turn, `backing_off` those that wait before a retry. `rpm` and `tpm` are the
    current limits per minute, `None` if unknown. `paused_seconds` is the rest of a pause, which the service
    requested, or which is our own after a 429 that names no wait (`own_pause`). `for_quota`: within the last
    second a request waited for the quota. For a deployment that is not up, `last_failure` is the code of its
    latest failure, `failing_seconds` how long it has been failing, and `probe_seconds` the time until the
    next probe. `retry_seconds`: until the last of those that wait is sent again.
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
    own_pause: bool = False
    retry_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchesState:
    """The state of a run's batches at one moment.

    `phase` is `planning` (rows are read), `uploading`, `waiting` (for the service) or `collecting` (results
    are read). `unsent`, `running` and `ended` count batches. `rows` are those of running ones; of these, the
    service says that `rows_done` are done. `latest_end` is when the last one ends at the latest, in seconds
    since 1970; `None` if the service does not say.
    """

    phase: str
    unsent: int
    running: int
    ended: int
    rows: int
    rows_done: int
    oldest_seconds: float
    latest_end: float | None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Event, once a second while requests are sent: the state of the deployments.

    `unwritten` counts the parts that wait to be written; while there are any, no new requests may be sent.
    `oldest_seconds` is the age of the oldest request in flight. `stopping`: no new requests are sent.
    `batches` are those of the Batch API, `None` while requests are sent live.
    """

    deployments: tuple[DeploymentState, ...]
    unwritten: int = 0
    oldest_seconds: float = 0.0
    stopping: bool = False
    batches: BatchesState | None = None


@dataclass(slots=True)
class FileTotals:
    """The results of one input file: `rows = ok + errors + not_reached`.

    `state` is `complete`, `partial`, `unreadable`, or `not_started` if the run stopped before. `empty` of the
    errors are rows without a text, which do not count as failed. `attempts` counts the requests that held its
    rows. `tokens_billed`, and `tokens_kept` of answers that are in records, are of all runs.
    """

    file: str
    state: str
    rows: int
    ok: int
    errors: int
    empty: int
    problem: str = ""
    attempts: int = 0
    tokens_billed: int = 0
    tokens_kept: int = 0

    @property
    def failed(self) -> int:
        """Rows with an error record, except empty rows."""
        return self.errors - self.empty

    @property
    def not_reached(self) -> int:
        """Rows that were read and have no record."""
        return self.rows - self.ok - self.errors


@dataclass(slots=True)
class FileFinished(FileTotals):
    """Event: work on an input file has ended, or the run has.

    Earlier runs have scored `known` of its `rows`. `complete`: the file was read to its end, so `rows` counts
    all of its rows; those without a record were not answered. `input` is the digest of the version that was
    read, if it is known, and `records_digest` that of the records. `in_journal` and `not_saved` count scores
    whose records could not be written: the next run writes the first without a request, the others are lost.
    """

    known: int = 0
    complete: bool = True
    input: str = ""
    records_digest: str = ""
    in_journal: int = 0
    not_saved: int = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """Event: a message for people while the run works. It quotes no cell.

    `service_reply` is what a service said to a test request of ours, for a terminal only. `billed_twice`: it
    says that rows may be, so the run's record keeps it.
    """

    text: str
    service_reply: str = ""
    billed_twice: bool = False


Event: TypeAlias = "Attempt | RowsSettled | Expected | FileOpened | Heartbeat | FileFinished | Notice"

#: A listener to events; it must be fast and must not raise.
Listen: TypeAlias = Callable[[Event], None]
