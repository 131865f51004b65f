"""How does a command end: what it prints, whatever became of whoever reads it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from batchscore.errors import OutputError, name_settings
from batchscore.settings.declare import as_flag

#: How many things of a kind are listed before "and so many more".
MOST_LISTED = 10


def say(text: str | bytes, *, err: bool = False) -> None:
    """Print how a run ended; a reader that has gone changes nothing, a full disk is an `OutputError`."""
    if isinstance(text, str):
        text = name_settings(text, as_flag)
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(text, err=err)
    except OSError as error:
        # What is still in the buffer has nowhere to go when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            reason = f"cannot write to {stream.name.strip('<>')}: {error.strerror}"
            raise OutputError(f"{reason}. The scores themselves are written.") from None


def bullets(lines: Sequence[str]) -> str:
    """Return a list for a person, cut where it is long."""
    shown = [f"  {line}" for line in lines[:MOST_LISTED]]
    more = [f"  and {len(lines) - MOST_LISTED:,} more"] if len(lines) > MOST_LISTED else []
    return "\n".join([*shown, *more])
