"""Is there a secret among the parameters of the API, and what of them may stand where others read it?

It goes by their names: what a value means nobody can tell.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

#: What a parameter is called whose value would be a secret, or would carry one.
SECRET = re.compile(
    r"(api|access|subscription|secret)[_-]?key$|(token|secret|password|authorization|headers|credentials?)$",
    re.IGNORECASE,
)

#: What stands for a secret.
HIDDEN = "***"


def secret_in(value: Any, name: str = "") -> str | None:
    """Return the name, with dots, of what sounds like a secret among parameters; `None` where nothing does.

    Below the top only a text is one: a schema may describe a field that is called `token`. There `key` is
    one, too: that of a search service which a chat model is to use.
    """
    if is_secret(value, name):
        return name
    if isinstance(value, dict):
        inside = [(f"{name}.{key}" if name else str(key), each) for key, each in value.items()]
    else:
        inside = [(name, each) for each in value] if isinstance(value, (list, tuple)) else []
    return next((found for path, each in inside if (found := secret_in(each, path))), None)


def without_secrets(value: Any, name: str = "") -> Any:
    """Return parameters as they may stand in records, pages and logs: what `secret_in` finds is hidden."""
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
    """Whether a parameter of such a name, with dots, is a secret."""
    last = name.rpartition(".")[2]
    below = "." in name
    sounds = bool(SECRET.search(last)) or (below and last == "key")
    return sounds and (isinstance(value, str) if below else value is not None)


def shown_command(words: Sequence[str]) -> str:
    """Return a command as one types it, without the secrets among its `--param` flags."""
    shown = []
    for before, word in zip(["", *words], words, strict=False):
        flag, given = ("--param=", word[8:]) if word.startswith("--param=") else ("", word)
        shown.append(flag + shown_parameter(given) if flag or before == "--param" else word)
    return shlex.join(shown)


def shown_parameter(given: str) -> str:
    """Return NAME=JSON with the value hidden where it holds a secret; the name of a file is none."""
    name, equals, text = given.partition("=")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    is_hidden = equals and not text.startswith("@") and secret_in({name.strip(): value}) is not None
    return f"{name}={HIDDEN}" if is_hidden else given
