"""Which words of a command say which service is called, and how?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batchscore.settings.declare import as_flag
from batchscore.settings.sources import NEED_TRUST

#: The settings that say which service is called, and how.
OF_SERVICE = NEED_TRUST - {"deployments"}

#: The variables that name an endpoint.
ENDPOINT_VARIABLES = ("BATCHSCORE_ENDPOINT", "AZURE_OPENAI_ENDPOINT", "OPENAI_BASE_URL", "OPENAI_API_BASE")

_FLAGS = {as_flag(name) for name in (*OF_SERVICE, "config")}


def service_words(command: Sequence[str]) -> list[str]:
    """Return the flags of the service in a command, each with its value."""
    found: list[str] = []
    end = command.index("--") if "--" in command else len(command)
    for before, word in zip(["", *command[:end]], command[:end], strict=False):
        if before in _FLAGS:
            found += [before, word]
        elif "=" in word and word.partition("=")[0] in _FLAGS:
            found.append(word)
    return found


def service_words_of(settings: Mapping[str, Any]) -> list[str]:
    """Return flags for the recorded settings of a run that was not typed as a command."""
    given = {name: settings.get(name) for name in sorted(OF_SERVICE)}
    return [
        word for name, value in given.items() if isinstance(value, str) for word in (as_flag(name), value)
    ]
