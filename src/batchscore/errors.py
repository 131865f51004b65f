"""What can go wrong, drawn as one tree, and the closed list of codes that a row's error can carry.

Nothing here knows how an error came about; whoever raises it knows the file, the row and the way on.

    BatchscoreError
    ├── UsageError          the command line or the settings contradict themselves       exit 2
    ├── SettingsError       a setting cannot be used as it stands                        exit 1
    ├── InputError          nothing to score, or a column that is not there              exit 1
    │   └── UnreadableFile  one file that cannot be read, or not to its end
    ├── OutputError         the output cannot be written, or holds something else        exit 1
    │   ├── OutputLocked      another run is working on it                                 exit 5
    │   └── OutputOverwritten   somebody else took records along; the same goes on       exit 4
    ├── ServiceRefused      the service will not serve us: key, deployment, quota        exit 1
    ├── Outage              the service does not answer now; the same command goes on    exit 4
    ├── BoundReached        a bound that the user set; the same command goes on          exit 4
    │   └── TooManyErrors   above --error-threshold, too, a person must look first       exit 4 or 3
    ├── RowFailed           a row's error, for who asked to be stopped by one            exit 3
    └── BrokenInvariant     our own fault                                                exit 1
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum


class ExitCode(int, Enum):
    """What the process's exit code tells a scheduler."""

    DONE = 0
    ACTION_NEEDED = 1
    USAGE = 2
    ROWS_FAILED = 3
    CONTINUE_LATER = 4
    OUTPUT_LOCKED = 5


#: What each exit code says, and who has to do something.
EXIT_CODES_MEAN = {
    ExitCode.DONE: ("every row has its record, and no more failed than allowed", "nobody"),
    ExitCode.ACTION_NEEDED: ("key, deployment, input, output or settings cannot be used", "you, now"),
    ExitCode.USAGE: ("the command was used wrongly", "whoever wrote it"),
    ExitCode.ROWS_FAILED: (
        "more rows failed than `--error-threshold` allows; all others are scored",
        "you: the error records say why",
    ),
    ExitCode.CONTINUE_LATER: (
        "stopped before its end (interrupt, outage, budget, deadline); what was answered is kept",
        "nobody: the same command goes on",
    ),
    ExitCode.OUTPUT_LOCKED: ("another run is working on this output; nothing was done", "nobody: wait"),
}


#: What encloses a setting's name in a message, so that each door can write the name as its users know it.
_NAME = re.compile("\x02([a-z_]+)\x03")


def setting_name(name: str) -> str:
    """Return a setting's name for a message; each door words it: `--max-errors`, `max_errors`, a variable."""
    return f"\x02{name}\x03"


def name_settings(text: str, word: Callable[[str], str] = str) -> str:
    """Return a message for people, in which `word` writes each setting's name."""
    return _NAME.sub(lambda name: word(name[1]), text)


class BatchscoreError(Exception):
    """The root: every error that we raise on purpose. Its text is written for a person.

    `text` is the message with its setting names still marked; use it wherever a message becomes part of
    another one. `str()` gives the message with the names that Python callers use.
    """

    exit_code = ExitCode.ACTION_NEEDED

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return name_settings(self.text)


class UsageError(BatchscoreError):
    """Flags that contradict each other, or a value out of its bounds."""

    exit_code = ExitCode.USAGE


class SettingsError(BatchscoreError):
    """A setting that cannot be used as it stands: no endpoint, no key, a file that is not there."""


class InputError(BatchscoreError):
    """Nothing to score, or rows that have not the column that the prompt needs."""


class UnreadableFile(InputError):  # noqa: N818 - named for what is wrong, as the whole tree is
    """One file that cannot be read, or not to its end; the other files are scored.

    `name` is the file as it stands in records; `reason` is for a person and quotes no cell.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class OutputError(BatchscoreError):
    """The output cannot be written, or it holds the results of another run."""


class OutputLocked(OutputError):  # noqa: N818
    """Another run is working on the same output."""

    exit_code = ExitCode.OUTPUT_LOCKED


class OutputOverwritten(OutputError):  # noqa: N818
    """Somebody else has overwritten records meanwhile; the same command asks for them again."""

    exit_code = ExitCode.CONTINUE_LATER


class ServiceRefused(BatchscoreError):  # noqa: N818
    """The service refuses every request of this run: credentials, deployment, exhausted quota."""


class Outage(BatchscoreError):  # noqa: N818
    """The service does not answer; what is settled is kept, the same command continues."""

    exit_code = ExitCode.CONTINUE_LATER


class BoundReached(BatchscoreError):  # noqa: N818
    """A bound that the user set ended the run before its work was done: a budget or a deadline."""

    exit_code = ExitCode.CONTINUE_LATER


class TooManyErrors(BoundReached):
    """So many rows of this run have failed that it was not worth going on."""


class RowFailed(BatchscoreError):  # noqa: N818
    """One row has an error, and the caller wants no results then."""

    exit_code = ExitCode.ROWS_FAILED


class BrokenInvariant(BatchscoreError):  # noqa: N818
    """A promise that our own code broke; please report it."""


class ErrorCode(str, Enum):
    """Why a row has an error record instead of a score."""

    EMPTY_INPUT = "empty_input"
    UNREADABLE_ROW = "unreadable_row"
    ROW_TOO_LARGE = "row_too_large"
    MISSING_COLUMN = "missing_column"
    INVALID_MESSAGES = "invalid_messages"
    INPUT_TOO_LONG = "input_too_long"
    CONTENT_FILTER = "content_filter"
    INVALID_REQUEST = "invalid_request"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION_ERROR = "connection_error"
    INVALID_RESPONSE = "invalid_response"

    @classmethod
    def _missing_(cls, value: object) -> ErrorCode | None:
        """Read the names that error records had before 0.1.0."""
        return _EARLIER_CODES.get(str(value))


_EARLIER_CODES = {
    "too_long": ErrorCode.INPUT_TOO_LONG,
    "connection": ErrorCode.CONNECTION_ERROR,
    "bad_reply": ErrorCode.INVALID_RESPONSE,
}


#: Codes that a later run asks again by itself; the others would fail again.
TRANSIENT = frozenset(
    {
        ErrorCode.RATE_LIMITED,
        ErrorCode.SERVER_ERROR,
        ErrorCode.TIMEOUT,
        ErrorCode.CONNECTION_ERROR,
        ErrorCode.INVALID_RESPONSE,
    }
)

#: What happened to a row with this error, as the docs say it.
ERROR_CODES_MEAN = {
    ErrorCode.EMPTY_INPUT: "the row has no text, so nothing was asked; it does not count as failed",
    ErrorCode.UNREADABLE_ROW: "the row cannot be read",
    ErrorCode.ROW_TOO_LARGE: "the row is larger than `--max-row-bytes`",
    ErrorCode.MISSING_COLUMN: "the row lacks a column that its neighbours have",
    ErrorCode.INVALID_MESSAGES: "the `messages` column is no list of chat messages",
    ErrorCode.INPUT_TOO_LONG: "the row is longer than the model takes",
    ErrorCode.CONTENT_FILTER: "the service's content filter refused the row",
    ErrorCode.INVALID_REQUEST: "the service refused the request for another reason",
    ErrorCode.RATE_LIMITED: "the rate limit refused it until patience ended",
    ErrorCode.SERVER_ERROR: "the service failed, while other rows were answered",
    ErrorCode.TIMEOUT: "no answer came in time",
    ErrorCode.CONNECTION_ERROR: "the connection failed",
    ErrorCode.INVALID_RESPONSE: "the reply did not fit the request",
}
