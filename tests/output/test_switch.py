"""A new version replaces the old one completely, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batchscore.errors import OutputError
from batchscore.output.incremental.switch import SWITCH, decide, finish_killed_runs, next_layout
from batchscore.output.layout import Layout, stem_of
from batchscore.output.manifest import Manifest, read_manifest, write_manifest
from batchscore.output.part_files import PartFiles, intact
from batchscore.output.parts import Part
from batchscore.output.records.formats import format_named
from batchscore.output.records.schema import RecordSchema
from batchscore.rows import Prompt, Score, Settled

FILE = "a.csv"
PER_PART = 2


def write_version(layout: Layout, value: float) -> Manifest:
    """Write a complete version of a file in three parts into the hidden folder."""
    hidden = next_layout(layout)
    files = PartFiles(hidden, format_named("jsonl"), RecordSchema("embeddings"))
    manifest = Manifest(FILE, layout.task, {"format": "jsonl", "rows_per_part": PER_PART}, state="complete")
    for number in range(3):
        part = Part(FILE, number, fully_read=True)
        for row in range(number * PER_PART, (number + 1) * PER_PART):
            part.expect(Prompt(FILE, row, f'"row {row}"'.encode()))
            part.settle(Settled(FILE, row, Score(np.float32([row, value]))))
        encoded = files.encode(part)
        assert encoded is not None
        manifest.parts[number] = files.write(encoded)
    write_manifest(hidden.manifest(FILE), manifest)
    return manifest


@pytest.mark.parametrize("lost", range(3))
def test_a_version_that_lost_a_part_is_not_put_in_place(tmp_path: Path, lost: int) -> None:
    layout = Layout(tmp_path / "out", "embeddings", ".jsonl")
    old = write_version(layout, 1)
    decide(layout, "1", FILE, SWITCH, [])
    new = write_version(layout, 2)
    scores = new.parts[lost].scores
    assert scores is not None
    path = Path(str(next_layout(layout).scores)) / scores.name
    path.rename(tmp_path / "lost")

    with pytest.raises(OutputError, match=f"a.csv: .*{path.name} is missing"):
        decide(layout, "2", FILE, SWITCH, [])
    with pytest.raises(OutputError, match="is missing"):
        finish_killed_runs(layout)
    present = read_manifest(layout.manifests / f"{stem_of(FILE)}.json")
    assert present.parts == old.parts
    assert all(intact(layout, commit) for commit in present.parts.values())

    (tmp_path / "lost").rename(path)
    finish_killed_runs(layout)
    present = read_manifest(layout.manifests / f"{stem_of(FILE)}.json")
    assert present.parts == new.parts
    assert all(intact(layout, commit) for commit in present.parts.values())
