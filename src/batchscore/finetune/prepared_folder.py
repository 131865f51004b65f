"""Which files has a folder that `prepare` has made, and what does its `prepare.json` say?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from batchscore.errors import InputError
from batchscore.finetune.offered import finetune_command
from batchscore.stores import storage
from batchscore.stores.address import Place, command_word

SUMMARY = "prepare.json"
SCHEMA_VERSION = 1
#: What prepare.json holds until all files are replaced: they may be of an earlier preparation, or of two.
UNFINISHED = b'{"written":false}\n'

#: The parts, in the order of their shares.
PARTS = ("train", "validation", "test")


def file_of(part: str) -> str:
    """Return the name of a part's file."""
    return f"{part}.jsonl"


def read_summary(folder: Place) -> dict[str, Any]:
    """Return the content of prepare.json; raises `InputError` if no files to train on are in the folder."""
    place = folder / SUMMARY
    again = "Run `batchscore finetune prepare` again."
    try:
        found = orjson.loads(storage.whole(place)) if storage.exists(place) else None
    except ValueError:
        raise InputError(f"{place} is damaged. {again}") from None
    if not isinstance(found, dict):
        named = command_word(str(folder))
        is_file = isinstance(folder, Path) and folder.is_file()
        advice = ", choose a FOLDER, and run" if is_file else " of the table INPUT, run"
        command = finetune_command(
            "prepare", *((named, "-o", "FOLDER") if is_file else ("INPUT", "-o", named))
        )
        raise InputError(
            f"{folder} is not a folder of `batchscore finetune prepare`: it has no {SUMMARY}. "
            f"To make one{advice}: {command}"
        )
    if found.get("version") != SCHEMA_VERSION or not found.get("written"):
        raise InputError(
            f"The last `batchscore finetune prepare` of {folder} did not finish: files there may be of an "
            f"earlier one. {again}"
        )
    return found


def write_summary(folder: Place, content: dict[str, Any]) -> None:
    """Write prepare.json; raises `OutputError`."""
    text = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    storage.write_whole(folder / SUMMARY, text)
