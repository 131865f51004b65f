"""How do several workers publish into one output at once, so that every row ends in one record?

Nothing in the output is locked: workers may not see each other's locks, nor each other's writes at once. So a
worker that publishes a part first reads the part's manifest again, and keeps every score that another worker
has published. A worker that finishes a file compares the parts with the manifest, and repairs what does not
fit. The last writer is also the last to check, so the result is correct in whatever order they come.

Workers with shares of the same files have different parts, so none of them writes again what another one's
manifest has left out. They change a manifest in turn, under a lock, and each checks the parts of its share.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from batchscore.errors import TRANSIENT, OutputError, OutputOverwritten, setting_name
from batchscore.output.conflicts import (
    error_of_change,
    refuse_foreign_files,
    refuse_other_length,
    refuse_other_settings,
    sweep,
)
from batchscore.output.cost import Cost, share
from batchscore.output.input_digest import without_images
from batchscore.output.journal_place import open_shared_journals
from batchscore.output.layout import copy_of, journal_name, stem_of
from batchscore.output.ledger import README_TEXT, Ledger
from batchscore.output.locks.system import SYSTEM, in_turn
from batchscore.output.manifest import Commit, Manifest, read_manifest
from batchscore.output.part_files import EncodedPart, intact
from batchscore.output.parts import FileInParts, Part
from batchscore.output.row_digests import damage_of_digests, read_digests
from batchscore.output.share import ShareOfFile
from batchscore.rows import Score, Settled
from batchscore.stores import storage
from batchscore.stores.address import is_uri, place_of

#: How often a file is compared with its manifest while other workers write it, too.
TRIES = 8

#: A manifest that is being written in place cannot be read for a moment.
PAUSE_SECONDS = 0.05

#: How long a worker waits for its turn: to change a manifest, and to read the journals of killed workers.
MOST_TURN_SECONDS = 60.0
MOST_TAKE_OVER_SECONDS = 3600.0


@dataclass(slots=True)
class SharedLedger(Ledger):
    """The ledger of one of several workers, for the input files of its specification.

    `own` are the numbers of the parts of each file that it has published; all other parts are others'.
    `begun` are the commit records of a file when this worker began with it. The parts of `checked` commit
    records were read, to the byte, before the first request. `shares` are those of the files it has begun.
    `has_twin`: another process of this machine had the same share when this one began.
    """

    own: dict[str, set[int]] = field(default_factory=dict)
    begun: dict[str, dict[int, Commit]] = field(default_factory=dict)
    checked: set[Commit] = field(default_factory=set)
    shares: dict[str, ShareOfFile] = field(default_factory=dict)
    has_twin: bool = False

    def prepare(self) -> None:
        """Read the results of the worker's files; nothing is discarded, since others may be at work."""
        layout, share = self.spec.layout, self.spec.share
        refuse_foreign_files(layout)
        sweep(layout, shared=True)
        if not storage.exists(layout.readme):
            storage.write_whole(layout.readme, README_TEXT)
        for file in self.spec.files:
            present = self.on_disk(file)
            if present is not None:
                self.manifests[file] = read_manifest(layout.manifest(file), restore=True)
                own = [commit for number, commit in present.parts.items() if share.holds(file, number)]
                self.checked |= {commit for commit in own if intact(layout, commit)}
        refuse_other_length(layout, self.manifests.values())
        # A file that is not complete is read without a digest, so `start` takes what is on disk as partial.
        if any(manifest.state == "complete" for manifest in self.manifests.values()):
            self.distrust_contradicted(counts_only=True)
        stems = set(map(stem_of, self.spec.files))

        def wanted(name: str) -> bool:
            return name.rpartition("-")[0] in stems and share.holds_journal(name)

        # Two workers that begin at once may each want a part of what a killed one has left. This also refuses
        # a file system without locks before the first request.
        with self.in_turn("journals", MOST_TAKE_OVER_SECONDS):
            place = layout, self.spec.scratch, self.spec.identity
            mark = "" if share.is_whole else f"-{share.number}-of-{share.workers}"
            self.journals, self.has_twin = open_shared_journals(*place, wanted, mark)

    def in_turn(self, what: str, most_seconds: float = MOST_TURN_SECONDS) -> AbstractContextManager[None]:
        """Return a block that no other worker is in, for the same work, if any has only a share."""
        place = self.spec.layout.turns(what)
        if isinstance(place, Path) and (place.exists() or not self.spec.share.is_whole):
            return in_turn(place, SYSTEM, most_seconds)
        return nullcontext()

    def on_disk(self, file: str) -> Manifest | None:
        """Return a file's present manifest; raises `OutputError` if it is another run's."""
        path = self.spec.layout.manifest(file)
        for tries_left in reversed(range(TRIES)):
            copy = copy_of(path) if isinstance(path, Path) else path
            if not storage.exists(path) and not storage.exists(copy):
                return None
            try:
                present = read_manifest(path)
                break
            except OutputError:
                if not tries_left:
                    raise
                time.sleep(PAUSE_SECONDS)
        if present.fingerprint != self.spec.fingerprint:
            if not present.ok:
                return None
            refuse_other_settings(self.spec, present)
        refuse_namesake(present, self.spec.place_of_namesake(file))
        return present

    def start(self, file: str, digest: str) -> FileInParts | None:
        """Begin with an input file; `None` if nothing is left to do. Raises `OutputError` if it changed."""
        present = self.on_disk(file)
        self.manifests.pop(file, None)
        if present is not None:
            if digest and are_versions(present.input, digest):
                raise error_of_change(self.spec, file, present.input, digest)
            if not digest:
                # Another worker may just have completed it. Then its rows are read again, and none is scored.
                present.state = "partial"
            self.manifests[file] = present
        before = set(present.parts) if present is not None else set[int]()

        def is_intact(commit: Commit) -> bool:
            # To the byte: a worker may have been killed. The parts of other shares are not this worker's.
            other = not self.spec.share.holds(file, commit.part)
            return other or commit in self.checked or intact(self.spec.layout, commit)

        progress = self.begin_file(file, digest, is_intact, self.settle_from(self.load))
        if progress is not None and progress.share is not None:
            self.shares[file] = progress.share
        self.manifests[file].place = self.spec.place_of_namesake(file) or ""
        self.begun[file] = dict(self.manifests[file].parts)
        self.own[file] = before - self.begun[file].keys()
        return progress

    def load(self, commit: Commit) -> Mapping[int, Settled]:
        """Return the records of a published part by row; none if it is replaced meanwhile."""
        try:
            records = self.parts.load(commit)
            return records if intact(self.spec.layout, commit) else {}
        except Exception as error:
            # Half of one file and half of another may raise anything.
            if isinstance(error, OutputError) and intact(self.spec.layout, commit):
                raise
            return {}

    def encode(self, part: Part) -> EncodedPart | None:
        """Return the content of a part's files, with the digests of rows that another worker has read."""
        if part.settled.keys() - part.prompt_digests.keys():
            present = self.on_disk(part.file)
            for manifest in (present, self.manifests[part.file]):
                known = None if manifest is None else manifest.parts.get(part.number)
                own = dict(part.prompt_digests)
                part.prompt_digests.update(self.prompt_digests_of(part.file, known) | own)
        return self.encode_part(part)

    def prompt_digests_of(self, file: str, commit: Commit | None) -> dict[int, bytes]:
        """Return the digests of the prompts of a published part by row; none if their file is of another."""
        if commit is None:
            return {}
        digests = read_digests(self.spec.layout.digests(file, commit.part), commit)
        return {} if digests is None else digests.prompts_by_row()

    def publish(self, encoded: EncodedPart | None) -> None:
        """Write a part's files, with what others have published of it, and its commit record."""
        if encoded is None:
            return
        part = encoded.part
        mine, present = self.manifests[part.file], self.on_disk(part.file)
        theirs = None if present is None else present.parts.get(part.number)
        known, wider = self.begun[part.file].get(part.number), None
        if present and theirs and theirs != known and intact(self.spec.layout, theirs):
            mine.dimensions = mine.dimensions or present.dimensions
            digests = self.prompt_digests_of(part.file, theirs)
            if any(digests.get(row, digest) != digest for row, digest in part.prompt_digests.items()):
                raise error_of_other_rows(part.file)
            if not merge_published(part, theirs, self.load(theirs)):
                cost = part.cost
                mine.parts[part.number] = replace(
                    theirs, attempts=cost.attempts, tokens_billed=cost.billed, tokens_kept=cost.kept
                )
                self.own[part.file].add(part.number)
                self.note_published(part)
                return
            part.in_journal = False
            if theirs.rows > part.read:
                # With a limit, this worker has read fewer rows of the part.
                wider, part.read, part.fully_read = theirs, theirs.rows, theirs.whole
            encoded = self.encode(part)
        self.own[part.file].add(part.number)
        self.publish_part(encoded)
        if wider is not None:
            mine.parts[part.number] = replace(mine.parts[part.number], inputs=wider.inputs)

    def write_manifest(self, file: str) -> None:
        """Write a file's manifest, with what others have published; journals stay until the file's end."""
        with self.in_turn("manifests"):
            self.write_merged(file)

    def write_merged(self, file: str) -> None:
        """Write a file's manifest with what the present one says of others' parts."""
        mine, present = self.manifests[file], self.on_disk(file)
        if present is not None:
            for number, commit in present.parts.items():
                if number not in self.own.get(file, ()):
                    mine.parts[number] = commit
            # A part that this worker repairs is not in its manifest meanwhile.
            whole = present.parts.keys() <= mine.parts.keys() and have_all_records(mine.parts.values())
            if present.state == "complete" and mine.state == "partial" and whole:
                mine.state, mine.input = "complete", present.input
            mine.dimensions = mine.dimensions or present.dimensions
            if not self.spec.share.is_whole:
                if are_versions(present.input, mine.input):
                    raise error_of_other_rows(file)
                mine.input = mine.input or present.input
        state = mine.state
        if state == "complete" and not self.is_whole(file):
            # Others are about to complete parts: until then the file is not complete, also for readers.
            mine.state = "partial"
        self.save_manifest(file, keep_journals=True)
        mine.state = state

    def finish(self, file: str) -> None:
        """Write a file's last manifest, and check that all parts are as it says, of any worker.

        Raises `OutputOverwritten` if rows have lost their record and our journal does not have it.
        """
        for tries in range(TRIES):
            self.write_manifest(file)
            wrong = self.wrong_parts(file)
            if not wrong:
                break
            # Another worker is repairing as well: avoid the same moment.
            time.sleep(random.uniform(0, PAUSE_SECONDS * tries))  # noqa: S311
            for number in wrong:
                self.repair_part(file, number, give_up=tries > TRIES / 2)
        mine, share = self.manifests[file], self.spec.share
        own = [commit for number, commit in mine.parts.items() if share.holds(file, number)]
        if wrong or (mine.state == "complete" and not have_all_records(own)):
            mine.state = "partial"
            self.write_manifest(file)
            raise OutputOverwritten(
                f"{file}: other workers wrote the same parts at the same time, and some records are lost. "
                "Run the same command again to score their rows."
            )
        self.remove_published_journals(file)
        if mine.state == "complete" and not self.is_whole(file):
            mine.state = "partial"  # other workers have not published all of their shares yet

    def is_whole(self, file: str) -> bool:
        """Whether all rows of a file that was read to its end have records, also those of other shares."""
        parts, share = self.manifests[file].parts, self.shares.get(file)
        return have_all_records(parts.values()) and (share is None or share.seen <= parts.keys())

    def wrong_parts(self, file: str) -> list[int]:
        """Return the parts of our share that are not as the present manifest says, or that it lacks."""
        mine, present = self.manifests[file], self.on_disk(file)
        listed = {} if present is None else present.parts
        layout, holds = self.spec.layout, self.spec.share.holds
        torn = [
            number
            for number, commit in listed.items()
            if holds(file, number)
            and (not intact(layout, commit) or damage_of_digests(layout.digests(file, number), commit))
        ]
        return torn + [number for number in mine.parts if holds(file, number) and number not in listed]

    def repair_part(self, file: str, number: int, *, give_up: bool) -> None:
        """Write a part again, from the records on disk and in our journal.

        If there are none, another worker may be writing the part now, so wait for it, unless `give_up`.
        """
        mine, present = self.manifests[file], self.on_disk(file)
        theirs = None if present is None else present.parts.get(number)
        commits = [commit for commit in (mine.parts.get(number), theirs) if commit is not None]
        widest = max(commits, key=lambda commit: commit.rows)
        part = Part(file, number, read=widest.rows, fully_read=widest.whole)
        known = None if widest.whole else read_digests(self.spec.layout.digests(file, number), widest)
        own_rows = set(known.rows.tolist()) if known is not None else self.load(widest).keys()
        for row, entry in self.journals.replay(journal_name(file, number)).items():
            # There may be answers to rows that neither worker has read: a later run takes them.
            if widest.whole or row in own_rows:
                part.settle(entry.settled)
        adds = [merge_published(part, commit, self.load(commit)) for commit in commits]
        if theirs is not None and intact(self.spec.layout, theirs) and not adds[-1]:
            self.own[file].discard(number)
            digests = self.spec.layout.digests(file, number)
            if damage_of_digests(digests, theirs):
                # It is of neither, or lost, so no run can use it.
                storage.remove(digests)
                theirs = replace(theirs, row_digests="")
                self.own[file].add(number)
            mine.parts[number] = theirs
            return
        if part.settled:
            part.cost = widest.cost_of(widest.ok)
            self.own[file].add(number)
            self.publish_part(self.encode(part))
            mine.parts[number] = replace(mine.parts[number], inputs=widest.inputs)
        elif give_up:
            lost = replace(widest, ok=0, errors=0, transient=0, empty=0, tokens_kept=0)
            mine.parts[number] = replace(lost, scores=None, error_records=None, row_digests="")
            self.own[file].add(number)


