"""What does a run call to record its results, and what do all kinds of ledger share?

A ledger joins manifests, journals and parts of one task in one output. It knows nothing of requests. A result
is in a journal at once. A part is complete on disk before the manifest names it, and its journal is removed
after that, so that a crash at any moment costs no result.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from batchscore.output.conflicts import (
    adopt_reading,
    advice_on_change,
    discard_scores,
    error_of_change,
    error_of_simulator,
    images_text,
    refuse_foreign_files,
    refuse_other_length,
    refuse_other_settings,
    remove_uncommitted,
    sweep,
)
from batchscore.output.journal import JournalEntry, Journals
from batchscore.output.journal_place import journal_folder, open_journals
from batchscore.output.layout import journal_name
from batchscore.output.manifest import Commit, Manifest, read_manifests, write_manifest
from batchscore.output.missing import RecordedFiles, recorded_files
from batchscore.output.part_files import EncodedPart, PartFiles
from batchscore.output.parts import FileInParts, Part, TakeOver, is_final, split_by_part
from batchscore.output.run_records import RecordedCounts
from batchscore.output.share import ShareOfFile
from batchscore.output.spec import OutputSpec
from batchscore.rows import Prompt, Score, Settled
from batchscore.stores import storage

README_TEXT = b"This folder is an output of batchscore; inputs are not read from it.\n"

#: The minimum time between two versions of a manifest while its file is being scored, and for each of its
#: parts: else a file of many parts would spend its time on manifests.
MANIFEST_SECONDS = 1.0
MANIFEST_SECONDS_PER_PART = 1 / 2000

#: The maximum memory for results of parts that wait for a slow row.
MAX_HELD_BYTES = 96 * 2**20


@dataclass(slots=True)
class Ledger(ABC):
    """The records of one task in one output, as a run sees them.

    `publish` and `finish` do I/O and may run in a worker thread, one at a time. All else is for the event
    loop's thread. `saved_at` is when each manifest was written. `published` names the journals whose parts
    are on disk, and maybe not in the manifest yet, each with the published rows if the input has more.
    `journals_moved_to` is set if the output cannot hold journals. `simulated`: the simulator answers this
    run, `None` before the first answer. `kept` are the manifests of another ledger whose answers this one
    takes over. `recorded` is what earlier runs' records say, and `complete_files` the counts that this run's
    record must keep. A run calls all methods but `write_manifest` and those of which the ledgers are made.
    """

    spec: OutputSpec
    manifests: dict[str, Manifest] = field(default_factory=dict)
    open: dict[str, FileInParts] = field(default_factory=dict)
    saved_at: dict[str, float] = field(default_factory=dict)
    published: dict[str, dict[str, AbstractSet[int] | None]] = field(default_factory=dict)
    journals_moved_to: str = ""
    simulated: bool | None = None
    kept: list[Manifest] = field(default_factory=list)
    recorded: RecordedFiles = field(default_factory=RecordedFiles)
    complete_files: dict[str, RecordedCounts] = field(default_factory=dict)
    journals: Journals = field(init=False)
    parts: PartFiles = field(init=False)

    def __post_init__(self) -> None:
        """Name the journals by what determines a record."""
        spec = self.spec
        self.journals = Journals(journal_folder(spec.layout, spec.scratch), spec.identity)
        self.parts = PartFiles(spec.layout, spec.format, spec.schema, spec.shared, spec.sync)

    @abstractmethod
    def start(self, file: str, digest: str) -> FileInParts | None:
        """Begin with an input file; `None` if nothing is left to do. Raises `OutputError` if it changed."""

    @abstractmethod
    def encode(self, part: Part) -> EncodedPart | None:
        """Return the content of a part's files; `None` if the part is empty."""

    @abstractmethod
    def publish(self, encoded: EncodedPart | None) -> None:
        """Write a part's files, then its commit record into the manifest."""

    @abstractmethod
    def write_manifest(self, file: str) -> None:
        """Write a file's manifest."""

    @abstractmethod
    def finish(self, file: str) -> None:
        """Write a file's last manifest."""

    def needs_digest(self, file: str) -> bool:
        """Whether `start` needs an input's digest: if it was scored completely, or may have changed.

        A worker does not read the parts of other shares, so it compares the digest with that of others.
        """
        manifest = self.manifests.get(file)
        by_others = manifest is not None and bool(manifest.input) and not self.spec.share.is_whole
        complete = manifest is not None and manifest.state == "complete"
        return self.spec.inputs_change or complete or by_others

    @property
    def dimensions(self) -> int | None:
        """The length of the vectors, as earlier runs found it."""
        return next((each.dimensions for each in self.manifests.values() if each.dimensions), None)

    def note_service(self, simulated: bool) -> None:  # noqa: FBT001 - the one thing that is noted
        """Note who answers; raises `OutputError` if answers of the simulator and others would mix."""
        earlier = [*self.manifests.values(), *self.kept]
        if {self.simulated, *(manifest.simulated for manifest in earlier)} - {None, simulated}:
            raise error_of_simulator(self.spec, simulated=simulated)
        self.simulated = simulated

    def settle(self, rows: Iterable[Settled]) -> list[Part]:
        """Take results, and return the parts that are ready to publish."""
        new: dict[tuple[str, int], list[Settled]] = defaultdict(list)
        rows_per_part = self.spec.rows_per_part
        for settled in rows:
            new[settled.file, settled.row // rows_per_part].append(settled)
        for (file, number), of_one_part in new.items():
            part = self.open[file].open[number]
            entries = part.settle_all(of_one_part)
            if file not in self.saved_at:
                # Before a journal holds answers, its file must be known.
                self.write_manifest(file)
                self.saved_at[file] = float("-inf")
            self.journals.append(journal_name(file, number), entries, part.cost_not_in_journal.take())
        complete = [part for file in {file for file, _ in new} for part in self.open[file].completed()]
        self.spill()
        return complete

    def charge(self, prompts: Sequence[Prompt], tokens: int, requests: int = 1, *, kept: bool) -> None:
        """Add the cost of a request, or of one for each prompt, to the parts of its rows.

        Parts that are published already keep theirs.
        """
        rows, first = self.spec.rows_per_part, prompts[0]
        only = [(first.file, first.row // rows, 1, tokens)] if len(prompts) == 1 else None
        for file, number, attempts, billed in only or split_by_part(prompts, tokens, rows, requests):
            progress = self.open.get(file)
            part = None if progress is None else progress.open.get(number)
            if part is not None:
                part.charge(attempts, billed, billed if kept else 0)

    def read_output(self, visible: OutputSpec, *, overwrite: bool) -> int:
        """Read what the output holds, or discard it; return the number of discarded scores.

        The results of a run with other settings that scored nothing, because they were wrong, are discarded
        without a question. Raises `OutputError` if the folder holds another run's results or foreign files,
        or cannot be written. Messages name the `visible` output.
        """
        spec = self.spec
        discarded = self.discard() if overwrite else 0
        refuse_foreign_files(spec.layout)
        sweep(spec.layout)
        storage.write_whole(spec.layout.readme, README_TEXT)
        manifests = read_manifests(spec.layout, restore=True)
        self.journals, self.journals_moved_to = open_journals(spec.layout, spec.scratch, spec.identity)
        if overwrite:
            self.journals.clear()
        if any(manifest.ok for manifest in manifests) or self.journals.present:
            for manifest in manifests:
                refuse_other_settings(visible, manifest)
        elif any(manifest.fingerprint != spec.fingerprint for manifest in manifests):
            discard_scores(spec.layout, self.journals)
            manifests = []
        refuse_other_length(spec.layout, manifests)
        remove_uncommitted(spec.layout, manifests)
        self.manifests = {manifest.file: manifest for manifest in manifests}
        return discarded

    def discard(self) -> int:
        """Discard what the output holds; return the number of scores, also of those in journals only."""
        self.journals.find()
        in_journals = self.journals.scores_of_any_settings()
        return discard_scores(self.spec.layout, self.journals) + in_journals

    def distrust_contradicted(self, *, counts_only: bool = False) -> None:
        """Let a run complete the files whose manifests earlier runs' records contradict: parts are gone.

        With `counts_only` the records are read as far as the complete files need it.
        """
        layout, manifests = self.spec.layout, self.manifests.values()
        complete = {manifest.file for manifest in manifests if manifest.state == "complete"}
        self.recorded = recorded_files(layout.root, layout.task, counts_of=complete if counts_only else None)
        contradicted = {each.file for each in manifests if self.recorded.contradiction(each) is not None}
        self.complete_files = self.recorded.counts_to_keep(manifests, contradicted)
        for file in contradicted:
            self.manifests[file].state = "partial"

    def begin_file(
        self, file: str, digest: str, is_there: Callable[[Commit], bool], take_over: TakeOver
    ) -> FileInParts | None:
        """Begin with an input file; `None` if nothing is left to do.

        `is_there` says whether the files of a published part are as its commit record says. Raises
        `OutputError` if the input has changed since it was scored completely.
        """
        spec, retry_errors = self.spec, self.spec.retry_errors
        if (manifest := self.manifests.get(file)) is None:
            manifest = self.manifests[file] = Manifest(file, spec.layout.task, spec.fingerprint)
        if manifest.state == "complete" and manifest.input != digest:
            raise error_of_change(spec, file, manifest.input, digest)
        reading = adopt_reading(spec, manifest)
        committed = manifest.parts
        manifest.parts = {number: commit for number, commit in committed.items() if is_there(commit)}
        damaged = committed.keys() - manifest.parts.keys()
        # A run that was killed after publishing did not remove its journals.
        for number, commit in manifest.parts.items() if self.journals.present else ():
            if commit.is_done(retry_errors=retry_errors):
                self.journals.remove(journal_name(file, number))
        if manifest.is_done(retry_errors=retry_errors) and not damaged:
            return None
        manifest.input, manifest.state, manifest.problem = digest, "partial", ""
        if manifest.reported == "yes":
            manifest.reported = "off"
        self.open[file] = FileInParts(
            file=file,
            rows_per_part=spec.rows_per_part,
            committed=committed,
            take_over=take_over,
            journals=self.journals,
            damaged=frozenset(damaged),
            retry_errors=retry_errors,
            images=images_text(spec),
            reading=reading,
            advice=advice_on_change(spec, file),
            share=ShareOfFile(spec.share, file, spec.rows_per_part),
        )
        return self.open[file]

    def settle_from(self, load: Callable[[Commit], Mapping[int, Settled]]) -> TakeOver:
        """Return a function that settles the rows of a part whose published record is final."""

        def take_over(part: Part, commit: Commit, rows: AbstractSet[int]) -> None:
            for row, old in load(commit).items():
                if row in rows and is_final(old, retry_errors=self.spec.retry_errors):
                    part.settle(old)
            part.cost = commit.cost_of(sum(isinstance(old.result, Score) for old in part.settled.values()))
            part.in_journal = not part.settled

        return take_over

    def encode_part(self, part: Part) -> EncodedPart | None:
        """Return the content of a part's files, with what only its journal holds; `None` if it is empty."""
        if part.spilled:
            part.recall(self.journals.replay(journal_name(part.file, part.number)))
        return self.parts.encode(part)

    def commit_part(self, encoded: EncodedPart) -> None:
        """Write a part's files, and note its commit record in the manifest."""
        part = encoded.part
        if not part.in_journal:
            # Until the manifest names the new files, only the journal holds what was in the old ones.
            name = journal_name(part.file, part.number)
            digests = part.prompt_digests
            self.journals.replay(name)
            self.journals.append(
                name, [JournalEntry(row, digests[row.row]) for row in part.in_order() if row.row in digests]
            )
            part.in_journal = True
        manifest = self.manifests[part.file]
        manifest.dimensions = encoded.dimensions or manifest.dimensions
        manifest.parts[part.number] = self.parts.write(encoded)

    def publish_part(self, encoded: EncodedPart | None) -> None:
        """Commit a part, and write the manifest unless that was done a moment ago, or is done at once."""
        if encoded is None:
            return
        part = encoded.part
        self.commit_part(encoded)
        self.note_published(part)
        file = self.open.get(part.file)
        ends = file is None or (file.ended and not file.waiting)
        pause = max(MANIFEST_SECONDS, MANIFEST_SECONDS_PER_PART * len(self.manifests[part.file].parts))
        if not ends and time.monotonic() - self.saved_at.get(part.file, 0.0) >= pause:
            self.write_manifest(part.file)

    def save_manifest(self, file: str, *, keep_journals: bool = False) -> None:
        """Write a file's manifest; remove the journals of the parts that it names, unless `keep_journals`."""
        manifest = self.manifests[file]
        manifest.simulated = manifest.simulated if self.simulated is None else self.simulated
        # Without parts it only says that the file is known, and is written while requests wait.
        sync = self.spec.sync and bool(manifest.parts)
        write_manifest(self.spec.layout.manifest(file), manifest, sync=sync)
        self.saved_at[file] = time.monotonic()
        if not keep_journals:
            self.remove_published_journals(file)

    def note_published(self, part: Part) -> None:
        """Note that the manifest needs to name a part before its journal is removed."""
        rows = None if part.fully_read else frozenset(part.settled)
        self.published.setdefault(part.file, {})[journal_name(part.file, part.number)] = rows

    def remove_published_journals(self, file: str) -> None:
        """Remove the journals of parts that the manifest names.

        The answers to rows that a stopped or limited run has not read stay, for the run that reads them.
        """
        for name, rows in self.published.pop(file, {}).items():
            if rows is None:
                self.journals.remove(name)
            else:
                self.journals.remove_rows(name, rows)

    def spill(self) -> None:
        """Drop results that are in journals from memory, oldest parts first, if memory runs short."""
        parts = [part for progress in self.open.values() for part in progress.open.values()]
        held = sum(part.held_bytes for part in parts)
        if held <= MAX_HELD_BYTES:
            return
        for part in parts:
            if part.in_journal and held > MAX_HELD_BYTES / 2:
                held -= part.held_bytes
                part.spill()

    def scores_in_journal(self, part: Part) -> tuple[int, int]:
        """Return how many new scores of an unpublished part are in its journal, and how many are not."""
        commit = self.manifests[part.file].parts.get(part.number)
        published = commit.ok if commit is not None else 0
        entries = self.journals.replay(journal_name(part.file, part.number)).values()
        saved = sum(isinstance(entry.settled.result, Score) for entry in entries)
        if part.in_journal:  # with what is published
            saved = max(saved - published, 0)
        held = sum(isinstance(each.result, Score) for each in part.settled.values()) + len(part.spilled)
        return saved, max(held - published - saved, 0)

    def close(self) -> None:
        """Close the journals; their content stays."""
        self.journals.close()


@dataclass(slots=True)
class SingleLedger(Ledger):
    """The ledger of a run that holds the output's lock."""

    def start(self, file: str, digest: str) -> FileInParts | None:
        """Begin with an input file; `None` if nothing is left to do. Raises `OutputError` if it changed."""
        return self.begin_file(file, digest, self.parts.are_there, self.settle_from(self.parts.load))

    def encode(self, part: Part) -> EncodedPart | None:
        """Return the content of a part's files; `None` if the part is empty."""
        return self.encode_part(part)

    def publish(self, encoded: EncodedPart | None) -> None:
        """Write a part's files, then its commit record into the manifest."""
        self.publish_part(encoded)

    def write_manifest(self, file: str) -> None:
        """Write a file's manifest, and remove the journals of the parts that it names."""
        self.save_manifest(file)

    def finish(self, file: str) -> None:
        """Write a file's last manifest."""
        self.write_manifest(file)
