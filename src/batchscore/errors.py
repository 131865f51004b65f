"""Which errors can a run or a row end with? One tree of exceptions and one closed list of row error codes.

Nothing here knows how an error came about; the code that raises it knows the file, the row and what to do.

    BatchscoreError
    ├── UsageError            the command line or the settings contradict themselves      exit 2
    ├── SettingsError         a setting cannot be used: no endpoint, no key, no such file exit 1
    ├── InputError            nothing to score, or a required column is missing           exit 1
    │   └── UnreadableFile    one file that cannot be read, or not completely
    ├── OutputError           the output cannot be written, or holds other results        exit 1
    │   ├── OutputLocked      another run is writing to this output                       exit 5
    │   ├── InputChanged      an input file has changed since it was scored              exit 1
    │   ├── OutputOverwritten another process overwrote records; run again to resume      exit 4
    │   └── OutputIncomplete  rows or files are not scored yet; run again to resume       exit 4
    ├── ServiceRefused        the service refuses all requests: key, deployment, quota    exit 1
    ├── Outage                the service does not respond; run again to resume           exit 4
    ├── BoundReached          a limit that the user set was reached; run again to resume  exit 4
    │   └── TooManyErrors     too many failed rows; 3 if above the error threshold        exit 4 or 3
    ├── RowFailed             one row failed, and the caller asked to stop then           exit 3
    └── BrokenInvariant       a bug in batchscore                                         exit 1
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Callable
from enum import Enum
from typing import Any

from batchscore.settings.secrets import mask_text


class ExitCode(int, Enum):
    """The process's exit code, for shells and schedulers."""

    DONE = 0
    ACTION_NEEDED = 1
    USAGE = 2
    ROWS_FAILED = 3
    CONTINUE_LATER = 4
    OUTPUT_LOCKED = 5
    NOT_GOOD_ENOUGH = 6

    @property
    def user_must_act(self) -> bool:
        """Whether the same command would end like this again, unless the user changes something."""
        return EXIT_MEANINGS[self][1].startswith("you")


#: Categories of invisible and control characters.
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

#: Names with a line break that others chose, and how messages show them.
_BROKEN_NAMES: dict[str, str] = {}


def visible(text: str, kept: str = "") -> str:
    """Return a text with its invisible characters shown by their number, as in JSON, except those `kept`."""
    if text.isascii() and text.isprintable():
        return text
    hidden = {letter for letter in text if unicodedata.category(letter) in INVISIBLE} - set(kept)
    return "".join(f"\\u{ord(letter):04x}" if letter in hidden else letter for letter in text)


def note_name(name: str) -> None:
    """Remember the name or path of a file that has a line break: a message may hold it."""
    if "\n" in name:
        _BROKEN_NAMES.update(
            {part: visible(part) for part in name.split("/") if "\n" in part and part.strip()}
        )


def visible_message(text: str, kept: str = "") -> str:
    """Return a message of which a terminal obeys nothing, and whose names are in one line."""
    for name, shown in sorted(_BROKEN_NAMES.items(), key=lambda item: -len(item[0])):
        text = text.replace(name, shown)
    return visible(text, f"\n{kept}")


#: What encloses a setting's name in a message, so that each door can write the name as its users know it.
_NAME = re.compile("\x02(?:([^\x02\x03]*)\x02)?([a-z_]+)\x03")


def setting_name(name: str, value: Any = None) -> str:
    """Mark a setting's name in a message, with the value that the reader should give it, if there is one.

    Each door words it: `--quote none`, `quote="none"`, or the variable.
    """
    # The value first: `auth="entra"` would be masked as a secret.
    return f"\x02{name}\x03" if value is None else f"\x02{json.dumps(value)}\x02{name}\x03"


def name_settings(text: str, word: Callable[[str], str] = str) -> str:
    """Return a message in which `word` has written each setting's name; `str` keeps Python's names."""
    return _NAME.sub(lambda mark: word(mark[2]) if mark[1] is None else _given(mark[2], mark[1], word), text)


def _given(name: str, json_text: str, word: Callable[[str], str]) -> str:
    """Return a setting with its value as its users write both."""
    value, called = json.loads(json_text), word(name)
    if called == name:
        return f"{name}={json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)}"
    if isinstance(value, dict):
        ((key, each),) = value.items()
        value = f"{key}={json.dumps(each) if name == 'param' else each}"
    text = shlex.quote(value if isinstance(value, str) else json.dumps(value))
    if called.startswith("--"):
        return called if value is True else f"{called} {text}"
    return f"{called}={text}"


