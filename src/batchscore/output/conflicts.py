"""What in an output conflicts with a run, and what can the user do about it?

Scores of other settings, of an older version of a file or of other inputs, foreign files, and leftovers of
killed runs. A run that has the output for itself can replace old scores; one of several workers must not.
New scores can wait beside old ones only on a disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from batchscore.errors import HAS_CHANGED, BatchscoreError, InputChanged, OutputError, setting_name
from batchscore.output.find import score_files_of
from batchscore.output.fingerprint import other_settings, reading_changes
from batchscore.output.input_digest import without_images
from batchscore.output.journal import Journals
from batchscore.output.layout import DIGESTS, Layout, journal_name, stem_of, verify_command
from batchscore.output.manifest import (
    Manifest,
    manifest_paths,
    read_manifests,
    readable_manifests,
    remove_manifest,
)
from batchscore.output.one_file import refuse_edited
from batchscore.output.records.schema import schema_of
from batchscore.output.spec import OutputSpec
from batchscore.prompts.columns import shorten_names
from batchscore.stores import half_written, storage
from batchscore.stores.address import Place
from batchscore.stores.storage import list_files, visible_names

OVERWRITE = f"discard the old scores with {setting_name('overwrite', True)}"


def refuse_other_settings(spec: OutputSpec, manifest: Manifest) -> None:
    """Raise `OutputError` if a manifest's settings differ from this run's; it names the differences."""
    layout, changes = spec.layout, "; ".join(other_settings(manifest.fingerprint, spec.fingerprint))
    if not changes:
        return
    advice = f"Choose another output, or {OVERWRITE}."
    if spec.shared:
        advice = (
            f"Choose another output folder. Or, while no worker is running, delete {layout.task}/, "
            f"errors/{layout.task}/ and manifest/{layout.task}/ of this one."
        )
    raise OutputError(f"{layout.root} holds {layout.task} of another run ({changes}). {advice}")


def adopt_reading(spec: OutputSpec, manifest: Manifest) -> str:
    """Return in words how a file is read otherwise than by its manifest, empty if it is read alike.

    Its rows must be read then, and are compared with those that were scored.
    """
    changes = reading_changes(manifest.fingerprint, spec.fingerprint)
    if changes:
        manifest.fingerprint, manifest.state = spec.fingerprint, "partial"
    return "; ".join(changes)


def error_of_simulator(spec: OutputSpec, *, simulated: bool) -> OutputError:
    """Return the error of a service that is the simulator, or is not, unlike the one that answered before."""
    layout = spec.layout
    before, now = ("a service", "the simulator") if simulated else ("the simulator", "another service")
    return OutputError(
        f"{layout.root} holds {layout.task} of {before}, and {now} answers this run. Choose another output, "
        f"or {OVERWRITE}."
    )


def refuse_other_length(layout: Layout, manifests: Iterable[Manifest]) -> None:
    """Raise `OutputError` if a manifest states another length of vectors than the output's records have.

    A run would refuse every vector of the right length.
    """
    scored = [manifest for manifest in manifests if manifest.ok]
    length = None
    for path in (path for manifest in scored for path in score_files_of(layout, [manifest])):
        with suppress(BatchscoreError):
            length = schema_of(path, layout.task).dimensions
            break
    for manifest in scored:
        if length not in {None, manifest.dimensions}:
            raise OutputError(
                f"{layout.manifest(manifest.file)} states vectors of {manifest.dimensions} numbers, but the "
                f"records have {length}. To correct it, run: "
                f"{verify_command(layout.root, layout.task, repair=True)}"
            )


def error_of_change(spec: OutputSpec, file: str, before: str, now: str) -> InputChanged:
    """Return the error for an input whose digest has changed since it was scored."""
    same_file = without_images(before) == without_images(now)
    what = f"{file}: {images_text(spec)}" if same_file else file
    return InputChanged(f"{what} {HAS_CHANGED}. {advice_on_change(spec, file)}", name=file)


def images_text(spec: OutputSpec) -> str:
    """Return what people call an image of a row; empty if rows have none."""
    names = spec.fingerprint.get("image", ())
    if not names:
        return ""
    columns = "column" if len(names) == 1 else "columns"
    return f"an image of the {columns} {shorten_names(names)}"


def advice_on_change(spec: OutputSpec, file: str) -> str:
    """Return what the user can do if an input file has changed since it was scored."""
    layout, incremental = spec.layout, setting_name("incremental", True)
    if spec.printed:
        return f"Give {setting_name('output')} the name of a file, or {OVERWRITE}."
    if not spec.shared and spec.limited:
        limit = setting_name("limit")
        return f"Score it into another output, or {OVERWRITE} ({incremental} cannot be used with {limit})."
    if not spec.shared and isinstance(layout.root, Path):
        return (
            f"Add {incremental} to score new or changed rows, score the file into another output, or "
            f"{OVERWRITE}."
        )
    if not spec.shared:
        return f"Score it into another output, or {OVERWRITE} ({incremental} needs an output on a disk)."
    namesake = ""
    if spec.place_of_namesake(file) is not None:
        namesake = f" If it is another file of that name, set {setting_name('base_dir')} to tell them apart."
    if not spec.share.is_whole and not spec.limited:
        return (
            "Score it into another output folder. Or, while no worker is running, leave "
            f"{setting_name('part_of')} out and add {incremental} to score new or changed rows.{namesake}"
        )
    return (
        "Score it into another output folder, or rename the file. Or, while no worker is running, delete its "
        f"old scores: the files with {stem_of(file)} in their names in {layout.task}/, errors/{layout.task}/ "
        f"and manifest/{layout.task}/ of the output.{namesake}"
    )


def refuse_foreign_file(spec: OutputSpec, file: Place) -> None:
    """Raise `OutputError` if the output file exists and is not what batchscore wrote for this task."""
    if storage.exists(file) and not storage.exists(spec.layout.readme):
        raise OutputError(
            f"{file} exists already, and no run with this {setting_name('output')} wrote it. Give "
            f"{setting_name('output')} another name, move the file, or replace it with "
            f"{setting_name('overwrite', True)}."
        )
    refuse_edited(spec.layout.root, file)
    for layout in layouts_of_other_tasks(spec):
        if any(manifest.ok for manifest in read_manifests(layout)):
            raise OutputError(
                f"{file} is for the {layout.task} scores of another run, and one file holds one task. "
                f"Choose another file name, or {OVERWRITE}."
            )


def layouts_of_other_tasks(spec: OutputSpec) -> list[Layout]:
    """Return the places of other tasks in the same folder."""
    folder = spec.layout.manifests.parent
    tasks = storage.names(folder) if storage.is_folder(folder) else []
    return [replace(spec.layout, task=task) for task in tasks if task != spec.layout.task]


def refuse_to_lose(manifests: Mapping[str, Manifest], file: Place, inputs: Iterable[str]) -> None:
    """Raise `OutputError` if the file would lose scores of files that are not among `inputs`."""
    present = set(inputs)
    lost = sorted(name for name, manifest in manifests.items() if manifest.ok and name not in present)
    if lost:
        others = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        prune = f"{setting_name('incremental', True)} and {setting_name('prune', True)}"
        remove = f"remove their scores with {prune}, " if isinstance(file, Path) else ""
        raise OutputError(
            f"{file} also holds the scores of {lost[0]}{others}, which are not among the inputs, so they "
            f"would be lost. Name all inputs again, {remove}choose another file name, or {OVERWRITE}."
        )


def sweep(layout: Layout, *, shared: bool = False) -> None:
    """Remove half-written files of killed runs; only old ones where another run may be writing now."""
    for folder in (layout.scores, layout.errors, layout.manifests):
        half_written.sweep(folder, older_seconds=half_written.STALE_SECONDS if shared else 0.0)
    for folder in (layout.marker, layout.runs):
        half_written.sweep(folder, older_seconds=half_written.STALE_SECONDS)


def discard_scores(layout: Layout, journals: Journals) -> int:
    """Remove a task's parts, manifests and journals; return the number of scores that they held."""
    journals.clear()
    scores = sum(manifest.ok for manifest in readable_manifests(layout))
    if manifest_paths(layout):
        storage.write_whole(layout.discarding, b"")
    # First the parts: if this is interrupted, each remaining part is named by a manifest.
    for folder in (layout.scores, layout.errors, layout.manifests):
        for path in list_files(folder):
            if path.name.startswith("part-"):
                storage.remove(path)
    for path in manifest_paths(layout):
        remove_manifest(path)
    storage.remove(layout.discarding)
    return scores


