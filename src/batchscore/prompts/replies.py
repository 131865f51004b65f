"""Which answer belongs to which row?

It reads the body of a successful reply and gives one score a prompt, in the order of the prompts. It
trusts nothing: `index`, count, length and finiteness are checked, and what does not fit is a
`BadReply`, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
from pybase64 import b64decode, b64decode_as_bytearray

from batchscore.rows import Score

Block: TypeAlias = "npt.NDArray[np.float32]"


class BadReply(Exception):  # noqa: N818 - a reason to ask again, not an error of the run
    """A reply with status 200 that does not answer what was asked; the text says how."""


@dataclass(slots=True)
class Answers:
    """The scores of one reply and what it says it cost."""

    scores: list[Score]
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(slots=True)
class Reader:
    """Reads replies of one task; learns the vectors' length from the first and holds the others to it."""

    task: str
    answers_per_row: int = 1
    with_usage: bool = False
    with_raw: bool = False
    dimensions: int | None = field(default=None)

    def read(self, body: bytes, rows: int) -> Answers:
        """Return `rows` scores, in the order asked; raises `BadReply`."""
        try:
            reply = orjson.loads(body)
        except ValueError:
            raise BadReply("the reply is not JSON") from None
        if not isinstance(reply, dict):
            raise BadReply("the reply is not a JSON object")
        scores = self.vectors(reply, rows) if self.task == "embeddings" else [self.texts(reply)]
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
        return Answers(scores, whole(usage.get("prompt_tokens")), whole(usage.get("completion_tokens")))

    def vectors(self, reply: Mapping[str, Any], rows: int) -> list[Score]:
        """Return the vectors by `index`, each `(dimensions,)` float32 and finite.

        They are the rows of one array, checked as a whole, since a check of each costs as much as all else.
        """
        data = listed(reply, "data")
        if len(data) != rows:
            raise BadReply(f"the reply has {len(data)} vectors for {rows} inputs")
        placed: list[Any] = [None] * rows
        for position, item in enumerate(data):
            index = item.get("index", position if rows == 1 else None)
            # `type`, for to Python a boolean is an integer.
            if type(index) is not int or not 0 <= index < rows or placed[index] is not None:
                raise BadReply("the reply's index numbers do not match the inputs")
            placed[index] = item.get("embedding", ())
        block = decoded_together(placed)
        if block is None or block.shape[1] != self.dimensions:
            block = decoded_each(placed, self.dimensions)
        if not np.isfinite(block).all():
            raise BadReply("a vector is not finite")
        self.dimensions = block.shape[1]
        return [Score(vector) for vector in block]

    def texts(self, reply: Mapping[str, Any]) -> Score:
        """Return the text of one choice, or the list of several in the order of their `index`."""
        choices = listed(reply, "choices")
        if not choices:
            raise BadReply("the reply has no choices")
        if len(choices) < self.answers_per_row:
            raise BadReply(f"the reply has {len(choices)} of {self.answers_per_row} choices")
        if len(choices) == 1:
            return Score(self.text(choices[0]), finish_reason(choices[0]))
        if all(isinstance(choice.get("index"), int) for choice in choices):
            choices = sorted(choices, key=lambda choice: int(choice["index"]))
        values = [self.text(choice) for choice in choices]
        reasons = [finish_reason(choice) for choice in choices]
        if self.answers_per_row > 1:
            return Score(values, reasons)
        return Score(values[0], reasons[0])

    def text(self, choice: Mapping[str, Any]) -> str | None:
        """Return a choice's text; `None` where the model gave none."""
        if self.task == "completions":
            content = choice.get("text")
        else:
            message = choice.get("message")
            if not isinstance(message, dict):
                raise BadReply("a choice has no message")
            content = message.get("content")
            if isinstance(content, list):
                parts = [part.get("text") for part in content if isinstance(part, dict)]
                content = "".join(part for part in parts if isinstance(part, str))
        if content is not None and not isinstance(content, str):
            raise BadReply("an answer is not text")
        return content


def decoded_together(embeddings: Sequence[Any]) -> Block | None:
    """Return vectors from base64 as `(rows, dimensions)`, `None` where it takes a look at each.

    Texts of equal length without padding are one text: a single call takes half the time of many.
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


def decoded_each(embeddings: Sequence[Any], dimensions: int | None) -> Block:
    """Return vectors of any kind as `(rows, dimensions)`; raises `BadReply`."""
    vectors = [vector_from(embedding) for embedding in embeddings]
    wanted = dimensions or vectors[0].size
    for vector in vectors:
        if vector.size != wanted:
            raise BadReply(f"a vector has {vector.size} numbers where the others have {wanted}")
    return np.concatenate(vectors).reshape(len(vectors), -1)


def billed(body: bytes) -> tuple[int, int]:
    """Return the tokens of prompts and answers that an unused reply reports; 0 where it says none."""
    if b'"usage"' not in body:
        return 0, 0
    try:
        usage = orjson.loads(body)["usage"]
        return whole(usage.get("prompt_tokens")), whole(usage.get("completion_tokens"))
    except (ValueError, TypeError, KeyError, AttributeError):
        return 0, 0


def vector_from(embedding: Any) -> Block:
    """Return one vector from base64 or from JSON numbers; raises `BadReply`."""
    try:
        if isinstance(embedding, str):
            vector = np.frombuffer(b64decode(embedding, validate=True), dtype="<f4")
        else:
            vector = from_numbers(embedding)
    except (ValueError, TypeError):
        raise BadReply("a vector is neither base64 nor numbers") from None
    if vector.ndim != 1 or not vector.size:
        raise BadReply("a vector is empty")
    return vector


def from_numbers(numbers: Any) -> Block:
    """Return JSON numbers as float32; raises `ValueError` where they are none."""
    found = np.asarray(numbers)
    if found.dtype.kind not in "iuf":
        raise ValueError
    with np.errstate(over="ignore"):  # too large a number becomes infinite, which the caller refuses
        return found.astype(np.float32)


def listed(reply: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects from the reply; raises `BadReply` where it is not there."""
    found = reply.get(name)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise BadReply(f"the reply has no {name}")
    return found


def finish_reason(choice: Mapping[str, Any]) -> str | None:
    """Return why the answer ended, where the service says it."""
    reason = choice.get("finish_reason")
    return reason if isinstance(reason, str) else None


def whole(count: Any) -> int:
    """Return a token count, 0 where there is none."""
    return count if isinstance(count, int) and count > 0 else 0
