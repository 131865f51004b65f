"""Which answer belongs to which row?

It reads the body of a successful reply and returns one score per prompt, in the order of the prompts. It
trusts nothing: `index`, count, length and finiteness are checked, and a reply that does not match is an
`InvalidReply`, never a guess.

Nothing else judges the body of a 200. `InvalidReply` is about the whole reply: `request/attempt.py` counts it
as the service's failure, and it is retried. No body of a 200 is an error of one row yet: a filtered or cut
answer is a score with its `finish_reason`. An error of one row would be a `RowError` in that row's place in
`ReplyScores.scores`, which the engine gives to the row without a retry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from pybase64 import b64decode, b64decode_as_bytearray

from batchscore.rows import Score, load_json
from batchscore.task import Task

Block: TypeAlias = "npt.NDArray[np.float32]"


#: The bounds of a reply's size are generous: they are for bodies without an end.
SMALLEST_BOUND_BYTES = 8 * 2**20
LARGEST_BOUND_BYTES = 256 * 2**20

#: A number as text, with blanks around it; as many numbers per vector as models have.
BYTES_PER_NUMBER = 32
MOST_DIMENSIONS = 4096

#: A token as escaped text, and each of its alternatives with `logprobs`; as many tokens as models give.
BYTES_PER_TOKEN = 64
BYTES_PER_LOGPROB = 256
MOST_ANSWER_TOKENS = 2**17


def answer_size(tokens: float | None, params: Mapping[str, Any]) -> int:
    """Return the size in bytes that no honest answer of at most this many tokens exceeds."""
    counts = [params.get(name) or 0 for name in ("logprobs", "top_logprobs")]
    alternatives = sum(count for count in counts if isinstance(count, int))
    per_token = BYTES_PER_TOKEN + BYTES_PER_LOGPROB * max(alternatives, 0)
    return int((tokens or MOST_ANSWER_TOKENS) * per_token)


class InvalidReply(Exception):  # noqa: N818 - a reason to retry, not an error of the run
    """A reply with status 200 that does not match the request; the message says why."""


@dataclass(slots=True)
class ReplyScores:
    """The scores of one reply, and its token counts."""

    scores: list[Score]
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(slots=True)
class ReplyReader:
    """Reads replies of one task; all vectors must be as long as the first."""

    task: Task
    answers_per_row: int = 1
    with_usage: bool = False
    with_raw: bool = False
    dimensions: int | None = None
    answer_bytes: int = 0

    def most_bytes(self, rows: int) -> int:
        """Return the size that no honest reply for this many rows exceeds."""
        if self.task.answer == "vector":
            asked = rows * (self.dimensions or MOST_DIMENSIONS) * BYTES_PER_NUMBER
        else:
            asked = self.answers_per_row * self.answer_bytes
        return min(SMALLEST_BOUND_BYTES + asked, LARGEST_BOUND_BYTES)

    def read(self, body: bytes, rows: int) -> ReplyScores:
        """Return `rows` scores, in the order of the prompts; raises `InvalidReply`."""
        try:
            reply = load_json(body)
        except ValueError:
            raise InvalidReply("the reply is not JSON") from None
        if not isinstance(reply, dict):
            raise InvalidReply("the reply is not a JSON object")
        scores = self.vectors(reply, rows) if self.task.answer == "vector" else [self.texts(reply)]
        usage = reply.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        if self.with_usage or self.with_raw:
            scores = [
                Score(
                    score.value,
                    score.finish_reason,
                    usage=usage if self.with_usage else None,
                    raw=reply if self.with_raw else None,
                )
                for score in scores
            ]
        return ReplyScores(
            scores, token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens"))
        )

    def vectors(self, reply: Mapping[str, Any], rows: int) -> list[Score]:
        """Return the vectors by `index`, each `(dimensions,)` float32 and finite.

        They are the rows of one array, which is checked in one call: single checks would double the time.
        """
        data = objects_in(reply, "data")
        if len(data) != rows:
            raise InvalidReply(f"the reply has {len(data)} vectors for {rows} inputs")
        placed: list[Any] = [None] * rows
        for position, item in enumerate(data):
            index = item.get("index", position if rows == 1 else None)
            # `type`, since a boolean is an integer in Python.
            if type(index) is not int or not 0 <= index < rows or placed[index] is not None:
                raise InvalidReply("the reply's index numbers do not match the inputs")
            placed[index] = item.get("embedding", ())
        block = decode_together(placed)
        if block is None or block.shape[1] != self.dimensions:
            block = decode_each(placed, self.dimensions)
        if not np.isfinite(block).all():
            raise InvalidReply("a vector is not finite")
        self.dimensions = block.shape[1]
        return [Score(vector) for vector in block]

    def texts(self, reply: Mapping[str, Any]) -> Score:
        """Return the text of the only choice, or the texts of several in the order of their `index`."""
        choices = objects_in(reply, "choices")
        if not choices:
            raise InvalidReply("the reply has no choices")
        if len(choices) < self.answers_per_row:
            raise InvalidReply(f"the reply has {len(choices)} of {self.answers_per_row} choices")
        if len(choices) == 1:
            return Score(self.text(choices[0]), finish_reason(choices[0]))
        if all(isinstance(choice.get("index"), int) for choice in choices):
            choices = sorted(choices, key=lambda choice: int(choice["index"]))
        values = [self.text(choice) for choice in choices]
        reasons = [finish_reason(choice) for choice in choices]
        return Score(values, reasons) if self.answers_per_row > 1 else Score(values[0], reasons[0])

    def text(self, choice: Mapping[str, Any]) -> str | None:
        """Return a choice's text; `None` if the model gave none."""
        if not self.task.takes_messages:
            content = choice.get("text")
        else:
            message = choice.get("message")
            if not isinstance(message, dict):
                raise InvalidReply("a choice has no message")
            content = message.get("content")
            if isinstance(content, list):
                parts = [part.get("text") for part in content if isinstance(part, dict)]
                content = "".join(part for part in parts if isinstance(part, str))
        if content is not None and not isinstance(content, str):
            raise InvalidReply("an answer is not text")
        return content