def merge_published(part: Part, commit: Commit, theirs: Mapping[int, Settled]) -> bool:
    """Add to a part what another worker has published of it; return whether the part holds more than that.

    Raises `OutputError` if that worker has read other rows.
    """
    if part.prompt_digests and part.read == commit.rows and part.inputs != commit.inputs:
        raise error_of_other_rows(part.file)
    adds = part.read > commit.rows
    answered = sum(isinstance(row.result, Score) for row in part.settled.values())
    for row in part.settled.keys() | theirs.keys():
        ours, other = part.settled.get(row), theirs.get(row)
        if other is not None and rank(other) >= rank(ours):
            part.settled[row] = other
        else:
            adds = True
    kept = sum(
        isinstance(row.result, Score) and row is not theirs.get(number)
        for number, row in part.settled.items()
    )
    if part.prompt_digests:
        part.cost = Cost(
            part.cost.attempts + commit.attempts,
            part.cost.billed + commit.tokens_billed,
            share(part.cost.kept, kept, answered) + commit.tokens_kept,
        )
    return adds


def error_of_other_rows(file: str) -> OutputError:
    """Return the error for two workers that have read different rows of a file."""
    return OutputError(
        f"{file} has changed while several workers were scoring it, or several files have that name. Score "
        f"it into another folder; {setting_name('base_dir')} distinguishes files of one name."
    )