def count_text(count: float, noun: str) -> str:
    """Return a count with its noun: 1 row, 2 rows."""
    return f"{count:,.0f} {noun}{'' if count == 1 else 's'}"


def duration_text(seconds: float) -> str:
    """Return a duration: 0 s, 230 ms, 4.2 s, 45 s, 3 min 5 s, 2 h 14 min, 3 d 4 h."""
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    whole = round(seconds)
    for size, unit, small, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size:,} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"


#: What each exit code means, and who must act, which decides the advice after a run. Setting names are marked
#: (`name_settings`).
EXIT_MEANINGS = {
    ExitCode.DONE: ("done: all rows have a record, and no more failed than allowed", "nobody"),
    ExitCode.ACTION_NEEDED: ("error: fix key, deployment, input, output or settings", "you"),
    ExitCode.USAGE: ("usage error: the command line or the settings are invalid", "you"),
    ExitCode.ROWS_FAILED: (
        f"more rows failed than {setting_name('error_threshold')} allows; all others are scored",
        "you: see the error records",
    ),
    ExitCode.CONTINUE_LATER: (
        "stopped early (interrupt, outage, budget, deadline); completed rows are saved",
        "nobody: run the same command again to resume",
    ),
    ExitCode.OUTPUT_LOCKED: ("another run is writing to this output; nothing was done", "nobody: wait"),
    ExitCode.NOT_GOOD_ENOUGH: (
        "evaluated, and the scores do not meet a requirement (only `batchscore evaluate`)",
        "you: see the figures",
    ),
}


def with_reply(text: str, service_reply: str) -> str:
    """Return a message with what the service said to a test request of ours, for a terminal only."""
    return f'{text} The reply to a test request: "{service_reply}"' if service_reply else text


class BatchscoreError(Exception):
    """The base class of all errors that batchscore raises on purpose. Its text is written for people.

    Secrets are hidden in it here, since it becomes part of manifests, records, pages and logs. `text` is the
    message with its setting names still marked; use it if the message becomes part of another one. `str()`
    gives the message with the names that Python callers use. `service_reply` is what the service said to a
    test request of ours: for a terminal only, and never for what is kept. `frame` is what `score_frame` had
    when this error ended it.
    """

    exit_code = ExitCode.ACTION_NEEDED

    def __init__(self, text: str = "", *, service_reply: str = "") -> None:
        self.text = visible_message(mask_text(text), kept="\x02\x03")
        super().__init__(name_settings(self.text))
        self.service_reply = service_reply
        self.frame: Any = None

    @property
    def terminal_text(self) -> str:
        """The message as a terminal shows it."""
        return with_reply(self.text, self.service_reply)


def message_of(error: BaseException) -> str:
    """Return an error's message as part of another one, or of a result that a door words later.

    Setting names stay marked, and it is never empty. Records, pages and MLflow, which have no door, hold
    `str()`.
    """
    return error.text if isinstance(error, BatchscoreError) else str(error) or type(error).__name__


class UsageError(BatchscoreError):
    """Settings that contradict each other, or a value out of range."""

    exit_code = ExitCode.USAGE


class SettingsError(BatchscoreError):
    """A setting that cannot be used: no endpoint, no key, a file that does not exist."""


class InputError(BatchscoreError):
    """Nothing to score, or rows that lack the column of the prompt."""


