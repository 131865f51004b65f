"""How does an output follow inputs that change, without asking or losing anything twice?

New versions of files are made in an account of their own, in a hidden folder, by the same means as any
output: so a killed run goes on there. What earlier runs know is carried over first; whoever asks finds only
the rest missing. A whole version takes the old one's place. It knows what rows ask, and
no inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import orjson

from batchscore.errors import OutputOverwritten
from batchscore.output.cost import Cost, share
from batchscore.output.incremental.changes import Version, differences
from batchscore.output.incremental.set_aside import keep_journals, put_aside, set_aside
from batchscore.output.incremental.switch import (
    DROP,
    REPORT,
    SWITCH,
    clear,
    decide,
    next_layout,
    tell,
    version_of,
)
from batchscore.output.layout import Layout
from batchscore.output.ledger import MARKER_TEXT, Encoded, Ledger
from batchscore.output.leftovers import listed, refuse_foreign_files, remove_uncommitted, sweep
from batchscore.output.manifest import Commit, Manifest, read_manifest
from batchscore.output.parts import FileInParts, Part, final
from batchscore.output.row_digests import read_digests
from batchscore.rows import RowError, Score, Settled
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.errors import explain_errors


@dataclass(slots=True)
class NextLedger(Ledger):
    """The account of the new versions of files; `visible` is that of the output as it stands.

    `unchanged` files need nothing. `replaced` ones are of other settings, or to be scored anew: nothing of
    them is used again, and they stand until their new version is whole.
    """

    visible: Ledger = field(kw_only=True)
    run: str = field(kw_only=True)
    unchanged: set[str] = field(default_factory=set, kw_only=True)
    replaced: set[str] = field(default_factory=set, kw_only=True)
    standing: dict[str, Commit] = field(default_factory=dict, kw_only=True)
    changed: Counter[str] = field(default_factory=Counter, kw_only=True)

    def prepare(self, *, overwrite: bool) -> int:
        """Read what is there; returns how many scores are to be replaced; raises `OutputError`."""
        visible = self.visible
        refuse_foreign_files(visible.layout)
        sweep(visible.layout)
        manifests = [read_manifest(path) for path in listed(visible.layout.manifests, ".json")]
        visible.manifests = {manifest.file: manifest for manifest in manifests}
        visible.journals.find()
        remove_uncommitted(visible.layout, manifests)
        if overwrite:
            clear(visible.layout)
        Ledger.prepare(self, overwrite=overwrite)
        self.standing = {
            part.name: commit
            for manifest in manifests
            for commit in manifest.parts.values()
            if (part := commit.scores or commit.error_records) is not None
        }
        self.note_replaced(overwrite=overwrite)
        for manifest in manifests:
            if manifest.file not in self.replaced:
                self.refuse_other_run(manifest)
        storage.write_whole(visible.layout.readme, MARKER_TEXT)
        return sum(manifest.ok for manifest in manifests) if overwrite else 0

    def note_replaced(self, *, overwrite: bool) -> None:
        """Find out which files are to be replaced whatever they hold: all that an `--overwrite` met.

        Another run that scored nothing stands in nobody's way.
        """
        visible = self.visible
        nothing_scored = not visible.journals.present and not any(
            each.ok for each in visible.manifests.values()
        )
        if overwrite:
            visible.journals.clear()
        if overwrite:
            self.replaced = set(visible.manifests)
            self.write_replaced()
        elif nothing_scored:
            other = (each for each in visible.manifests.values() if each.fingerprint != self.fingerprint)
            self.replaced = {manifest.file for manifest in other}
        elif storage.exists(self.replaced_file):
            found = orjson.loads(b"".join(storage.chunks(self.replaced_file)))
            if found["fingerprint"] == self.fingerprint:
                self.replaced = {file for file in found["files"] if file in visible.manifests}

    @property
    def replaced_file(self) -> Place:
        """Where it stands what an `--overwrite` has still to replace."""
        return self.layout.root / "replaced.json"

    def write_replaced(self) -> None:
        """Keep what is still to be replaced, for a run that goes on with this one."""
        if not self.replaced:
            storage.remove(self.replaced_file)
            return
        found = {"fingerprint": self.fingerprint, "files": sorted(self.replaced)}
        storage.write_whole(self.replaced_file, orjson.dumps(found))

    def refuse_other_run(self, manifest: Manifest) -> None:
        """Raise `OutputError` naming what differs, and the place that the user knows."""
        self.visible.refuse_other_run(manifest)

    def compare(self, inputs: Mapping[str, str]) -> None:
        """Find out which files have changed, by their digests; put aside what was made for others."""
        for file, digest in inputs.items():
            before = self.visible.manifests.get(file)
            if before is not None and self.is_same(before, digest):
                self.unchanged.add(file)
        for file, manifest in list(self.manifests.items()):
            if file in self.unchanged or inputs.get(file) != manifest.input:
                put_aside(self, file)
        for file in self.unchanged:
            before = self.manifests[file] = self.visible.manifests[file]
            if not before.reported:
                self.report(before)
        for file in self.visible.manifests.keys() - self.unchanged:
            keep_journals(self.visible, self, file)

    def is_same(self, before: Manifest, digest: str) -> bool:
        """Whether nothing of a file is left to do."""
        return (
            before.input == digest
            and before.file not in self.replaced
            and before.nothing_left(retry_errors=self.retry_errors)
            and all(self.stands_whole(before.file, commit) for commit in before.parts.values())
        )

    def stands_whole(self, file: str, commit: Commit) -> bool:
        """Whether nothing of a part of the old version is left to do, and it is known what its rows asked."""
        layout = self.visible.layout
        if layout.manifests not in self.visible.sizes:
            self.visible.sizes[layout.manifests] = storage.sizes(layout.manifests)
        known = layout.digests(file, commit.part).name in self.visible.sizes[layout.manifests]
        done = commit.nothing_left(retry_errors=self.retry_errors)
        return known and done and self.visible.stands(commit)

    def accounts(self) -> list[tuple[Layout, Manifest]]:
        """Return the accounts whose answers may be used for what has changed."""
        visible = self.visible
        found = [
            (visible.layout, manifest)
            for file, manifest in visible.manifests.items()
            if file not in self.unchanged and file not in self.replaced
        ]
        return found + [
            (layout, manifest)
            for layout, manifest in set_aside(self.layout)
            if manifest.fingerprint == self.fingerprint
        ]

    def switch_complete(self) -> None:
        """Let the versions that are complete already take their places."""
        for file, manifest in list(self.manifests.items()):
            if manifest.state == "complete" and file not in self.unchanged:
                self.switch(file)

    def compared(self, file: str) -> bool:
        """Whether a digest decides: it always does."""
        del file
        return True

    def start(self, file: str, digest: str) -> FileInParts | None:
        """Begin with a file as others do, with what was carried over; `None` where nothing is left."""
        if file in self.unchanged:
            return None
        progress = Ledger.start(self, file, digest)
        if progress is None:
            return None
        again = NextParts(
            progress.file,
            progress.rows_per_part,
            progress.committed,
            progress.load,
            progress.replay,
            progress.damaged,
            progress.retry_errors,
            progress.spent,
            recorded=self.recorded,
        )
        self.open[file] = again
        return again

    def stands(self, commit: Commit) -> bool:
        """Whether a part's files are there: its own, or those of the old version that it is the same as."""
        part = commit.scores or commit.error_records
        kept = part is not None and self.standing.get(part.name) == commit
        return (kept and self.visible.stands(commit)) or Ledger.stands(self, commit)

    def recorded(self, file: str, commit: Commit) -> tuple[AbstractSet[int], Mapping[int, Settled]]:
        """Return which rows of a part have a score, and its error records."""
        digests = read_digests(self.layout.digests(file, commit.part))
        if digests is None:
            found = self.load(commit)
            scored = {row for row, settled in found.items() if isinstance(settled.result, Score)}
        else:
            found = self.load(replace(commit, scores=None))
            scored = set(digests.rows[digests.scored].tolist()) if commit.scores is not None else set()
        return scored, {row: each for row, each in found.items() if isinstance(each.result, RowError)}

    def encode(self, part: Part) -> Encoded | None:
        """Encode a part as others do, with the records that were left on disk meanwhile."""
        commit = self.manifests[part.file].parts.get(part.number)
        if part.spilled and commit is not None:
            for row, settled in self.load(commit).items():
                if row in part.spilled and row not in part.settled:
                    part.settled[row] = settled
            part.spilled -= part.settled.keys()
        return Ledger.encode(self, part)

    def publish(self, encoded: Encoded | None) -> None:
        """Publish a part as others do, and know its sizes: what is carried over is begun with later."""
        Ledger.publish(self, encoded)
        if encoded is None:
            return
        commit = self.manifests[encoded.part.file].parts[encoded.part.number]
        for folder, part in (
            (self.layout.scores, commit.scores),
            (self.layout.errors, commit.error_records),
        ):
            if part is not None and folder in self.sizes:
                self.sizes[folder][part.name] = part.bytes

    def finish(self, file: str) -> None:
        """Write the manifest of a version; a whole one takes its place.

        Raises `OutputOverwritten` where rows have lost their record meanwhile.
        """
        manifest = self.manifests[file]
        lost = manifest.state == "complete" and manifest.rows > manifest.ok + manifest.errors
        if lost:
            manifest.state = "partial"
        Ledger.finish(self, file)
        if lost:
            raise OutputOverwritten(
                f"{file}: records that this run took over were damaged meanwhile; the same command asks for "
                "what is missing."
            )
        if manifest.state == "complete":
            self.switch(file)

    def switch(self, file: str) -> None:
        """Let a whole version take the place of the old one."""
        layout, manifest = self.visible.layout, self.manifests[file]
        before = self.visible.manifests.get(file)
        old = before if before is not None and before.reported is not False else None
        self.write_manifest(file)
        lines = differences(
            version_of(old, layout) if old is not None else Version(file),
            version_of(manifest, self.layout, over=(before, layout)),
            other_settings=file in self.replaced or (old is not None and not old.reported),
        )
        decide(layout, self.run, file, SWITCH, lines)
        manifest.reported = True
        self.visible.manifests[file] = manifest
        self.visible.sizes.clear()
        self.unchanged.add(file)
        self.forget_replaced(file)

    def forget_replaced(self, file: str) -> None:
        """Note that a file has been replaced."""
        if file in self.replaced:
            self.replaced.discard(file)
            self.write_replaced()

    def report(self, manifest: Manifest) -> None:
        """Tell of records that stand and that no run has told of."""
        layout = self.visible.layout
        lines = differences(Version(manifest.file), version_of(manifest, layout))
        decide(layout, self.run, manifest.file, REPORT, lines)
        manifest.reported = True

    def drop(self, manifest: Manifest) -> None:
        """Remove the records of a file that is no input any more."""
        layout = self.visible.layout
        told = manifest.reported is not False
        old = version_of(manifest, layout) if told else Version(manifest.file)
        decide(layout, self.run, manifest.file, DROP, differences(old, Version(manifest.file)))
        del self.visible.manifests[manifest.file]
        self.forget_replaced(manifest.file)

    def end(self, vanished: Iterable[str], *, whole: bool, prune: bool) -> list[str]:
        """Tell what the run has changed; with `prune` drop the `vanished` files. Returns those dropped."""
        dropped = []
        for file in vanished:
            manifest = self.visible.manifests[file]
            if whole and (prune or file in self.replaced):
                self.drop(manifest)
                dropped.append(file)
            elif not manifest.reported and file not in self.replaced:
                self.report(manifest)
        self.changed = tell(self.visible.layout, self.run)
        self.visible.journals.close()
        if whole:
            clear(self.visible.layout)
        return dropped


