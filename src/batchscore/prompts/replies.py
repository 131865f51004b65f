"""Which answer belongs to which row?

It reads the body of a successful reply and returns one result per prompt, in the order of the prompts. It
trusts nothing: `index`, count, length and finiteness are checked, and a reply that does not match is an
`InvalidReply`, never a guess.

Nothing else judges the body of a 200, except `responses.py` for the Responses API. `InvalidReply` is about
the whole reply: `request/attempt.py` counts it as the service's failure, and it is retried. A filtered or cut
answer is a score with its `finish_reason`. A row that was blocked without an answer is a `RowError` in its
place in `ReplyScores.scores`, which the engine gives to the row without a retry.

With a schema, an answer that does not match it is retried, too, though the service is well. So is a refusal;
if the model refuses every time, the row's answer is null, and its `finish_reason` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from batchscore.errors import ErrorCode, setting_name
from batchscore.prompts.reply_parts import BLOCKED, check_broken_off, objects_in
from batchscore.prompts.responses import response_text
from batchscore.prompts.schema import (
    NOT_JSON,
    AnswerSchema,
    InvalidAnswer,
    answer_schema,
    complaint_messages,
)
from batchscore.prompts.usage import TokenCounts, token_counts
from batchscore.prompts.vectors import (
    FEWEST_BYTES_FOR_VIEWS,
    decode_vectors,
    have_eight_bytes,
    in_input_order,
    load_with_views,
)
from batchscore.rows import InvalidReply, RowError, Score, load_json
from batchscore.settings.slices import RequestSettings
from batchscore.task import Task

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
    counts.append(str(params.get("include")).count("logprobs"))  # the Responses API
    alternatives = sum(count for count in counts if isinstance(count, int))
    per_token = BYTES_PER_TOKEN + BYTES_PER_LOGPROB * max(alternatives, 0)
    return int((tokens or MOST_ANSWER_TOKENS) * per_token)


#: The reason that an answer gets which is a refusal (OpenAI's `message.refusal`).
REFUSAL = "refusal"

#: Reasons with which an answer ends at the limit of its tokens (OpenAI, Gemini).
CUT_OFF = frozenset({"length", "max_tokens", "max_output_tokens"})

IMPOSSIBLE_COUNTS = (
    "The service reports token counts that are impossible for what was sent. They are ignored, so the tokens "
    "and the cost of this run are higher than stated."
)


#: After this many answers that are not JSON, and none that matches, the service ignores the schema.
IGNORED_AFTER = 3

ANSWERS_CUT_OFF = (
    "Some answers are cut off before they match the schema; each is requested again, and paid for. Raise "
    f"{setting_name('max_tokens')}, or the model's own limit."
)


@dataclass(slots=True)
class ReplyScores:
    """The results of one reply, and its token counts."""

    scores: list[Score | RowError]
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def complete(self) -> bool:
        """Whether every row has a score."""
        return RowError not in map(type, self.scores)


@dataclass(slots=True)
class ReplyReader:
    """Reads replies of one task; all vectors must be as long as the first.

    `asked_dimensions` is the length that requests ask for, `dimensions` the one that vectors must have.
    `notice` reports impossible token counts, and answers that are cut off before they match a schema, once
    each. `on_ignored` is called if the service seems to ignore the schema: before any valid answer, some are
    not even JSON.
    """

    task: Task
    answers_per_row: int = 1
    schema: AnswerSchema | None = None
    with_usage: bool = False
    with_raw: bool = False
    dimensions: int | None = None
    asked_dimensions: int | None = None
    answer_bytes: int = 0
    notice: Callable[[str], None] = lambda _: None
    has_noticed: bool = False
    has_noticed_cut: bool = False
    on_ignored: Callable[[], object] = lambda: None
    has_valid: bool = False
    not_json: int = 0

    def most_bytes(self, rows: int) -> int:
        """Return the size that no honest reply for this many rows exceeds."""
        if self.task.answer == "vector":
            asked = rows * (self.dimensions or self.asked_dimensions or MOST_DIMENSIONS) * BYTES_PER_NUMBER
        else:
            asked = self.answers_per_row * self.answer_bytes
        return min(SMALLEST_BOUND_BYTES + asked, LARGEST_BOUND_BYTES)

    def read(self, body: bytes | memoryview, rows: int, sent: bytes = b"") -> ReplyScores:
        """Return `rows` results of a reply to `sent`, in the order of the prompts; raises `InvalidReply`."""
        if self.task.answer == "vector" and not self.with_raw and len(body) >= FEWEST_BYTES_FOR_VIEWS:
            dimensions = self.dimensions
            with suppress(ValueError, InvalidReply):
                reply = load_with_views(body)
                scores = self.vectors(reply, rows)
                if RowError not in map(type, scores):
                    return self.results(reply, scores, rows, sent)
            self.dimensions = dimensions  # what was read may be wrong
        try:
            reply = load_json(body)
        except ValueError:
            raise not_json(bytes(body[:1000])) from None
        return self.read_object(reply, rows, sent)

    def read_object(self, reply: Any, rows: int, sent: bytes) -> ReplyScores:
        """Return the results of a reply whose JSON is this, as `read` does."""
        if not isinstance(reply, dict):
            raise InvalidReply("the reply is not a JSON object")
        scores = self.vectors(reply, rows) if self.task.answer == "vector" else [self.texts(reply)]
        return self.results(reply, scores, rows, sent)

    def results(
        self, reply: Mapping[str, Any], scores: list[Score | RowError], rows: int, sent: bytes
    ) -> ReplyScores:
        """Return the results with the token counts of the reply; raises `InvalidReply` if it is a refusal."""
        refused = self.schema is not None and any(map(is_refused, scores))
        usage = reply.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        prompt_tokens, answer_tokens, false_names = self.counts(usage, rows, sent)
        if self.with_usage or self.with_raw:
            usage = {name: count for name, count in usage.items() if name not in false_names}
            usage_shown, raw = usage if self.with_usage else None, reply if self.with_raw else None
            scores = [
                replace(each, usage=usage_shown, raw=raw) if isinstance(each, Score) else each
                for each in scores
            ]
        results = ReplyScores(scores, prompt_tokens, answer_tokens)
        if refused:
            text = "The model refused to answer."
            invalid = InvalidReply(text, code=ErrorCode.INVALID_ANSWER, same_again=False)
            invalid.results = results
            raise invalid
        return results

    def billed(self, body: bytes, rows: int, sent: bytes) -> tuple[int, int]:
        """Return the prompt and answer tokens that an unused reply reports; 0 if it reports none."""
        try:
            usage = load_json(body)["usage"]
        except (ValueError, TypeError, KeyError):
            return 0, 0
        prompt_tokens, answer_tokens, _ = self.counts(usage if isinstance(usage, dict) else {}, rows, sent)
        return prompt_tokens, answer_tokens

    def counts(self, usage: Mapping[str, Any], rows: int, sent: bytes) -> TokenCounts:
        """Return the token counts of a reply that can be true."""
        counts = token_counts(usage, self.task, self.answers_per_row, rows, sent)
        if counts[2]:
            if not self.has_noticed:
                self.notice(IMPOSSIBLE_COUNTS)
            self.has_noticed = True
        return counts

    def vectors(self, reply: Mapping[str, Any], rows: int) -> list[Score | RowError]:
        """Return the vectors by `index`; a row whose own vector is wrong has an error in its place."""
        data = objects_in(reply, "data")
        if len(data) != rows:
            raise InvalidReply(f"the reply has {len(data)} vectors for {rows} inputs")
        embeddings = [item.get("embedding", ()) for item in in_input_order(data)]
        if self.dimensions is None and have_eight_bytes(embeddings):
            raise InvalidReply(
                "its numbers have eight bytes instead of four; "
                f"{setting_name('param', {'encoding_format': 'float'})} requests them as text"
            )
        vectors = decode_vectors(embeddings, self.dimensions)
        length: int = next(vector.size for vector in vectors if not isinstance(vector, InvalidReply))
        if self.asked_dimensions not in {None, length}:
            raise InvalidReply(
                f"vectors of {self.asked_dimensions} numbers were requested, and the service sends {length}; "
                f"leave out {setting_name('dimensions')}"
            )
        self.dimensions = length
        if isinstance(vectors, np.ndarray):
            return [Score(vector) for vector in vectors]
        return [
            RowError(vector.code, f"The service's reply could not be used: {vector}.")
            if isinstance(vector, InvalidReply)
            else Score(vector)
            for vector in vectors
        ]

    def texts(self, reply: Mapping[str, Any]) -> Score | RowError:
        """Return the text of the only choice, or the texts of several in the order of their `index`."""
        if self.task.system_key:
            return self.score(*response_text(reply))
        choices = reply.get("choices")
        if type(choices) is list and len(choices) == 1 and type(choices[0]) is dict:
            if self.answers_per_row == 1:  # as nearly always
                return self.score(*self.text(choices[0]))
        elif not choices and is_blocked(reply):
            return RowError(ErrorCode.CONTENT_FILTER, "The service's content filter refused the row.", 200)
        else:
            choices = objects_in(reply, "choices")
        if len(choices) < self.answers_per_row:
            raise InvalidReply(
                f"the reply has {len(choices)} of {self.answers_per_row} answers; does the service ignore "
                "the parameter n?"
            )
        if len(choices) > 1 and all(isinstance(choice.get("index"), int) for choice in choices):
            choices = sorted(choices, key=lambda choice: int(choice["index"]))
        if self.answers_per_row == 1:
            return self.score(*self.text(choices[0]))
        texts = [self.text(choice) for choice in choices]
        answers, reasons = zip(*[self.matched(*each) for each in texts], strict=True)
        return Score(list(answers), list(reasons), size=sum([self.size(text) for text, _ in texts]))

    def score(self, text: str | None, reason: str | None) -> Score:
        """Return the score of one answer, of which the text and the reason of its end are given."""
        if self.schema is None:
            return Score(text, reason)
        value, known = self.matched(text, reason)
        return Score(value, known, size=self.size(text))

    def size(self, text: str | None) -> int:
        """Return the length of an answer's text with a schema, whose values do not show it."""
        return 0 if self.schema is None or text is None else len(text)

    def matched(self, text: str | None, reason: str | None) -> tuple[Any, str | None]:
        """Return an answer's text, or with a schema its value, which must match; and why the answer ended.

        There is no value if the model refused to answer, or the content filter withheld the answer.
        """
        if self.schema is None:
            return text, reason
        known = (reason or "").lower()
        if known in BLOCKED:
            return None, reason
        try:
            value = self.schema.value_of(text, cut_off=known in CUT_OFF)
        except InvalidAnswer as error:
            raise self.invalid(error, text, cut_off=known in CUT_OFF) from None
        self.has_valid = True
        return value, reason

    def invalid(self, error: InvalidAnswer, answer: str | None, *, cut_off: bool) -> InvalidReply:
        """Return what an answer means that does not match the schema, and say what it shows of the run."""
        assert self.schema is not None
        if str(error) == NOT_JSON and not self.has_valid:
            self.not_json += 1
            if self.not_json % IGNORED_AFTER == 0:
                self.on_ignored()
        if cut_off and not self.has_noticed_cut:
            self.has_noticed_cut = True
            self.notice(ANSWERS_CUT_OFF)
        complaint = b""
        if self.schema.feedback and answer and error.complaint:
            complaint = complaint_messages(answer, error.complaint)
        return InvalidReply(str(error), code=ErrorCode.INVALID_ANSWER, same_again=False, complaint=complaint)

    def text(self, choice: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """Return a choice's text, `None` if the model gave none, and why it ended, if the service says so."""
        reason, error, known = choice.get("finish_reason"), choice.get("error"), "stop"
        if error or reason != known:
            reason = reason if isinstance(reason, str) else None
            known = (reason or "").lower()
            check_broken_off(known, error)
        if self.task.takes_messages:
            message = choice.get("message")
            if isinstance(message, dict):
                return message_text(message, reason)
            content, holder = None, "message"
        else:
            content, holder = choice.get("text"), "text"
        if content is None and known not in BLOCKED:
            raise InvalidReply(f"a choice has no {holder}")
        if content is not None and not isinstance(content, str):
            raise InvalidReply("an answer is not text")
        return content, reason


def reader_for(
    settings: RequestSettings, dimensions: int | None, notice: Callable[[str], None]
) -> ReplyReader:
    """Return the reader of a run's replies; `dimensions` is the vectors' length if it is known already."""
    length = settings.api_params.get("dimensions")
    return ReplyReader(
        settings.task,
        settings.answers_per_row,
        schema=answer_schema(settings),
        with_usage=settings.usage,
        with_raw=settings.raw,
        dimensions=dimensions,
        asked_dimensions=length if isinstance(length, int) else None,
        answer_bytes=answer_size(settings.answer_tokens, settings.api_params),
        notice=notice,
    )


def is_refused(score: Score | RowError) -> bool:
    """Whether the model refused to give an answer."""
    reason = score.finish_reason if isinstance(score, Score) else None
    return REFUSAL in (reason if isinstance(reason, list) else [reason])


def message_text(message: Mapping[str, Any], reason: str | None) -> tuple[str | None, str | None]:
    """Return the text of a chat message and why it ended; a refusal is a text with its own reason."""
    content, refusal = message.get("content"), message.get("refusal")
    if type(content) is str and content:
        return content, reason  # as nearly always
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    if content is not None and not isinstance(content, str):
        raise InvalidReply("an answer is not text")
    if not content and isinstance(refusal, str) and refusal:
        return refusal, REFUSAL
    return content, reason


def is_blocked(reply: Mapping[str, Any]) -> bool:
    """Whether a reply without choices says that the content filter refused the prompt (Azure, Gemini)."""
    feedback = reply.get("promptFeedback") or reply.get("prompt_feedback")
    if isinstance(feedback, dict) and (feedback.get("blockReason") or feedback.get("block_reason")):
        return True
    return any(part.get("filtered") is True for part in objects_below(reply.get("prompt_filter_results")))


def objects_below(value: Any) -> Iterator[dict[str, Any]]:
    """Give all objects within lists and objects."""
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, dict):
            yield found
            pending += found.values()
        elif isinstance(found, list):
            pending += found


def not_json(body: bytes) -> InvalidReply:
    """Return what came instead of JSON, of which this is the beginning, in our words."""
    start = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n").lower()
    what, hint = "not JSON", ""
    if not start:
        what = "empty"
    elif start.startswith(("data:", "event:", "id:", "retry:", ":")):
        what = "an event stream, not JSON"
        hint = f"; if the service streams by default, set {setting_name('param', {'stream': False})}"
    elif start.startswith("<"):
        what = f"{'an HTML page' if 'html' in start else 'XML'}, not JSON"
        hint = "; check the endpoint's address"
    elif start.startswith("{"):
        what = "JSON that is not UTF-8" if "\ufffd" in start else "incomplete or invalid JSON"
    return InvalidReply(f"the reply is {what}{hint}", same_again=False)
