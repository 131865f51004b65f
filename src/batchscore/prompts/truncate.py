"""How is a prompt cut that is longer than the model takes?

Its longest text keeps its beginning. How much is guessed from what the service said, and guessed again
where that was too much. It knows the JSON of a prompt, not its template.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from batchscore.rows import Prompt

#: Left of what would just fit, since tokens are not spread evenly over a text.
MARGIN = 0.95

#: Kept where the service did not say how far the prompt was over the limit.
KEPT_AT_A_GUESS = 0.7

#: Nothing worth an answer is left of a text below so many characters.
FEWEST_CHARACTERS = 16


def shorter(prompt: Prompt, fitting: float | None) -> Prompt | None:
    """Return the prompt with its longest text cut to about `fitting` of it; `None` where nothing is left.

    `fitting` is the part of the request's tokens that the service would take, `None` where it said nothing.
    """
    part = KEPT_AT_A_GUESS if fitting is None else min(fitting * MARGIN, MARGIN)
    body = orjson.loads(prompt.body)
    if isinstance(body, str):
        cut = beginning(body, part)
        return None if cut is None else replace(prompt, body=orjson.dumps(cut), truncated=True)
    texts = list(texts_of(body))
    if not texts:
        return None
    text, put = max(texts, key=lambda found: len(found[0]))
    cut = beginning(text, part)
    if cut is None:
        return None
    put(cut)
    return replace(prompt, body=orjson.dumps(body), truncated=True)


def beginning(text: str, part: float) -> str | None:
    """Return the first part of a text, or nothing where that is too little."""
    length = int(len(text) * part)
    return text[:length] if length >= FEWEST_CHARACTERS else None


def texts_of(messages: Any) -> list[tuple[str, Callable[[str], None]]]:
    """Return every text of chat messages with the way to replace it."""
    found: list[tuple[str, Callable[[str], None]]] = []

    def note(holder: dict[str, Any], name: str) -> None:
        found.append((holder[name], lambda text: holder.__setitem__(name, text)))

    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            note(message, "content")
        elif isinstance(content, list):
            for part in content:
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    note(part, "text")
    return found
