"""How do the parts of an output become one file, at the end of a run or later?

It finds the parts that count and writes them in input order, in constant memory. It does not change the
folder, and reports what the output still lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from batchscore.errors import (
    InputChanged,
    InputError,
    OutputError,
    UsageError,
    count_text,
    setting_name,
)
from batchscore.output.checkpoints import waiting_rows, waiting_text
from batchscore.output.find import folder_of_locks, output_folder, score_files_of, score_parts, task_of
from batchscore.output.fingerprint import recorded_schema
from batchscore.output.input_digest import without_images
from batchscore.output.layout import Layout
from batchscore.output.ledger import Ledger
from batchscore.output.locks.lock import held_by, refuse_locked
from batchscore.output.manifest import Manifest, read_manifests
from batchscore.output.missing import RecordedFiles, error_of_missing, missing_files, recorded_files
from batchscore.output.one_file import replace_one_file
from batchscore.output.part_files import RecordCheck, StatedScores, checked_chunks, refuse_changed
from batchscore.output.parts import memory_of
from batchscore.output.records.formats import (
    FILE_SUFFIXES,
    RECORD_SUFFIXES,
    format_of,
    refuse_vectors,
    suffixes_text,
)
from batchscore.output.records.jsonl import encode_scores
from batchscore.output.records.schema import (
    RecordSchema,
    columns_of,
    damage_text,
    first_record,
    is_parquet,
    schema_of,
)
from batchscore.output.tables.sources import TableSource, sources_of
from batchscore.output.tables.write import TableStyle, is_table, write_table
from batchscore.read.files import digest
from batchscore.rows import Score, Settled
from batchscore.stores import storage
from batchscore.stores.address import Place, StoredPath
from batchscore.stores.half_written import sweep_abandoned
from batchscore.stores.links import real_path, through_link
from batchscore.stores.sink import Sink
from batchscore.stores.storage import list_files

if TYPE_CHECKING:
    import pyarrow as pa

#: The score files to merge, in order, each with what its manifest says of it, if there is one.
Parts: TypeAlias = Mapping[Place, StatedScores | None]

_BATCH_ROWS = 1024
_BATCH_BYTES = 2**23


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The merged file: `rows` score records; the `failed` rows and the `empty` ones have no score.

    A table has all rows of the input; `unanswered` ones have no record at all.

    `missing` says in words what the output lacks; empty if it is complete or has no manifests. `note` says
    which files and columns a table does not have; empty if it has all.
    """

    task: str
    rows: int
    failed: int
    empty: int
    missing: tuple[str, ...]
    note: str = ""
    unanswered: int = 0


def merge_output(
    named: Place,
    file: Place,
    *,
    task: str | None = None,
    overwrite: bool = False,
    style: TableStyle | None = None,
    base_dir: Place | None = None,
    sync: bool = False,
) -> MergeResult:
    """Write the scores of an output folder to one file, in input order, in constant memory.

    A table (csv, tsv, xlsx, in this `style`) also has the input's columns, so the inputs are read again; they
    are below `base_dir` if they were moved. With `sync` the file is on the device afterwards.

    Raises `UsageError` if the file's suffix is not a format, and `InputError` if there are no scores, or
    `OutputLocked` if the first run is still working. Raises `OutputError` if the file may not be written
    there, or if a part is not as its manifest says.
    """
    refuse_other_suffix(file)
    sweep_abandoned(through_link(file).parent)
    folder = output_folder(named)
    task = task_of(folder, named, task)
    layout = Layout(folder, task, "")
    manifests, recorded = read_manifests(layout), recorded_files(folder, task)
    missing, keep = _check_parts(layout, manifests, recorded)
    empty = sum(each.empty for each in manifests)
    failed = sum(each.errors for each in manifests) - empty
    schemas = (recorded_schema(each.fingerprint) for each in manifests)
    answer = next((schema for schema in schemas if schema is not None), None)
    _refuse_target(folder, manifests, file, overwrite=overwrite)
    nothing = missing and not list_files(folder / task)
    if nothing:
        refuse_locked(folder_of_locks(folder), task, what=f"{named} ({task})")
    if nothing and not (is_table(file) and manifests):
        raise error_of_missing(str(named), missing, recorded.stopped)
    if is_table(file):
        try:
            sources = _table_sources(layout, manifests, file, base_dir)
            named_files = {each.file for each in manifests} | recorded.files.keys()
            style = replace(style or TableStyle(), name_files=len(named_files) > 1)
            table = write_table(layout, sources, file, style, sync=sync)
        except (InputChanged, InputError):
            # A run that is working does not say yet which version of an input it reads.
            refuse_locked(folder_of_locks(folder), task, what=f"{named} ({task})")
            raise
        left_out = named_files - {each.manifest.file for each in sources}
        left_out -= {each.file for each in manifests if each.state == "complete"}
        of_files = f"without the rows of {len(left_out):,} of {count_text(len(named_files), 'file')}"
        note = ", ".join(filter(None, (of_files if left_out else "", table.note)))
        return MergeResult(task, table.rows, failed, empty, missing, note, table.unanswered)
    parts = score_parts(folder, task)
    if not storage.is_folder(folder / "manifest"):
        # Sort by input file; the parts of each file are in order already.
        in_order = sorted(parts, key=lambda part: str(first_record(part).get("file")).split("/"))
        parts = {part: parts[part] for part in in_order}
    first, stated = next(iter(parts.items()))
    refuse_changed(first, stated)
    schema = replace(schema_of(first, task, answer=answer), keep=keep)
    rows = merge_parts(parts, file, schema, output=folder, sync=sync)
    return MergeResult(task, rows, failed, empty, missing)


