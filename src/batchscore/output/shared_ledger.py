"""How do several workers publish into one output at once, so that every row ends in one record?

Nobody holds the output, and nothing is locked there: not all of them may see each other's locks, or at once
what the others write. So whoever publishes a part reads its manifest again and keeps every score that
somebody else has published; and whoever is through with a file holds it against its manifest, and mends what
does not fit. Who writes last checks last, so that in the end it fits, in whatever order they came.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from batchscore.errors import TRANSIENT, OutputError, OutputOverwritten
from batchscore.output.conflicts import when_changed
from batchscore.output.cost import Cost, share
from batchscore.output.journal_place import found_by_one_of_many
from batchscore.output.layout import stem_of
from batchscore.output.ledger import MARKER_TEXT, Encoded, Ledger
from batchscore.output.leftovers import refuse_foreign_files
from batchscore.output.locks.claims import Claim
from batchscore.output.manifest import Commit, Manifest, PartFile, copy_of, read_manifest, restored
from batchscore.output.parts import FileInParts, Part
from batchscore.output.read_part import intact
from batchscore.output.row_digests import read_digests
from batchscore.rows import Score, Settled
from batchscore.stores import storage
from batchscore.stores.address import Place, is_uri, place_of

#: So often a file is held against its manifest while others write it, too.
TRIES = 8

#: A manifest that is being written in place reads wrong for a moment.
MOMENT_SECONDS = 0.05


@dataclass(slots=True)
class SharedLedger(Ledger):
    """The account of one of several workers, of the input `files` that it has.

    `own` are the numbers of the parts that it has published of each; what others did with the rest is theirs.
    `begun` are the commit records that stood when it began with a file, and on top of which it works; `sound`
    those whose parts were read, to the byte, before the first request. `places` are where the files are, as
    long as their names alone cannot tell one from another of that name in another folder.
    """

    alone: ClassVar[bool] = False

    files: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    own: dict[str, set[int]] = field(default_factory=dict)
    begun: dict[str, dict[int, Commit]] = field(default_factory=dict)
    sound: set[Commit] = field(default_factory=set)
    claim: Claim | None = None

    def prepare(self, *, overwrite: bool) -> int:
        """Read what is there of the worker's files; nothing is discarded, since others may be at work."""
        assert not overwrite, "settings refuse it"
        refuse_foreign_files(self.layout)
        self.sweep()
        if not storage.exists(self.layout.readme):
            storage.write_whole(self.layout.readme, MARKER_TEXT)
        for file in self.files:
            there = self.on_disk(file)
            if there is not None:
                self.manifests[file] = restored(self.layout.manifest(file))
                self.sound |= {commit for commit in there.parts.values() if intact(self.layout, commit)}
        stems = [stem_of(file) for file in self.files]
        self.journals, self.claim = found_by_one_of_many(self.layout, self.scratch, self.identity, stems)
        return 0

    def sweep(self) -> None:
        """Remove what killed workers left half-written long ago: others may be writing everywhere."""
        layout = self.layout
        for folder in (layout.scores, layout.errors, layout.manifests, layout.marker, layout.runs):
            storage.sweep(folder, older_seconds=storage.STALE_SECONDS)

    def close(self) -> None:
        """Let go of the journals; what is in them stays."""
        self.journals.close()
        if self.claim is not None:
            self.claim.give_up()
            self.claim = None

    def on_disk(self, file: str) -> Manifest | None:
        """Return a file's manifest as it stands now; raises `OutputError` where it is another run's."""
        path = self.layout.manifest(file)
        for tries_left in reversed(range(TRIES)):
            copy = copy_of(path) if isinstance(path, Path) else path
            if not storage.exists(path) and not storage.exists(copy):
                return None
            try:
                there = read_manifest(path)
                break
            except OutputError:
                if not tries_left:
                    raise
                time.sleep(MOMENT_SECONDS)
        if there.fingerprint != self.fingerprint:
            if there.ok:
                self.refuse_other_run(there)
            return None
        refuse_namesake(there, self.places.get(file))
        return there

    def ways_on(self, file: str) -> str:
        """Say what can be done where a file has changed."""
        return when_changed(file, self.layout, alone=False, root_said=file not in self.places)

    def start(self, file: str, digest: str) -> FileInParts | None:
        """Begin with an input file; `None` where nothing of it is left to do."""
        there = self.on_disk(file)
        self.manifests.pop(file, None)
        if there is not None:
            if not digest:
                # Somebody may have ended it just now; then its rows are read once more, and none is asked.
                there.state = "partial"
            self.manifests[file] = there
        before = set(there.parts) if there is not None else set[int]()
        progress = Ledger.start(self, file, digest)
        self.manifests[file].place = self.places.get(file, "")
        self.begun[file] = dict(self.manifests[file].parts)
        self.own[file] = before - self.begun[file].keys()
        return progress

    def stands(self, commit: Commit) -> bool:
        """Whether the files of a commit record are as it says, to the byte: a worker may have been killed."""
        return commit in self.sound or intact(self.layout, commit)

    def size_of(self, folder: Place, part: PartFile) -> int | None:
        """Return the bytes of a part as it stands now."""
        return storage.size_of(folder / part.name)

    def load(self, commit: Commit) -> Mapping[int, Settled]:
        """Return the records of a published part by row; none where it is replaced meanwhile."""
        try:
            loaded = Ledger.load(self, commit)
            return loaded if intact(self.layout, commit) else {}
        except Exception as error:
            # Half of one file and half of another may be anything.
            if isinstance(error, OutputError) and intact(self.layout, commit):
                raise
            return {}

    def publish(self, encoded: Encoded | None) -> None:
        """Write a part's files, with what others have published of it, and its commit record."""
        if encoded is None:
            return
        part = encoded.part
        mine, there = self.manifests[part.file], self.on_disk(part.file)
        theirs = None if there is None else there.parts.get(part.number)
        name = self.journal_name(part.file, part.number)
        known, wider = self.begun[part.file].get(part.number), None
        if theirs is not None and theirs != known and intact(self.layout, theirs):
            if there is not None:
                mine.dimensions = mine.dimensions or there.dimensions
            self.refuse_other_rows(part)
            adds = joined(part, theirs, self.load(theirs))
            if not adds:
                mine.parts[part.number] = with_cost(theirs, part.cost)
                self.own[part.file].add(part.number)
                self.published.setdefault(part.file, []).append(name)
                return
            part.in_journal = False
            if theirs.rows > part.read:
                # With --limit we have read less of it.
                wider, part.read, part.whole = theirs, theirs.rows, theirs.whole
            encoded = self.encode(part)
        self.own[part.file].add(part.number)
        Ledger.publish(self, encoded)
        if wider is not None:
            mine.parts[part.number] = replace(mine.parts[part.number], inputs=wider.inputs)

    def refuse_other_rows(self, part: Part) -> None:
        """Raise `OutputError` where another worker has published a part whose rows ask something else."""
        digests = read_digests(self.layout.digests(part.file, part.number))
        theirs = {} if digests is None else digests.asked_by_row()
        if any(theirs.get(row, asked) != asked for row, asked in part.asked.items()):
            raise changed_meanwhile(part.file)

    def encode(self, part: Part) -> Encoded | None:
        """Encode a part as others do, with what is known of rows that another worker has read."""
        if part.settled.keys() - part.asked.keys():
            digests = read_digests(self.layout.digests(part.file, part.number))
            if digests is not None:
                part.asked = digests.asked_by_row() | part.asked
        return Ledger.encode(self, part)

    def write_manifest(self, file: str) -> None:
        """Write a file's manifest, with what others have published; its journals stay till its end."""
        mine, there = self.manifests[file], self.on_disk(file)
        if there is not None:
            for number, commit in there.parts.items():
                if number not in self.own.get(file, ()):
                    mine.parts[number] = commit
            if there.state == "complete" and mine.state == "partial" and whole(mine):
                mine.state, mine.input = "complete", there.input
            mine.dimensions = mine.dimensions or there.dimensions
        published = self.published.pop(file, [])
        Ledger.write_manifest(self, file)
        self.published[file] = published

    def finish(self, file: str) -> None:
        """Write a file's last manifest, and see that the parts are what it says, whoever wrote them.

        Raises `OutputOverwritten` where rows have lost their record and no journal of ours has it.
        """
        for tries in range(TRIES):
            self.write_manifest(file)
            wrong = self.wrong(file)
            if not wrong:
                break
            # Another worker is at it as well: not both at the same moment again.
            time.sleep(random.uniform(0, MOMENT_SECONDS * tries))  # noqa: S311
            for number in wrong:
                self.mend(file, number, give_up=tries > TRIES / 2)
        mine = self.manifests[file]
        if wrong or (mine.state == "complete" and not whole(mine)):
            mine.state = "partial"
            self.write_manifest(file)
            raise OutputOverwritten(
                f"{file}: other workers were writing the same parts, and not all of their records stand; the "
                "same command asks for what is missing."
            )
        for name in self.published.pop(file, ()):
            self.journals.remove(name)

    def wrong(self, file: str) -> list[int]:
        """Return the parts that are not what the manifest says now, or that it lacks."""
        mine, there = self.manifests[file], self.on_disk(file)
        said = {} if there is None else there.parts
        torn = [number for number, commit in said.items() if not intact(self.layout, commit)]
        return torn + [number for number in mine.parts if number not in said]

    def mend(self, file: str, number: int, *, give_up: bool) -> None:
        """Write a part once more, from whatever of it stands and what our journal has.

        Where that is nothing, whoever is writing it now is waited for, until the rows are given up.
        """
        mine, there = self.manifests[file], self.on_disk(file)
        theirs = None if there is None else there.parts.get(number)
        commits = [commit for commit in (mine.parts.get(number), theirs) if commit is not None]
        widest = max(commits, key=lambda commit: commit.rows)
        part = Part(file, number, read=widest.rows, whole=widest.whole)
        for entry in self.journals.replay(self.journal_name(file, number)).values():
            part.settle(entry.settled)
        adds = [joined(part, commit, self.load(commit)) for commit in commits]
        if theirs is not None and intact(self.layout, theirs) and not adds[-1]:
            mine.parts[number] = theirs
            self.own[file].discard(number)
        elif part.settled:
            part.cost = Cost(widest.attempts, widest.tokens_billed, widest.tokens_kept)
            self.own[file].add(number)
            Ledger.publish(self, self.encode(part))
            mine.parts[number] = replace(mine.parts[number], inputs=widest.inputs)
        elif give_up:
            mine.parts[number] = not_reached(widest)
            self.own[file].add(number)


