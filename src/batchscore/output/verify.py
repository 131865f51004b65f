"""Is an output correct and complete, and if not, what repairs it?

This compares every manifest with its records and finds files that no manifest names. With `repair` it only
removes damage; the same score command then scores exactly the missing rows.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace

from batchscore.errors import InputError, OutputError
from batchscore.output.checkpoints import no_journals, waiting_rows
from batchscore.output.find import folder_of_locks, one_file_of, output_folder, task_of, tasks_in
from batchscore.output.fingerprint import identity_of
from batchscore.output.incremental.switch import finish_killed_runs, unfinished_stems
from batchscore.output.journal import SUFFIX
from batchscore.output.layout import DIGESTS, Layout, copy_of, verify_command
from batchscore.output.locks.lock import hold_lock, refuse_locked
from batchscore.output.manifest import (
    Manifest,
    manifest_paths,
    part_files_of,
    read_manifest,
    readable_manifests,
)
from batchscore.output.missing import REPLACING, Incomplete, RecordedFiles, recorded_files
from batchscore.output.submitted import (
    Chunks,
    chunk_folder,
    submitted_text,
    unconfirmed_text,
    waiting_chunks,
)
from batchscore.output.verification import Verification
from batchscore.output.verify_parts import CheckedManifest, OutputProblem, check_manifest
from batchscore.rows import FileTotals
from batchscore.stores import storage
from batchscore.stores.address import Place
from batchscore.stores.storage import list_files


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What killed runs have left unfinished, which the next run completes, so that it is not damage.

    `replaced` are the stems of the files whose scores a run was replacing or discarding. Parts that have
    `journals` were being written: their manifest is written last. `hidden_journals`: the journals of a
    killed run are not in the output.
    """

    replaced: Container[str] = ()
    journals: Container[str] = ()
    hidden_journals: bool = False

    def leaves(self, path: Place, partial: Container[str]) -> bool:
        """Whether this explains a file that no manifest names; `partial` are the stems of partial files."""
        part = part_of(path.name)
        stem = part.rpartition("-")[0]
        return stem in self.replaced or (stem in partial and (part in self.journals or self.hidden_journals))

    def without_parts(self, checked: CheckedManifest) -> CheckedManifest:
        """Return a check without the problems of parts that were being written, if the file is partial."""
        if checked.stated is None or checked.stated.state != "partial":
            return checked
        problems = [each for each in checked.problems if part_of(each.place) not in self.journals]
        if problems or not checked.problems:
            return replace(checked, problems=problems)
        return CheckedManifest(checked.stated, checked.stated, [])


def tasks_to_verify(named: Place, task: str | None) -> list[str]:
    """Return the chosen task, or all tasks of an output; raises `InputError` if it has none."""
    folder = output_folder(named)
    found = tasks_in(folder)
    one = task is not None or len(found) < 2 or (named.name in found and named.parent == folder)
    return [task_of(folder, named, task)] if one else found


def verify_output(
    named: Place, *, task: str | None = None, repair: bool = False, notice: Callable[[str], object] = str
) -> Verification:
    """Check an output folder, and with `repair` remove its damage.

    Raises `OutputLocked` if a run is working on it, `InputError` if there is nothing to check, and
    `OutputError` if a file cannot be read for now, which is not damage.
    """
    folder = output_folder(named)
    task = task_of(folder, named, task)
    records = any(list_files(place / task) for place in (folder, folder / "errors"))
    if not storage.is_folder(folder / "manifest" / task) and (
        # A run that was killed early leaves no more than its own record.
        records or not recorded_files(folder, task).files
    ):
        raise InputError(f"{named} has no manifests of {task}, so its scores cannot be verified.")
    what = f"{named} ({task})"
    locks = folder_of_locks(folder)
    if not repair:
        refuse_locked(locks, task, what=what)
    lock = hold_lock(locks, task, what=what, command="batchscore verify --repair", notice=notice)
    with lock if repair else nullcontext():
        several = len(tasks_in(folder)) > 1
        command = verify_command(named, task if several else "", repair=True)
        return _check_folder(folder, task, Verification(str(named), task, repair, repair=command))


