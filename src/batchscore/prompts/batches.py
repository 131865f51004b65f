"""How do prompts become request bodies?

It knows the API's limits and the JSON of a body, not quotas, endpoints or replies. A request holds one prompt
for texts, and as many as the limits allow for vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from types import TracebackType
from typing import Any

import orjson

from batchscore.errors import setting_name
from batchscore.prompts.duplicates import MOST_WAITING, Duplicates
from batchscore.prompts.schema import FORMS, LOOSE, STRICT, AnswerSchema, with_complaint, with_instruction
from batchscore.prompts.token_estimate import Estimator
from batchscore.rows import Prompt, Settled
from batchscore.task import Task

#: Limits of one embeddings request (OpenAI's API reference, seen 2026-09).
MOST_INPUTS = 2048
MOST_TOKENS = 300_000
#: Our own limit: gateways in front of the service often refuse larger bodies.
MOST_BYTES = 4 * 2**20

#: After this many answered requests of a reduced size a larger one is tried; after a failure twice as many.
REQUESTS_BEFORE_TRIAL = 32


@dataclass(slots=True)
class BodyFormat:
    """The JSON around the prompts, which all requests of a run share.

    Three things can change: the name of `max_tokens`, if the model turns out to require
    `max_completion_tokens` and the name is ours to choose (`may_rename`), `encoding_format`, if the service
    has numbers only, and `response_format`, if it does not know that of the `schema`: then the next of the
    schema's `forms` is used.
    """

    task: Task
    model: str | None
    params: Mapping[str, Any]
    may_rename: bool = False
    schema: AnswerSchema | None = None
    forms: tuple[str, ...] = ()
    notice: Callable[[str], None] = lambda _: None
    adapted: set[str] = field(default_factory=set)
    instruction: bytes = b""
    head: bytes = field(init=False)
    tail: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Build the constant parts."""
        fixed: dict[str, Any] = {} if self.model is None else {"model": self.model}
        if self.task.answer == "vector" and "encoding_format" not in self.adapted:
            # Four bytes per number instead of about twenty characters, and exact.
            fixed["encoding_format"] = "base64"
        fixed.update(self.params)
        if self.schema is not None:
            self.forms = self.forms or self.schema.forms
            kind, form = self.schema.asked_as(self.forms[0])
            if kind:
                fixed.update(self.task.answer_format(kind, form, params=self.params))
            self.instruction = orjson.dumps(self.schema.instruction(self.forms[0]))[1:-1]
        self.head = b"" if self.task.system_key else b'{"' + self.task.input_key.encode() + b'":'
        rest = orjson.dumps(fixed)[1:-1]
        self.tail = (b"," if rest else b"") + rest + b"}"

    def body(self, prompts: Sequence[Prompt], complaint: bytes = b"") -> bytes:
        """Return the request's body; `complaint` is JSON of further messages. O(bytes)."""
        if self.task.packs_many:
            return b"".join(
                (self.head, b"[", b",".join([prompt.body for prompt in prompts]), b"]", self.tail)
            )
        prompt = prompts[0].body
        if self.instruction:
            prompt = with_instruction(prompt, self.instruction, self.task.system_key)
        if complaint:
            prompt = with_complaint(prompt, complaint, self.task.input_key if self.task.system_key else "")
        return b"".join((self.head, prompt[:-1] if self.task.system_key else prompt, self.tail))

    def adapt(self, parameter: str) -> bool:
        """Use the other form of a parameter from now on, if there is one; return whether it is used."""
        if parameter == "max_tokens" and self.may_rename and "max_tokens" in self.params:
            params = dict(self.params)
            params["max_completion_tokens"] = params.pop("max_tokens")
            self.params = params
        elif parameter == "response_format":
            return self.use(self.forms[1:])
        elif not (
            parameter == "encoding_format"
            and self.task.answer == "vector"
            and "encoding_format" not in self.params
        ):
            return parameter in self.adapted
        self.adapted.add(parameter)
        self.__post_init__()
        return True

    def leave_form(self) -> None:
        """Send the service the schema in another way, if there is one: it ignores this one."""
        self.use(tuple(form for form in self.forms[1:] if form not in {STRICT, LOOSE}))

    def use(self, forms: tuple[str, ...]) -> bool:
        """Use the first of these forms of a schema from now on; return whether there is one."""
        if forms:
            self.forms = forms
            self.adapted.add("response_format")
            self.notice(f"{setting_name('schema')}: from now on {FORMS[forms[0]]}, as the service needs it.")
            self.__post_init__()
        return bool(forms)


