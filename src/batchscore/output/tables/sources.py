"""Which rows do the inputs of an output hold, and which result does each have?

The records hold no cell that nobody asked to keep, so the input is read again, and its digest shows whether
it is still the one that was scored. Rows and records are both in order: memory is that of one part.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from batchscore.errors import InputChanged, InputError, UnreadableFile, setting_name
from batchscore.output.fingerprint import READING
from batchscore.output.input_digest import without_images
from batchscore.output.layout import Layout
from batchscore.output.manifest import Manifest, part_files_of
from batchscore.output.missing import AGAIN
from batchscore.output.part_files import RecordCheck, read_part, refuse_damaged, stated_in
from batchscore.output.run_records import run_records
from batchscore.read.dataset_folders import partitions_of
from batchscore.read.files import digest
from batchscore.read.formats import FORMATS, open_rows, open_table, suffix_of
from batchscore.read.input_file import UTF_8, InputFile, ReadOptions
from batchscore.read.stream import with_encoding
from batchscore.rows import Row, Score, Settled, Table, UnreadableRow
from batchscore.settings.checks import DELIMITERS
from batchscore.stores import storage
from batchscore.stores.address import Place, place_of

#: A column is left out if one of this many rows has bytes in it that are not text.
_ROWS_TO_CHECK = 1000


@dataclass(frozen=True, slots=True)
class TableSource:
    """One input file, how it is read, and what is known of its results."""

    file: InputFile
    options: ReadOptions
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class TableInputs:
    """The inputs of a table, with their columns in order; no input is read for a column that is `left_out`.

    Such a column holds bytes that are not text, as images: no program would read them back.
    """

    sources: tuple[TableSource, ...]
    columns: tuple[str, ...]
    left_out: tuple[str, ...]


def sources_of(layout: Layout, manifests: Sequence[Manifest], base_dir: Place | None) -> list[TableSource]:
    """Return the inputs of manifests as they were read; `base_dir` is where they are if they were moved.

    Raises `InputError` if one is not there.
    """
    names = {manifest.file for manifest in manifests}
    bases = dict.fromkeys(names, base_dir) if base_dir is not None else recorded_bases(layout, names)
    return [
        TableSource(_input_file(each, options := read_options_of(each), bases.get(each.file)), options, each)
        for each in manifests
    ]


def recorded_bases(layout: Layout, names: Collection[str]) -> dict[str, Place]:
    """Return where the latest run that was to read a file found the folder that its name is relative to."""
    bases: dict[str, Place] = {}
    for _, record in run_records(layout.root):
        for each in record.files if record is not None else ():
            if each.base and each.file in names:
                bases.setdefault(each.file, place_of(each.base))
        if len(bases) == len(names):
            break
    return bases


def read_options_of(manifest: Manifest) -> ReadOptions:
    """Return how an input was read when it was scored."""
    said = {name: manifest.fingerprint[name] for name in READING if name in manifest.fingerprint}
    if "delimiter" in said:
        said["delimiter"] = DELIMITERS.get(said["delimiter"], said["delimiter"])
    return ReadOptions(**said)


def _input_file(manifest: Manifest, options: ReadOptions, base: Place | None) -> InputFile:
    name = manifest.file
    where = setting_name("base_dir")
    if base is None:
        raise InputError(
            f"{name}: the output does not say where this input is. Name the folder that it is below with "
            f"{where}. If it was standard input, first save the same data as {name} in a folder."
        )
    place = base / name
    size, kind = storage.size_of(place), suffix_of(name)
    if size is None or kind is None:
        raise InputError(
            f"{place} is not there, and its columns are needed. If the input was moved, name the folder that "
            f"{name} is below with {where}. If it was removed, remove its records, too: run the score "
            f"command with {setting_name('incremental', True)} and {setting_name('prune', True)}."
        )
    partitions = partitions_of(str(place), str(place).removesuffix(name))
    file = InputFile(place, name, kind[0], kind[1], size, partitions=partitions)
    if not FORMATS[file.suffix].is_text:
        return file
    try:
        return with_encoding(file, options)
    except UnreadableFile:
        # It was scored, so its encoding was named: UTF-8, which a fingerprint does not mention.
        return replace(file, encoding=UTF_8)


def table_inputs(sources: Sequence[TableSource]) -> TableInputs:
    """Return the inputs with the columns of all; of a file whose rows vary, those of every row."""
    columns: dict[str, None] = {}
    left_out: dict[str, None] = {}
    chosen = []
    for source in sources:
        try:
            table = open_table(source.file, source.options)
        except UnreadableFile:  # reading its rows says so, unless the run did
            chosen.append(source)
            continue
        no_text = _columns_of_bytes(source, table) if table.binary else set[str]()
        texts = [name for name in table.columns if name not in no_text]
        columns.update(dict.fromkeys(texts))
        left_out.update(dict.fromkeys(name for name in table.columns if name in no_text))
        for row in table.rows if table.varies else ():
            if isinstance(row, Row) and not columns.keys() >= row.values.keys():
                columns.update(dict.fromkeys(row.values))
        options = replace(source.options, columns=frozenset(texts)) if no_text else source.options
        chosen.append(replace(source, options=options))
    return TableInputs(tuple(chosen), tuple(columns), tuple(name for name in left_out if name not in columns))


def _columns_of_bytes(source: TableSource, table: Table) -> set[str]:
    """Return the columns of which one of the first rows holds bytes that are not text."""
    found: set[str] = set()
    with open_rows(source.file, source.options, frozenset(table.binary)) as opened:
        for row in islice(opened.rows, _ROWS_TO_CHECK):
            cells = row.values if isinstance(row, Row) else {}
            found.update(name for name in table.binary if name not in found and _has_bytes(cells.get(name)))
            if len(found) == len(table.binary):
                break
    return found


def _has_bytes(cell: Any) -> bool:
    """Whether a cell is bytes that are not UTF-8, or holds such bytes."""
    if isinstance(cell, bytes):
        try:
            cell.decode()
        except UnicodeDecodeError:
            return True
        return False
    items = cell.values() if isinstance(cell, dict) else cell if isinstance(cell, list) else ()
    return any(map(_has_bytes, items))


def joined_rows(
    layout: Layout, source: TableSource, *, most: int | None
) -> Iterator[tuple[Row | UnreadableRow, Settled | None]]:
    """Yield each row of an input with its result; `most` rows at most, with all that have one.

    Of a file that could not be read to its end, the rows before that are given. Raises `InputChanged` if the
    input is not as it was scored, `OutputError` for a damaged part.
    """
    refuse_changed(source)
    results = results_of(layout, source.manifest)
    waiting = next(results, None)
    with closing(_rows(source)) as rows:
        for row in islice(rows, most):
            settled = None
            if waiting is not None and waiting.row == row.number:
                settled, waiting = waiting, next(results, None)
            if settled is not None and isinstance(settled.result, Score) and not isinstance(row, Row):
                raise _other_rows(source, row.number)
            yield row, settled
    if waiting is not None:
        raise _other_rows(source, waiting.row)
    # It may have been changed while it was read.
    refuse_changed(source)


def _rows(source: TableSource) -> Generator[Row | UnreadableRow, None, None]:
    try:
        yield from open_table(source.file, source.options).rows
    except UnreadableFile:
        if source.manifest.state != "unreadable":
            raise


def _other_rows(source: TableSource, row: int) -> InputChanged:
    return InputChanged(
        f"{source.file.path} cannot be read as when it was scored: row {row} has a score, but is not a row "
        "now. Restore the file, or score it into another output."
    )


def refuse_changed(source: TableSource) -> None:
    """Raise `InputChanged` if an input is not as it was when it was scored, or if that is not known."""
    if not source.manifest.input and source.manifest.rows:
        raise InputChanged(
            f"it is not known which version of {source.file.path} was scored: the run was killed, or the "
            f"file was gone at its end. {AGAIN}"
        )
    if without_images(source.manifest.input) not in {"", digest(source.file.path)}:
        raise InputChanged(
            f"{source.file.path} has changed since it was scored, so its rows may not be those that the "
            "answers are for. Restore the file, or score the new one."
        )


def results_of(layout: Layout, manifest: Manifest) -> Iterator[Settled]:
    """Yield the results of a file in the order of its rows; raises `OutputError` for a damaged part."""
    for number in sorted(manifest.parts):
        commit = manifest.parts[number]
        for folder, part in part_files_of(layout, commit):
            if part is not None:
                refuse_damaged(folder / part.name, part)
        written = commit.scores or commit.error_records
        if written is not None:
            stated = stated_in(manifest, commit, written, commit.ok + commit.errors)
            check = RecordCheck(layout.scores / written.name, stated)
            for settled in heapq.merge(*read_part(layout, commit), key=lambda settled: settled.row):
                check.add((settled.file,), (settled.row,))
                yield settled
            check.end()
