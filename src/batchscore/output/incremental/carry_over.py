"""What do earlier runs already know of a file's new version?

Rows whose prompts were answered before, in whichever row, are settled, part by part. A part that is the same
as before is used as it is. The run then finds only the rest missing. Nothing is sent here.

Known answers are found by an index of digests over the parts of several manifests, 32 bytes a row. The
answers stay on disk: a part whose answers are needed is unpacked into a nameless file, so that any order of
access costs the same.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from batchscore.errors import BatchscoreError, UnreadableFile
from batchscore.output.incremental.next_ledger import NextLedger
from batchscore.output.layout import Layout
from batchscore.output.manifest import Commit, Manifest
from batchscore.output.part_files import read_part
from batchscore.output.parts import Part, is_final
from batchscore.output.records.json_value import json_bytes
from batchscore.output.records.jsonl import row_to_json, settled_from_json
from batchscore.output.row_digests import Halves, SortedDigests, read_digests
from batchscore.prompts.duplicates import copy_answer
from batchscore.rows import Prompt, Score, Settled
from batchscore.stores.errors import explain_errors

LENGTHS = struct.Struct("<II")


def carry_over_file(
    ledger: NextLedger, file: str, digest: str, items: Iterable[Prompt | Settled], answers: KnownAnswers
) -> tuple[int, int]:
    """Write all that is known of a file's new version; return its rows, and the number of known ones.

    A file that breaks off gives the rows before that place, and its version is not complete. Memory: one
    part's rows, and the answers to them.
    """
    before = None if file in ledger.replaced else ledger.visible.manifests.get(file)
    spec = ledger.spec
    manifest = ledger.manifests.setdefault(file, Manifest(file, spec.layout.task, spec.fingerprint))
    if before is not None:
        manifest.dimensions = manifest.dimensions or before.dimensions
        manifest.simulated = before.simulated if manifest.simulated is None else manifest.simulated
    manifest.input, manifest.state = digest, "partial"
    rows, broken = 0, False

    def readable() -> Iterator[Prompt | Settled]:
        nonlocal broken
        try:
            yield from items
        except UnreadableFile:  # the run meets it, too, and reports it
            broken = True

    for number, group in groupby(readable(), key=lambda item: item.row // spec.rows_per_part):
        part = Part(file, number, fully_read=True)
        carry_over_part(ledger, before, part, list(group), answers)
        rows += part.read
    retried = any(commit.retried(retry_errors=spec.retry_errors) for commit in manifest.parts.values())
    if manifest.ok + manifest.errors == rows and not retried and not broken:
        manifest.state = "complete"
    ledger.write_manifest(file)
    return rows, min(rows, manifest.final_rows(retry_errors=spec.retry_errors))


def carry_over_part(
    ledger: NextLedger,
    before: Manifest | None,
    part: Part,
    items: list[Prompt | Settled],
    answers: KnownAnswers,
) -> None:
    """Write all that is known of one part."""
    for item in items:
        part.expect(item)
    parts, retry_errors = ledger.manifests[part.file].parts, ledger.spec.retry_errors
    old = before.parts.get(part.number) if before is not None else None
    begun = parts.get(part.number)
    if begun is not None and ledger.is_there(begun):
        # An earlier run has begun with this part, and may have paid for more than was known.
        return
    if old is not None and (old.inputs, old.rows) != (part.inputs, part.read):
        old = None
    if old is not None and ledger.is_reusable(part.file, old):
        parts[part.number] = old
        return
    records: dict[int, Settled] = {}
    for commit, source in ((old, ledger.visible), (begun, ledger)):
        records |= source.parts.load(commit) if commit is not None else {}
    for item in items:
        known = records.get(item.row)
        if known is not None and not is_final(known, retry_errors=retry_errors):
            known = None
        # A row without a prompt is left to the run, so that it counts as a result of this run.
        if known is None and isinstance(item, Prompt):
            known = answers.find(part.prompt_digests[item.row], retry_errors=retry_errors)
        if known is not None:
            part.settle(copy_answer(item, known))
    encoded = ledger.encode(part)
    if encoded is not None:
        # No journal holds any of it, so none may be removed for it.
        ledger.commit_part(encoded)


@dataclass(slots=True)
class KnownAnswers:
    """The answers of earlier runs by the digests of their prompts.

    `digests` are sorted; in their order, `indexes` and `rows` give the part and row of each answer.
    `without_digests` counts the rows of parts whose digests are missing, so that their prompts are unknown. A
    part is unpacked into `file` when its first record is needed; `positions` has its rows in order and the
    positions of their records: 16 bytes a row.
    """

    parts: Sequence[tuple[Layout, Commit]]
    digests: SortedDigests
    indexes: np.ndarray[Any, Any]
    rows: np.ndarray[Any, Any]
    without_digests: int
    folder: Path
    file: BinaryIO | None = None
    positions: dict[int, np.ndarray[Any, np.dtype[np.int64]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.digests)

    def find(self, prompt_digest: bytes, *, retry_errors: bool) -> Settled | None:
        """Return a final record for this prompt, `None` if there is none."""
        for at in self.digests.find(prompt_digest):
            record = self.record(int(self.indexes[at]), int(self.rows[at]))
            if record is not None and is_final(record, retry_errors=retry_errors):
                return record
        return None

    def record(self, index: int, row: int) -> Settled | None:
        """Return one record of a part; a damaged part has none."""
        if index not in self.positions:
            self.positions[index] = self.unpack(*self.parts[index])
        rows, positions = self.positions[index]
        at = int(np.searchsorted(rows, row))
        if at == rows.size or rows[at] != row:
            return None
        file = self.open_file()
        with explain_errors(self.folder, "read"):
            file.seek(int(positions[at]))
            text_bytes, vector_bytes = LENGTHS.unpack(file.read(LENGTHS.size))
            text, vector = file.read(text_bytes), file.read(vector_bytes)
        return settled_from_json(orjson.loads(text), iter([np.frombuffer(vector, np.float32)]))

    def unpack(self, layout: Layout, commit: Commit) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Write a part's records into the file; return the rows and the records' positions: `(2, n)`."""
        file, positions = self.open_file(), dict[int, int]()
        for settled in records_of(layout, commit):
            value = settled.result.value if isinstance(settled.result, Score) else None
            vector = value.tobytes() if isinstance(value, np.ndarray) else b""
            text = json_bytes(row_to_json(replace(settled, kept={})))
            with explain_errors(self.folder, "write"):
                positions[settled.row] = file.seek(0, 2)
                file.write(LENGTHS.pack(len(text), len(vector)) + text + vector)
        rows = sorted(positions)
        return np.array([rows, [positions[row] for row in rows]], np.int64)

    def open_file(self) -> BinaryIO:
        """Return the file, created if needed; no other process can see it."""
        if self.file is None:
            with explain_errors(self.folder, "use"):
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self.file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - lives as long as this
        return self.file

    def close(self) -> None:
        """Discard all records."""
        self.positions.clear()
        if self.file is not None:
            self.file.close()
            self.file = None


