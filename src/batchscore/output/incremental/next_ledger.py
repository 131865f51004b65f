"""How does an output follow inputs that change, without scoring or losing anything twice?

New versions of files are made with a ledger of their own, in a hidden folder, by the same means as any
output; so a killed run resumes there. First all that earlier runs know is carried over, so that only the rest
is scored. A complete version replaces the old one. This module knows the digests of prompts, and no inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import orjson

from batchscore.errors import OutputOverwritten
from batchscore.output.conflicts import (
    refuse_foreign_files,
    refuse_other_length,
    refuse_other_settings,
    remove_uncommitted,
    sweep,
)
from batchscore.output.fingerprint import other_settings
from batchscore.output.incremental.changes import Version, differences, version_of
from batchscore.output.incremental.switch import (
    SWITCH,
    copy_part,
    decide,
    drop_records,
    remove_next_versions,
    remove_part,
    replaced_place,
    report_records,
    unreplaced_files,
    write_changes,
)
from batchscore.output.layout import Layout, journal_name, stem_of
from batchscore.output.ledger import README_TEXT, Ledger, SingleLedger
from batchscore.output.manifest import Commit, Manifest, read_manifests, remove_manifest, write_manifest
from batchscore.output.part_files import EncodedPart, PartFiles
from batchscore.output.parts import FileInParts, Part, is_final
from batchscore.output.row_digests import damage_of_digests, read_digests
from batchscore.rows import RowError, Score
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.storage import visible_names


@dataclass(slots=True)
class NextLedger(Ledger):
    """The ledger of the next versions of files; `visible` is that of the present output.

    `unchanged` files need nothing. `replaced` files have other settings, or are overwritten: nothing of them
    is used again, and they stay until their new version is complete. `visible_commits` are the present parts
    by their file's name. `changed` counts the records in the run's changes file by kind. No changes file
    describes the present records of `unreported` files.
    """

    visible: SingleLedger = field(kw_only=True)
    run: str = field(kw_only=True)
    replaced: set[str] = field(default_factory=set, kw_only=True)
    unchanged: set[str] = field(default_factory=set, kw_only=True)
    visible_commits: dict[str, Commit] = field(default_factory=dict, kw_only=True)
    changed: Counter[str] = field(default_factory=Counter, kw_only=True)
    unreported: set[str] = field(default_factory=set, kw_only=True)

    def prepare(self, *, overwrite: bool) -> int:
        """Read what is there; return the number of scores to replace; raises `OutputError`."""
        visible, layout = self.visible, self.visible.spec.layout
        refuse_foreign_files(layout)
        sweep(layout)
        manifests = read_manifests(layout)
        visible.manifests = {manifest.file: manifest for manifest in manifests}
        visible.distrust_contradicted()
        visible.journals.find()
        if not overwrite:
            refuse_other_length(layout, manifests)
        remove_uncommitted(layout, manifests)
        if overwrite:
            remove_next_versions(layout)
        self.read_output(visible.spec, overwrite=overwrite)
        self.visible_commits = {
            part.name: commit
            for manifest in manifests
            for commit in manifest.parts.values()
            if (part := commit.scores or commit.error_records) is not None
        }
        self.find_replaced(overwrite=overwrite)
        for file in self.replaced:
            visible.complete_files.pop(file, None)
        self.kept = [manifest for manifest in manifests if manifest.file not in self.replaced]
        for manifest in self.kept:
            refuse_other_settings(visible.spec, manifest)
        storage.write_whole(layout.readme, README_TEXT)
        return sum(manifest.ok for manifest in manifests) if overwrite else 0

    def find_replaced(self, *, overwrite: bool) -> None:
        """Find the files to replace: all if the run overwrites, or if another run scored nothing."""
        journals, manifests = self.visible.journals, self.visible.manifests
        if overwrite:
            journals.clear()
            self.replaced = set(manifests)
            self.write_replaced()
        elif not journals.present and not any(each.ok for each in manifests.values()):
            fingerprint = self.spec.fingerprint
            self.replaced = {file for file, each in manifests.items() if each.fingerprint != fingerprint}
        else:
            unreplaced = unreplaced_files(self.visible.spec.layout, self.spec.fingerprint)
            self.replaced = set(unreplaced) & set(manifests)

    @property
    def replaced_path(self) -> Place:
        """The file that keeps the names of replaced files for a later run; absent if there are none."""
        return replaced_place(self.visible.spec.layout)

    def write_replaced(self) -> None:
        """Write the names of the files that still must be replaced."""
        if self.replaced:
            names = {"fingerprint": self.spec.fingerprint, "files": sorted(self.replaced)}
            storage.write_whole(self.replaced_path, orjson.dumps(names))
        else:
            storage.remove(self.replaced_path)

    def forget_replaced(self, file: str) -> None:
        """Note that a file has been replaced or dropped."""
        if file in self.replaced:
            self.replaced.discard(file)
            self.write_replaced()

    def compare(self, inputs: Mapping[str, str]) -> None:
        """Find the changed files by their digests; set aside what was made for other inputs."""
        visible = self.visible
        self.unreported = {
            file for file, each in visible.manifests.items() if each.ok and each.reported != "yes"
        } - self.replaced
        for file, digest in inputs.items():
            before = visible.manifests.get(file)
            if before is not None and self.is_unchanged(before, digest):
                self.unchanged.add(file)
        for file, manifest in list(self.manifests.items()):
            is_read_alike = manifest.fingerprint == self.spec.fingerprint
            if file in self.unchanged or not is_read_alike or inputs.get(file) != manifest.input:
                set_version_aside(self, file)
        for file in self.unchanged:
            before = self.manifests[file] = visible.manifests[file]
            if before.reported != "yes":
                report_records(visible.spec.layout, self.run, before)
        for file in visible.manifests.keys() - self.unchanged:
            set_journals_aside(visible, self, file)

    def is_unchanged(self, before: Manifest, digest: str) -> bool:
        """Whether no row of a file is left to score."""
        return (
            before.input == digest
            and before.fingerprint == self.spec.fingerprint
            and before.file not in self.replaced
            and before.is_done(retry_errors=self.spec.retry_errors)
            and all(self.is_reusable(before.file, commit) for commit in before.parts.values())
        )

    def is_reusable(self, file: str, commit: Commit) -> bool:
        """Whether a part of the old version is complete, and so is its file of prompts' digests."""
        layout, parts = self.visible.spec.layout, self.visible.parts
        if not commit.is_done(retry_errors=self.spec.retry_errors) or not parts.are_there(commit):
            return False
        digests = layout.digests(file, commit.part)
        return bool(commit.row_digests) and damage_of_digests(digests, commit) is None

    def accounts(self) -> list[tuple[Layout, Manifest]]:
        """Return the manifests whose answers may be used for changed files, each with its places."""
        visible = self.visible
        present = [
            (visible.spec.layout, manifest)
            for file, manifest in visible.manifests.items()
            if file not in self.unchanged and file not in self.replaced
        ]
        return present + [
            (layout, manifest)
            for layout, manifest in read_set_aside(self.spec.layout)
            if not other_settings(manifest.fingerprint, self.spec.fingerprint)
        ]

    def switch_complete(self) -> None:
        """Put all versions in place that are complete already."""
        for file, manifest in list(self.manifests.items()):
            if manifest.state != "complete" or file in self.unchanged:
                continue
            if self.has_all_parts(manifest):
                self.switch(file)
            else:
                manifest.state = "partial"

    def start(self, file: str, digest: str) -> FileInParts | None:
        """Begin with a file, on top of what was carried over; `None` if nothing is left to do."""
        if file in self.unchanged:
            return None
        return self.begin_file(file, digest, self.is_there, self.take_over)

    def is_there(self, commit: Commit) -> bool:
        """Whether a part's files are there: its own, or those of the old version if they are the same."""
        part = commit.scores or commit.error_records
        same = part is not None and self.visible_commits.get(part.name) == commit
        return (same and self.visible.parts.are_there(commit)) or self.parts.are_there(commit)

    def take_over(self, part: Part, commit: Commit, rows: AbstractSet[int]) -> None:
        """Note which rows of a part have a score, and settle those whose error is final.

        The scores stay on disk until their part is complete: if one row in a thousand has changed, many parts
        are open at once.
        """
        digests = read_digests(self.spec.layout.digests(part.file, commit.part), commit)
        records = self.parts.load(commit if digests is None else replace(commit, scores=None))
        if digests is None:
            scored = {row for row, settled in records.items() if isinstance(settled.result, Score)}
        else:
            scored = set(digests.rows[digests.scored].tolist()) if commit.scores is not None else set()
        part.spilled = scored & rows
        part.spilled_bytes = 0 if commit.scores is None else commit.scores.bytes
        part.cost = commit.cost_of(len(part.spilled))
        part.in_journal = False
        for row, old in records.items():
            error = row in rows and isinstance(old.result, RowError)
            if error and is_final(old, retry_errors=self.spec.retry_errors):
                part.settle(old)

    def encode(self, part: Part) -> EncodedPart | None:
        """Return the content of a part's files, with the records that were left on disk meanwhile."""
        commit = self.manifests[part.file].parts.get(part.number)
        if part.spilled and commit is not None:
            for row, settled in self.parts.load(commit).items():
                if row in part.spilled and row not in part.settled:
                    part.settled[row] = settled
            part.spilled -= part.settled.keys()
        return self.encode_part(part)

    def publish(self, encoded: EncodedPart | None) -> None:
        """Write a part's files, then its commit record into the manifest."""
        self.publish_part(encoded)

    def write_manifest(self, file: str) -> None:
        """Write a file's manifest, and remove the journals of the parts that it names."""
        self.save_manifest(file)

    def finish(self, file: str) -> None:
        """Write the manifest of a version, and put a complete one in place.

        Raises `OutputOverwritten` if rows have lost their record meanwhile.
        """
        manifest = self.manifests[file]
        lost = manifest.state == "complete" and (
            manifest.rows > manifest.ok + manifest.errors or not self.has_all_parts(manifest)
        )
        if lost:
            manifest.state = "partial"
        self.write_manifest(file)
        if lost:
            raise OutputOverwritten(
                f"{file}: records of it were damaged or removed meanwhile. Run the same command again "
                "to score the missing rows."
            )
        if manifest.state == "complete":
            self.switch(file)

    def has_all_parts(self, manifest: Manifest) -> bool:
        """Whether the files of a version's own parts are there: a decided switch needs all of them."""
        before, now = self.visible.manifests.get(manifest.file), replace(self.parts, sizes={})
        old = before.parts if before is not None else {}
        return all(
            old.get(number) == commit or now.are_there(commit) for number, commit in manifest.parts.items()
        )

    def switch(self, file: str) -> None:
        """Replace the old version of a file by the complete new one."""
        visible, manifest = self.visible, self.manifests[file]
        layout, before = visible.spec.layout, visible.manifests.get(file)
        old = before if before is not None and before.reported != "no" else None
        self.write_manifest(file)
        lines = differences(
            version_of(old, layout) if old is not None else Version(file),
            version_of(manifest, self.spec.layout, over=(before, layout)),
            other_settings=file in self.replaced or (old is not None and old.reported != "yes"),
        )
        decide(layout, self.run, file, SWITCH, lines, sync=self.spec.sync)
        manifest.reported = "yes"
        visible.manifests[file] = manifest
        visible.parts.sizes.clear()
        self.unchanged.add(file)
        self.forget_replaced(file)

    def end(self, vanished: Iterable[str], *, whole: bool, prune: bool) -> list[str]:
        """Write what the run has changed; with `prune`, drop `vanished` files; return the dropped ones."""
        visible, layout = self.visible, self.visible.spec.layout
        dropped = []
        for file in vanished:
            manifest = visible.manifests[file]
            if whole and (prune or file in self.replaced):
                drop_records(layout, self.run, manifest, other_settings=file in self.replaced)
                del visible.manifests[file]
                self.forget_replaced(file)
                dropped.append(file)
            elif manifest.reported != "yes" and file not in self.replaced:
                report_records(layout, self.run, manifest)
        self.changed = write_changes(layout, self.run)
        visible.journals.close()
        if whole:
            remove_next_versions(layout)
        return dropped