def _check_folder(folder: Place, task: str, result: Verification) -> Verification:
    """Check a folder that no other run is working on."""
    layout = Layout(folder, task, "")
    named: set[Place] = set()
    sound: set[Place] = set()
    incomplete: dict[str, Incomplete] = {}
    recorded = recorded_files(folder, task, all_records=True)
    _check_records(recorded, result)
    fingerprints: dict[str, str] = {}
    if result.repaired:
        finish_killed_runs(layout)
    unfinished = Unfinished() if result.repaired else _find_unfinished(layout, recorded)
    partial: set[str] = set()
    unfinished_files: list[Manifest] = []
    for path in manifest_paths(layout):
        stem = path.name.removesuffix(".json")
        if stem in unfinished.replaced and _add_unfinished(path, result, incomplete):
            continue
        found = unfinished.without_parts(check_manifest(path, folder, task, result.last.repeated))
        checked = _compare_counts(path, found, recorded)
        if checked.stated is not None and checked.stated.state == "partial":
            partial.add(stem)
        result.problems += checked.problems
        named |= files_of(layout, checked.stated) if checked.stated is not None else set()
        _add_file(checked, result, recorded, incomplete)
        if checked.sound is None:
            result.unknown += 1
            if result.repaired:
                result.remove(path)
                result.remove(copy_of(path))
            continue
        fingerprints.setdefault(identity_of(checked.sound.fingerprint), str(path))
        damaged = {problem.place for problem in checked.problems}
        if checked.sound.state != "complete":  # of thousands of complete ones, none stays in memory
            unfinished_files.append(checked.sound)
        sound |= {place for place in files_of(layout, checked.sound) if str(place) not in damaged}
        if result.repaired and checked.problems:
            # Before its parts are removed: if this is interrupted, the leftovers are found again.
            storage.write_whole(path, checked.sound.to_json())
    if len(fingerprints) > 1:
        first, second, *_ = fingerprints.values()
        result.unrepaired.append(OutputProblem(second, f"was written with other settings than {first}"))
    names = _named_like_parts(layout, result)
    left = {path for path in names if unfinished.leaves(path, partial)}
    _check_names(names, named | left, sound | left, result)
    if result.repaired:
        storage.remove(layout.discarding)
    _count_waiting(layout, recorded, unfinished_files, result)
    result.problems += result.unrepaired
    incomplete |= recorded.without_manifest({totals.file for totals in result.files}, layout)
    _add_missing(layout, recorded, incomplete, result)
    return result


def _count_waiting(
    layout: Layout, recorded: RecordedFiles, unfinished: Iterable[Manifest], result: Verification
) -> None:
    """Count the rows in journals, also of files without a manifest; add what is in the place of a journal."""
    odd, known = no_journals(layout), {totals.file for totals in result.files}
    what = "is in the place of a checkpoint file and is none; move it to another folder"
    result.unrepaired += [OutputProblem(str(path), what) for path in odd]
    without = [Manifest(file, layout.task, {}) for file in recorded.files if file not in known]
    result.last.waiting = waiting_rows(layout, recorded, [*unfinished, *without], without=odd)


def stated_state(named: Place, task: str | None = None) -> Verification:
    """Return what manifests and records say of an output, which is not compared with its parts."""
    folder = output_folder(named)
    layout = Layout(folder, task_of(folder, named, task), "")
    result = Verification(str(named), layout.task, repaired=False)
    recorded = recorded_files(folder, layout.task)
    incomplete: dict[str, Incomplete] = {}
    for manifest in readable_manifests(layout):
        result.files.append(FileTotals(**manifest.totals()))
        if (missing := recorded.missing(manifest)) is not None:
            incomplete[manifest.file] = missing
    incomplete |= recorded.without_manifest({totals.file for totals in result.files}, layout)
    _add_missing(layout, recorded, incomplete, result)
    return result


def _add_missing(
    layout: Layout, recorded: RecordedFiles, incomplete: dict[str, Incomplete], result: Verification
) -> None:
    """Say in words what is missing, and how the last run ended."""
    # Of files that runs with other INPUTs were to read, the last command scores none.
    wanted = {file for file, each in incomplete.items() if not each.gone}
    if result.problems or not incomplete:
        wanted |= {totals.file for totals in result.files}
    named = [recorded.files.get(file) for file in wanted]
    if all(each is not None and each.inputs == recorded.called.get("inputs") for each in named):
        result.last.called = recorded.called
    file = one_file_of(layout.root)
    gone = file is not None and result.total("ok") > 0 and not storage.exists(file)
    if file is not None and not incomplete and (gone or recorded.without_file):
        incomplete[str(file)] = Incomplete("not written from the parts yet")
    result.missing += [f"{file}: {incomplete[file]}" for file in sorted(incomplete)]
    _add_submitted(layout, result)
    result.unreadable = sum(each.unreadable for each in incomplete.values())
    result.unread = sum(each.unread and not each.unreadable for each in incomplete.values())
    result.last.stopped = recorded.stopped
    result.last.shares = recorded.missing_shares
    result.last.gone = sum(each.gone for each in incomplete.values())


