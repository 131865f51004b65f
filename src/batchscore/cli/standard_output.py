"""How do scores get to standard output?

A run resumes from files, so its output is one file in this user's temporary folder. The same command finds it
again after a stop; once every row is scored and printed, it is removed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from batchscore.errors import UsageError, setting_name
from batchscore.output.spec import Output, fingerprint_of
from batchscore.settings.fields import Settings
from batchscore.settings.slices import RecordSettings, cut
from batchscore.stores.this_machine import own_folder


def file_for(settings: Settings, inputs: Sequence[str], *, as_json: bool) -> Path:
    """Return the file for standard output; raises `UsageError` if something else is printed."""
    what = f"{setting_name('output')} - writes to standard output"
    if as_json:
        raise UsageError(f"{what}, and so does --json. Give {setting_name('output')} a file or a folder.")
    for name in ("incremental", "shared_output"):
        if getattr(settings, name):
            raise UsageError(f"{what}, which keeps no output for {setting_name(name)}. Give a folder.")
    file = Path("scores.jsonl")
    same = [fingerprint_of(cut(RecordSettings, settings), Output(file, file)), os.getcwd(), *inputs]  # noqa: PTH109
    text = orjson.dumps(same, option=orjson.OPT_SORT_KEYS, default=str)
    return own_folder() / f"stdout-{hashlib.blake2b(text, digest_size=8).hexdigest()}" / file


def print_scores(file: Path) -> None:
    """Copy the scores to standard output; a reader that has gone away ends that."""
    stream = sys.stdout.buffer
    try:
        with file.open("rb") as scores:
            shutil.copyfileobj(scores, stream, 1 << 20)
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def remove(file: Path) -> None:
    """Remove what a run has left for standard output."""
    shutil.rmtree(file.parent, ignore_errors=True)