def _table_sources(
    layout: Layout, manifests: Sequence[Manifest], file: Place, base_dir: Place | None
) -> list[TableSource]:
    if not manifests:
        raise InputError(
            f"{layout.root} has no manifests, which say what the inputs were. A table has their columns; "
            f"write a file ending in {suffixes_text(RECORD_SUFFIXES)} instead."
        )
    refuse_vectors(layout.task, file)
    score_parts(layout.root, layout.task, may_be_empty=True)
    with_rows = [manifest for manifest in manifests if manifest.rows] or manifests
    in_order = sorted(with_rows, key=lambda manifest: manifest.file.split("/"))
    return sources_of(layout, in_order, base_dir)


def _check_parts(
    layout: Layout, manifests: Sequence[Manifest], recorded: RecordedFiles
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Return what is missing, and the names of the kept columns, if they are known."""
    keep: tuple[str, ...] | None = None
    for manifest in manifests:
        names = manifest.fingerprint.get("keep")
        if isinstance(names, list) and "*" not in names:
            keep = tuple(names)
    missing = missing_files(layout.root, layout.task, manifests)
    if held_by(folder_of_locks(layout.root), layout.task, what=""):
        missing.append("a run is still working on this output")
    elif missing:
        without = recorded.files.keys() - {each.file for each in manifests}
        unfinished = [*manifests, *(Manifest(file, layout.task, {}) for file in without)]
        with suppress(OutputError):  # of a journal; the next run says it
            if rows := waiting_rows(layout, recorded, unfinished):
                missing.insert(0, f"{waiting_text(rows)}, which the next run publishes without paying again")
    return tuple(missing), keep


def _refuse_target(folder: Place, manifests: Sequence[Manifest], file: Place, *, overwrite: bool) -> None:
    """Raise `OutputError` if the file would be in the output folder, or would replace something else."""
    if _is_within(file, folder):
        raise OutputError(f"{file} is in the output folder {folder} itself. Choose another folder for it.")
    if not storage.exists(file):
        return
    if not overwrite:
        raise OutputError(
            f"{file} exists already. Choose another name, or replace it with "
            f"{setting_name('overwrite', True)}."
        )
    if storage.is_folder(file) or (isinstance(file, Path) and not file.is_file()):
        raise OutputError(f"{file} is not a file. Choose another name.")
    found = digest(file)
    for manifest in manifests:
        if without_images(manifest.input) == found:
            raise OutputError(f"{file} is the input {manifest.file} of these scores. Choose another name.")


def _is_within(file: Place, folder: Place) -> bool:
    """Whether a file would be below a folder, on this machine or in one store."""
    if isinstance(file, StoredPath) or isinstance(folder, StoredPath):
        return f"{file}/".startswith(f"{folder}/")
    return real_path(file).is_relative_to(real_path(folder))


def write_one_file(ledger: Ledger, file: Place, inputs: Iterable[str], dimensions: int | None) -> None:
    """Write the scores of `inputs`, in their order, to one file.

    `dimensions` is the vectors' length in the settings. Without scores and without a length there is no file,
    since a column of vectors has a length.
    """
    manifests = [ledger.manifests[name] for name in inputs if name in ledger.manifests]
    parts = score_files_of(ledger.spec.layout, manifests)
    schema = ledger.spec.schema
    if not parts and schema.is_vector and file.suffix.lower() != ".jsonl":
        if dimensions is None:
            storage.remove(through_link(file))
            return
        schema = replace(schema, dimensions=dimensions)
    if parts and "*" in ledger.spec.fingerprint["keep"]:
        schema = replace(schema, keep=None)
    merge_parts(parts, file, schema, output=ledger.spec.layout.root, sync=ledger.spec.sync)


def merge_parts(
    parts: Parts, destination: Place, schema: RecordSchema, *, output: Place | None = None, sync: bool = False
) -> int:
    """Write the records of an `output`'s score parts, in the given order, to one file; return their number.

    The suffix of `destination` decides the format, which is one of records. JSON Lines parts are copied byte
    by byte into JSON Lines; all else is converted. The file is written completely or not at all, with `sync`
    to the device; it is not written if a part is not as its manifest says, to the byte, or holds other rows.
    If the destination has columns and `schema` lacks the vectors' length or the kept columns' names, the
    parts are read once before. Without these names parts may have different columns.
    """
    suffix = refuse_other_suffix(destination)
    with replace_one_file(output, destination, sync=sync) as sink:
        if suffix == ".jsonl":
            return _merge_lines(parts, sink, schema)
        return _merge_columns(parts, sink, schema, suffix)


def refuse_other_suffix(file: Place) -> str:
    """Return the suffix of a single file of scores; raises `UsageError` if it is not a format."""
    suffix = file.suffix.lower()
    if suffix not in FILE_SUFFIXES:
        raise UsageError(f"{file}: the name of a file of scores must end in {suffixes_text()}.")
    return suffix


def _merge_lines(parts: Parts, sink: Sink, schema: RecordSchema) -> int:
    rows = 0
    if schema.keep is None and any(map(is_parquet, parts)):
        schema = _with_all_columns(parts, schema)
    for part, stated in parts.items():
        for chunk in _lines(part, stated, schema):
            rows += chunk.count(b"\n")
            sink.write(chunk)
    return rows


def _lines(part: Place, stated: StatedScores | None, schema: RecordSchema) -> Iterator[bytes]:
    if is_parquet(part):
        refuse_changed(part, stated)
        for batch in _batches(part, stated, schema):
            yield from encode_scores(batch, schema)
        return
    chunk = b"\n"
    for chunk in checked_chunks(part, stated):
        yield chunk
    if not chunk.endswith(b"\n"):
        raise OutputError(f"{part}: its last line is incomplete; {damage_text(part)}")


def _merge_columns(parts: Parts, sink: Sink, schema: RecordSchema, suffix: str) -> int:
    from batchscore.output.records import columnar  # noqa: PLC0415 - pyarrow takes a while to load

    schema = _complete_schema(parts, schema)
    rows = 0
    with columnar.open_writer(sink, schema, suffix) as append:
        for part, stated in parts.items():
            refuse_changed(part, stated)
            if is_parquet(part):
                tables = _tables(part, stated, schema)
            else:
                batches = _batches(part, stated, schema)
                tables = (columnar.score_table(batch, schema) for batch in batches)
            for table in tables:
                rows += table.num_rows
                append(table)
    return rows


def _tables(part: Place, stated: StatedScores | None, schema: RecordSchema) -> Iterator[pa.Table]:
    from batchscore.output.records import columnar  # noqa: PLC0415 - as above

    check = RecordCheck(part, stated)
    for table in columnar.score_tables(part, schema):
        check.add(table["file"].to_pylist(), table["row"].to_pylist())
        yield table
    check.end()


def _batches(part: Place, stated: StatedScores | None, schema: RecordSchema) -> Iterator[list[Settled]]:
    rows, check = format_of(part).decode_scores(part, schema), RecordCheck(part, stated)
    batch: list[Settled] = []
    size = 0
    for row in chain(rows, [None]):
        if batch and (row is None or len(batch) == _BATCH_ROWS or size >= _BATCH_BYTES):
            check.add([each.file for each in batch], [each.row for each in batch])
            yield batch
            batch, size = [], 0
        if row is not None:
            batch.append(row)
            size += memory_of(row)
    check.end()


def _complete_schema(parts: Iterable[Place], schema: RecordSchema) -> RecordSchema:
    """Return the schema with what a columnar file must know before its first row."""
    if schema.keep is None:
        schema = _with_all_columns(parts, schema)
    if schema.is_vector and schema.dimensions is None:
        first = next(
            (row.result for part in parts for row in format_of(part).decode_scores(part, schema)), None
        )
        if not isinstance(first, Score):
            raise OutputError("there are no scores to merge")
        schema = replace(schema, dimensions=len(first.value))
    return schema


def _with_all_columns(parts: Iterable[Place], schema: RecordSchema) -> RecordSchema:
    """Return the schema with the kept columns of all parts, and with the id if one has it.

    If a run keeps all columns, its own inputs decide which they are, so the parts of two runs may differ.
    """
    names: dict[str, None] = {}
    for part in parts:
        if is_parquet(part):
            names.update(dict.fromkeys(columns_of(part).names))
            continue
        for row in format_of(part).decode_scores(part, replace(schema, with_id=True)):
            names.update(dict.fromkeys(row.kept))
            if row.id is not None:
                names["id"] = None
    keep = tuple(name for name in names if name not in schema.own_names)
    return replace(schema, keep=keep, with_id=schema.with_id or "id" in names)
