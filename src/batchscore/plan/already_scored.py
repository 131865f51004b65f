"""Which rows need not be asked, because an earlier run left their records in the output?

It reads manifests and changes nothing; what would stop a run (another run's scores, a changed file) stops a
plan with the same words. Answers that a killed run left in its journals are not counted: the run itself finds
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchscore.errors import UnreadableFile
from batchscore.output.conflicts import error_of_change, refuse_other_settings
from batchscore.output.leftovers import refuse_foreign_files
from batchscore.output.manifest import Manifest, manifest_paths, read_manifest
from batchscore.output.one_file import refuse_foreign_file, refuse_to_lose
from batchscore.output.place import Output
from batchscore.output.spec import OutputSpec, fingerprint_of, output_spec
from batchscore.plan.survey import Survey
from batchscore.read import digest
from batchscore.settings.fields import Settings
from batchscore.settings.slices import OutputSettings, RecordSettings, cut


@dataclass(slots=True)
class Standing:
    """What earlier runs left: accounts of files by name, `through` those of which nothing is left to ask.

    `dimensions` is the length of their vectors; `discarded` scores would go with `--overwrite`. `anew` names
    files that have changed: at most all of their rows are asked.
    """

    rows_per_part: int
    retry_errors: bool = False
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    through: frozenset[str] = frozenset()
    anew: frozenset[str] = frozenset()
    dimensions: int | None = None
    discarded: int = 0

    def left_of(self, file: str, row: int) -> float:
        """Return how much of a row is left to ask: 0 or 1, or the part of its rows that its part has left."""
        manifest = self.manifests.get(file)
        commit = None if manifest is None else manifest.parts.get(row // self.rows_per_part)
        if commit is None or row % self.rows_per_part >= commit.rows:
            return 1.0
        kept = commit.ok + commit.errors - commit.retried(retry_errors=self.retry_errors)
        return 1.0 - kept / commit.rows


def standing_of(settings: Settings, surveyed: Survey, output: Output | None) -> Standing:
    """Return what stands in the output; raises `OutputError` where a run would refuse to go on there."""
    nothing = Standing(settings.rows_per_part, settings.retry_errors)
    if output is None:
        return nothing
    fingerprint = fingerprint_of(cut(RecordSettings, settings), output)
    spec = output_spec(cut(OutputSettings, settings), output, fingerprint, surveyed.schema, surveyed.places)
    manifests = {found.file: found for found in map(read_manifest, manifest_paths(spec.layout))}
    if settings.overwrite:
        nothing.discarded = sum(manifest.ok for manifest in manifests.values())
        return nothing
    if output.file is not None:
        refuse_foreign_file(spec, output.file)
    refuse_foreign_files(spec.layout)
    if any(manifest.ok for manifest in manifests.values()):
        for manifest in manifests.values():
            refuse_other_settings(spec, manifest)
    same = {name: found for name, found in manifests.items() if found.fingerprint == spec.fingerprint}
    if output.file is not None and not settings.incremental:
        refuse_to_lose(same, output.file, [ready.file.name for ready in surveyed.ready])
    return compared(settings, surveyed, spec, same)


def compared(
    settings: Settings, surveyed: Survey, spec: OutputSpec, manifests: Mapping[str, Manifest]
) -> Standing:
    """Return what stands of files that are as they were when they were scored."""
    through: set[str] = set()
    anew: set[str] = set()
    for ready in surveyed.ready:
        manifest = manifests.get(ready.file.name)
        if manifest is None or (manifest.state != "complete" and not settings.incremental):
            continue
        try:
            same = digest(ready.file.path) == manifest.input
        except UnreadableFile:
            same = True  # reading it says what is wrong with it
        if not same and not settings.incremental:
            raise error_of_change(spec, ready.file.name)
        if not same:
            anew.add(ready.file.name)
        if same and manifest.is_done(retry_errors=settings.retry_errors):
            through.add(ready.file.name)
    return Standing(
        rows_per_part=settings.rows_per_part,
        retry_errors=settings.retry_errors,
        manifests={name: found for name, found in manifests.items() if name not in anew},
        through=frozenset(through),
        anew=frozenset(anew),
        dimensions=next((found.dimensions for found in manifests.values() if found.dimensions), None),
    )
