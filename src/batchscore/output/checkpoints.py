"""Which rows have killed runs answered, whose answers wait in journals until the next run publishes them?

It changes nothing. On another machine than that of the runs, only journals in the output's folder are found.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from batchscore.errors import OutputError, count_text
from batchscore.output.fingerprint import identity_of
from batchscore.output.incremental.switch import next_layout
from batchscore.output.journal import Journals
from batchscore.output.journal_place import local_folder
from batchscore.output.layout import Layout, stem_of
from batchscore.output.manifest import Manifest, readable_manifests
from batchscore.output.missing import RecordedFiles
from batchscore.output.parts import is_final
from batchscore.stores import storage
from batchscore.task import TASKS


def answered_in_journals(
    layout: Layout,
    scratch: Path | None,
    manifests: Iterable[Manifest],
    *,
    retry_errors: bool = False,
    without: Container[Path] = (),
) -> dict[str, dict[int, bytes]]:
    """Return the rows of each file whose results are in journals, each with the digest of its prompt.

    They need no request if the prompt is the same.

    Nothing is read at the places `without`. A manifest without a fingerprint counts as none: the journals of
    its file may be of any settings.
    """
    by_stem = {stem_of(manifest.file): manifest for manifest in manifests}
    found: dict[str, dict[int, bytes]] = {}
    for folder in _folders(layout, scratch, {identity_of(each.fingerprint) for each in by_stem.values()}):
        if folder in without:
            continue
        journals = Journals(folder, "", TASKS[layout.task].answer)
        journals.find(tidy=False)
        for name in sorted(journals.present):
            manifest = by_stem.get(name.rpartition("-")[0])
            if manifest is None or journals.path(name) in without:
                continue
            journals.identity = identity_of(manifest.fingerprint)
            try:
                entries = journals.look(name, any_settings=not manifest.fingerprint)[0]
            except OutputError:
                if journals.path(name).exists():
                    raise
                continue  # a worker has just published it
            final = {
                row: each.prompt_digest
                for row, each in entries.items()
                if is_final(each.settled, retry_errors=retry_errors)
            }
            found.setdefault(manifest.file, {}).update(final)
    return found


def no_journals(layout: Layout) -> list[Path]:
    """Return what is in the place of a journal of this output and is no file, such as a folder or a link."""
    found: list[Path] = []
    for folder in (layout.journals, next_layout(layout).journals):
        if isinstance(folder, Path):
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
                found += [Path(each.path) for each in entries if not each.is_file(follow_symlinks=False)]
            found += [folder] if os.path.lexists(folder) and not folder.is_dir() else []
    return found


def waiting_rows(
    layout: Layout, recorded: RecordedFiles, manifests: Iterable[Manifest], *, without: Container[Path] = ()
) -> int:
    """Return how many rows a run like the last one publishes without a request; `without` as above."""
    hidden, settings = next_layout(layout), recorded.called.get("settings", {})
    # An incremental run answers the next version of a file, which is in a hidden place.
    versions = readable_manifests(hidden) if settings.get("incremental") is True else ()
    waiting = 0
    for place, files in ((layout, manifests), (hidden, versions)):
        by_file = {manifest.file: manifest for manifest in files if manifest.state != "complete"}
        answered = answered_in_journals(place, recorded.scratch, by_file.values(), without=without)
        waiting += sum(_unpublished(by_file[file], rows) for file, rows in answered.items())
    return waiting


def waiting_text(rows: int) -> str:
    """Return what is said of rows in journals."""
    return f"{count_text(rows, 'row')} {'waits' if rows == 1 else 'wait'} in checkpoint files"


def _unpublished(manifest: Manifest, rows: Iterable[int]) -> int:
    """Return how many rows have no final record: a killed run may have published some of a journal's."""
    rows_per_part = manifest.fingerprint.get("rows_per_part", 1)
    unpublished, of_part = 0, Counter[int]()
    for row in rows:
        commit = manifest.parts.get(row // rows_per_part)
        if commit is None or row % rows_per_part >= commit.rows:
            unpublished += 1
        else:
            of_part[commit.part] += 1
    for number, count in of_part.items():
        commit = manifest.parts[number]
        left = commit.rows - commit.ok - commit.errors + commit.retried(retry_errors=False)
        unpublished += min(count, left)
    return unpublished


def _folders(layout: Layout, scratch: Path | None, identities: Iterable[str]) -> Iterator[Path]:
    """Yield the folders that may hold journals: in the output, and on a disk of this machine."""
    if isinstance(layout.journals, Path):
        yield layout.journals
    with suppress(OutputError):  # without a temporary folder, no run has left anything there
        yield local_folder(layout, scratch, "")
        for identity in sorted(identities):
            home = local_folder(layout, scratch, identity)
            yield from filter(Path.is_dir, map(home.joinpath, storage.names(home)))