@dataclass(slots=True)
class Pack:
    """The prompts of one request, their size in bytes, and rows found meanwhile that need no request.

    `ended`: the stream has ended. An empty pack that has not ended: answers must come before more is taken.
    """

    prompts: list[Prompt] = field(default_factory=list)
    size: int = 0
    settled: Sequence[Settled] = field(default_factory=list)
    ended: bool = False


@dataclass(slots=True)
class Packer:
    """Takes prompts off a stream in order, enough for one request at a time.

    `most_rows` shrinks if the service accepts fewer inputs per request. The reason may pass, so now and then
    a request of twice as many, which begins with `trial`, shows whether they are accepted again. With
    `duplicates`, equal prompts are sent once.
    """

    source: Iterator[Prompt | Settled]
    most_rows: int
    estimator: Estimator
    duplicates: Duplicates | None = None
    waiting: Prompt | Settled | None = None
    failure: Exception | None = None
    failed_at: TracebackType | None = None
    trial: Prompt | None = None
    answered: int = 0
    trial_after: int = REQUESTS_BEFORE_TRIAL
    largest_rows: int = field(init=False)

    def __post_init__(self) -> None:
        """Note the number of rows that was wanted."""
        self.largest_rows = self.most_rows = min(self.most_rows, MOST_INPUTS)

    def take(self, smooth_tokens: float = inf) -> Pack:
        """Return the content of the next request, of about `smooth_tokens` if rows allow that.

        An error of the stream is raised after all rows before it have been taken. O(rows taken).
        """
        if self.largest_rows == 1 and self.duplicates is None and self.waiting is None:
            item = self.next_item()
            if type(item) is Prompt:  # as nearly always
                return Pack([item], len(item.body), ())
            self.waiting = item
        prompts: list[Prompt] = []
        settled: list[Settled] = []
        most_rows, most_size, size, ended = self.most_rows, MOST_BYTES, 0, False
        if self.answered >= self.trial_after and self.trial is None:
            most_rows = min(2 * most_rows, self.largest_rows)
        if most_rows > 1:
            most_size = min(MOST_BYTES, int(min(smooth_tokens, MOST_TOKENS) / self.estimator.ratio))
        duplicates = self.duplicates
        while len(prompts) < most_rows and len(settled) < MOST_INPUTS:
            if duplicates is not None and duplicates.waiting >= MOST_WAITING:
                break
            item = self.waiting if self.waiting is not None else self.next_item()
            self.waiting = None
            if item is None:
                ended = self.failure is None
                break
            if isinstance(item, Settled):
                settled.append(item)
                continue
            grown = size + len(item.body)
            # A request holds either texts or lists of tokens.
            if prompts and (grown > most_size or item.body[0] != prompts[0].body[0]):
                self.waiting = item
                break
            if duplicates is not None and duplicates.add(item, settled):
                continue
            prompts.append(item)
            size = grown
        if self.failure is not None and not prompts and not settled:
            raise self.failure.with_traceback(self.failed_at)  # each worker takes, and would add its frames
        if len(prompts) > self.most_rows:
            self.trial = prompts[0]
        return Pack(prompts, size, settled, ended)

    def next_item(self) -> Prompt | Settled | None:
        """Return the next item; `None` at the end, or if the stream failed."""
        if self.failure is not None:
            return None
        try:
            return next(self.source, None)
        except Exception as failure:
            self.failure, self.failed_at = failure, failure.__traceback__
            return None

    def shrink(self, rows: int) -> None:
        """Take at most `rows` per request from now on."""
        self.most_rows = max(1, min(self.most_rows, rows))

    def note_request(self, prompts: Sequence[Prompt], *, answered: bool) -> bool:
        """Note how a request ended; return whether it shows that larger ones are accepted again."""
        if prompts[0] is not self.trial:
            if answered and 2 * len(prompts) > self.most_rows:
                self.answered += 1
            return False
        self.trial, self.answered = None, 0
        self.trial_after = REQUESTS_BEFORE_TRIAL if answered else 2 * self.trial_after
        if answered:
            self.most_rows = max(self.most_rows, len(prompts))
        return answered