@dataclass(slots=True)
class NextParts(FileInParts):
    """A file of which much is known: its scores stay on disk until their part is whole.

    Where one row in a thousand has changed, many parts are open at once.
    """

    recorded: Callable[[str, Commit], tuple[AbstractSet[int], Mapping[int, Settled]]] = field(kw_only=True)

    def take_over(self, part: Part, commit: Commit, rows: AbstractSet[int]) -> None:
        """Note which rows of a part have a score, and settle those whose error stands."""
        scored, errors = self.recorded(self.file, commit)
        part.spilled = {*(scored & rows)}
        kept = share(commit.tokens_kept, len(part.spilled), commit.ok)
        part.cost = Cost(commit.attempts, commit.tokens_billed, kept)
        part.in_journal = False
        for row, old in errors.items():
            if row in rows and final(old, retry_errors=self.retry_errors):
                part.settle(old)


def ledger_for(visible: Ledger, run: str) -> NextLedger:
    """Return the account of new versions of an output."""
    return NextLedger(
        next_layout(visible.layout),
        visible.format,
        visible.schema,
        visible.rows_per_part,
        visible.fingerprint,
        retry_errors=visible.retry_errors,
        scratch=visible.scratch,
        visible=visible,
        run=run,
    )


#: Runs whose names would not come after the last one's are counted behind it, with so many digits.
COUNT_DIGITS = 6


def run_name(layout: Layout, wanted: str) -> str:
    """Return a run's name, changed where that is needed for it to come after all earlier ones.

    A clock that was wrong once makes this necessary every night, so the name must not grow with each.
    """
    with explain_errors(layout.root / "changes", "list"):
        last = max(storage.names(layout.root / "changes"), default="")
    if wanted > last:
        return wanted
    before, _, count = last.rpartition("-")
    counted = len(count) == COUNT_DIGITS and count.isdecimal() and int(count) + 1 < 10**COUNT_DIGITS
    return f"{before}-{int(count) + 1:0{COUNT_DIGITS}}" if counted else f"{last}-{1:0{COUNT_DIGITS}}"
