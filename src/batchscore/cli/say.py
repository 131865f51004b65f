"""How does a command print its result, even if the reader has gone away or the disk is full?"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
import orjson

from batchscore.cli.program import as_called
from batchscore.errors import OutputError, name_settings, visible_message
from batchscore.report.words import json_safe
from batchscore.settings.declare import as_flag

#: How many lines of a list are shown before "and N more", and how many files for each reason.
MOST_LISTED = 10
MOST_FILES = 5


def worded(text: str) -> str:
    """Return a message as a terminal shows it, with the names of settings, this program and files."""
    return visible_message(as_called(name_settings(text, as_flag)))


def say(text: str | bytes, *, err: bool = False, styled: bool = False) -> None:
    """Print a result. A reader that has gone away changes nothing; raises `OutputError` for a full disk.

    A `styled` text is worded already.
    """
    if isinstance(text, str) and not styled:
        text = worded(text)
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(text, err=err)
    except OSError as error:
        drop_rest(stream.fileno())
        if not isinstance(error, BrokenPipeError):
            reason = f"cannot write to {stream.name.strip('<>')}: {error.strerror}"
            raise OutputError(f"{reason}. The scores themselves are saved.") from None


def say_json(value: Any) -> None:
    """Print a result as one line of JSON."""
    say(orjson.dumps(json_safe(value), default=str))


def drop_rest(descriptor: int) -> None:
    """Let a stream go nowhere: the rest of its buffer could not be written when the interpreter exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def bullets(lines: Sequence[str]) -> str:
    """Return an indented list, only the first lines if it is long."""
    shown = [f"  {line}" for line in lines[:MOST_LISTED]]
    more = [f"  and {len(lines) - MOST_LISTED:,} more"] if len(lines) > MOST_LISTED else []
    return "\n".join([*shown, *more])


def aligned(cells: Sequence[Sequence[str]], *, numbers: bool = False) -> list[str]:
    """Return the lines of a table, all columns to the left, or all but the first to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if numbers and place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def limited_lists(lists: Mapping[str, Sequence[tuple[str, str]]], others: str) -> list[str]:
    """Return a line for each file and its reason; of many only the first, and what lists the `others`."""
    lines = []
    for what, files in lists.items():
        lines += [f"{what}: {name}: {reason}" for name, reason in files[:MOST_FILES]]
        more = len(files) - MOST_FILES
        lines += [f"{what}: {more:,} more files; {others}"] if more > 0 else []
    return lines
