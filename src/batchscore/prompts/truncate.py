"""How is a prompt truncated if it exceeds the model's context?

Only its longest text is cut, at the end. The length is estimated from the service's error message; if the
prompt is still too long, it is cut again. This module knows the JSON of a prompt, not its template.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from batchscore.rows import Prompt

#: Safety margin, since tokens are not distributed evenly over a text.
MARGIN = 0.95

#: The fraction to keep if the service did not say how far the prompt exceeds the limit.
DEFAULT_FRACTION = 0.7

#: A text with fewer characters is not worth a request.
FEWEST_CHARACTERS = 16


def truncate(prompt: Prompt, fitting: float | None) -> Prompt | None:
    """Return the prompt with its longest text cut to a fraction; `None` if too little would be left.

    `fitting` is the fraction of the request's tokens that the service accepts, `None` if it did not say.
    """
    fraction = DEFAULT_FRACTION if fitting is None else min(fitting * MARGIN, MARGIN)
    body = orjson.loads(prompt.body)
    # A prompt of the Responses API; its instructions are not cut.
    fields = body if isinstance(body, dict) else {"input": body}
    body = fields["input"]
    if isinstance(body, list) and isinstance(body[0], int):
        tokens = body[: int(len(body) * fraction)]
        return replace(prompt, body=orjson.dumps(tokens), truncated=True) if tokens else None
    messages = body if isinstance(body, list) else [{"content": body}]
    texts = texts_of(messages)
    if not texts:
        return None
    holder, name = max(texts, key=lambda place: len(place[0][place[1]]))
    length = int(len(holder[name]) * fraction)
    if length < FEWEST_CHARACTERS:
        return None
    holder[name] = holder[name][:length]
    fields["input"] = body if isinstance(body, list) else messages[0]["content"]
    shorter = fields if prompt.body.startswith(b"{") else fields["input"]
    return replace(prompt, body=orjson.dumps(shorter), truncated=True)


def texts_of(messages: Any) -> list[tuple[dict[str, Any], str]]:
    """Return each dictionary that holds a text of chat messages, and the text's key."""
    found = [(message, "content") for message in messages if isinstance(message.get("content"), str)]
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        parts = [part for part in parts if isinstance(part, dict)]
        found += [(part, "text") for part in parts if isinstance(part.get("text"), str)]
    return found