def read_set_aside(layout: Layout) -> Iterator[tuple[Layout, Manifest]]:
    """Yield the manifests that were set aside, each with its places."""
    for number in sorted(int(name) for name in visible_names(layout.root / "aside") if name.isdigit()):
        place = replace(layout, root=layout.root / "aside" / str(number))
        yield from ((place, manifest) for manifest in read_manifests(place))


def new_layout_set_aside(layout: Layout) -> Layout:
    """Return the places of a folder that is still empty."""
    numbers = (int(name) for name in visible_names(layout.root / "aside") if name.isdigit())
    return replace(layout, root=layout.root / "aside" / str(max(numbers, default=-1) + 1))


def set_version_aside(ledger: Ledger, file: str) -> None:
    """Set aside the answers of a version whose input has changed since, and remove the version."""
    set_journals_aside(ledger, ledger, file)
    layout = ledger.spec.layout
    manifest, target = ledger.manifests.pop(file), new_layout_set_aside(layout)
    own = {
        number: commit
        for number, commit in manifest.parts.items()
        if storage.exists(layout.digests(file, number))
    }
    for commit in own.values():
        copy_part(layout, target, file, commit)
    if own:
        write_manifest(target.manifest(file), replace(manifest, parts=own, state="partial"))
    for commit in own.values():
        remove_part(layout, file, commit)
    remove_manifest(layout.manifest(file))


def set_journals_aside(source: Ledger, ledger: Ledger, file: str) -> None:
    """Set aside the answers of a file in the journals of `source`, as parts beside those of `ledger`."""
    present = [name.rpartition("-") for name in source.journals.present]
    numbers = [int(number) for stem, _, number in present if stem == stem_of(file) and number.isdecimal()]
    if not numbers:
        return
    spec, layout = ledger.spec, new_layout_set_aside(ledger.spec.layout)
    parts = PartFiles(layout, spec.format, spec.schema, sync=spec.sync)
    manifest = Manifest(file, layout.task, spec.fingerprint)
    for number in numbers:
        part = Part(file, number)
        for row, entry in source.journals.replay(journal_name(file, number)).items():
            if row // spec.rows_per_part != number:
                continue
            part.prompt_digests[row] = entry.prompt_digest
            part.settle(entry.settled)
            part.read += 1
        encoded = parts.encode(part)
        if encoded is not None:
            manifest.dimensions = encoded.dimensions or manifest.dimensions
            manifest.parts[part.number] = parts.write(encoded)
    write_manifest(layout.manifest(file), manifest, sync=spec.sync)
    for number in numbers:
        source.journals.remove(journal_name(file, number))
