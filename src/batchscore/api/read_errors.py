"""How do error records, and what a run changed, get into pandas?

It reads an output folder, as `read_scores` does, and does not know how runs work.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from batchscore.errors import InputError, OutputError, UsageError, message_of
from batchscore.output.answer_columns import ERROR_CODE, ERROR_MESSAGE, free_names
from batchscore.output.find import output_folder, task_of
from batchscore.output.layout import Layout
from batchscore.output.manifest import read_manifests
from batchscore.output.part_files import read_error_records, refuse_damaged
from batchscore.rows import RowError, Settled
from batchscore.settings.checks import value_text
from batchscore.stores import storage
from batchscore.stores.address import Place, place_of
from batchscore.stores.errors import StoreFailure

if TYPE_CHECKING:
    import pandas as pd


def read_errors(out: str | os.PathLike[str], task: str | None = None) -> pd.DataFrame:
    """Return the rows that failed, in input order: where they are, why, and after how many attempts.

    The columns are `file`, `row`, `id` and the kept columns if the records have them, `error_code`,
    `error_message`, `status` (of HTTP) and `attempts`; of the latter, one whose name a kept column has gets a
    number (`status_1`). Empty rows are among them (`empty_input`). The frame is empty if no row failed.
    Raises `InputError` if there is no output, or if a part is damaged.
    """
    folder, task = opened(out, task)
    failed: list[Settled] = []
    layout = Layout(folder, task, "")
    try:
        for manifest in sorted(read_manifests(layout), key=lambda each: each.file.split("/")):
            for number in sorted(manifest.parts):
                part = manifest.parts[number].error_records
                if part is not None:
                    refuse_damaged(layout.errors / part.name, part)
                    failed += read_error_records(layout, part)
    except (OutputError, StoreFailure) as error:
        raise InputError(message_of(error)) from error
    records = [identity_of(each) for each in failed]
    names = [*dict.fromkeys(("file", "row", *(name for record in records for name in record)))]
    ends = free_names((ERROR_CODE, ERROR_MESSAGE, "status", "attempts"), names)
    for record, each in zip(records, failed, strict=True):
        if isinstance(each.result, RowError):
            found = each.result
            values = (found.code.value, found.message, found.status, found.attempts)
            record |= dict(zip(ends, values, strict=True))
    return frame_of(records, [*names, *ends], {"row": "int64", ends[2]: "Int64", ends[3]: "int64"})


def identity_of(settled: Settled) -> dict[str, Any]:
    """Return the cells that say which row this is, by column."""
    identity = {} if settled.id is None else {"id": settled.id}
    return {"file": settled.file, "row": settled.row, **identity, **settled.kept}


def read_changes(
    out: str | os.PathLike[str], task: str | None = None, *, after: str | None = None
) -> pd.DataFrame:
    """Return what runs with `incremental` changed, in the order in which an index must apply it.

    The columns are `run`, `change` (`new`, `changed`, `moved` or `deleted`), `id`, `file`, `row`, `old_file`
    and `old_row`. `after` is the name of the last run that was applied: only later ones are read. The frame
    is empty if nothing was changed. Raises `InputError` if there is no output.
    """
    folder, task = opened(out, task)
    if not isinstance(after, str | None):
        raise UsageError(f"after is {value_text(after)}; it must be the name of a run.")
    changes = folder / "changes"
    found: list[dict[str, Any]] = []
    runs = sorted(storage.names(changes)) if storage.is_folder(changes) else []
    for run in runs:
        log = changes / run / f"{task}.jsonl"
        if (after is None or run > after) and storage.exists(log):
            with storage.open_file(log) as lines:
                found += [{"run": run, **orjson.loads(line)} for line in lines]
    names = ["run", "change", "id", "file", "row", "old_file", "old_row"]
    return frame_of(found, names, {"row": "int64", "old_row": "Int64"})


def opened(out: Any, task: str | None) -> tuple[Place, str]:
    """Return the folder of an output and its task; raises `InputError` or `UsageError`."""
    if not isinstance(out, (str, os.PathLike)):
        raise UsageError(f"out is {value_text(out)}; give the path of an output folder.")
    place = place_of(os.fspath(out))
    try:
        folder = output_folder(place)
        return folder, task_of(folder, place, task)
    except OutputError as error:
        raise InputError(message_of(error)) from error
    except StoreFailure as error:
        raise InputError(f"{out}: {error.strerror}") from error


def frame_of(records: list[dict[str, Any]], names: list[str], numbers: Mapping[str, str]) -> pd.DataFrame:
    """Return records as a frame: `numbers` have these types, all else is as it is in the records."""
    import pandas as pd  # noqa: PLC0415 - it takes half a second

    frame: pd.DataFrame = pd.DataFrame(
        {
            name: pd.Series([record.get(name) for record in records], dtype=numbers.get(name, object))
            for name in names
        }
    )
    return frame
