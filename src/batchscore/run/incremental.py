"""Which rows of inputs that have changed need no asking, and what has changed when all is done?

It joins the survey's files with the account of new versions: before anything is asked, what earlier runs
know is carried over, so that a run finds only the rest to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from batchscore.errors import UnreadableFile
from batchscore.output.incremental.carry_over import carry_over as carry_over_file
from batchscore.output.incremental.known_answers import index_answers
from batchscore.output.incremental.next_ledger import NextLedger
from batchscore.output.incremental.switch import changes_file
from batchscore.plan.survey import Survey, opened
from batchscore.read import digest
from batchscore.rows import Listen, Notice
from batchscore.stores.address import Place


@dataclass(frozen=True, slots=True)
class Changes:
    """What a run changed: records by kind in `file`, and input files that are there no more.

    The records of `vanished` files stand, those of `dropped` ones are gone.
    """

    file: Place
    new: int = 0
    changed: int = 0
    moved: int = 0
    deleted: int = 0
    vanished: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(slots=True)
class Carried:
    """What was found before anything was asked: the rows of changed files, and how many are known."""

    files: int = 0
    rows: int = 0
    known: int = 0
    problems: list[str] = field(default_factory=list)


def without_emptied(surveyed: Survey, ledger: NextLedger, listen: Listen) -> Survey:
    """Return the survey without files that had rows and have no byte any more: they count as gone.

    An export that failed leaves such a file, and its scores are paid for.
    """
    scored = {file for file, manifest in ledger.visible.manifests.items() if manifest.rows}
    emptied = [
        ready.file.name for ready in surveyed.ready if not ready.file.size and ready.file.name in scored
    ]
    if not emptied:
        return surveyed
    more = f", like {len(emptied) - 1:,} more" if len(emptied) > 1 else ""
    listen(Notice(f"{emptied[0]} was scored and holds not one byte now{more}: it counts as gone."))
    return replace(surveyed, ready=tuple(one for one in surveyed.ready if one.file.name not in emptied))


def carry_over(surveyed: Survey, ledger: NextLedger, listen: Listen) -> Carried:
    """Make of the new versions of files what earlier runs know; versions that are whole take their places."""
    inputs: dict[str, str] = {}
    for ready in surveyed.ready:
        try:
            inputs[ready.file.name] = digest(ready.file.path)
        except UnreadableFile:
            continue  # the run will meet it, too, and say so
    ledger.compare(inputs)
    answers = index_answers(ledger.accounts(), ledger.spec, ledger.journals.folder)
    carried = Carried()
    try:
        for ready in surveyed.ready:
            name = ready.file.name
            if name in ledger.unchanged or name not in inputs:
                continue
            carried.files += 1
            before = ledger.visible.manifests.get(name)
            if not len(answers) and before is None and name not in ledger.manifests:
                continue
            try:
                with opened(ready.file, surveyed.options) as table:
                    items = (ready.builder.build(row) for row in table.rows)
                    rows, known = carry_over_file(ledger, name, inputs[name], items, answers)
            except UnreadableFile:
                continue
            carried.rows += rows
            carried.known += known
        ledger.switch_complete()
    finally:
        answers.unpacked.close()
    unknown = (
        f"; what {answers.without_digests:,} rows asked is not known, so they are"
        if answers.without_digests
        else ""
    )
    if carried.files:
        listen(
            Notice(
                f"--incremental: {carried.files:,} of {len(surveyed.ready):,} files new or changed; "
                f"{carried.known:,} of their rows are known, the others are asked{unknown}."
            )
        )
    return carried


def names_present(surveyed: Survey) -> set[str]:
    """Return the input files that are there, whether or not they can be scored."""
    return {ready.file.name for ready in surveyed.ready} | {each.file for each in surveyed.problems}


def vanished_from(surveyed: Survey, ledger: NextLedger) -> list[str]:
    """Return the files that stand in the output and are no input any more."""
    return sorted(ledger.visible.manifests.keys() - names_present(surveyed))


def out_of_sight(surveyed: Survey, ledger: NextLedger) -> tuple[str, str] | None:
    """Return a file of the output that may be there, in what could not be looked at, and why that could not.

    A folder that cannot be listed, or a link to a place that is not mounted.
    """
    vanished = vanished_from(surveyed, ledger)
    for skipped in surveyed.skipped if vanished else ():
        place = skipped.name.rstrip("/")
        for file in vanished:
            if file == place or file.startswith(f"{place}/"):
                return file, f"{skipped.name}: {skipped.reason}"
    return None


def end(surveyed: Survey, ledger: NextLedger, *, whole: bool, prune: bool) -> Changes:
    """Write what the run changed; a `whole` run with `prune` drops the files that vanished."""
    vanished = vanished_from(surveyed, ledger)
    dropped = ledger.end(vanished, whole=whole, prune=prune)
    return Changes(
        changes_file(ledger.visible.spec.layout, ledger.run),
        **dict(ledger.changed),
        vanished=tuple(file for file in vanished if file not in dropped),
        dropped=tuple(dropped),
    )
