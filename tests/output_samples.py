"""Settled rows for the tests of `write`, and folders that hold their records."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from batchscore.errors import ErrorCode
from batchscore.output.layout import Layout
from batchscore.output.records.formats import format_named
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import RowError, Score, Settled
from batchscore.stores.storage import write_whole

FAILED = RowError(ErrorCode.INPUT_TOO_LONG, "9000 tokens, the model takes 8192", status=400, attempts=1)


_FOLDER = tempfile.TemporaryDirectory(prefix="batchscore-records-")


def stored(data: bytes) -> Path:
    """Write records to this process's file, which the next call replaces."""
    path = Path(_FOLDER.name) / f"records-{os.getpid()}"
    path.write_bytes(data)
    return path


def vector(*numbers: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(numbers, dtype=np.float32)


def embedded(row: int, *, file: str = "a.csv", dimensions: int = 3, **fields: Any) -> Settled:
    numbers = np.sin(np.arange(1, dimensions + 1) * (row + 0.5)).astype(np.float32)
    return Settled(file, row, Score(numbers), **fields)


def answered(row: int, text: str | None, reason: str | None = "stop", **fields: Any) -> Settled:
    return Settled(fields.pop("file", "a.csv"), row, Score(text, reason), **fields)


def comparable(row: Settled) -> Settled:
    """The row with its vector as bits, so that `==` compares bit by bit."""
    if isinstance(row.result, Score) and isinstance(row.result.value, np.ndarray):
        assert row.result.value.dtype == np.float32
        return replace(row, result=replace(row.result, value=row.result.value.tobytes()))
    return row


def all_comparable(rows: Sequence[Settled]) -> list[Settled]:
    return [comparable(row) for row in rows]


def write_folder(
    root: Path, schema: RecordSchema, form: str, files: Mapping[str, Sequence[Sequence[Settled]]]
) -> list[Path]:
    """Write the parts of each file, as a run does; gives their paths."""
    chosen = format_named(form)
    layout = Layout(root, schema.task, chosen.suffix)
    paths = []
    for file, parts in files.items():
        for number, part in enumerate(parts):
            path = layout.scores / layout.part_name(file, number)
            write_whole(path, chosen.encode_scores([replace(row, file=file) for row in part], schema))
            paths.append(path)
    return paths