def not_reached(commit: Commit) -> Commit:
    """Return the commit record of a part of which nothing stands any more."""
    return replace(
        commit,
        ok=0,
        errors=0,
        transient=0,
        empty=0,
        tokens_kept=0,
        scores=None,
        error_records=None,
    )


def joined(part: Part, commit: Commit, theirs: Mapping[int, Settled]) -> bool:
    """Take into a part what another worker has published of it; whether the part holds more than that.

    Raises `OutputError` where that worker has read other rows.
    """
    if part.asked and part.read == commit.rows and part.inputs != commit.inputs:
        raise changed_meanwhile(part.file)
    adds = part.read > commit.rows
    answered = sum(isinstance(row.result, Score) for row in part.settled.values())
    for row in part.settled.keys() | theirs.keys():
        ours, other = part.settled.get(row), theirs.get(row)
        if other is not None and rank(other) >= rank(ours):
            part.settled[row] = other
        else:
            adds = True
    standing = sum(
        isinstance(row.result, Score) and row is not theirs.get(number)
        for number, row in part.settled.items()
    )
    if part.asked:
        part.cost = Cost(
            part.cost.attempts + commit.attempts,
            part.cost.billed + commit.tokens_billed,
            share(part.cost.kept, standing, answered) + commit.tokens_kept,
        )
    return adds


