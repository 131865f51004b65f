"""How do prompts become request bodies?

It knows the API's bounds and the JSON of a body, nothing of limits, endpoints or replies. One prompt
a request for completions and chat; as many as the bounds allow for embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import orjson

from batchscore.prompts.duplicates import MOST_WAITING, Duplicates
from batchscore.prompts.token_estimate import Estimator
from batchscore.rows import Prompt, Settled

#: Bounds of one embeddings request (OpenAI's API reference, seen 2026-09).
MOST_INPUTS = 2048
MOST_TOKENS = 300_000
#: Ours: gateways in front of the service often refuse larger bodies.
MOST_BYTES = 4 * 2**20

#: The name under which prompts stand in a body.
INPUT_NAMES = {"embeddings": "input", "completions": "prompt", "chat": "messages"}


@dataclass(slots=True)
class BodyFormat:
    """The JSON around the prompts: everything that all requests of a run have in common.

    The only thing that ever changes is `max_tokens`' name, where it is ours to choose (`may_rename`)
    and the model turns out to want `max_completion_tokens`.
    """

    task: str
    model: str | None
    params: Mapping[str, Any]
    may_rename: bool = False
    renamed: bool = False
    head: bytes = field(init=False)
    tail: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Write the constant parts once."""
        fixed: dict[str, Any] = {} if self.model is None else {"model": self.model}
        if self.task == "embeddings":
            # Four bytes a number instead of some twenty characters, and exact.
            fixed["encoding_format"] = "base64"
        fixed.update(self.params)
        self.head = b'{"' + INPUT_NAMES[self.task].encode() + b'":'
        rest = orjson.dumps(fixed)[1:-1]
        self.tail = (b"," if rest else b"") + rest + b"}"

    def body(self, prompts: Sequence[Prompt]) -> bytes:
        """Return the request's body. O(bytes)."""
        if self.task == "embeddings":
            return b"".join(
                (self.head, b"[", b",".join([prompt.body for prompt in prompts]), b"]", self.tail)
            )
        return b"".join((self.head, prompts[0].body, self.tail))

    def rename_max_tokens(self) -> bool:
        """Say `max_completion_tokens` from now on; False where that is already so."""
        if not self.may_rename or "max_tokens" not in self.params:
            return False
        params = dict(self.params)
        params["max_completion_tokens"] = params.pop("max_tokens")
        self.params, self.renamed = params, True
        self.__post_init__()
        return True


@dataclass(slots=True)
class Pack:
    """What was taken for one request: the prompts, their bytes, and rows met on the way that ask nothing.

    `ended`: there is no more. Nothing at all and not ended: answers have to come before more is taken.
    """

    prompts: list[Prompt] = field(default_factory=list)
    size: int = 0
    settled: list[Settled] = field(default_factory=list)
    ended: bool = False


@dataclass(slots=True)
class Packer:
    """Takes prompts off a stream, a request's worth at a time, first come first served.

    `most_rows` shrinks when the service shows that it takes fewer inputs a request. With `duplicates`,
    equal prompts are taken once.
    """

    source: Iterator[Prompt | Settled]
    most_rows: int
    estimator: Estimator
    duplicates: Duplicates | None = None
    waiting: Prompt | None = None
    failure: Exception | None = None

    def take(self, smooth_tokens: float = inf) -> Pack:
        """Return what the next request holds, of about `smooth_tokens` where rows allow.

        What the stream raises is raised when all that came before it has been taken. O(rows taken).
        """
        pack = Pack()
        prompts, settled = pack.prompts, pack.settled
        most_rows = min(self.most_rows, MOST_INPUTS)
        most_size = min(MOST_BYTES, min(smooth_tokens, MOST_TOKENS) / self.estimator.ratio)
        size = 0
        duplicates = self.duplicates
        while len(prompts) < most_rows and len(settled) < MOST_INPUTS:
            if duplicates is not None and duplicates.waiting >= MOST_WAITING:
                break
            item = self.waiting if self.waiting is not None else self.next_item()
            self.waiting = None
            if item is None:
                pack.ended = self.failure is None
                break
            if isinstance(item, Settled):
                settled.append(item)
                continue
            grown = size + len(item.body)
            if prompts and grown > most_size:
                self.waiting = item
                break
            if duplicates is not None and duplicates.known(item, settled):
                continue
            prompts.append(item)
            size = grown
        if self.failure is not None and not prompts and not settled:
            raise self.failure
        pack.size = size
        return pack

    def next_item(self) -> Prompt | Settled | None:
        """Return what comes next; `None` at the end, and where the stream failed."""
        if self.failure is not None:
            return None
        try:
            return next(self.source, None)
        except Exception as failure:
            self.failure = failure
            return None

    def shrink(self, rows: int) -> None:
        """Take at most `rows` a request from now on."""
        self.most_rows = max(1, min(self.most_rows, rows))
