"""Can what a caller from Python gives be meant, and in which words is it refused?

It knows neither rows nor requests: it looks at the iterable itself and at the texts of errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from batchscore.errors import InputError, SettingsError, UsageError
from batchscore.settings.fields import Settings


@contextmanager
def flags_called_arguments() -> Iterator[None]:
    """Let errors speak of the arguments that a caller knows, where they would speak of flags."""
    names = {declared.name for declared in fields(Settings)}

    def argument(flag: re.Match[str]) -> str:
        name = flag[1].replace("-", "_")
        return name if name in names else flag[0]

    try:
        yield
    except (UsageError, SettingsError, InputError) as error:
        raise type(error)(re.sub(r"--([a-z][a-z-]*[a-z])", argument, str(error))) from None


def refuse_what_gives_no_rows(rows: Any) -> None:
    """Raise `UsageError` for what can be iterated, but gives letters, keys or the names of columns."""
    kind = type(rows).__name__
    if isinstance(rows, (str, bytes, Mapping)):
        raise UsageError(f"rows is a single {kind}; give an iterable of rows, such as a list of one.")
    if hasattr(rows, "iterrows"):
        raise UsageError(f'rows is a {kind}, which iterates over column names; give rows.to_dict("records").')
    if hasattr(rows, "__aiter__"):
        raise UsageError(
            f"rows is asynchronous ({kind}); give an ordinary iterable, such as a list of what it gives."
        )
    if not isinstance(rows, Iterable) and not hasattr(rows, "__getitem__"):
        raise UsageError(f"rows is {kind}, which cannot be iterated; give an iterable of rows.")