def _add_submitted(layout: Layout, result: Verification) -> None:
    """Add the rows that are at a service's Batch API: they are neither done nor free."""
    chunks = waiting_chunks(layout)
    result.submitted = sum(chunk.waiting for chunk in chunks)
    result.last.unconfirmed = unconfirmed_text(Chunks(chunk_folder(layout)))
    if chunks:
        result.missing.append(f"{submitted_text(chunks)} wait for results of the service's Batch API")


def _find_unfinished(layout: Layout, recorded: RecordedFiles) -> Unfinished:
    journals = {each.name.removesuffix(SUFFIX) for each in list_files(layout.journals, SUFFIX)}
    return Unfinished(unfinished_stems(layout), journals, hidden_journals=recorded.killed and not journals)


def _named_like_parts(layout: Layout, result: Verification) -> list[Place]:
    """Return the files that have the name of a part or its digests; all others are problems."""
    names: list[Place] = []
    for path in (
        *list_files(layout.scores),
        *list_files(layout.errors),
        *list_files(layout.manifests, DIGESTS),
    ):
        if path.name.startswith("part-") and not storage.is_folder(path):
            names.append(path)
        else:
            result.unrepaired.append(
                OutputProblem(str(path), "is not batchscore's; move it to another folder")
            )
    return names


def _check_names(
    names: Iterable[Place], named: Container[Place], sound: Container[Place], result: Verification
) -> None:
    """Find the files that no manifest names; a repair keeps `sound` ones."""
    for path in names:
        if path not in named:
            result.problems.append(OutputProblem(str(path), "is left over: no manifest names it"))
        if result.repaired and path not in sound:
            result.remove(path)


def part_of(place: str) -> str:
    """Return the name of the journal of the part whose file this is."""
    return place.rpartition("/")[2].removeprefix("part-").rpartition(".")[0]


def _add_unfinished(path: Place, result: Verification, incomplete: dict[str, Incomplete]) -> bool:
    """Add a file that a killed run was replacing or discarding; return whether its manifest can be read."""
    try:
        manifest = replace(read_manifest(path), state="partial")
    except OutputError:
        return False
    result.files.append(FileTotals(**manifest.totals()))
    incomplete[manifest.file] = REPLACING
    return True


def files_of(layout: Layout, manifest: Manifest) -> set[Place]:
    """Return the files of all parts that a manifest names, and those of their rows' digests."""
    digests = {layout.digests(manifest.file, number) for number in manifest.parts}
    pairs = [pair for commit in manifest.parts.values() for pair in part_files_of(layout, commit)]
    return {folder / part.name for folder, part in pairs if part is not None} | digests


def _check_records(recorded: RecordedFiles, result: Verification) -> None:
    """Add the damaged records of runs; a repair removes those of which later records say all."""
    for place, what in recorded.damaged.items():
        if what:
            result.unrepaired.append(OutputProblem(str(place), what))
            continue
        if storage.is_folder(place):
            result.unrepaired.append(OutputProblem(str(place), "is a folder; move it to another folder"))
            continue
        result.problems.append(OutputProblem(str(place), "is not a run record; it was changed or cut"))
        if result.repaired:
            result.remove(place)


def _compare_counts(path: Place, checked: CheckedManifest, recorded: RecordedFiles) -> CheckedManifest:
    """Compare a manifest, or what a repair makes of it, with the record of the last run of its file."""
    shown = checked.sound if checked.problems else checked.stated
    what = None if shown is None else recorded.contradiction(shown)
    if what is None or checked.sound is None:
        return checked
    problems = checked.problems or [OutputProblem(str(path), what, checked.sound.file)]
    return replace(checked, sound=replace(checked.sound, state="partial"), problems=problems)


def _add_file(
    checked: CheckedManifest, result: Verification, recorded: RecordedFiles, incomplete: dict[str, Incomplete]
) -> None:
    """Add a file's totals to the result, and the file to `incomplete` if it is."""
    manifest, stated = checked.sound, checked.stated
    if manifest is None or stated is None:
        return
    result.files.append(FileTotals(**manifest.totals()))
    result.lost += stated.ok + stated.errors - manifest.ok - manifest.errors
    missing = None if checked.problems and not result.repaired else recorded.missing(manifest)
    if missing is not None:
        incomplete[manifest.file] = missing
