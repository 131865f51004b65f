"""Which parameters and headers hold secrets, and must be hidden where others can read them?

It decides by the names of parameters, since values do not show their meaning.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Names of parameters whose value is a secret, or contains one.
SECRET = re.compile(
    r"(api|access|subscription|secret)[_-]?key$|(token|secret|password|authorization|headers|credentials?)$",
    re.IGNORECASE,
)

#: A value of a header or query parameter that holds no secret itself: a variable, perhaps behind a scheme.
ONLY_NAMES = re.compile(r"([A-Za-z-]+ )?(\$\w+|\$\{\w+\})")

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


def shown_pairs(pairs: Mapping[str, str]) -> dict[str, str]:
    """Return headers or query parameters for records and logs; values that name a variable are shown."""
    return {name: text if ONLY_NAMES.fullmatch(text) else HIDDEN for name, text in pairs.items()}


def shown_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deployment's table for records and logs."""
    return {key: shown_pairs(value) if isinstance(value, Mapping) else value for key, value in table.items()}


def shown_command(words: Sequence[str]) -> str:
    """Return a command as the user types it, with the secrets in its flags hidden."""
    shown = []
    for before, word in zip(["", *words], words, strict=False):
        flag, equals, given = word.partition("=")
        if equals and flag in SHOWN_FLAGS:
            shown.append(f"{flag}={SHOWN_FLAGS[flag](given)}")
        else:
            shown.append(SHOWN_FLAGS[before](word) if before in SHOWN_FLAGS else word)
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


def shown_pair(given: str) -> str:
    """Return NAME=VALUE with the value hidden unless it only names a variable."""
    name, equals, text = given.partition("=")
    return name + equals + shown_pairs({name: text.strip()})[name] if equals else HIDDEN


#: For each flag whose value may hold a secret, how the value is shown.
SHOWN_FLAGS: Mapping[str, Callable[[str], str]] = {
    "--param": shown_parameter,
    "--header": shown_pair,
    "--query": shown_pair,
}
