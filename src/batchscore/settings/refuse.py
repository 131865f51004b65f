"""How is a wrong setting refused, in the words of each door?"""

from __future__ import annotations

from typing import Any

from batchscore.errors import UsageError, setting_name


def refuse(wrong: Any, message: str, **values: Any) -> None:
    """Raise `UsageError` if something is wrong; in the message, `{name}` is a value or a setting's name.

    `{name=value}` is a setting with the value that the user should give it: a text, a number or true.
    """
    if wrong:
        raise UsageError(message.format_map(_Names(values)))


class _Names(dict[str, Any]):
    """The values of a message; any other name is that of a setting, marked for the doors."""

    def __missing__(self, name: str) -> str:
        named, _, value = name.partition("=")
        return setting_name(named, int(value) if value.isdigit() else value == "true" or value or None)
