"""Which fault does the next call of a project get, and which the next line of a batch?

It must not know HTTP nor batches: a client that writes a script and the server that runs it share it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from batchscore.simulator.reply_shapes import check_shape
from batchscore.simulator.script import Pending, check_times, take

#: What can be called: of files, then of batches.
CALLS = (
    *("upload", "list_files", "get_file", "download", "delete_file"),
    *("create", "list_batches", "get_batch", "cancel"),
)
#: What else can be called: of uploads, jobs, models, then of Azure's management.
TUNING_CALLS = (
    *("create_upload", "add_part", "complete_upload", "cancel_upload", "import_file"),
    *("create_job", "list_jobs", "get_job", "delete_job", "cancel_job", "pause_job", "resume_job"),
    *("list_events", "list_checkpoints", "list_models", "get_model", "delete_model"),
    *("put_deployment", "get_deployment", "list_deployments", "delete_deployment"),
    *("get_account", "list_accounts", "list_account_models", "list_usages", "list_capacities"),
    "get_permissions",
)

#: What can be wrong with the line of a result: see `LineFault.line`.
LINE_FAULTS = (
    *("content_filter", "context_length", "status_zero", "missing", "duplicate", "different_duplicate"),
    *(
        "foreign_id",
        "null_id",
        "refused_in_output",
        "error_text",
        "cut_off",
        "not_json",
        "separators",
        "long",
    ),
)

#: How a download breaks off: see `CallFault.cut`.
CUTS = ("length", "chunked", "close")


@dataclass(frozen=True, kw_only=True)
class CallFault:
    """What happens to the next `times` calls (None: to all) of a kind, after `skip` of them.

    `call` is one of `CALLS` or `TUNING_CALLS`, or None for every call. `latency` (seconds) comes first and
    combines with all the others.

    The call gets no correct reply: `status` (with `code`, `message` and `retry_after`), `drop` (the
    connection is reset) or `hang` (no reply for this many seconds, then the connection is closed). If it
    `happened`, the file or batch exists nevertheless; otherwise it does not. The client sees the same.

    A download arrives otherwise: `cut_after` this many bytes the connection is closed, where `cut` says what
    announced the length: "length" (`Content-Length`), "chunked" (chunks, of which the last is missing) or
    "close" (nothing: the client cannot see that it is cut). `gzip` compresses it.
    """

    call: str | None = None
    times: int | None = 1
    skip: int = 0
    latency: float = 0.0
    happened: bool = False
    status: int | None = None
    code: str | None = None
    message: str | None = None
    retry_after: float | None = None
    drop: bool = False
    hang: float | None = None
    cut_after: int | None = None
    cut: str = "length"
    gzip: bool = False

    def __post_init__(self) -> None:
        known = (*CALLS, *TUNING_CALLS)
        if self.call is not None and self.call not in known:
            raise ValueError(f"call must be one of {', '.join(known)}, not {self.call!r}")
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError(f"status must be between 400 and 599, not {self.status}")
        if self.cut not in CUTS:
            raise ValueError(f"cut must be one of {', '.join(CUTS)}, not {self.cut!r}")
        check_times(self.times)

    @property
    def replaces_reply(self) -> bool:
        """Whether the correct reply is never sent."""
        return self.status is not None or self.drop or self.hang is not None


@dataclass(frozen=True, kw_only=True)
class LineFault:
    """What happens to lines of batches that hold `when_contains`, to this `share` of them, `times` at most.

    One of these is set:

    - `status`: the service's error with this status, `code` and `message`, in the error file.
    - `shape`: the correct reply in another form, one of `reply_shapes.REPLY_SHAPES`.
    - `line`: "content_filter" and "context_length" (errors), "status_zero" (0 without a body, in the output
      file), "missing" (in neither file), "duplicate", "different_duplicate" (the second one has another
      answer), "foreign_id", "null_id", "refused_in_output" (status 400 in the output file), "error_text" (a
      text as `error`, without a body), "cut_off" (the file ends in the middle of this line), "not_json",
      "separators" (raw U+2028 and U+0085 in the answer) or "long" (a line of `size` bytes).
    """

    when_contains: str | None = None
    share: float = 1.0
    times: int | None = None
    status: int | None = None
    code: str | None = None
    message: str | None = None
    shape: str | None = None
    line: str | None = None
    size: int = 5_000_000

    def __post_init__(self) -> None:
        check_shape(self.shape)
        if self.line is not None and self.line not in LINE_FAULTS:
            raise ValueError(f"line must be one of {', '.join(LINE_FAULTS)}, not {self.line!r}")
        if [self.status, self.shape, self.line].count(None) != 2:
            raise ValueError("one of status, shape and line must be set")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {self.share}")
        check_times(self.times)


class FaultScript:
    """The pending faults of a project. A call or line takes the first one that is for it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - not for secrets
        self._calls: list[Pending[CallFault]] = []
        self._lines: list[Pending[LineFault]] = []

    def add(self, *, calls: list[dict[str, Any]], lines: list[dict[str, Any]]) -> None:
        """Append faults."""
        new_calls = [CallFault(**one) for one in calls]
        self._lines += [Pending(fault, fault.times) for fault in [LineFault(**one) for one in lines]]
        self._calls += [Pending(fault, fault.times, fault.skip) for fault in new_calls]

    def clear(self) -> None:
        """Drop all faults."""
        self._calls.clear()
        self._lines.clear()

    def for_call(self, call: str) -> CallFault | None:
        """Take the fault of a call of this kind."""
        for pending in self._calls:
            if pending.fault.call in {None, call}:
                if pending.skip:
                    pending.skip -= 1
                    continue
                return take(self._calls, pending)
        return None

    def for_line(self, raw: bytes) -> LineFault | None:
        """Take the fault of a line."""
        for pending in self._lines:
            fault = pending.fault
            if fault.when_contains is not None and fault.when_contains.encode() not in raw:
                continue
            if fault.share < 1 and self._random.random() >= fault.share:
                continue
            return take(self._lines, pending)
        return None

    def left(self) -> int:
        """Return how many faults are pending."""
        return len(self._calls) + len(self._lines)
