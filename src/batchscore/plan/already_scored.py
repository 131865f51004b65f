"""Which rows need no request, because an earlier run left their records in the output?

It reads manifests and changes nothing. What would stop a run (another run's scores, a changed file) stops a
plan with the same message. Answers in a killed run's journals count, too.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
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
from batchscore.output.part_files import PartFiles
from batchscore.output.parts import FileInParts, damage_text
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
    file whose results are in journals. `lost` says of files with damage
    that rows are paid for again.
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

    @property
    def failed(self) -> int:
        """Rows that have failed and that no run sends again as it is."""
        commits = (commit for manifest in self.manifests.values() for commit in manifest.parts.values())
        return sum(
            commit.errors - commit.empty - commit.retried(retry_errors=self.retry_errors)
            for commit in commits
        )

    def left_of(self, file: str, row: int) -> float:
        """Return how much of a row is left to send: 0, 1, or the share of its part's rows that is left."""
        if row in self.answered.get(file, ()):
            return 0.0
        manifest = self.manifests.get(file)
        commit = None if manifest is None else manifest.parts.get(row // self.rows_per_part)
        if commit is None or row % self.rows_per_part >= commit.rows:
            return 1.0
        settled = commit.ok + commit.errors - commit.retried(retry_errors=self.retry_errors)
        return 1.0 - settled / commit.rows


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
    parts = PartFiles(spec.layout, spec.format, spec.schema)
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
