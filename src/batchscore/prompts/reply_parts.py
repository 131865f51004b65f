"""Which list of a reply holds its answers, and did the service break an answer off?

It knows the JSON of replies, not tasks or rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchscore.errors import ErrorCode
from batchscore.rows import InvalidReply

#: Reasons with which a service ends an answer that it could not finish (OpenRouter, DeepSeek, z.AI, vLLM and
#: SGLang, Cohere), in lower case; also all that end in `_error`.
BROKEN_OFF = frozenset(
    {"error", "abort", "aborted", "cancelled", "canceled", "failed", "failure", "timeout", "overloaded"}
    | {"interrupted", "insufficient_system_resource"}
)

#: Reasons with which a service withholds an answer for its content (OpenAI, Gemini, z.AI, Cohere).
BLOCKED = frozenset(
    {"content_filter", "safety", "sensitive", "recitation", "blocklist", "prohibited_content", "spii"}
    | {"refusal", "guardrail", "error_toxic"}
)


def check_broken_off(reason: str, error: Any = None) -> None:
    """Raise `InvalidReply` if an answer ended with an error; `reason` is in lower case."""
    if reason not in BLOCKED and (error or reason in BROKEN_OFF or reason.endswith("_error")):
        text = "the service broke off the answer"
        raise InvalidReply(text, code=ErrorCode.SERVER_ERROR, same_again=False)


def objects_in(reply: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects from the reply; raises `InvalidReply` if it is missing or empty."""
    found = reply.get(name)
    if isinstance(found, list) and set(map(type, found)) == {dict}:
        return found
    error = reply.get("error")
    if error:
        raise error_instead(error)
    if isinstance(found, list) and None in found:
        raise InvalidReply(f"an item of {name} is null")
    raise InvalidReply(f"the reply has no {name}")


def error_instead(error: Any) -> InvalidReply:
    """Return what an error in a reply with status 200 means; some name the status that they would have."""
    fields = error if isinstance(error, dict) else {}
    statuses = [status_in(fields.get(key)) for key in ("code", "status", "status_code", "http_code")]
    status = next((each for each in statuses if each), None)
    text = "the reply is an error with status 200"
    return InvalidReply(text, same_again=False, is_error=True, status=status)


def status_in(word: Any) -> int | None:
    """Return an HTTP status of a failure, from a number or its text."""
    text = str(word) if isinstance(word, (int, str)) else ""
    return int(text) if len(text) == 3 and text.isdecimal() and 400 <= int(text) <= 599 else None
