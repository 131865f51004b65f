"""Which rows need no request, because an earlier run left their records in the output?

It reads manifests and changes nothing. What would stop a run (another run's scores, a changed file) stops a
plan with the same message. Answers in a killed run's journals are not counted; the run itself finds them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from batchscore.errors import UnreadableFile
from batchscore.output.ledger import Ledger
from batchscore.output.leftovers import refuse_foreign_files
from batchscore.output.manifest import Manifest, places_of_manifests, read_manifest
from batchscore.output.one_file import refuse_other_tasks, refuse_to_lose
from batchscore.output.open import ledger_of, refuse_foreign_file
from batchscore.output.place import Output
from batchscore.plan.survey import Survey
from batchscore.read import digest
from batchscore.settings.fields import Settings


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
        settled = commit.ok + commit.errors - commit.asked_again(retry_errors=self.retry_errors)
        return 1.0 - settled / commit.rows


def find_already_scored(settings: Settings, survey: Survey, output: Output | None) -> AlreadyScored:
    """Return what the output holds; raises `OutputError` if a run would refuse to resume there."""
    nothing = AlreadyScored(settings.rows_per_part, settings.retry_errors)
    if output is None:
        return nothing
    # Journals are not read, so no folder has to be made for them.
    ledger = ledger_of(
        replace(settings, scratch_dir=settings.scratch_dir or tempfile.gettempdir()),
        survey.schema,
        survey.places,
        output,
    )
    layout = ledger.layout
    manifests = {found.file: found for found in map(read_manifest, places_of_manifests(layout))}
    if settings.overwrite:
        nothing.discarded = sum(manifest.ok for manifest in manifests.values())
        return nothing
    if output.file is not None:
        refuse_foreign_file(layout, output.file)
        refuse_other_tasks(ledger, output.file)
    refuse_foreign_files(layout)
    if any(manifest.ok for manifest in manifests.values()):
        for manifest in manifests.values():
            ledger.refuse_other_run(manifest)
    same = {name: found for name, found in manifests.items() if found.fingerprint == ledger.fingerprint}
    ledger.manifests = same
    if output.file is not None and not settings.incremental:
        refuse_to_lose(ledger, output.file, [ready.file.name for ready in survey.ready])
    return compare_inputs(settings, survey, ledger)


def compare_inputs(settings: Settings, survey: Survey, ledger: Ledger) -> AlreadyScored:
    """Return what is scored of the files that have not changed since."""
    manifests = ledger.manifests
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
            raise ledger.error_of_change(name)
        if not same:
            changed.add(name)
        elif manifest.nothing_left(retry_errors=settings.retry_errors):
            finished.add(name)
    return AlreadyScored(
        rows_per_part=settings.rows_per_part,
        retry_errors=settings.retry_errors,
        manifests={name: found for name, found in manifests.items() if name not in changed},
        finished=frozenset(finished),
        changed=frozenset(changed),
        dimensions=next((found.dimensions for found in manifests.values() if found.dimensions), None),
    )
