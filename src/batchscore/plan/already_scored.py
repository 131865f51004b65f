"""Which rows need no request, because an earlier run left their records in the output?

It reads manifests and changes nothing. What would stop a run (another run's scores, a changed file) stops a
plan with the same message. Answers in a killed run's journals count, too. With `incremental`, so do
those that a run takes over for rows of changed files, and the next versions that a killed run has begun.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

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
from batchscore.output.incremental.carry_over import records_of
from batchscore.output.incremental.next_ledger import read_set_aside
from batchscore.output.incremental.switch import next_layout, unreplaced_files
from batchscore.output.input_digest import digest_input
from batchscore.output.journal import Journals
from batchscore.output.journal_place import has_journals
from batchscore.output.layout import Layout
from batchscore.output.manifest import Manifest, read_manifests
from batchscore.output.manifest_check import numbers_every_row
from batchscore.output.part_files import PartFiles
from batchscore.output.parts import FileInParts, damage_text, digest_of_prompt, is_final
from batchscore.output.row_digests import SortedDigests, halves, read_digests
from batchscore.output.spec import Output, OutputSpec, fingerprint_of, output_spec
from batchscore.plan.survey import ReadyFile, Survey
from batchscore.read.formats import open_rows
from batchscore.read.input_file import ReadOptions
from batchscore.rows import Prompt, Settled
from batchscore.settings.fields import Settings
from batchscore.settings.slices import OutputSettings, RecordSettings, cut


@dataclass(slots=True)
class AlreadyScored:
    """What earlier runs left: manifests by file, and the `finished` files, of which no row needs a request.

    `changed` files differ from what was scored. `dimensions` is the length of the vectors; `--overwrite`
    would discard `discarded` scores. `answered` are the rows of each file whose results are in journals, with
    the digests of their prompts. The prompts of `known` digests were answered in some row. `lost` says of
    files with damage that rows are paid for again. `parts` are those of the output, after those of
    next versions.
    `latest` are the rows that are done of the part that was asked for last.
    """

    rows_per_part: int
    retry_errors: bool = False
    manifests: dict[str, Manifest] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    answered: Mapping[str, Mapping[int, bytes]] = field(default_factory=dict)
    known: SortedDigests | None = None
    dimensions: int | None = None
    discarded: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    parts: tuple[PartFiles, ...] = ()
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
        return row in self.latest[2]

    def has_answer(self, item: Prompt | Settled) -> bool:
        """Whether a run finds the result of a row that is not done, by its prompt."""
        answered = self.answered.get(item.file, {}).get(item.row)
        if answered is None and self.known is None:
            return False
        digest = digest_of_prompt(item)
        if answered == digest:
            return True
        # A row without a prompt costs nothing, and counts as a result of the next run.
        return (
            self.known is not None
            and isinstance(item, Prompt)
            and next(self.known.find(digest), None) is not None
        )

    def rows_done(self, file: str, number: int) -> Container[int]:
        """Return the rows of a part whose record is final; reads a part of which only some have one."""
        commit = self.manifests[file].parts.get(number) if file in self.manifests else None
        if commit is None:
            return ()
        left = commit.rows - commit.ok - commit.errors + commit.retried(retry_errors=self.retry_errors)
        if left == commit.rows or not self.parts:
            return ()
        parts = next((each for each in self.parts if each.are_there(commit)), self.parts[-1])
        if not left and numbers_every_row(file):
            return range(number * self.rows_per_part, number * self.rows_per_part + commit.rows)
        digests = read_digests(parts.layout.digests(file, number), commit) if commit.ok else None
        scored = [] if digests is None else digests.rows[digests.scored].tolist()
        records = parts.load(commit if digests is None else replace(commit, scores=None))
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
    if settings.overwrite:
        scored.discarded = sum(found.ok for found in manifests.values())
        return scored
    if output.file is not None:
        refuse_foreign_file(spec, output.file)
    refuse_foreign_files(spec.layout)
    hidden, begun, replaced = next_layout(spec.layout), dict[str, Manifest](), frozenset[str]()
    if settings.incremental:
        replaced = unreplaced_files(spec.layout, fingerprint)
        begun = usable(spec, hidden, read_manifests(hidden))
    same = usable(spec, spec.layout, [each for file, each in manifests.items() if file not in replaced])
    refuse_other_length(spec.layout, manifests.values())
    if output.file is not None and not settings.incremental:
        refuse_to_lose(same, output.file, [ready.file.name for ready in survey.ready])
    scored.manifests = same
    scored.dimensions = next((found.dimensions for found in same.values() if found.dimensions), None)
    parts = PartFiles(spec.layout, spec.format, spec.schema)
    # The same part of both has the same name, and may have the same size.
    scored.parts = (PartFiles(hidden, spec.format, spec.schema), parts) if settings.incremental else (parts,)
    scored.lost = parts.without_manifest(spec.files, manifests)
    earlier = dict(same)
    inputs = compare_files(scored, survey, spec, parts, begun)
    if settings.incremental:
        add_next_versions(scored, spec, earlier, begun, inputs)
    elif not spec.shared:
        scored.answered = answered_in_journals(
            spec.layout, spec.scratch, same.values(), retry_errors=settings.retry_errors
        )
    return scored


def compare_files(
    scored: AlreadyScored, survey: Survey, spec: OutputSpec, parts: PartFiles, begun: Container[str]
) -> dict[str, str]:
    """Find the files that are lost in part, changed or finished; return the digests of those with records.

    Raises `InputChanged` for a changed file if only an incremental run continues with it.
    """
    same, inputs = scored.manifests, dict[str, str]()
    for surveyed in survey.ready:
        name = surveyed.file.name
        manifest = same.get(name)
        if manifest is not None and (lost := parts.lost(manifest)):
            scored.lost[name] = damage_text(len(lost))
            manifest.parts |= lost
        compared = manifest is not None and (manifest.state == "complete" or spec.inputs_change)
        if not compared and name not in begun:
            continue
        ready = surveyed.as_it_is()
        try:
            now = digest_input(ready.file, ready.builder, survey.options)
        except UnreadableFile:
            # Reading the file reports what is wrong with it.
            now = "" if manifest is None else manifest.input
        inputs[name] = now
        if manifest is None:
            continue
        change = (
            reading_change(ready, survey.options, spec, manifest)
            if now == manifest.input
            else error_of_change(spec, name, manifest.input, now)
        )
        if change is not None and not spec.inputs_change:
            raise change
        if change is not None:
            scored.changed.add(name)
            del same[name]
        elif manifest.is_done(retry_errors=spec.retry_errors):
            scored.finished.add(name)
    return inputs


def add_next_versions(
    scored: AlreadyScored,
    spec: OutputSpec,
    earlier: Mapping[str, Manifest],
    begun: Mapping[str, Manifest],
    inputs: Mapping[str, str],
) -> None:
    """Add what an incremental run takes over: of the next versions that it resumes, and of all other files.

    `earlier` are the versions in the output, `begun` the next ones that killed runs have left. `inputs` are
    the digests of the files as they are now.
    """
    hidden, retry_errors = next_layout(spec.layout), spec.retry_errors
    waiting = partial(answered_in_journals, scratch=spec.scratch, retry_errors=retry_errors)
    resumed, others = dict[str, Manifest](), dict[str, Manifest]()
    for file, each in begun.items():
        same = (each.input, each.fingerprint) == (inputs.get(file), spec.fingerprint)
        (resumed if same else others)[file] = each
    old = [each for file, each in earlier.items() if file not in scored.finished]
    in_journals = waiting(spec.layout, manifests=old)
    accounts = [(spec.layout, each) for each in old] + [(hidden, each) for each in others.values()]
    aside = read_set_aside(hidden)
    accounts += [each for each in aside if not other_settings(each[1].fingerprint, spec.fingerprint)]
    journals = [in_journals, waiting(hidden, manifests=others.values())]
    scored.known = known_prompts(accounts, journals, retry_errors=retry_errors)
    scored.answered = in_journals | waiting(hidden, manifests=resumed.values())
    scored.manifests = scored.manifests | resumed


def usable(spec: OutputSpec, layout: Layout, manifests: Iterable[Manifest]) -> dict[str, Manifest]:
    """Return the manifests of this run's settings by file; raises `OutputError` if others hold answers."""
    manifests = list(manifests)
    if any(each.ok for each in manifests) or (not spec.shared and has_journals(layout, spec.scratch)):
        for each in manifests:
            refuse_other_settings(spec, each)
    return {each.file: each for each in manifests if not other_settings(each.fingerprint, spec.fingerprint)}


def known_prompts(
    accounts: Iterable[tuple[Layout, Manifest]],
    journals: Iterable[Mapping[str, Mapping[int, bytes]]],
    *,
    retry_errors: bool,
) -> SortedDigests:
    """Return the digests of all prompts with a final record in these manifests and journals."""
    found = [halves([*rows.values()]) for each in journals for rows in each.values() if rows]
    for layout, manifest in accounts:
        for number, commit in manifest.parts.items():
            digests = read_digests(layout.digests(manifest.file, number), commit)
            if digests is None:
                continue
            final = digests.scored & (commit.ok > 0)
            if commit.errors > commit.retried(retry_errors=retry_errors):
                errors = records_of(layout, replace(commit, scores=None))
                rows = [each.row for each in errors if is_final(each, retry_errors=retry_errors)]
                final |= np.isin(digests.rows, rows)
            found.append(digests.prompt_digests[final])
    return SortedDigests(found)


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