class UnreadableFile(InputError):  # noqa: N818 - named for what is wrong, as the whole tree is
    """One file that cannot be read, or not completely; the other files are scored.

    `name` is the file as records name it; `reason` is for people and quotes no cell.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = mask_text(reason)


class OutputError(BatchscoreError):
    """The output cannot be written, or it holds the results of another run."""


class OutputLocked(OutputError):  # noqa: N818
    """Another run is writing to the same output."""

    exit_code = ExitCode.OUTPUT_LOCKED


#: What is said of an input file whose scores are those of another version.
HAS_CHANGED = "has changed since it was scored"


class InputChanged(OutputError):  # noqa: N818
    """An input file has changed since it was scored; `name` is the file as records name it."""

    def __init__(self, text: str = "", *, name: str = "") -> None:
        super().__init__(text)
        self.name = name


class OutputOverwritten(OutputError):  # noqa: N818
    """Another process has overwritten records; the same command scores them again."""

    exit_code = ExitCode.CONTINUE_LATER


class OutputIncomplete(OutputError):  # noqa: N818
    """The output lacks rows or files that a run set out to score; the same command scores them."""

    exit_code = ExitCode.CONTINUE_LATER


class ServiceRefused(BatchscoreError):  # noqa: N818
    """The service refuses all requests of this run: credentials, deployment, exhausted quota."""


class Outage(BatchscoreError):  # noqa: N818
    """The service does not respond; completed rows are saved, and the same command resumes."""

    exit_code = ExitCode.CONTINUE_LATER


class BoundReached(BatchscoreError):  # noqa: N818
    """A limit that the user set stopped the run early: a budget or a deadline."""

    exit_code = ExitCode.CONTINUE_LATER


class TooManyErrors(BoundReached):
    """More rows of this run have failed than the user allows."""


class RowFailed(BatchscoreError):  # noqa: N818
    """One row failed, and the caller asked for an exception in that case."""

    exit_code = ExitCode.ROWS_FAILED


class BrokenInvariant(BatchscoreError):  # noqa: N818
    """A bug: our own code broke a promise. Please report it."""


class ErrorCode(str, Enum):
    """Why a row has an error record instead of a score."""

    EMPTY_INPUT = "empty_input"
    UNREADABLE_ROW = "unreadable_row"
    ROW_TOO_LARGE = "row_too_large"
    MISSING_COLUMN = "missing_column"
    INVALID_MESSAGES = "invalid_messages"
    UNREADABLE_IMAGE = "unreadable_image"
    INPUT_TOO_LONG = "input_too_long"
    CONTENT_FILTER = "content_filter"
    INVALID_REQUEST = "invalid_request"
    OVER_QUOTA = "over_quota"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION_ERROR = "connection_error"
    INVALID_RESPONSE = "invalid_response"
    INVALID_ANSWER = "invalid_answer"

    @classmethod
    def _missing_(cls, value: object) -> ErrorCode | None:
        """Read the codes that error records had before 0.1.0."""
        return _EARLIER_CODES.get(str(value))


_EARLIER_CODES = {
    "too_long": ErrorCode.INPUT_TOO_LONG,
    "connection": ErrorCode.CONNECTION_ERROR,
    "bad_reply": ErrorCode.INVALID_RESPONSE,
}


#: Codes that a later run retries by default; rows with the others would fail again.
TRANSIENT = frozenset(
    {
        ErrorCode.RATE_LIMITED,
        ErrorCode.SERVER_ERROR,
        ErrorCode.TIMEOUT,
        ErrorCode.CONNECTION_ERROR,
        ErrorCode.INVALID_RESPONSE,
    }
)

#: What each code means, with marked setting names (`name_settings`). `report.advice` says what to do.
ERROR_MEANINGS = {
    ErrorCode.EMPTY_INPUT: "the row has no text, so no request was sent; it does not count as failed",
    ErrorCode.UNREADABLE_ROW: "the row cannot be read",
    ErrorCode.ROW_TOO_LARGE: f"the row is larger than {setting_name('max_row_bytes')}",
    ErrorCode.MISSING_COLUMN: "the row lacks a column that other rows of its file have",
    ErrorCode.INVALID_MESSAGES: "the column of conversations does not hold a list of messages",
    ErrorCode.UNREADABLE_IMAGE: "an image of the row is missing, damaged, too large or of another kind",
    ErrorCode.INPUT_TOO_LONG: "the input is longer than the model's context",
    ErrorCode.CONTENT_FILTER: "the service's content filter refused the row",
    ErrorCode.INVALID_REQUEST: "the service refused the request for another reason",
    ErrorCode.OVER_QUOTA: "the row needs more tokens than a minute's quota allows; only a higher limit helps",
    ErrorCode.RATE_LIMITED: "the service's rate limit refused the request, and all retries were used up",
    ErrorCode.SERVER_ERROR: "the service failed, while it answered other rows",
    ErrorCode.TIMEOUT: "no response arrived in time",
    ErrorCode.CONNECTION_ERROR: "the connection failed",
    ErrorCode.INVALID_RESPONSE: "the response did not match the request",
    ErrorCode.INVALID_ANSWER: "the model's answer did not match the schema, and all retries were used up",
}
