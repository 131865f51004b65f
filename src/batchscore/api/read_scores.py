"""How do scores, error records, and what a run changed, get into pandas?

It reads an output folder, or one merged file, and does not know how runs work. pandas and pyarrow are loaded
on the first call.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from batchscore.api.column_types import PANDAS_TYPES, pandas_type, typed
from batchscore.errors import InputError, OutputError, OutputIncomplete, UsageError, message_of
from batchscore.output.answer_columns import STATUS, answer_columns, columns_seen, free_names
from batchscore.output.find import folder_of_locks, output_folder, score_parts, task_of, tasks_in
from batchscore.output.fingerprint import recorded_schema
from batchscore.output.layout import MARKER, Layout
from batchscore.output.locks.lock import held_by
from batchscore.output.manifest import read_manifests
from batchscore.output.missing import error_of_missing, missing_files, recorded_files
from batchscore.output.part_files import (
    RecordCheck,
    read_error_records,
    refuse_changed,
    refuse_damaged,
)
from batchscore.output.records.formats import RECORD_SUFFIXES, TABLE_SUFFIXES, suffixes_text
from batchscore.output.records.schema import answer_schema_in
from batchscore.rows import RowError, Settled
from batchscore.settings.checks import value_text
from batchscore.stores import storage
from batchscore.stores.address import Place, place_of
from batchscore.stores.errors import StoreFailure
from batchscore.stores.links import through_link
from batchscore.task import TASKS

if TYPE_CHECKING:
    import pandas as pd


#: The cells of each column, in row order.
_Columns = dict[str, list[Any]]


def read_scores(
    out: str | os.PathLike[str], task: str | None = None, *, strict: bool = False, flatten: bool = False
) -> pd.DataFrame:
    """Return the score records of an output folder, or of one merged file, in input order.

    `row` is int64. The other columns of records hold objects as written, without type inference: `file`, `id`
    and answers are text ("007" stays "007") or `None`, and embeddings are `(d,)` float32 arrays, so
    `np.stack(df["embeddings"])` works. In Parquet and Arrow, kept columns are text. `task` may be left out if
    the folder has only one. With `strict` an output that is not complete raises `OutputIncomplete`: files
    that a run set out to score and has not completed, also if it was killed, and rows without any record.
    Answers that match a schema are values, mostly mappings; with `flatten` each field of the schema is a
    column instead, with the types of `score_frame`: whole numbers are `Int64` and truth values `boolean` if
    some are missing. `answer` holds whole answers that have more than these fields. If the schema is not
    known, as in a merged JSON Lines file, or names no fields, the columns are those of all answers, as
    objects. A column whose name another one has gets a number (`row_1`).

    All scores are read into memory: 4 bytes per dimension and about 300 per row, plus the text of one file
    (of a merged Parquet file, all of it twice). Raises `InputError` if there are no scores, or if a part is
    missing or not as the manifests say, to the byte; `UsageError` for an argument of another type;
    `SettingsError` for a URI that cannot be used.
    """
    if not isinstance(out, (str, os.PathLike)):
        wanted = "give the path of an output folder or of one merged file."
        raise UsageError(f"out is {value_text(out)}; {wanted}")
    if not isinstance(task, str | None):
        raise UsageError(f"task is {value_text(task)}; it must be one of {', '.join(TASKS)}.")
    with _input_errors(out):
        return _scores(place_of(os.fspath(out)), task, strict=strict, flatten=flatten)


@contextmanager
def _input_errors(out: object) -> Iterator[None]:
    """Raise `InputError` for an output that cannot be read, in place of the error of a store."""
    try:
        yield
    except OutputIncomplete:
        raise
    except OutputError as error:
        raise InputError(message_of(error)) from error
    except StoreFailure as error:
        raise InputError(f"{out}: {error.strerror}") from error


def _frame(columns: Mapping[str, Sequence[Any]], numbers: Mapping[str, Any]) -> pd.DataFrame:
    """Return columns as a frame: `numbers` have these types, all else is as it is in the records."""
    import pandas as pd  # noqa: PLC0415 - it takes half a second

    series = {name: pd.Series(cells, dtype=numbers.get(name, object)) for name, cells in columns.items()}
    frame: pd.DataFrame = pd.DataFrame(series, copy=False)
    return frame


def _scores(path: Place, task: str | None, *, strict: bool, flatten: bool) -> pd.DataFrame:
    if strict:
        _refuse_incomplete(path, task)
    is_table = path.suffix.lower() in TABLE_SUFFIXES  # its scores are in the folder beside it
    if storage.is_folder(path) or (is_table and storage.is_folder(path.with_name(path.name + MARKER))):
        folder = output_folder(path)
        scored = [name for name in tasks_in(folder) if storage.is_folder(folder / name)]
        # A task that has error records alone has no scores to choose from.
        task = scored[0] if task is None and len(scored) == 1 else task_of(folder, path, task)
        files = score_parts(folder, task)
        manifests = read_manifests(Layout(folder, task, "")) if flatten else []
        schemas = [recorded_schema(each.fingerprint) for each in manifests]
    elif storage.exists(path):
        files, schemas = {through_link(path): None}, []
    else:
        raise InputError(f"{path}: no such file or folder")
    columns: _Columns = {}
    for file, stated in files.items():
        refuse_changed(file, stated)
        task, more, schema = _read(file, task)
        schemas.append(schema)
        check = RecordCheck(file, stated)
        check.add(more.get("file", ()), more.get("row", ()))
        check.end()
        _extend(columns, more)
    if task not in columns:
        raise InputError(f"{path}: no scores{f' of {task}' if task else ''} in it")
    types: dict[str, Any] = {"row": "int64"}
    if flatten:
        schema = next((each for each in schemas if each is not None), None)
        columns, more_types = flattened(columns, str(task), schema)
        types |= more_types
    return _frame(columns, types)


def flattened(
    columns: _Columns, task: str, schema: Mapping[str, Any] | None
) -> tuple[_Columns, dict[str, Any]]:
    """Return the columns with those of the answers' fields in place of the answers, and the types of these.

    A field that an answer does not have is `None`. `schema` is that of the answers, if it is known. Raises
    `UsageError` if answers have no fields.
    """
    answers = columns[task]
    many = any(isinstance(reason, list) for reason in columns.get("finish_reason", ()))
    shown = answer_columns(schema, many=many)
    if not shown.fields:
        shown = columns_seen(answers)
    if shown.open and not shown.fields:
        raise UsageError("flatten needs answers with fields, as they are with a schema; these have none.")
    names = free_names(shown.names, columns.keys() - {task})
    cells = zip(*map(shown.cells, answers), strict=True) if answers else [()] * len(names)
    own = dict(zip(names, map(list, cells), strict=True))
    types = dict[str, Any]()
    for name, part in zip(names, shown.fields.values(), strict=False):
        converted, kind = typed(own[name], part, schema)
        if str(kind) in PANDAS_TYPES:
            own[name], types[name] = list(converted), pandas_type(converted, kind)
    found: _Columns = {}
    for column, values in columns.items():
        found |= own if column == task else {column: values}
    return found, types


def _refuse_incomplete(path: Place, task: str | None) -> None:
    """Raise `OutputIncomplete` if an output, or that of a merged file, is known to lack rows or files."""
    beside = path.with_name(path.name + MARKER)
    if not storage.is_folder(path) and not storage.is_folder(beside):
        return
    folder = output_folder(path)
    task = task_of(folder, path, task)
    missing = missing_files(folder, task, read_manifests(Layout(folder, task, "")))
    if not storage.is_folder(path) and recorded_files(folder, task).without_file:
        # A killed run had complete parts; the file is that of an earlier run.
        missing.append(f"{path.name}: not written from the parts yet")
    if missing:
        held = held_by(folder_of_locks(folder), task, what=f"{path} ({task})")
        raise error_of_missing(str(path), missing, recorded_files(folder, task).stopped, held)


def _read(path: Place, task: str | None) -> tuple[str | None, _Columns, Mapping[str, Any] | None]:
    """Return the task of records, their columns, and the JSON Schema of the answers if the file has it."""
    suffix = path.suffix.lower()
    if suffix not in RECORD_SUFFIXES:
        raise InputError(f"{path}: scores are in {suffixes_text(RECORD_SUFFIXES)} files")
    try:
        return (*_from_lines(path, task), None) if suffix == ".jsonl" else _from_arrow(path, task)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read as scores ({error})") from error


def _task_of(names: Iterable[str]) -> str | None:
    """Return the task whose records have these columns; its own column comes after all kept ones."""
    return next((name for name in reversed(list(names)) if name in TASKS), None)


def _from_lines(path: Place, task: str | None) -> tuple[str | None, _Columns]:
    columns: _Columns = {}
    with storage.open_file(path) as lines:
        for count, line in enumerate(lines):
            record = orjson.loads(line)
            task = task or _task_of(record)
            if task is not None and task in record and TASKS[task].answer == "vector":
                record[task] = np.array(record[task], dtype=np.float32)
            for name, cell in record.items():
                # If all columns are kept, rows may have different ones.
                columns.setdefault(name, [None] * count).append(cell)
            for cells in columns.values():
                if len(cells) == count:
                    cells.append(None)
    return task, columns


def _from_arrow(path: Place, task: str | None) -> tuple[str | None, _Columns, Mapping[str, Any] | None]:
    import pyarrow as pa  # noqa: PLC0415 - it takes 0.1 s, and JSON Lines does not need it

    from batchscore.output.records.arrow_arrays import vectors_of  # noqa: PLC0415
    from batchscore.output.records.columnar import answers_from  # noqa: PLC0415
    from batchscore.output.records.usage_column import counts_of  # noqa: PLC0415
    from batchscore.stores.objects import open_arrow_part, open_parquet_part  # noqa: PLC0415

    if path.suffix.lower() == ".parquet":
        with open_parquet_part(path) as file:
            table = file.read()
    else:
        with open_arrow_part(path) as opened:
            table = pa.ipc.open_file(opened).read_all()
    task = task or _task_of(table.column_names)
    columns: _Columns = {}
    for name in table.column_names:
        if name == task and TASKS[name].answer == "vector":
            columns[name] = vectors_of(table[name])
        else:
            columns[name] = table[name].to_pylist()
    schema = answer_schema_in(table.schema.field(task)) if task in columns else None
    if task is not None and schema is not None:
        many = pa.types.is_list(table.schema.field("finish_reason").type)
        columns[task] = answers_from(columns[task], schema, many=many)
    if "usage" in columns:
        columns["usage"] = [counts_of(cell) for cell in columns["usage"]]
    if "raw" in columns:
        columns["raw"] = [None if text is None else orjson.loads(text) for text in columns["raw"]]
    return task, columns, schema


def _extend(columns: _Columns, more: _Columns) -> None:
    before = len(columns.get("row", ()))
    count = len(more.get("row", ()))
    for name, cells in more.items():
        columns.setdefault(name, [None] * before).extend(cells)
    for cells in columns.values():
        if len(cells) == before:
            cells.extend([None] * count)


def read_errors(out: str | os.PathLike[str], task: str | None = None) -> pd.DataFrame:
    """Return the rows that failed, in input order: where they are, why, and after how many attempts.

    The columns are `file`, `row`, `id` and the kept columns if the records have them, `error_code`,
    `error_message`, `status` (of HTTP) and `attempts`; of the latter, one whose name a kept column has gets a
    number (`status_1`). Empty rows are among them (`empty_input`). The frame is empty if no row failed.
    Raises `InputError` if there is no output, or if a part is damaged.
    """
    failed: list[Settled] = []
    with _input_errors(out):
        layout = _layout(out, task)
        for manifest in sorted(read_manifests(layout), key=lambda each: each.file.split("/")):
            for number in sorted(manifest.parts):
                part = manifest.parts[number].error_records
                if part is not None:
                    refuse_damaged(layout.errors / part.name, part)
                    failed += read_error_records(layout, part)
    records = [
        {"file": each.file, "row": each.row, **({} if each.id is None else {"id": each.id}), **each.kept}
        for each in failed
    ]
    names = [*dict.fromkeys(("file", "row", *(name for record in records for name in record)))]
    ends = free_names((*STATUS[-2:], "status", "attempts"), names)
    for record, each in zip(records, failed, strict=True):
        if isinstance(each.result, RowError):
            found = each.result
            values = (found.code.value, found.message, found.status, found.attempts)
            record |= dict(zip(ends, values, strict=True))
    columns = {name: [record.get(name) for record in records] for name in (*names, *ends)}
    return _frame(columns, {"row": "int64", ends[2]: "Int64", ends[3]: "int64"})


def read_changes(
    out: str | os.PathLike[str], task: str | None = None, *, after: str | None = None
) -> pd.DataFrame:
    """Return what runs with `incremental` changed, in the order in which an index must apply it.

    The columns are `run`, `change` (`new`, `changed`, `moved` or `deleted`), `id`, `file`, `row`, `old_file`
    and `old_row`. `after` is the name of the last run that was applied: only later ones are read. The frame
    is empty if nothing was changed. Raises `InputError` if there is no output.
    """
    if not isinstance(after, str | None):
        raise UsageError(f"after is {value_text(after)}; it must be the name of a run.")
    found: list[dict[str, Any]] = []
    with _input_errors(out):
        layout = _layout(out, task)
        changes = layout.root / "changes"
        for run in sorted(storage.names(changes)) if storage.is_folder(changes) else ():
            log = changes / run / f"{layout.task}.jsonl"
            if (after is None or run > after) and storage.exists(log):
                with storage.open_file(log) as lines:
                    found += [{"run": run, **orjson.loads(line)} for line in lines]
    names = ("run", "change", "id", "file", "row", "old_file", "old_row")
    columns = {name: [change.get(name) for change in found] for name in names}
    return _frame(columns, {"row": "int64", "old_row": "Int64"})


def _layout(out: Any, task: str | None) -> Layout:
    """Return where an output has the records of a task; raises `InputError` or `UsageError`."""
    if not isinstance(out, (str, os.PathLike)):
        raise UsageError(f"out is {value_text(out)}; give the path of an output folder.")
    place = place_of(os.fspath(out))
    folder = output_folder(place)
    return Layout(folder, task_of(folder, place, task), "")