def remove_uncommitted(layout: Layout, manifests: Sequence[Manifest]) -> None:
    """Remove files of parts that their input's manifest does not name: a killed run left them.

    A part without any manifest may be a user's copy, and stays. A store is left alone, since another machine
    may be writing there.
    """
    parts = [(each.file, commit) for each in manifests for commit in each.parts.values()]
    named = (
        (layout.scores, {commit.scores.name for _, commit in parts if commit.scores}),
        (layout.errors, {commit.error_records.name for _, commit in parts if commit.error_records}),
        (layout.manifests, {f"part-{journal_name(file, commit.part)}{DIGESTS}" for file, commit in parts}),
    )
    others = [
        (folder, name)
        for folder, known in (named if isinstance(layout.root, Path) else ())
        for name in {*visible_names(folder)} - known
        if folder is not layout.manifests or name.endswith(DIGESTS)
    ]
    stems = {stem_of(each.file) for each in manifests if others}
    for folder, name in others:
        stem = name.removeprefix("part-").rpartition("-")[0]
        if stem in stems and not storage.is_folder(folder / name):
            storage.remove(folder / name)


def refuse_foreign_files(layout: Layout) -> None:
    """Raise `OutputError` if the folders that other tools read hold files that are not ours."""
    for folder in (layout.scores, layout.errors):
        foreign = [name for name in visible_names(folder) if not name.startswith("part-")]
        if foreign:
            raise OutputError(
                f"{folder} holds files that are not batchscore's, such as {foreign[0]}. "
                "Choose another output folder."
            )
