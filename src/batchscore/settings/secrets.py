"""Which API parameters hold secrets, and must be hidden where others can read them?

It decides by the names of parameters, since values do not show their meaning.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

#: Names of parameters whose value is a secret, or contains one.
SECRET = re.compile(
    r"(api|access|subscription|secret)[_-]?key$|(token|secret|password|authorization|headers|credentials?)$",
    re.IGNORECASE,
)

#: What replaces a secret.
HIDDEN = "***"


def secret_in(value: Any, name: str = "") -> str | None:
    """Return the dotted name of the first parameter that looks like a secret, or `None`.

    Below the top level only texts count: a schema may describe a field named `token`. There `key` counts as
    well, as the key of a search service that a chat model uses.
    """
    if is_secret(value, name):
        return name
    if isinstance(value, dict):
        inside = [(f"{name}.{key}" if name else str(key), each) for key, each in value.items()]
    else:
        inside = [(name, each) for each in value] if isinstance(value, (list, tuple)) else []
    return next((found for path, each in inside if (found := secret_in(each, path))), None)


def without_secrets(value: Any, name: str = "") -> Any:
    """Return parameters for records, pages and logs, with the secrets that `secret_in` finds hidden."""
    if is_secret(value, name):
        return HIDDEN
    if isinstance(value, dict):
        return {
            key: without_secrets(each, f"{name}.{key}" if name else str(key)) for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [without_secrets(each, name) for each in value]
    return value


def is_secret(value: Any, name: str) -> bool:
    """Whether the parameter with this dotted name is a secret."""
    last = name.rpartition(".")[2]
    below = "." in name
    sounds = bool(SECRET.search(last)) or (below and last == "key")
    return sounds and (isinstance(value, str) if below else value is not None)


def shown_command(words: Sequence[str]) -> str:
    """Return a command as the user types it, with the secrets in its `--param` flags hidden."""
    shown = []
    for before, word in zip(["", *words], words, strict=False):
        flag, given = ("--param=", word[8:]) if word.startswith("--param=") else ("", word)
        shown.append(flag + shown_parameter(given) if flag or before == "--param" else word)
    return shlex.join(shown)


def shown_parameter(given: str) -> str:
    """Return NAME=JSON with the value hidden if it holds a secret; the name of a file is not secret."""
    name, equals, text = given.partition("=")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    is_hidden = equals and not text.startswith("@") and secret_in({name.strip(): value}) is not None
    return f"{name}={HIDDEN}" if is_hidden else given