def changed_meanwhile(file: str) -> OutputError:
    """Return what is raised where two workers have read other rows of a file."""
    return OutputError(
        f"{file} has changed while several workers were scoring it, or several files have that name. Score "
        "it into another folder; --base-dir tells files of one name apart."
    )


def with_cost(commit: Commit, cost: Cost) -> Commit:
    """Return a commit record with what was spent in all."""
    return replace(commit, attempts=cost.attempts, tokens_billed=cost.billed, tokens_kept=cost.kept)


def rank(settled: Settled | None) -> int:
    """Return how much a result is worth: a score, an error that stands, one that may pass, nothing."""
    if settled is None:
        return 0
    if isinstance(settled.result, Score):
        return 3
    return 1 if settled.result.code in TRANSIENT else 2


def whole(manifest: Manifest) -> bool:
    """Whether every row that was read has its record, and all were read, as far as the parts tell."""
    return all(
        commit.whole and commit.ok + commit.errors == commit.rows for commit in manifest.parts.values()
    )


def refuse_namesake(there: Manifest, place: str | None) -> None:
    """Raise `OutputError` where scores are of another file than that at `place`, and it is still to be seen.

    One that is gone may have been the same: each job of a host mounts its input somewhere else. `None`: names
    begin below a root, which tells files apart. Cost: nothing where the place is the same.
    """
    if place is None or there.place in {"", place} or not storage.exists(place_of(there.place)):
        return
    if not is_uri(place) and not is_uri(there.place) and Path(place).samefile(there.place):
        return
    raise OutputError(
        f"{place} was not scored: the output holds the scores of {there.place}, and records would call both "
        f"{there.file}. Say with --base-dir below which folder the names in records are to begin."
    )
