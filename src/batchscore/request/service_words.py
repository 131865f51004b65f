"""Which words of a service may a terminal show?

Its words for a row may quote the row, so they are never shown. Its reply to our own probe quotes nobody,
since the probe is one word of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from batchscore.request.error_shapes import error_of, message_of
from batchscore.rows import load_json

#: A message of a person's length.
MOST_CHARACTERS = 300

#: A shorter text is not a secret, and may be a part of any word.
FEWEST_CHARACTERS = 4

#: What looks like a key or a token, also if a service shows only its ends.
KEY_LIKE = re.compile(
    r"(?<!\S)\S*\*{3,}\S*|\b(?:sk|pk|key)[-_]\S{6,}|\b(?:Bearer|Basic) \S{6,}|\b[A-Za-z0-9+/_=-]{32,}"
)

TAGS = re.compile(r"<(script|style|head)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def probe_words(body: bytes, secrets: Iterable[str] = ()) -> str:
    """Return what a service says in a reply to our probe, in one line without secrets; "" if nothing.

    `secrets` are the texts that must not be shown: the key, and parameters that hold secrets.
    """
    try:
        found = words_of(error_of(load_json(body)))
    except ValueError:
        text = body[:20_000].decode("utf-8", "replace")
        title = TITLE.search(text)
        found = title[1] if title else TAGS.sub(" ", text)
    for secret in secrets:
        found = found.replace(secret, "***") if len(secret) >= FEWEST_CHARACTERS else found
    line = " ".join(KEY_LIKE.sub("***", found).split())
    line = "".join(character for character in line if character.isprintable())
    return line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 2] + " …"


def words_of(error: Mapping[str, Any]) -> str:
    """Return the message of an error, with the place of the field it is about."""
    place, message = error.get("loc"), message_of(error)
    return f"{'.'.join(map(str, place))}: {message}" if isinstance(place, list) and place else message