def rank(settled: Settled | None) -> int:
    """Return the value of a result: a score, a permanent error, a transient one, nothing."""
    if settled is None:
        return 0
    if isinstance(settled.result, Score):
        return 3
    return 1 if settled.result.code in TRANSIENT else 2


def have_all_records(commits: Iterable[Commit]) -> bool:
    """Whether all rows of parts were read and have a record."""
    return all(commit.whole and commit.ok + commit.errors == commit.rows for commit in commits)


def are_versions(before: str, now: str) -> bool:
    """Whether two digests are of different versions of an input; of a file not read whole, without images."""
    if "+" not in before or "+" not in now:
        before, now = without_images(before), without_images(now)
    return "" not in {before, now} and before != now


def refuse_namesake(present: Manifest, place: str | None) -> None:
    """Raise `OutputError` if scores are of another file than that at `place`, and that one still exists.

    If it is gone it may have been the same: each job of a host mounts its input at another place. `None`:
    names are below a base directory, which distinguishes files.
    """
    if place is None or present.place in {"", place} or not storage.exists(place_of(present.place)):
        return
    if not is_uri(place) and not is_uri(present.place) and Path(place).samefile(present.place):
        return
    raise OutputError(
        f"{place} was not scored: the output holds the scores of {present.place}, and both have the name "
        f"{present.file} in records. Set {setting_name('base_dir')} to a folder above both of them."
    )
