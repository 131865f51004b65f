"""How is an output completed, as the record of its last run says?

`batchscore verify` and the report page give the same advice as the summary of the run.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchscore.errors import HAS_CHANGED, BatchscoreError, ExitCode
from batchscore.output.find import folder_of_locks, output_folder
from batchscore.output.locks.lock import held_by
from batchscore.output.missing import AGAIN
from batchscore.output.records.formats import FILE_SUFFIXES
from batchscore.output.run_records import checksum_of_inputs
from batchscore.output.share import Share
from batchscore.output.verification import Verification
from batchscore.output.verify import stated_state
from batchscore.report.advice import (
    RunState,
    encodings_in,
    goes_on,
    has_flag,
    next_step,
    run_again,
    with_share,
    without_share,
)
from batchscore.report.page.runs import mapping
from batchscore.settings.declare import as_flag, mark_flags
from batchscore.settings.secrets import shown_words
from batchscore.stores.address import Place, is_uri


def reason_of(record: Mapping[str, Any]) -> str:
    """Return why a run ended early, with marked names of settings; empty if it did not."""
    reason = record.get("reason")
    return mark_flags(reason) if isinstance(reason, str) else ""


def recorded_state(record: Mapping[str, Any], task: str, output: str, *, stopped: bool) -> RunState:
    """Return what a record says of a run that `stopped` early, or did not; it knows no failed rows."""
    reason, settings = reason_of(record), mapping(record.get("settings"))
    limited = "limit" in reason.split(" ")[0].lower() and " was reached" in reason
    return RunState(
        task=task,
        output=output,
        command=goes_on(words_of(record.get("command")), reason, stopped=stopped),
        stopped=stopped,
        must_act=not limited and record.get("exit_code") in [code for code in ExitCode if code.user_must_act],
        changed=HAS_CHANGED in reason,
        limited=limited,
        takes_incremental=not (
            is_uri(output)
            or settings.get("output") == "-"
            or settings.get("limit")
            or settings.get("shared_output")
        ),
        one_file=output.endswith(FILE_SUFFIXES),
    )


@contextmanager
def named_command(named: Place, task: str | None) -> Iterator[None]:
    """Name in an error the command that completes an output, instead of calling it the same as before."""
    try:
        yield
    except BatchscoreError as error:
        if AGAIN in error.text:
            error.text = error.text.replace(AGAIN, step_to_complete(named, task, damaged=True) or AGAIN)
        raise


def step_to_complete(named: Place, task: str | None, *, damaged: bool = False) -> str:
    """Return how an output is completed, whose parts are not read; empty if the command is not known.

    It is also empty if nothing is missing, as far as manifests say, and the output is not known as damaged.
    If a run is working on the output, it completes it.
    """
    with suppress(BatchscoreError):
        found = stated_state(named, task)
        locks = folder_of_locks(output_folder(named))
        if held := held_by(locks, found.task, what=f"{named} ({found.task})"):
            return held
        return step_after_check(found) or (step_again(found) if found.missing or damaged else "")
    return ""


def is_from_here(record: Mapping[str, Any], output: str) -> bool:
    """Whether the command of a record, typed in the working folder, resumes this output."""
    settings, words = mapping(record.get("settings")), words_of(record.get("command"))
    recorded = str(settings.get("output"))
    if not words:
        return False
    if recorded != output and (is_uri(recorded) or Path(recorded).absolute() != Path(output).absolute()):
        return False
    is_from_anywhere = is_uri(recorded) or Path(recorded).is_absolute()
    return not is_from_anywhere or names_inputs(words, record.get("inputs"))


def step_again(found: Verification) -> str:
    """Return the step that runs the last command again, whatever is missing; empty as below."""
    record = found.last.called
    if not is_from_here(record, found.output):
        return ""
    command = recorded_state(record, found.task, found.output, stopped=False).command
    # Damage may be in any share.
    return step_of(record, RunState(found.task, found.output, command, stopped=True))


def step_after_check(found: Verification) -> str:
    """Return the next step for an output that is correct but incomplete, with its command.

    It is empty if the command is not known, or was typed in another folder.
    """
    record = found.last.called
    if not found.missing or not is_from_here(record, found.output):
        return ""
    if found.last.gone == len(found.missing):
        state = recorded_state(record, found.task, found.output, stopped=False)
        flags = [as_flag("incremental"), as_flag("prune")]
        purpose = "To remove the records of files that are gone"
        return str(run_again(purpose, state.command, flags)) if state.takes_incremental else ""
    of_files = [bool(each.ok or each.errors) for each in found.files if each.state == "unreadable"]
    count = found.unreadable - found.last.gone
    stopped = bool(found.last.stopped) or not count
    state = recorded_state(record, found.task, found.output, stopped=stopped)
    unreadable = [*of_files, *([False] * (count - len(of_files)))]
    state = replace(state, unreadable=unreadable, ok=found.total("ok"))
    return step_of(record, state, found.last.shares, encodings_in(found.missing))


def step_of(
    record: Mapping[str, Any], state: RunState, shares: Sequence[Share] = (), encodings: Collection[str] = ()
) -> str:
    """Return the next step; after a run with a share that of a missing one, or if none is known, of all."""
    if not mapping(record.get("settings")).get("part_of"):
        return str(next_step(state, encodings))
    if shares:
        command = with_share(state.command, f"{shares[0].number}/{shares[0].workers}")
        return str(next_step(replace(state, command=command), encodings))
    if not has_flag(state.command, as_flag("part_of")):
        return ""
    command = without_share(state.command)
    alone = replace(state, command=command, takes_incremental=not has_flag(command, as_flag("limit")))
    step = str(next_step(alone, encodings))
    return f"When all workers have finished, {step[0].lower()}{step[1:]}"


def names_inputs(words: Sequence[str], inputs: object) -> bool:
    """Whether INPUTs of a command, seen from the working folder, are those of a record, by its checksum.

    INPUTs follow each other. Before them may be the name of the command or the value of a flag.
    """
    groups: list[list[str]] = [[]]
    for word in words[1:]:
        if word.startswith("-") and word != "-":
            groups.append([])
        else:
            groups[-1].append(word)
    return any(checksum_of_inputs(group[start:]) == inputs for group in groups for start in range(3))


def words_of(command: object) -> list[str]:
    """Return the words of a recorded command; none if it is damaged."""
    try:
        return shown_words(shlex.split(command)) if isinstance(command, str) else []
    except ValueError:
        return []
