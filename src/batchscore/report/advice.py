"""What can be done about rows that failed, by their error's code?

Pure: a table, each entry short enough for a line of a terminal.
"""

from __future__ import annotations

from batchscore.errors import ErrorCode

#: What a person can do about rows with this error; some the same command asks again by itself (`TRANSIENT`).
MENDING = {
    ErrorCode.UNREADABLE_ROW: "mend the file where the error record says",
    ErrorCode.ROW_TOO_LARGE: "split the row, or raise --max-row-bytes",
    ErrorCode.MISSING_COLUMN: "give these rows the column, or name another",
    ErrorCode.INVALID_MESSAGES: "mend the messages column",
    ErrorCode.INPUT_TOO_LONG: "shorten the text, or --on-long-input truncate",
    ErrorCode.CONTENT_FILTER: "the service refuses the text; reword it",
    ErrorCode.INVALID_REQUEST: "the error record says what the service minds",
    ErrorCode.OVER_QUOTA: "raise --tpm, shorten the row, or lower --max-tokens",
    ErrorCode.RATE_LIMITED: "asked again by the same command",
    ErrorCode.SERVER_ERROR: "asked again by the same command",
    ErrorCode.TIMEOUT: "asked again by the same command; see --timeout",
    ErrorCode.CONNECTION_ERROR: "asked again by the same command",
    ErrorCode.INVALID_RESPONSE: "asked again by the same command",
}


def mending(code: str) -> str:
    """Return what to do about a code as records hold it."""
    return MENDING.get(ErrorCode(code), "the error record says why")
