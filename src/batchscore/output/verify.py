"""Is an output right and complete, and if not, how does the same command make it so?

It holds every manifest against its records and looks for files that none names. With `repair` it removes
what is wrong, no more, so that the same score command asks for just those rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

from batchscore.errors import ExitCode, InputError
from batchscore.output.find import Left, folder_of_locks, left_by_last_run, output_folder, task_of
from batchscore.output.layout import Layout
from batchscore.output.leftovers import list_files
from batchscore.output.locks.lock import hold_lock, refuse_locked
from batchscore.output.manifest import copy_of, manifest_paths
from batchscore.output.verify_parts import Checked, Problem, check_manifest
from batchscore.stores import storage
from batchscore.stores.address import Place

#: How many problems a person is shown before "and so many more".
MOST_LISTED = 50


@dataclass(frozen=True, slots=True)
class Account:
    """One input file, as far as its records stand: `rows = ok + errors + not_reached`.

    `empty` of the errors are rows without a text.
    """

    file: str
    state: str
    rows: int
    ok: int
    errors: int
    empty: int
    not_reached: int


@dataclass(slots=True)
class Verdict:
    """What was found. `missing` is, in words, what a score command would still ask.

    `unreadable` files have to be mended before.

    `lost` rows had a record that is damaged. Of a repair: `removed` files, and `unmended` problems.
    """

    output: str
    task: str
    repaired: bool
    files: list[Account] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unreadable: int = 0
    lost: int = 0
    removed: list[str] = field(default_factory=list)
    unmended: list[Problem] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """Return 0 where all is right and complete, 4 where the same score command continues, else 1."""
        if self.unreadable or (self.unmended if self.repaired else self.problems):
            return ExitCode.ACTION_NEEDED
        return ExitCode.CONTINUE_LATER if self.missing or self.problems else ExitCode.DONE

    def total(self, name: str) -> int:
        """Return the sum of a figure of all files."""
        return sum(getattr(account, name) for account in self.files)


def verify_output(
    named: Place, *, task: str | None = None, repair: bool = False, notice: Callable[[str], object] = str
) -> Verdict:
    """Check an output folder, and with `repair` mend it.

    Raises `OutputLocked` where a run is working on it, `InputError` where there is nothing to check, and
    `OutputError` where something cannot be read: that is not taken for damage.
    """
    folder = output_folder(named)
    task = task_of(folder, named, task)
    if not storage.is_folder(folder / "manifest" / task):
        raise InputError(f"{named}: there are no manifests of {task} in it, so nothing tells what is right.")
    what = f"{named} ({task})"
    locks = folder_of_locks(folder)
    if not repair:
        refuse_locked(locks, task, what=what)
    holding = hold_lock(locks, task, what=what, command="batchscore verify --repair", notice=notice)
    with holding if repair else nullcontext():
        return verified(folder, task, Verdict(str(named), task, repair))


def verified(folder: Place, task: str, verdict: Verdict) -> Verdict:
    """Check a folder that nobody else is working on."""
    named: set[tuple[str, str]] = set()
    sound: set[tuple[str, str]] = set()
    left = left_by_last_run(folder, task)
    fingerprints: dict[str, str] = {}
    for path in manifest_paths(Layout(folder, task, "")):
        checked = check_manifest(path, folder, task)
        verdict.problems += checked.problems
        named |= checked.named
        account(checked, verdict, left)
        if checked.sound is None:
            if verdict.repaired:
                remove(path, verdict)
                remove(copy_of(path), verdict)
            continue
        fingerprints.setdefault(str(checked.sound.fingerprint), str(path))
        for commit in checked.sound.parts.values():
            sound |= {("scores", commit.scores.name)} if commit.scores else set()
            sound |= {("errors", commit.error_records.name)} if commit.error_records else set()
        if verdict.repaired and checked.problems:
            # Before its parts go: should this be cut short, what is left over is found again.
            storage.write_whole(path, checked.sound.to_json())
    if len(fingerprints) > 1:
        first, second, *_ = fingerprints.values()
        verdict.unmended.append(Problem(second, f"was written with other settings than {first}"))
    for kind, path in parts_of(folder, task):
        if not path.name.startswith("part-") or storage.is_folder(path):
            verdict.unmended.append(Problem(str(path), "is not batchscore's; move it away"))
            continue
        if (kind, path.name) not in named:
            verdict.problems.append(Problem(str(path), "is left over: no manifest names it"))
        if verdict.repaired and (kind, path.name) not in sound:
            remove(path, verdict)
    verdict.problems += verdict.unmended
    verdict.missing += [f"{file}: {left[file]}" for file in sorted(left)]
    verdict.unreadable = sum(each.unreadable for each in left.values())
    return verdict


def account(checked: Checked, verdict: Verdict, left: dict[str, Left]) -> None:
    """Add a file to the account, and to what is `left` where it is not complete."""
    manifest, said = checked.sound, checked.said
    if manifest is None or said is None:
        return
    not_reached = manifest.rows - manifest.ok - manifest.errors
    verdict.files.append(
        Account(
            *(manifest.file, manifest.state, manifest.rows, manifest.ok, manifest.errors, manifest.empty),
            not_reached,
        )
    )
    verdict.lost += said.ok + said.errors - manifest.ok - manifest.errors
    left.pop(manifest.file, None)
    if checked.problems:
        return
    if not_reached:
        left[manifest.file] = Left(f"{rows_text(not_reached)} read, and without a record")
    elif manifest.state != "complete":
        unreadable = manifest.state == "unreadable"
        left[manifest.file] = Left(manifest.problem or "not read to its end", unreadable)


def parts_of(folder: Place, task: str) -> Iterator[tuple[str, Place]]:
    """Give what stands in the folders of scores and errors."""
    layout = Layout(folder, task, "")
    for kind, where in (("scores", layout.scores), ("errors", layout.errors)):
        for path in list_files(where):
            yield kind, path


def remove(path: Place, verdict: Verdict) -> None:
    """Remove a file, and say so."""
    if storage.remove(path):
        verdict.removed.append(str(path))


def for_people(verdict: Verdict) -> str:
    """Return a line for each thing that is wrong, and one for all."""
    lines = [f"{problem.place}: {problem.what}" for problem in verdict.problems[:MOST_LISTED]]
    if len(verdict.problems) > MOST_LISTED:
        lines.append(f"and {len(verdict.problems) - MOST_LISTED:,} more")
    lines += [f"not complete: {what}" for what in verdict.missing[:MOST_LISTED]]
    if len(verdict.missing) > MOST_LISTED:
        lines.append(f"and {len(verdict.missing) - MOST_LISTED:,} more")
    rows, ok, errors, empty, not_reached = (
        verdict.total(name) for name in ("rows", "ok", "errors", "empty", "not_reached")
    )
    files = f"{len(verdict.files):,} file{'s' if len(verdict.files) != 1 else ''}"
    lines.append(
        f"{verdict.task}: {rows_text(rows)} of {files} = {ok:,} scored + "
        f"{errors - empty:,} failed + {empty:,} empty + {not_reached:,} not reached: {judgement(verdict)}"
    )
    return "\n".join(lines)


def rows_text(count: int) -> str:
    """Return how many rows, in words."""
    return f"{count:,} row{'s' if count != 1 else ''}"


def judgement(verdict: Verdict) -> str:
    """Return what a person should do."""
    lost = f"{rows_text(verdict.lost)} lost {'its' if verdict.lost == 1 else 'their'} record"
    if verdict.repaired and verdict.problems:
        more = " What is not batchscore's, or of other settings, is left to you." if verdict.unmended else ""
        return (
            f"repaired; {lost}, {len(verdict.removed):,} files removed. The same score command asks for what "
            f"is missing.{more}"
        )
    if verdict.problems:
        return f"damaged; {lost}. --repair removes what is wrong, then the same score command goes on."
    if verdict.unreadable:
        files = "what is named" if len(verdict.missing) == verdict.unreadable else "what cannot be read"
        return f"right, but not complete; mend {files}, then the same score command goes on."
    if verdict.missing:
        return "right, but not complete; the same score command goes on."
    return "complete and right."


def for_machines(verdict: Verdict) -> dict[str, Any]:
    """Return all that was found as one JSON object."""
    return {
        "exit_code": int(verdict.exit_code),
        "output": verdict.output,
        "task": verdict.task,
        **{name: verdict.total(name) for name in ("rows", "ok", "errors", "empty", "not_reached")},
        "lost": verdict.lost,
        "repaired": verdict.repaired,
        "problems": [asdict(problem) for problem in verdict.problems],
        "missing": verdict.missing,
        "unreadable": verdict.unreadable,
        "removed": verdict.removed,
        "files": [asdict(account) for account in verdict.files],
    }
