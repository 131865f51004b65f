"""A folder that changes from night to night, and what must be true after each of them."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batchscore import read_scores
from batchscore.output.verify import verify_output
from batchscore.run.record import RunResult
from batchscore.run.score_files import score_files
from batchscore.settings.fields import Settings
from simulated import Deployment

if TYPE_CHECKING:
    from conftest import Direct

KEY = "k3y-that-must-show-nowhere"

#: Stands in an index for a record that is still to be fetched from the output.
FETCH = object()

Row = tuple[str, str, str]  # id, text, note
Files = dict[str, list[Row]]


def write_inputs(folder: Path, files: Mapping[str, list[Row]]) -> None:
    """Make the folder hold these files and no others."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.csv"):
        if path.name not in files:
            path.unlink()
    for name, rows in files.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "text", "note"), *rows])


def edited(files: Files, draw: random.Random, fresh: Iterator[int], without: str = "") -> Files:
    """Return the folder after a few edits."""
    files = {name: list(rows) for name, rows in files.items()}
    for _ in range(draw.randrange(5)):
        name = draw.choice(sorted(files))
        rows, number = files[name], next(fresh)
        place = draw.randrange(len(rows) + 1)
        deed = draw.choice(
            ["insert", "delete", "change", "note", "move", "duplicate", "shuffle", "rename", "add", "drop"]
        )
        if deed == "insert":
            rows.insert(place, (f"i{number}", f"text {number}", "n"))
        elif deed == "add":
            files[f"{draw.choice('abxyz')}{number}.csv"] = [(f"i{number}", f"text {number}", "n")]
        elif deed == "rename":
            files[f"{draw.choice('abxyz')}{number}.csv"] = files.pop(name)
        elif deed == "drop" and len(files) > 1:
            del files[name]
        elif deed == "shuffle":
            draw.shuffle(rows)
        elif place < len(rows):
            identity, text, note = rows[place]
            if deed == "delete" and len(rows) > 1:
                del rows[place]
            elif deed == "change":
                rows[place] = identity, f"text {number}", note
            elif deed == "note":
                rows[place] = identity, text, f"note {number}"
            elif deed == "move":
                rows.insert(draw.randrange(len(rows)), rows.pop(place))
            elif deed == "duplicate" != without:
                rows.insert(draw.randrange(len(rows) + 1), rows[place])
    return files


@dataclass
class Output:
    """An output folder, an index that is updated from its changes only, and the texts sent so far."""

    deployment: Deployment
    endpoint: str
    direct: Direct
    settings: dict[str, Any]
    folder: Path = Path("out")
    seen: set[str] = field(default_factory=set)
    index: dict[Any, Any] = field(default_factory=dict)
    records: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    texts: dict[tuple[str, int], str] = field(default_factory=dict)

    @property
    def with_id(self) -> bool:
        return "id" in self.settings

    def run(self, **more: Any) -> RunResult:
        """Run one night to its end."""
        settings = Settings(
            task="embeddings",
            model=self.deployment.name,
            output=str(self.folder),
            column="text",
            keep=("note",),
            rows_per_part=3,
            batch_size=2,
            **{"incremental": True, **self.settings, **more},
        )
        environ = {"OPENAI_BASE_URL": f"{self.endpoint}/v1", "OPENAI_API_KEY": KEY}
        return score_files(settings, ["in"], environ=environ, listen=lambda _: None)

    def asked(self) -> Counter[str]:
        """Return the texts that the service was asked since the last time."""
        found = Counter(text for one in self.deployment.requests() for text in one.body["input"])
        self.deployment.reset()
        return found

    def read(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the score records by place; each is there once."""
        if not any((self.folder / "embeddings").glob("part-*")):
            return {}
        frame = read_scores(self.folder)
        found = {(record["file"], record["row"]): record for record in frame.to_dict("records")}
        assert len(found) == len(frame)
        return found

    def follow_changes(self) -> None:
        """Feed the index from the runs that it has not seen, in order: by id, else by place."""
        self.records = self.read()
        for run in sorted(path.name for path in (self.folder / "changes").iterdir()):
            if run in self.seen:
                continue
            self.seen.add(run)
            text = (self.folder / "changes" / run / "embeddings.jsonl").read_text("utf-8")
            self.feed([json.loads(line) for line in text.splitlines()])
        # Fetched when all runs are followed: what an earlier one names may stand elsewhere by now.
        fetched = {place: self.records[place] for place, known in self.index.items() if known is FETCH}
        self.index |= fetched

    def feed(self, lines: list[dict[str, Any]]) -> None:
        if self.with_id:
            for line in lines:
                if line["change"] == "deleted":
                    self.index.pop(line["id"], None)
                    continue
                old = line.get("old_file", line["file"]), line.get("old_row")
                if line["change"] != "moved" or self.index[line["id"]] == old:
                    self.index[line["id"]] = line["file"], line["row"]
            return
        moved = {}
        for line in lines:
            was = line["file"], line.get("old_row", line["row"])
            old = self.index.pop(was, None) if line["change"] != "new" else None
            if line["change"] == "moved":
                moved[line["file"], line["row"]] = old
            elif line["change"] != "deleted":
                moved[line["file"], line["row"]] = FETCH
        self.index |= moved

    def check(self, files: Files, vanished: Files) -> None:
        """Check that the records are the rows, with their vectors, and that the index is the output."""
        expected = {
            (name, number): row
            for name, rows in {**vanished, **files}.items()
            for number, row in enumerate(rows)
        }
        assert self.records.keys() == expected.keys()
        if self.records:
            vectors = self.direct.vectors([expected[place][1] for place in self.records])
            for (place, record), vector in zip(self.records.items(), vectors, strict=True):
                identity, _, note = expected[place]
                assert np.array_equal(np.float32(record["embeddings"]), vector), place
                assert record["note"] == note
                assert not self.with_id or record["id"] == identity
        found = verify_output(self.folder)
        assert found.exit_code == 0, found.to_text()
        self.check_index()

    def check_index(self) -> None:
        """An index that was fed from changes alone holds just what the output holds."""
        if not self.with_id:
            assert self.index.keys() == self.records.keys()
            for place, record in self.index.items():
                assert np.array_equal(record["embeddings"], self.records[place]["embeddings"]), place
                assert record["note"] == self.records[place]["note"]
            return
        by_id: dict[str, set[tuple[str, int]]] = {}
        for place, record in self.records.items():
            by_id.setdefault(record["id"], set()).add(place)
        assert self.index.keys() == by_id.keys()
        for identity, place in self.index.items():
            assert place in by_id[identity], identity
