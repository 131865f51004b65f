"""The content of an output folder, checked for what every output must satisfy."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from batchscore import read_scores

Record = dict[str, Any]
Place = tuple[str, int]


def lines(path: Path) -> list[Record]:
    """Return the records of a JSON Lines file, whose last line is complete."""
    text = path.read_text("utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def records(folder: Path) -> dict[Place, Record]:
    """Return the records of a flat folder of JSON Lines by file and row; no row comes twice."""
    found: dict[Place, Record] = {}
    for path in sorted(folder.glob("*")):
        assert path.name.startswith("part-")
        assert path.name.endswith(".jsonl")
        for record in lines(path):
            place = record["file"], record["row"]
            assert place not in found, f"{place} is recorded twice"
            found[place] = record
    return found


def manifests(out: str | Path, task: str) -> dict[str, Record]:
    """Return each input file's manifest by the file's name; a run that works may remove one meanwhile."""
    found: dict[str, Record] = {}
    for path in sorted((Path(out) / "manifest" / task).glob("*.json")):
        with contextlib.suppress(FileNotFoundError):
            manifest = json.loads(path.read_bytes())
            found[manifest["file"]] = manifest
    return found


def whole(out: str | Path, task: str) -> tuple[dict[Place, Record], dict[Place, Record]]:
    """Return the scores and errors of a JSON Lines output, in which every row has exactly one record."""
    scores, errors = records(Path(out) / task), records(Path(out) / "errors" / task)
    assert not scores.keys() & errors.keys()
    for file, manifest in manifests(out, task).items():
        ok = sum(place[0] == file for place in scores)
        failed = sum(place[0] == file for place in errors)
        assert (manifest["ok"], manifest["errors"], manifest["rows"]) == (ok, failed, ok + failed), file
        assert manifest["not_reached"] == 0
    return scores, errors


def answers(out: str | Path, task: str) -> list[Any]:
    """Return the answers in input order, in any format, with our own reader."""
    return list(read_scores(out, task)[task])


def codes(errors: Mapping[Place, Record]) -> dict[Place, str]:
    """Return each failed row's code; check the fields of its record."""
    for record in errors.values():
        assert set(record["error"]) == {"code", "message", "status", "attempts"}
        assert record["error"]["message"]
    return {place: record["error"]["code"] for place, record in errors.items()}


def same(found: Any, expected: np.ndarray) -> bool:
    """Whether a vector is bit by bit the same float32 vector."""
    return bool(np.array_equal(np.asarray(found, dtype=np.float32), expected))
