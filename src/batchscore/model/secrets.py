"""Is there a secret among the parameters that are to be stored?

It goes by their names: what a value means nobody can tell.
"""

from __future__ import annotations

from typing import Any

from batchscore.model.kept import SECRET


def secret_in(value: Any, name: str = "") -> str | None:
    """Return the name, with dots, of what sounds like a secret among parameters; `None` where nothing does.

    Below the top only a text is one: a schema may describe a field that is called `token`. There `key` is
    one, too: that of a search service which a chat model is to use.
    """
    if name:
        last = name.rpartition(".")[2]
        below = "." in name
        if (SECRET.search(last) or (below and last == "key")) and (not below or isinstance(value, str)):
            return name
    if isinstance(value, dict):
        inside = [(f"{name}.{key}" if name else str(key), each) for key, each in value.items()]
    else:
        inside = [(name, each) for each in value] if isinstance(value, (list, tuple)) else []
    return next((found for path, each in inside if (found := secret_in(each, path))), None)
