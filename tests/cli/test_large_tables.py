"""Tables of a million rows, and the largest workbooks that people open, with bounded memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import xlsxwriter

from batchscore.output.layout import Layout
from batchscore.output.manifest import Commit, Manifest, PartFile, write_manifest
from batchscore.read.files import digest
from batchscore.stores import storage
from measured import MEASURE

MOST_MEGABYTES = 400
ROWS_PER_PART = 2000
COLUMNS = ("id", "subject", "body")


def cells(row: int) -> tuple[str, str, str]:
    return f"T-{row:07}", f"Subject of ticket {row}", f"What somebody wrote about a thing, number {row * 3}"


def write_csv(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(COLUMNS) + "\n")
        file.writelines('{},{},"{}"\n'.format(*cells(row)) for row in range(rows))


def write_xlsx(path: Path, rows: int) -> None:
    with xlsxwriter.Workbook(str(path), {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, COLUMNS)
        for row in range(rows):
            sheet.write_row(row + 1, 0, cells(row))


def write_output(folder: Path, source: Path, rows: int) -> None:
    """Write the parts and the manifest of a run over `source`; a run of them would take an hour."""
    layout = Layout(folder, "chat", ".jsonl")
    storage.write_whole(layout.readme, b"")
    known = {"params": {}, "format": "jsonl", "rows_per_part": ROWS_PER_PART, "keep": [], "txt": "lines"}
    manifest = Manifest(source.name, "chat", known, input=digest(source), state="complete")
    for number in range(-(-rows // ROWS_PER_PART)):
        first = number * ROWS_PER_PART
        count = min(ROWS_PER_PART, rows - first)
        name = layout.part_name(source.name, number)
        records = [
            orjson.dumps(
                {"file": source.name, "row": row, "chat": f"answer {row}", "finish_reason": "stop"},
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for row in range(first, first + count)
        ]
        written = storage.write_whole(layout.scores / name, b"".join(records))
        part = PartFile(name, written.bytes, written.digest)
        manifest.parts[number] = Commit(number, count, count, 0, 0, whole=True, inputs="x", scores=part)
    write_manifest(layout.manifest(source.name), manifest)


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("suffix", "rows", "write"), [("csv", 1_000_000, write_csv), ("xlsx", 200_000, write_xlsx)]
)
def test_a_large_table_comes_back_in_less_than_400_megabytes(
    suffix: str, rows: int, write: Callable[[Path, int], None], tmp_path: Path
) -> None:
    source = tmp_path / f"in.{suffix}"
    write(source, rows)
    write_output(tmp_path / "out", source, rows)
    command = [sys.executable, "-m", "batchscore", "merge", "out", f"answers.{suffix}", "--base-dir", "."]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said, kilobytes = done.stdout.splitlines()
    assert said == f"chat: {rows:,} rows in answers.{suffix}"
    assert int(kilobytes) / 1024 < MOST_MEGABYTES
    if suffix == "csv":
        *_, last = (tmp_path / "answers.csv").read_bytes().split(b"\r\n")[:-1]
        ticket, subject, body = cells(rows - 1)
        assert last.decode() == f'{ticket},{subject},"{body}",answer {rows - 1},stop,,'