def records_of(layout: Layout, commit: Commit) -> Iterator[Settled]:
    """Yield the records of a part by its own columns, which the input may have changed; none if damaged."""
    try:
        for records in read_part(layout, commit, skip_damaged=True):
            yield from records
    except BatchscoreError:
        return


def index_answers(accounts: Sequence[tuple[Layout, Manifest]], folder: Path) -> KnownAnswers:
    """Return the answers of these manifests; `folder` takes unpacked records."""
    parts: list[tuple[Layout, Commit]] = []
    prompts, indexes, rows = list[Halves](), [np.empty(0, np.uint32)], [np.empty(0, np.int64)]
    without_digests = 0
    for layout, manifest in accounts:
        for number in sorted(manifest.parts):
            commit = manifest.parts[number]
            digests = read_digests(layout.digests(manifest.file, number), commit)
            if digests is None:
                without_digests += commit.ok
                continue
            prompts.append(digests.prompt_digests)
            rows.append(digests.rows)
            indexes.append(np.full(digests.rows.size, len(parts), np.uint32))
            parts.append((layout, commit))
    digests_of_all = SortedDigests(prompts)
    return KnownAnswers(
        parts=tuple(parts),
        digests=digests_of_all,
        indexes=np.concatenate(indexes)[digests_of_all.order],
        rows=np.concatenate(rows)[digests_of_all.order],
        without_digests=without_digests,
        folder=folder,
    )
