"""Which rows need not be asked, because an earlier run left their records in the output?

It reads manifests and changes nothing; what would stop a run (another run's scores, a changed file) stops a
plan with the same words. Answers that a killed run left in its journals are not counted: the run itself finds
them.
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
        kept = commit.ok + commit.errors - commit.asked_again(retry_errors=self.retry_errors)
        return 1.0 - kept / commit.rows


def standing_of(settings: Settings, surveyed: Survey, output: Output | None) -> Standing:
    """Return what stands in the output; raises `OutputError` where a run would refuse to go on there."""
    nothing = Standing(settings.rows_per_part, settings.retry_errors)
    if output is None:
        return nothing
    # Journals are not looked at, so no folder has to be made for them.
    ledger = ledger_of(
        replace(settings, scratch_dir=settings.scratch_dir or tempfile.gettempdir()),
        surveyed.schema,
        surveyed.places,
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
        refuse_to_lose(ledger, output.file, [ready.file.name for ready in surveyed.ready])
    return compared(settings, surveyed, ledger)


def compared(settings: Settings, surveyed: Survey, ledger: Ledger) -> Standing:
    """Return what stands of files that are as they were when they were scored."""
    manifests = ledger.manifests
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
            raise ledger.error_of_change(ready.file.name)
        if not same:
            anew.add(ready.file.name)
        if same and manifest.nothing_left(retry_errors=settings.retry_errors):
            through.add(ready.file.name)
    return Standing(
        rows_per_part=settings.rows_per_part,
        retry_errors=settings.retry_errors,
        manifests={name: found for name, found in manifests.items() if name not in anew},
        through=frozenset(through),
        anew=frozenset(anew),
        dimensions=next((found.dimensions for found in manifests.values() if found.dimensions), None),
    )
