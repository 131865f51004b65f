"""What does sending a body give: a reply, or no reply, and why?

It knows no HTTP library. What sends is `request/wire`, which is loaded only when a connection is opened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from batchscore.errors import ErrorCode
from batchscore.rows import Reply

#: Sends one body and returns a reply of at most this many bytes; raises `NoReply`.
Send = Callable[[bytes, int], Awaitable[Reply]]


class NoReply(Exception):  # noqa: N818 - a reason to retry, not an error of the run
    """No reply that can be read arrived; `detail` is for people, without the input.

    `code` is TIMEOUT, CONNECTION_ERROR or INVALID_RESPONSE; the last may have the `head` of the reply, whose
    body cannot be used. `needs_action`: waiting does not help.
    """

    def __init__(
        self, code: ErrorCode, detail: str, *, head: Reply | None = None, needs_action: bool = False
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.head = head
        self.needs_action = needs_action
