"""Which rows of changed inputs need no request, and what has changed when the run is over?

It joins the survey's files with the ledger of new versions. Before any request it carries over what earlier
runs know, so that the run finds only the remaining rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from batchscore.errors import UnreadableFile, count_text, setting_name
from batchscore.output.incremental.carry_over import carry_over_file, index_answers
from batchscore.output.incremental.next_ledger import NextLedger
from batchscore.output.incremental.switch import changes_file
from batchscore.output.input_digest import digest_input
from batchscore.plan.survey import ReadyFile, Survey
from batchscore.read.formats import open_rows
from batchscore.read.input_file import ReadOptions
from batchscore.rows import Listen, Notice
from batchscore.stores.address import Place


@dataclass(frozen=True, slots=True)
class Changes:
    """What a run changed: records by kind in `file`, and input files that no longer exist.

    The records of `vanished` files are kept, those of `dropped` ones are removed. Of files that runs without
    `incremental` had scored, all records are in the file, also those that stayed: of `in_full` ones.
    """

    file: Place
    new: int = 0
    changed: int = 0
    moved: int = 0
    deleted: int = 0
    vanished: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    in_full: int = 0


def compare_inputs(survey: Survey, ledger: NextLedger, listen: Listen) -> tuple[Survey, dict[str, str]]:
    """Find the changed files; return the survey without emptied ones, and the digests of all others."""
    inputs: dict[str, str] = {}
    survey = replace(survey, ready=tuple(ready.as_it_is() for ready in survey.ready))
    for ready in survey.ready:
        try:
            inputs[ready.file.name] = digest_input(ready.file, ready.builder, survey.options)
        except UnreadableFile:
            continue  # the run meets it, too, and reports it
    survey = drop_emptied_files(survey, ledger, inputs, listen)
    inputs = {ready.file.name: inputs[ready.file.name] for ready in survey.ready if ready.file.name in inputs}
    ledger.compare(inputs)
    return survey, inputs


def drop_emptied_files(
    survey: Survey, ledger: NextLedger, inputs: Mapping[str, str], listen: Listen
) -> Survey:
    """Return the survey without files that had rows and have none now: they count as deleted.

    A failed export leaves such a file, and its scores are paid for.
    """
    scored = {file: each.input for file, each in ledger.visible.manifests.items() if each.rows}
    emptied = [
        name
        for ready in survey.ready
        if inputs.get(name := ready.file.name) not in {None, scored.get(name)}
        and name in scored
        and not has_rows(ready, survey.options)
    ]
    if not emptied:
        return survey
    more = f" (and {len(emptied) - 1:,} more)" if len(emptied) > 1 else ""
    listen(Notice(f"{emptied[0]}{more} was scored and is empty now; it is treated as deleted."))
    return replace(survey, ready=tuple(one for one in survey.ready if one.file.name not in emptied))


def has_rows(ready: ReadyFile, options: ReadOptions) -> bool:
    """Whether a file has a row; a file that cannot be read may have some."""
    try:
        with open_rows(ready.file, options, ready.builder.columns) as table:
            return any(True for _ in table.rows)
    except UnreadableFile:
        return True


def carry_over_files(survey: Survey, ledger: NextLedger, inputs: Mapping[str, str], listen: Listen) -> None:
    """Put into the files' new versions what earlier runs know; complete versions replace the old ones."""
    answers = index_answers(ledger.accounts(), ledger.journals.folder)
    changed = reused = 0
    try:
        for ready in survey.ready:
            name = ready.file.name
            if name in ledger.unchanged or name not in inputs:
                continue
            changed += 1
            before = ledger.visible.manifests.get(name)
            if not len(answers) and before is None and name not in ledger.manifests:
                continue
            try:
                with open_rows(ready.file, survey.options, ready.builder.columns) as table:
                    items = (ready.builder.build(row) for row in table.rows)
                    _, known = carry_over_file(ledger, name, inputs[name], items, answers)
            except UnreadableFile:
                continue
            reused += known
        ledger.switch_complete()
    finally:
        answers.close()
    if not changed:
        return
    files = count_text(len(survey.ready), "file")
    text = f"{changed:,} of {files} new or changed; {reused:,} of their rows reused"
    if answers.without_digests:
        rows = count_text(answers.without_digests, "earlier row")
        text += f"; scored again, since they cannot be compared: {rows}"
    listen(Notice(f"{setting_name('incremental')}: {text}."))


def removed_inputs(survey: Survey, ledger: NextLedger) -> list[str]:
    """Return the files that have scores in the output and are no longer among the inputs."""
    present = {ready.file.name for ready in survey.ready} | {each.name for each in survey.problems}
    return sorted(ledger.visible.manifests.keys() - present)


def hidden_input(survey: Survey, ledger: NextLedger) -> tuple[str, str] | None:
    """Return a file that may still exist in a place that could not be read, and why that could not.

    Such a place is a folder that cannot be listed, or a link to a place that is not mounted.
    """
    removed = removed_inputs(survey, ledger)
    for skipped in (*survey.problems, *survey.skipped):
        for file in removed:
            if f"{file}/".startswith(f"{skipped.name.rstrip('/')}/"):
                return file, f"{skipped.name}: {skipped.reason}"
    return None


def end_changes(survey: Survey, ledger: NextLedger, *, complete: bool, prune: bool) -> Changes:
    """Write what the run changed; a `complete` run with `prune` removes the scores of removed files."""
    removed = removed_inputs(survey, ledger)
    dropped = ledger.end(removed, whole=complete, prune=prune)
    return Changes(
        changes_file(ledger.visible.spec.layout, ledger.run),
        **dict(ledger.changed),
        vanished=tuple(file for file in removed if file not in dropped),
        dropped=tuple(dropped),
        in_full=sum(
            each.reported == "yes"
            for file, each in ledger.visible.manifests.items()
            if file in ledger.unreported
        ),
    )
