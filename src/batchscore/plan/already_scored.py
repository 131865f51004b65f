"""Which rows need no request, because an earlier run left their records in the output?

It reads manifests and changes nothing. What would stop a run (another run's scores, a changed file) stops a
plan with the same message. Answers in a killed run's journals count, too.
"""

from __future__ import annotations

from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from batchscore.errors import InputChanged, UnreadableFile
from batchscore.output.checkpoints import answered_in_journals
from batchscore.output.conflicts import (
    advice_on_change,
    error_of_change,
    refuse_foreign_file,
    refuse_foreign_files,
    refuse_other_length,
    refuse_other_settings,
    refuse_to_lose,
)
from batchscore.output.fingerprint import other_settings, reading_changes
from batchscore.output.input_digest import digest_input
from batchscore.output.journal import Journals
from batchscore.output.manifest import Manifest, read_manifests
from batchscore.output.manifest_check import numbers_every_row
from batchscore.output.part_files import PartFiles
from batchscore.output.parts import FileInParts, damage_text, is_final
from batchscore.output.row_digests import read_digests
from batchscore.output.spec import Output, OutputSpec, fingerprint_of, output_spec
from batchscore.plan.survey import ReadyFile, Survey
from batchscore.read.formats import open_rows
from batchscore.read.input_file import ReadOptions
from batchscore.settings.fields import Settings
from batchscore.settings.slices import OutputSettings, RecordSettings, cut


@dataclass(slots=True)
class AlreadyScored:
    """What earlier runs left: manifests by file, and the `finished` files, of which no row needs a request.

    `changed` files differ from what was scored: at most all of their rows are sent. `dimensions` is the
    length of the vectors; `--overwrite` would discard `discarded` scores. `answered` are the rows of each
    file whose results are in journals. `lost` says of files with damage that rows are paid for again.
    `latest` are the rows that are done of the part that was asked for last.
    """

    rows_per_part: int
    retry_errors: bool = False
    manifests: dict[str, Manifest] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    answered: dict[str, set[int]] = field(default_factory=dict)
    dimensions: int | None = None
    discarded: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    parts: PartFiles | None = None
    latest: tuple[str, int, Container[int]] = ("", 0, ())

    @property
    def failed(self) -> int:
        """Rows that have failed and that no run sends again as it is."""
        commits = (commit for manifest in self.manifests.values() for commit in manifest.parts.values())
        return sum(
            commit.errors - commit.empty - commit.retried(retry_errors=self.retry_errors)
            for commit in commits
        )

    def is_done(self, file: str, row: int) -> bool:
        """Whether a row needs no request; rows are asked for in order."""
        number = row // self.rows_per_part
        if self.latest[:2] != (file, number):
            self.latest = file, number, self.rows_done(file, number)
        return row in self.latest[2] or row in self.answered.get(file, ())

    def rows_done(self, file: str, number: int) -> Container[int]:
        """Return the rows of a part whose record is final; reads a part of which only some have one."""
        commit = self.manifests[file].parts.get(number) if file in self.manifests else None
        if commit is None:
            return ()
        left = commit.rows - commit.ok - commit.errors + commit.retried(retry_errors=self.retry_errors)
        if left == commit.rows or self.parts is None:
            return ()
        if not left and numbers_every_row(file):
            return range(number * self.rows_per_part, number * self.rows_per_part + commit.rows)
        digests = read_digests(self.parts.layout.digests(file, number), commit) if commit.ok else None
        scored = [] if digests is None else digests.rows[digests.scored].tolist()
        records = self.parts.load(commit if digests is None else replace(commit, scores=None))
        final = {row for row, each in records.items() if is_final(each, retry_errors=self.retry_errors)}
        return final.union(scored)


def find_already_scored(settings: Settings, survey: Survey, output: Output | None) -> AlreadyScored:
    """Return what the output holds; raises `OutputError` if a run would refuse to resume there."""
    scored = AlreadyScored(settings.rows_per_part, settings.retry_errors)
    if output is None:
        return scored
    fingerprint = fingerprint_of(cut(RecordSettings, settings), output)
    spec = output_spec(cut(OutputSettings, settings), output, fingerprint, survey.schema, survey.places)
    manifests = {found.file: found for found in read_manifests(spec.layout)}
    ok = sum(found.ok for found in manifests.values())
    if settings.overwrite:
        scored.discarded = ok
        return scored
    if output.file is not None:
        refuse_foreign_file(spec, output.file)
    refuse_foreign_files(spec.layout)
    for found in manifests.values() if ok else ():
        refuse_other_settings(spec, found)
    refuse_other_length(spec.layout, manifests.values())
    same = {
        name: found
        for name, found in manifests.items()
        if not other_settings(found.fingerprint, spec.fingerprint)
    }
    if output.file is not None and not settings.incremental:
        refuse_to_lose(same, output.file, [ready.file.name for ready in survey.ready])
    scored.manifests = same
    scored.dimensions = next((found.dimensions for found in same.values() if found.dimensions), None)
    parts = scored.parts = PartFiles(spec.layout, spec.format, spec.schema)
    scored.lost = parts.without_manifest(spec.files, manifests)
    for surveyed in survey.ready:
        name = surveyed.file.name
        manifest = same.get(name)
        if manifest is not None and (lost := parts.lost(manifest)):
            scored.lost[name] = damage_text(len(lost))
            manifest.parts |= lost
        if manifest is None or (manifest.state != "complete" and not settings.incremental):
            continue
        ready = surveyed.as_it_is()
        try:
            now = digest_input(ready.file, ready.builder, survey.options)
        except UnreadableFile:
            now = manifest.input  # reading the file reports what is wrong with it
        change = (
            reading_change(ready, survey.options, spec, manifest)
            if now == manifest.input
            else error_of_change(spec, name, manifest.input, now)
        )
        if change is not None and not settings.incremental:
            raise change
        if change is not None:
            scored.changed.add(name)
            del same[name]
        elif manifest.is_done(retry_errors=settings.retry_errors):
            scored.finished.add(name)
    if not settings.shared_output:
        scored.answered = answered_in_journals(
            spec.layout, spec.scratch, same.values(), retry_errors=settings.retry_errors
        )
    return scored


def reading_change(
    ready: ReadyFile, options: ReadOptions, spec: OutputSpec, manifest: Manifest
) -> InputChanged | None:
    """Return the error of a file that is read otherwise than when it was scored, if that gives other rows."""
    name, changes = ready.file.name, reading_changes(manifest.fingerprint, spec.fingerprint)
    if not changes:
        return None
    scored = FileInParts(
        file=name,
        rows_per_part=spec.rows_per_part,
        committed=manifest.parts,
        take_over=lambda *_: None,
        journals=Journals(Path(), spec.identity),
        reading="; ".join(changes),
        advice=advice_on_change(spec, name),
    )
    with suppress(UnreadableFile), open_rows(ready.file, options, ready.builder.columns) as table:
        try:
            for _ in scored.unanswered(map(ready.builder.build, table.rows)):
                pass
        except InputChanged as error:
            return error
    return None
