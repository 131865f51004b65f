"""What does a line of results say of its row?

Lines are split at line feeds alone, since answers may hold other characters that end lines elsewhere. The
status counts first, then the error, then the body: for a refusal, services leave `error` empty and put the
error into the body. What a status and a body mean is decided by the tables of live replies. No line raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from batchscore.errors import ErrorCode
from batchscore.prompts.replies import ReplyReader, ReplyScores
from batchscore.request.outcome_rules import Outcome, classify, failure_outcome, unusable_outcome
from batchscore.rows import InvalidReply, Reply, load_json

#: Bytes that are read at a time, and the longest line: an answer with all its vectors.
PIECE_BYTES = 2**20
LONGEST_LINE_BYTES = 256 * 2**20


@dataclass(slots=True)
class ResultLine:
    """A line of results: `status` is 0 if the row was not sent, `body` is what its JSON holds, or nothing."""

    custom_id: object
    status: int
    body: Any
    code: str = ""

    @property
    def json(self) -> bytes:
        """The body as JSON, empty if there is none."""
        return b"" if self.body is None else orjson.dumps(self.body)


def lines_of(path: Path) -> Iterator[bytes]:
    """Give the lines of a file without their ends; a torn last one, too."""
    with path.open("rb", buffering=PIECE_BYTES) as file:
        while line := file.readline(LONGEST_LINE_BYTES):
            if line := line.strip(b"\r\n "):
                yield line


def has_answer(path: Path, reader: ReplyReader) -> bool:
    """Whether any line of a file is an answer that can be used, or at least one of the model."""
    lines = map(read_line, lines_of(path))
    judged = (judge(line, reader, b"") for line in lines if line is not None)
    return any(isinstance(each, ReplyScores) or each.code is ErrorCode.INVALID_ANSWER for each in judged)


def read_line(raw: bytes) -> ResultLine | None:
    """Return what a line says; `None` if it is not a line of results, such as a torn one."""
    try:
        line = load_json(raw)
    except ValueError:
        return None
    if not isinstance(line, dict):
        return None
    response, error = line.get("response"), line.get("error")
    response = response if isinstance(response, dict) else {}
    status, body = response.get("status_code"), response.get("body")
    status = status if type(status) is int and 0 <= status < 1000 else 0
    if not body and error:
        body = {"error": error}  # vLLM: a status and an error, without a body
    code = error.get("code") if isinstance(error, dict) else ""
    return ResultLine(line.get("custom_id"), status, body, code if isinstance(code, str) else "")


def judge(line: ResultLine, reader: ReplyReader, sent: bytes) -> ReplyScores | Outcome:
    """Return the scores of a line, or what its refusal means; `sent` is the body of its request."""
    if line.status < 200:
        return not_run(line.code)
    if line.status >= 300:
        return classify(Reply(line.status, {}, line.json, 0.0), sent)
    try:
        return reader.read_object(line.body, 1, sent) if line.body else reader.read(line.json, 1, sent)
    except InvalidReply as reason:
        return unusable_outcome(reason, Reply(line.status, {}, line.json, 0.0), sent)


def not_run(code: str = "") -> Outcome:
    """Return what it means that a batch ended without a row's answer."""
    why = "the batch expired before it" if code == "batch_expired" else "the batch ended without an answer"
    return failure_outcome(ErrorCode.SERVER_ERROR, why)


def billed(line: ResultLine, reader: ReplyReader, sent: bytes) -> tuple[int, int]:
    """Return the tokens of the prompt and the answer that a line reports."""
    return reader.billed(line.json, 1, sent) if line.status == 200 else (0, 0)
