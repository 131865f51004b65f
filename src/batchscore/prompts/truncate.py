"""How is a prompt truncated if it exceeds the model's context?

Only its longest text is cut, at the end. The length is estimated from the service's error message; if the
prompt is still too long, it is cut again. This module knows the JSON of a prompt, not its template.
"""

from __future__ import annotations

from collections.abc import Callable
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
    if isinstance(body, str):
        cut = keep_beginning(body, fraction)
        return None if cut is None else replace(prompt, body=orjson.dumps(cut), truncated=True)
    texts = list(texts_of(body))
    if not texts:
        return None
    text, replace_text = max(texts, key=lambda found: len(found[0]))
    cut = keep_beginning(text, fraction)
    if cut is None:
        return None
    replace_text(cut)
    return replace(prompt, body=orjson.dumps(body), truncated=True)


def keep_beginning(text: str, fraction: float) -> str | None:
    """Return the beginning of a text, or `None` if that is too short."""
    length = int(len(text) * fraction)
    return text[:length] if length >= FEWEST_CHARACTERS else None


def texts_of(messages: Any) -> list[tuple[str, Callable[[str], None]]]:
    """Return each text of chat messages with a function that replaces it."""
    found: list[tuple[str, Callable[[str], None]]] = []

    def add(holder: dict[str, Any], name: str) -> None:
        found.append((holder[name], lambda text: holder.__setitem__(name, text)))

    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            add(message, "content")
        elif isinstance(content, list):
            for part in content:
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    add(part, "text")
    return found
