"""How does a command print its result, even if the reader has gone away or the disk is full?"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from batchscore.errors import OutputError, name_settings
from batchscore.settings.declare import as_flag

#: How many lines of a list are shown before "and N more".
MOST_LISTED = 10


def say(text: str | bytes, *, err: bool = False) -> None:
    """Print a result. A reader that has gone away changes nothing; raises `OutputError` for a full disk."""
    if isinstance(text, str):
        text = name_settings(text, as_flag)
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(text, err=err)
    except OSError as error:
        # The rest of the buffer could not be written when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            reason = f"cannot write to {stream.name.strip('<>')}: {error.strerror}"
            raise OutputError(f"{reason}. The scores themselves are saved.") from None


def bullets(lines: Sequence[str]) -> str:
    """Return an indented list, only the first lines if it is long."""
    shown = [f"  {line}" for line in lines[:MOST_LISTED]]
    more = [f"  and {len(lines) - MOST_LISTED:,} more"] if len(lines) > MOST_LISTED else []
    return "\n".join([*shown, *more])