def decode_together(embeddings: Sequence[Any]) -> Block | None:
    """Return vectors from base64 as `(rows, dimensions)`, `None` if they must be decoded one by one.

    Texts of equal length without padding can be joined: a single call takes half the time of many.
    """
    if not all(type(embedding) is str for embedding in embeddings):
        return None
    characters = len(embeddings[0])
    # Four characters are three bytes, and a number is four.
    if not characters or characters % 16 or set(map(len, embeddings)) != {characters}:
        return None
    try:
        data = b64decode_as_bytearray("".join(embeddings), validate=True)
    except ValueError:
        return None
    if len(data) != len(embeddings) * characters // 4 * 3:
        return None
    return np.frombuffer(data, dtype="<f4").reshape(len(embeddings), -1)


def decode_each(embeddings: Sequence[Any], dimensions: int | None) -> Block:
    """Return vectors of any encoding as `(rows, dimensions)`; raises `InvalidReply`."""
    vectors = [vector_from(embedding) for embedding in embeddings]
    wanted = dimensions or vectors[0].size
    for vector in vectors:
        if vector.size != wanted:
            raise InvalidReply(f"a vector has {vector.size} numbers, and the others have {wanted}")
    return np.concatenate(vectors).reshape(len(vectors), -1)


def billed_tokens(body: bytes) -> tuple[int, int]:
    """Return the prompt and answer tokens that an unused reply reports; 0 if it reports none."""
    if b'"usage"' not in body:
        return 0, 0
    try:
        usage = load_json(body)["usage"]
        return token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return 0, 0


def vector_from(embedding: Any) -> Block:
    """Return one vector from base64 or from JSON numbers; raises `InvalidReply`."""
    wrong = "a vector is neither base64 nor numbers"
    try:
        is_text = isinstance(embedding, str)
        vector = (
            np.frombuffer(b64decode(embedding, validate=True), "<f4") if is_text else np.asarray(embedding)
        )
    except (ValueError, TypeError):
        raise InvalidReply(wrong) from None
    if vector.dtype.kind not in "iuf":
        raise InvalidReply(wrong)
    if vector.ndim != 1 or not vector.size:
        raise InvalidReply("a vector is empty")
    with np.errstate(over="ignore"):  # a number that is too large becomes infinite, and the caller refuses it
        return vector.astype(np.float32, copy=False)


def objects_in(reply: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects from the reply; raises `InvalidReply` if it is missing."""
    found = reply.get(name)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InvalidReply(f"the reply has no {name}")
    return found


def finish_reason(choice: Mapping[str, Any]) -> str | None:
    """Return why the answer ended, if the service says so."""
    reason = choice.get("finish_reason")
    return reason if isinstance(reason, str) else None


def token_count(count: Any) -> int:
    """Return a token count, 0 if it is missing or invalid."""
    return count if isinstance(count, int) and count > 0 else 0
