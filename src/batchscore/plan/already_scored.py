"""Which rows need no request, because an earlier run left their records in the output?

It reads manifests and changes nothing. What would stop a run (another run's scores, a changed file) stops a
plan with the same message. Answers in a killed run's journals are not counted; the run itself finds them.
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
from batchscore.read.files import digest
from batchscore.settings.fields import Settings
from batchscore.settings.slices import OutputSettings, RecordSettings, cut


@dataclass(slots=True)
class AlreadyScored:
    """What earlier runs left: manifests by file, and the `finished` files, of which no row needs a request.

    `changed` files differ from what was scored: at most all of their rows are sent. `dimensions` is the
    length of the vectors; `--overwrite` would discard `discarded` scores.
    """

    rows_per_part: int
    retry_errors: bool = False
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    finished: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    dimensions: int | None = None
    discarded: int = 0

    def left_of(self, file: str, row: int) -> float:
        """Return how much of a row is left to send: 0, 1, or the share of its part's rows that is left."""
        manifest = self.manifests.get(file)
        commit = None if manifest is None else manifest.parts.get(row // self.rows_per_part)
        if commit is None or row % self.rows_per_part >= commit.rows:
            return 1.0
        settled = commit.ok + commit.errors - commit.retried(retry_errors=self.retry_errors)
        return 1.0 - settled / commit.rows


def find_already_scored(settings: Settings, survey: Survey, output: Output | None) -> AlreadyScored:
    """Return what the output holds; raises `OutputError` if a run would refuse to resume there."""
    nothing = AlreadyScored(settings.rows_per_part, settings.retry_errors)
    if output is None:
        return nothing
    fingerprint = fingerprint_of(cut(RecordSettings, settings), output)
    spec = output_spec(cut(OutputSettings, settings), output, fingerprint, survey.schema, survey.places)
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
        refuse_to_lose(same, output.file, [ready.file.name for ready in survey.ready])
    return compare_inputs(settings, survey, spec, same)


def compare_inputs(
    settings: Settings, survey: Survey, spec: OutputSpec, manifests: Mapping[str, Manifest]
) -> AlreadyScored:
    """Return what is scored of the files that have not changed since."""
    finished: set[str] = set()
    changed: set[str] = set()
    for ready in survey.ready:
        name = ready.file.name
        manifest = manifests.get(name)
        if manifest is None or (manifest.state != "complete" and not settings.incremental):
            continue
        try:
            same = digest(ready.file.path) == manifest.input
        except UnreadableFile:
            same = True  # reading the file reports what is wrong with it
        if not same and not settings.incremental:
            raise error_of_change(spec, name)
        if not same:
            changed.add(name)
        elif manifest.is_done(retry_errors=settings.retry_errors):
            finished.add(name)
    return AlreadyScored(
        rows_per_part=settings.rows_per_part,
        retry_errors=settings.retry_errors,
        manifests={name: found for name, found in manifests.items() if name not in changed},
        finished=frozenset(finished),
        changed=frozenset(changed),
        dimensions=next((found.dimensions for found in manifests.values() if found.dimensions), None),
    )
