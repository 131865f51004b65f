"""What does the output folder already hold, and how does a settled row come to stand in it?

It joins layout, manifests, parts and formats for one task in one folder. It knows nothing of
requests. A part stands complete before the manifest names it, so a crash in between costs that part
and no more.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from batchscore.errors import OutputError
from batchscore.rows import RowError, Score, Settled
from batchscore.write import storage
from batchscore.write.formats import Format
from batchscore.write.layout import Layout
from batchscore.write.manifest import Commit, Manifest, PartFile, read_manifest
from batchscore.write.parts import FileInParts, Part, counts
from batchscore.write.schema import RecordSchema

MARKER_TEXT = b"This folder is an output of batchscore; inputs are not read from it.\n"

#: A manifest is written again at most this often while its file is being scored.
MANIFEST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Encoded:
    """A part whose files only have to be written: `None` where there would be none."""

    part: Part
    counts: tuple[int, int, int, int]
    dimensions: int | None
    scores: bytes | Iterable[bytes] | None
    errors: bytes | Iterable[bytes] | None


@dataclass(slots=True)
class Ledger:
    """The account of one task in one output folder.

    `publish` and `write_manifest` do I/O and may run in a worker thread, one at a time; all else is
    for the event loop's thread.
    """

    layout: Layout
    format: Format
    schema: RecordSchema
    rows_per_part: int
    fingerprint: Mapping[str, Any]
    retry_errors: bool = False
    manifests: dict[str, Manifest] = field(default_factory=dict)
    open: dict[str, FileInParts] = field(default_factory=dict)
    written: dict[str, float] = field(default_factory=dict)

    def prepare(self, *, overwrite: bool) -> int:
        """Read what is there, or discard it; returns how many scores were discarded.

        Another run that scored nothing, because its settings were wrong, holds nothing worth a question.
        Raises `OutputError` where the folder holds another run's results or somebody else's files, or
        cannot be written.
        """
        discarded = 0
        if overwrite:
            discarded = self.discard()
        self.refuse_foreign_files()
        for folder in (self.layout.scores, self.layout.errors, self.layout.manifests):
            storage.sweep(folder)
        manifests = [read_manifest(path) for path in listed(self.layout.manifests, ".json")]
        if any(manifest.ok for manifest in manifests):
            for manifest in manifests:
                self.refuse_other_run(manifest)
        elif any(manifest.fingerprint != self.fingerprint for manifest in manifests):
            self.discard()
            manifests = []
        self.manifests = {manifest.file: manifest for manifest in manifests}
        storage.write_whole(self.layout.readme, MARKER_TEXT)
        return discarded

    def discard(self) -> int:
        """Remove this task's parts and manifests; returns the scores that they held."""
        scores = 0
        for path in listed(self.layout.manifests, ".json"):
            try:
                scores += read_manifest(path).ok
            except OutputError:
                scores += 0
            storage.remove(path)
        for folder in (self.layout.scores, self.layout.errors):
            for path in listed(folder, ""):
                if path.name.startswith("part-"):
                    storage.remove(path)
        return scores

    def refuse_foreign_files(self) -> None:
        """Raise `OutputError` where readers of the folder would meet files that are not ours."""
        for folder in (self.layout.scores, self.layout.errors):
            foreign = [path.name for path in listed(folder, "") if not path.name.startswith("part-")]
            if foreign:
                raise OutputError(
                    f"{folder} holds files that are not batchscore's, such as {foreign[0]}; "
                    "choose another output folder."
                )

    def refuse_other_run(self, manifest: Manifest) -> None:
        """Raise `OutputError` naming what differs between that run's settings and this one's."""
        names = sorted({*manifest.fingerprint, *self.fingerprint})
        differing = [name for name in names if manifest.fingerprint.get(name) != self.fingerprint.get(name)]
        if differing:
            old, new = manifest.fingerprint, self.fingerprint
            changes = "; ".join(
                f"{name} was {shown(old.get(name))}, is now {shown(new.get(name))}" for name in differing
            )
            raise OutputError(
                f"{self.layout.root} holds {self.layout.task} of another run ({changes}). "
                "Choose another folder, or discard the old scores with --overwrite."
            )

    @property
    def dimensions(self) -> int | None:
        """The vectors' length, as earlier runs found it."""
        return next((found.dimensions for found in self.manifests.values() if found.dimensions), None)

    def start(self, file: str, digest: str) -> FileInParts | None:
        """Begin with an input file; `None` where nothing of it is left to do.

        Raises `OutputError` where the file has changed since it was scored to its end.
        """
        manifest = self.manifests.get(file)
        if manifest is None:
            manifest = self.manifests[file] = Manifest(file, self.layout.task, self.fingerprint)
        if manifest.state == "complete" and manifest.input != digest:
            raise OutputError(
                f"{file} has changed since it was scored. Score it into another folder, or discard the old "
                "scores with --overwrite."
            )
        committed = manifest.parts
        manifest.parts = {number: commit for number, commit in committed.items() if self.stands(commit)}
        damaged = committed.keys() - manifest.parts.keys()
        if manifest.nothing_left(retry_errors=self.retry_errors) and not damaged:
            return None
        manifest.input, manifest.state, manifest.problem = digest, "partial", ""
        progress = FileInParts(
            file, self.rows_per_part, committed, self.load, frozenset(damaged), self.retry_errors
        )
        self.open[file] = progress
        return progress

    def stands(self, commit: Commit) -> bool:
        """Whether the files of a commit record are there, in the size that it says."""
        places = ((self.layout.scores, commit.scores), (self.layout.errors, commit.error_records))
        return all(part is None or size_of(folder / part.name) == part.bytes for folder, part in places)

    def load(self, commit: Commit) -> Mapping[int, Settled]:
        """Return the records of a published part by row; a damaged file counts as not there."""
        found: dict[int, Settled] = {}
        for folder, part, decode in (
            (self.layout.errors, commit.error_records, self.format.decode_errors),
            (self.layout.scores, commit.scores, self.format.decode_scores),
        ):
            if part is None or size_of(folder / part.name) != part.bytes:
                continue
            if storage.digest_file(folder / part.name) == part.digest:
                found.update((settled.row, settled) for settled in decode(folder / part.name, self.schema))
        return found

    def settle(self, rows: Iterable[Settled]) -> list[Part]:
        """Take results; returns the parts that are ready to be published."""
        touched = set()
        for settled in rows:
            self.open[settled.file].settle(settled)
            touched.add(settled.file)
        return [part for file in touched for part in self.open[file].completed()]

    def encode(self, part: Part) -> Encoded | None:
        """Turn a part's rows into its files' content, as far as that needs no disk; `None` if it is empty."""
        settled = part.in_order()
        if not settled:
            return None
        scores = [row for row in settled if isinstance(row.result, Score)]
        errors = [row for row in settled if isinstance(row.result, RowError)]
        schema = self.schema
        if scores and self.layout.task == "embeddings":
            schema = replace(schema, dimensions=int(scores[0].result.value.size))  # type: ignore[union-attr]
        return Encoded(
            part=part,
            counts=counts(settled),
            dimensions=schema.dimensions,
            scores=self.format.encode_scores(scores, schema) if scores else None,
            errors=self.format.encode_errors(errors, schema) if errors else None,
        )

    def publish(self, encoded: Encoded | None) -> None:
        """Write a part's files, then its commit record into the manifest; nothing for an empty part."""
        if encoded is None:
            return
        part = encoded.part
        name = self.layout.part_name(part.file, part.number)
        manifest = self.manifests[part.file]
        manifest.dimensions = encoded.dimensions or manifest.dimensions
        ok, failed, transient, empty = encoded.counts
        manifest.parts[part.number] = Commit(
            part=part.number,
            rows=part.read,
            ok=ok,
            errors=failed,
            transient=transient,
            empty=empty,
            whole=part.whole,
            inputs=part.inputs,
            scores=written(self.layout.scores / name, encoded.scores),
            error_records=written(self.layout.errors / name, encoded.errors),
        )
        if time.monotonic() - self.written.get(part.file, 0.0) >= MANIFEST_SECONDS:
            self.write_manifest(part.file)

    def write_manifest(self, file: str) -> None:
        """Write a file's manifest as it stands."""
        storage.write_whole(self.layout.manifest(file), self.manifests[file].to_json())
        self.written[file] = time.monotonic()

    def score_parts(self, files: Iterable[str]) -> Iterator[Path]:
        """Give the score files that count, in input order."""
        for file in files:
            manifest = self.manifests.get(file)
            for number in sorted(manifest.parts) if manifest is not None else ():
                part = manifest.parts[number].scores if manifest is not None else None
                if part is not None:
                    yield self.layout.scores / part.name


def written(path: Path, content: bytes | Iterable[bytes] | None) -> PartFile | None:
    """Write one part's file; none, and none left over, where it would be empty."""
    if content is None:
        storage.remove(path)
        return None
    found = storage.write_whole(path, content)
    return PartFile(path.name, found.bytes, found.digest)


def listed(folder: Path, suffix: str) -> list[Path]:
    """Return the visible files of a folder, sorted; none where there is no folder."""
    try:
        return sorted(
            path for path in folder.iterdir() if path.name.endswith(suffix) and not path.name.startswith(".")
        )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputError(f"{folder} cannot be used for output: {error.strerror}.") from None


def size_of(path: Path) -> int | None:
    """Return a file's bytes, `None` where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def shown(value: Any) -> str:
    """Return a setting's value for a message, cut where it is long."""
    text = "not set" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
