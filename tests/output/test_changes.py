"""Which lines a changes file has for the records of several files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from batchscore.output.incremental.changes import change_line, combine_changes


def lines_of(folder: Path, *lines: bytes) -> list[dict[str, Any]]:
    piece = folder / "piece.jsonl"
    piece.write_bytes(b"".join(lines))
    return [json.loads(line) for line in combine_changes([piece], [])]


def test_an_id_that_moved_to_another_file_has_one_line(tmp_path: Path) -> None:
    found = lines_of(
        tmp_path,
        change_line("new", "new.csv", 0, "same", version="v"),
        change_line("new", "new.csv", 1, "other text", version="w"),
        change_line("new", "new.csv", 2, "other settings", version="v"),
        change_line("new", "new.csv", 3, "twice", version="v"),
        change_line("new", "new.csv", 4, "twice", version="v"),
        change_line("deleted", "old.csv", 7, "same", version="v"),
        change_line("deleted", "old.csv", 8, "other text", version="v"),
        change_line("deleted", "old.csv", 9, "other settings"),
        change_line("deleted", "old.csv", 10, "twice", version="v"),
        change_line("deleted", "old.csv", 11, "gone", version="v"),
        change_line("new", "new.csv", 5, "had twice", version="v"),
        change_line("deleted", "old.csv", 12, "had twice", version="v"),
        change_line("deleted", "other.csv", 0, "had twice", version="v"),
    )
    moved = {"file": "new.csv", "old_file": "old.csv"}
    assert found == [
        {"change": "moved", "id": "same", "row": 0, "old_row": 7, **moved},
        {"change": "changed", "id": "other text", "row": 1, "old_row": 8, **moved},
        {"change": "changed", "id": "other settings", "row": 2, "old_row": 9, **moved},
        {"change": "moved", "id": "twice", "row": 3, "old_row": 10, **moved},
        {"change": "new", "id": "twice", "file": "new.csv", "row": 4},
        {"change": "deleted", "id": "gone", "file": "old.csv", "row": 11},
        {"change": "changed", "id": "had twice", "row": 5, "old_row": 12, **moved},
    ]


def test_without_ids_a_record_is_its_place(tmp_path: Path) -> None:
    lines = change_line("new", "b", 0, None, version="v"), change_line("deleted", "a", 0, None, version="v")
    assert lines_of(tmp_path, *lines) == [
        {"change": "new", "file": "b", "row": 0},
        {"change": "deleted", "file": "a", "row": 0},
    ]
