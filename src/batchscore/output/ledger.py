"""What does the output folder already hold, and how does a settled row come to stand in it?

It joins layout, manifests, journals, parts and formats for one task in one folder. It knows nothing of
requests. A result is in a journal as soon as it is there; a part stands complete before the manifest names
it, and its journal goes only then, so that a crash at any moment costs no result.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import orjson

from batchscore.errors import OutputError
from batchscore.output.conflicts import when_changed, when_of_another_run
from batchscore.output.cost import Cost, shares
from batchscore.output.journal import Entry, Journals
from batchscore.output.journal_place import folder_of, found
from batchscore.output.layout import Layout, stem_of
from batchscore.output.leftovers import refuse_foreign_files, remove_parts, remove_uncommitted, sweep
from batchscore.output.manifest import (
    Commit,
    Manifest,
    PartFile,
    places_of_manifests,
    read_manifest,
    remove_manifest,
    restored,
    write_manifest,
)
from batchscore.output.parts import FileInParts, Part, Replay, Spent, counts
from batchscore.output.records.formats import Format
from batchscore.output.records.schema import RecordSchema
from batchscore.output.row_digests import encode_digests
from batchscore.rows import Prompt, RowError, Score, Settled
from batchscore.stores import storage
from batchscore.stores.address import Place

MARKER_TEXT = b"This folder is an output of batchscore; inputs are not read from it.\n"

#: A manifest is written again at most this often while its file is being scored.
MANIFEST_SECONDS = 1.0

#: Of parts that wait for a slow row no more results than these are kept in memory.
MOST_HELD_BYTES = 96 * 2**20


@dataclass(frozen=True, slots=True)
class Encoded:
    """A part whose files only have to be written: `None` where there would be none."""

    part: Part
    counts: tuple[int, int, int, int]
    dimensions: int | None
    scores: bytes | Iterable[bytes] | None
    errors: bytes | Iterable[bytes] | None
    digests: bytes


@dataclass(slots=True)
class Ledger:
    """The account of one task in one output folder.

    `publish` and `write_manifest` do I/O and may run in a worker thread, one at a time; all else is
    for the event loop's thread. `alone`: nobody else may write there.
    """

    alone: ClassVar[bool] = True

    layout: Layout
    format: Format
    schema: RecordSchema
    rows_per_part: int
    fingerprint: Mapping[str, Any]
    retry_errors: bool = False
    manifests: dict[str, Manifest] = field(default_factory=dict)
    open: dict[str, FileInParts] = field(default_factory=dict)
    written: dict[str, float] = field(default_factory=dict)
    sizes: dict[Place, dict[str, int]] = field(default_factory=dict)
    scratch: Path | None = None
    published: dict[str, list[str]] = field(default_factory=dict)
    journals_elsewhere: str = ""
    journals: Journals = field(init=False)

    def __post_init__(self) -> None:
        """Name the journals by what determines a record."""
        self.journals = Journals(folder_of(self.layout, self.scratch), self.identity)

    @property
    def identity(self) -> str:
        """What tells the journals of this run's settings from others'."""
        return orjson.dumps(self.fingerprint, option=orjson.OPT_SORT_KEYS).decode()

    def prepare(self, *, overwrite: bool) -> int:
        """Read what is there, or discard it; returns how many scores were discarded.

        Another run that scored nothing, because its settings were wrong, holds nothing worth a question.
        Raises `OutputError` where the folder holds another run's results or somebody else's files, or
        cannot be written.
        """
        discarded = 0
        if overwrite:
            discarded = self.discard()
        refuse_foreign_files(self.layout)
        sweep(self.layout)
        storage.write_whole(self.layout.readme, MARKER_TEXT)
        manifests = [restored(path) for path in places_of_manifests(self.layout)]
        self.journals, self.journals_elsewhere = found(self.layout, self.scratch, self.identity)
        if overwrite:
            self.journals.clear()
        if any(manifest.ok for manifest in manifests) or self.journals.present:
            for manifest in manifests:
                self.refuse_other_run(manifest)
        elif any(manifest.fingerprint != self.fingerprint for manifest in manifests):
            self.discard()
            manifests = []
        remove_uncommitted(self.layout, manifests)
        self.manifests = {manifest.file: manifest for manifest in manifests}
        return discarded

    def discard(self) -> int:
        """Remove this task's parts and manifests; returns the scores that they held."""
        scores = 0
        self.journals.clear()
        manifests = places_of_manifests(self.layout)
        for path in manifests:
            with suppress(OutputError):
                scores += read_manifest(path).ok
        # First the parts: should this be cut short, none is left that no manifest names.
        remove_parts(self.layout)
        for path in manifests:
            remove_manifest(path)
        return scores

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
                f"{when_of_another_run(self.layout, alone=self.alone)}"
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
            raise self.error_of_change(file)
        committed = manifest.parts
        manifest.parts = {number: commit for number, commit in committed.items() if self.stands(commit)}
        damaged = committed.keys() - manifest.parts.keys()
        for number, commit in manifest.parts.items():
            if commit.nothing_left(retry_errors=self.retry_errors):
                # Its run was killed before it removed this.
                self.journals.remove(self.journal_name(file, number))
        if manifest.nothing_left(retry_errors=self.retry_errors) and not damaged:
            return None
        manifest.input, manifest.state, manifest.problem = digest, "partial", ""
        manifest.reported = None if manifest.reported else manifest.reported
        progress = FileInParts(
            file,
            self.rows_per_part,
            committed,
            self.load,
            self.replay_of(file),
            frozenset(damaged),
            self.retry_errors,
            self.spent_of(file),
            self.ways_on(file),
        )
        self.open[file] = progress
        return progress

    def ways_on(self, file: str) -> str:
        """Say what can be done where a file has changed."""
        return when_changed(file, self.layout, alone=True)

    def error_of_change(self, file: str) -> OutputError:
        """Return the error of an input file that is not what was scored."""
        return OutputError(f"{file} has changed since it was scored. {self.ways_on(file)}")

    def compared(self, file: str) -> bool:
        """Whether an input file's digest decides what is left of it to do."""
        manifest = self.manifests.get(file)
        return manifest is not None and manifest.state == "complete"

    def stands(self, commit: Commit) -> bool:
        """Whether the files of a commit record are there, in the size that it says."""
        places = ((self.layout.scores, commit.scores), (self.layout.errors, commit.error_records))
        return all(part is None or self.size_of(folder, part) == part.bytes for folder, part in places)

    def size_of(self, folder: Place, part: PartFile) -> int | None:
        """Return the bytes of an earlier run's part, `None` where it is gone; each folder is listed once."""
        if folder not in self.sizes:
            self.sizes[folder] = storage.sizes(folder)
        return self.sizes[folder].get(part.name)

    def load(self, commit: Commit) -> Mapping[int, Settled]:
        """Return the records of a published part by row; a damaged file counts as not there."""
        found: dict[int, Settled] = {}
        for folder, part, decode in (
            (self.layout.errors, commit.error_records, self.format.decode_errors),
            (self.layout.scores, commit.scores, self.format.decode_scores),
        ):
            if part is None or self.size_of(folder, part) != part.bytes:
                continue
            if storage.digest_file(folder / part.name) == part.digest:
                found.update((settled.row, settled) for settled in decode(folder / part.name, self.schema))
        return found

    def settle(self, rows: Iterable[Settled]) -> list[Part]:
        """Take results; returns the parts that are ready to be published."""
        new: dict[tuple[str, int], list[Settled]] = {}
        for settled in rows:
            place = settled.file, settled.row // self.rows_per_part
            if place in new:
                new[place].append(settled)
            else:
                new[place] = [settled]
        for (file, number), of_one_part in new.items():
            part = self.open[file].open[number]
            entries = part.settle_all(of_one_part)
            if file not in self.written:
                # What the answers in a journal belong to has to be known before there are any.
                self.write_manifest(file)
                self.written[file] = float("-inf")
            self.journals.append(self.journal_name(file, number), entries, part.uncounted.taken())
        complete = [part for file in {file for file, _ in new} for part in self.open[file].completed()]
        self.spill()
        return complete

    def charge(self, asked: Sequence[Prompt], tokens: int, *, kept: bool) -> None:
        """Note what one request cost that was sent; parts that stand already are not charged."""
        for file, number, cost in shares(asked, tokens, self.rows_per_part, kept=kept):
            progress = self.open.get(file)
            part = None if progress is None else progress.open.get(number)
            if part is not None:
                part.charge(cost)

    def spill(self) -> None:
        """Leave the results of the parts that wait longest to their journals, where memory runs short."""
        parts = [part for progress in self.open.values() for part in progress.open.values()]
        held = sum(part.held_bytes for part in parts)
        if held <= MOST_HELD_BYTES:
            return
        for part in parts:
            if part.in_journal and held > MOST_HELD_BYTES / 2:
                held -= part.held_bytes
                part.spill()

    def journal_name(self, file: str, number: int) -> str:
        """Return the name of a part's journal."""
        return f"{stem_of(file)}-{number:05d}"

    def replay_of(self, file: str) -> Replay:
        """Return what gives the results that a killed run had of a file's parts."""
        return lambda number: self.journals.replay(self.journal_name(file, number))

    def spent_of(self, file: str) -> Spent:
        """Return what tells the cost of the results that were replayed of a file's parts."""
        return lambda number: self.journals.spent.get(self.journal_name(file, number)) or Cost()

    def encode(self, part: Part) -> Encoded | None:
        """Turn a part's rows into its files' content, as far as that needs no disk; `None` if it is empty."""
        if part.spilled:
            part.recall(self.journals.replay(self.journal_name(part.file, part.number)))
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
            digests=encode_digests(settled, part.asked, part.carried, with_id=schema.with_id),
        )

    def publish(self, encoded: Encoded | None) -> None:
        """Write a part's files, then its commit record into the manifest; nothing for an empty part."""
        if encoded is None:
            return
        part = encoded.part
        name = self.layout.part_name(part.file, part.number)
        if not part.in_journal:
            # Until the manifest names the new files, nothing else tells what stood in the old ones.
            self.keep_all(part)
        manifest = self.manifests[part.file]
        manifest.dimensions = encoded.dimensions or manifest.dimensions
        ok, failed, transient, empty = encoded.counts
        digests = self.layout.digests(part.file, part.number)
        if isinstance(digests, Path):  # who needs them works on a disk alone
            storage.write_whole(digests, encoded.digests)
        manifest.parts[part.number] = Commit(
            part=part.number,
            rows=part.read,
            ok=ok,
            errors=failed,
            transient=transient,
            empty=empty,
            whole=part.whole,
            inputs=part.inputs,
            attempts=part.cost.attempts,
            tokens_billed=part.cost.billed,
            tokens_kept=part.cost.kept,
            scores=written(self.layout.scores / name, encoded.scores),
            error_records=written(self.layout.errors / name, encoded.errors),
        )
        self.published.setdefault(part.file, []).append(self.journal_name(part.file, part.number))
        if time.monotonic() - self.written.get(part.file, 0.0) >= MANIFEST_SECONDS:
            self.write_manifest(part.file)

    def keep_all(self, part: Part) -> None:
        """Put into the journal what a part holds from its files, which are about to be written anew."""
        name = self.journal_name(part.file, part.number)
        entries = [Entry(row, part.asked[row.row]) for row in part.in_order() if row.row in part.asked]
        self.journals.replay(name)
        self.journals.append(name, entries)
        part.in_journal = True

    def write_manifest(self, file: str) -> None:
        """Write a file's manifest as it stands."""
        write_manifest(self.layout.manifest(file), self.manifests[file])
        self.written[file] = time.monotonic()
        for name in self.published.pop(file, ()):
            self.journals.remove(name)

    def finish(self, file: str) -> None:
        """Write a file's last manifest."""
        self.write_manifest(file)

    def close(self) -> None:
        """Let go of the journals; what is in them stays."""
        self.journals.close()

    def score_parts(self, files: Iterable[str]) -> Iterator[Place]:
        """Give the score files that count, in input order."""
        for file in files:
            manifest = self.manifests.get(file)
            for number in sorted(manifest.parts) if manifest is not None else ():
                part = manifest.parts[number].scores if manifest is not None else None
                if part is not None:
                    yield self.layout.scores / part.name


def written(path: Place, content: bytes | Iterable[bytes] | None) -> PartFile | None:
    """Write one part's file; none, and none left over, where it would be empty."""
    if content is None:
        storage.remove(path)
        return None
    put = storage.write_whole(path, content)
    return PartFile(path.name, put.bytes, put.digest)


def shown(value: Any) -> str:
    """Return a setting's value for a message, cut where it is long."""
    text = "not set" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
