"""A file on disk read to its end, in a form that is easy to compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchscore.errors import UnreadableFile
from batchscore.read.files import find_files
from batchscore.read.formats import open_table
from batchscore.read.input_file import InputFile, ReadOptions
from batchscore.rows import Row, Table


@dataclass(frozen=True)
class Outcome:
    columns: tuple[str, ...]
    text_columns: tuple[str, ...]
    headerless: bool
    rows: list[tuple[int, dict[str, Any]]]
    unreadable: list[tuple[int, str]]
    problem: str | None
    messages: list[str]
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> list[dict[str, Any]]:
        return [values for _, values in self.rows]


def input_file(path: Path) -> InputFile:
    return find_files([str(path)]).files[0]


def opened(path: Path, **options: Any) -> Table:
    return open_table(input_file(path), ReadOptions(**options))


def outcome(path: Path, **options: Any) -> Outcome:
    """Return all results of reading a file; if opening fails, there are no columns."""
    rows: list[tuple[int, dict[str, Any]]] = []
    unreadable: list[tuple[int, str]] = []
    messages: list[str] = []
    problem = None
    try:
        table = opened(path, **options)
    except UnreadableFile as error:
        return Outcome((), (), headerless=False, rows=[], unreadable=[], problem=error.reason, messages=[])
    try:
        for row in table.rows:
            assert row.file == path.name
            if isinstance(row, Row):
                rows.append((row.number, dict(row.values)))
            else:
                unreadable.append((row.number, row.error.code.value))
                messages.append(row.error.message)
    except UnreadableFile as error:
        problem = error.reason
    numbers = sorted([number for number, _ in rows] + [number for number, _ in unreadable])
    assert len(numbers) == len(set(numbers))
    return Outcome(
        table.columns, table.text_columns, table.headerless, rows, unreadable, problem, messages, table.notes
    )


def written(folder: Path, name: str, data: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())
