"""How did a task end: is it complete, what is missing, what is the next step?

Pure. Figures of rows come from the manifests, which count each row once. Costs come from the runs' records.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from batchscore.errors import TRANSIENT, ErrorCode, ExitCode, count_text, name_settings
from batchscore.output.records.formats import FILE_SUFFIXES
from batchscore.report.advice import NextStep, RunState, goes_on, next_step
from batchscore.report.page.model import TaskData
from batchscore.report.page.runs import mapping
from batchscore.report.page.time_axis import TimeAxis
from batchscore.report.words import percent_text
from batchscore.rows import FileTotals
from batchscore.settings.declare import as_flag
from batchscore.settings.secrets import shown_words
from batchscore.stores.address import command_word, is_uri, shell_command


@dataclass(frozen=True, slots=True)
class TaskVerdict:
    """How a task ended; `kind` is `good`, `look` or `bad`."""

    kind: str
    title: str
    reason: str
    next_step: NextStep | None


def total_of(task: TaskData) -> FileTotals:
    """Return the totals of all files together."""
    names = ("rows", "ok", "errors", "empty")
    return FileTotals("", "", **{name: sum(getattr(each, name) for each in task.files) for name in names})


def verdict(task: TaskData, output: str) -> TaskVerdict:
    """Return how a task ended, and the next step."""
    rows = total_of(task)
    record = task.runs[-1].record if task.runs else {}
    settings = mapping(record.get("settings"))
    reason = record.get("reason")
    reason = reason[:1].upper() + reason[1:] if isinstance(reason, str) else ""
    ended = not task.runs or task.runs[-1].ended
    if not ended:
        reason = "The last run was killed, or is still working: it did not end."
    unfinished = rows.not_reached or any(each.state not in {"complete", "unreadable"} for each in task.files)
    stopped = bool(unfinished or not task.files or not ended)
    unreadable = [each for each in task.files if each.state == "unreadable"]
    limited = reason.lower().removeprefix("--").startswith("limit was")
    state = RunState(
        task=task.task,
        output=output,
        command=goes_on(words_of(record.get("command")), reason, stopped=stopped),
        stopped=stopped,
        must_act=not limited and record.get("exit_code") in [code for code in ExitCode if code.user_must_act],
        changed="has changed since it was scored" in reason,
        limited=limited,
        unreadable=[bool(each.ok or each.errors) for each in unreadable],
        failed=rows.failed,
        transient=sum(task.failures.by_code.get(code.value, 0) for code in TRANSIENT),
        codes=[code for code in task.failures.by_code if code != ErrorCode.EMPTY_INPUT.value],
        all_codes=task.failures.read >= task.failures.total,
        takes_incremental=not (
            is_uri(output)
            or settings.get("output") == "-"
            or settings.get("limit")
            or settings.get("shared_output")
        ),
        ok=rows.ok,
        one_file=output.endswith(FILE_SUFFIXES),
    )
    step = next_step(state)
    if unfinished and settings.get("part_of") and not state.must_act:
        step = NextStep("To resume, run the commands of all workers again")
    failed = f"{count_text(rows.failed, 'row')} failed"
    scored = f"{rows.ok:,} of {count_text(rows.rows, 'row')} scored"
    scored += f"; {rows.empty:,} empty" if rows.empty else ""
    if state.stopped:
        title = f"Incomplete: {count_text(rows.ok, 'row')} scored so far" if rows.ok else "No row was scored"
        title = title if unfinished or ended else f"The last run did not end; {scored}"
        title += f", {failed}" if rows.failed else ""
        bad = state.must_act or not task.files
        return TaskVerdict("bad" if bad else "look", title, reason or missing(task), step)
    if unreadable:
        first, more = unreadable[0], " (the others are below, under Files)" if len(unreadable) > 1 else ""
        why = name_settings(f"{first.file}: {first.problem or 'cannot be read'}{more}", as_flag)
        title = f"{count_text(len(unreadable), 'file')} cannot be read; of the others, {scored}"
        return TaskVerdict("look", title, why, step)
    if task.unread:
        title = f"{count_text(task.unread, 'file')} not shown here; of the others, {scored}"
        command = shell_command(["batchscore", "report", command_word(output)])
        step = NextStep("To show all files, run", command)
        return TaskVerdict("look", title, reason, step)
    if rows.failed:
        kind = "bad" if rows.failed > rows.rows / 2 else "look"
        title = f"{failed} ({percent_text(rows.failed, rows.rows, decimals=1)}); {scored}"
        return TaskVerdict(kind, title, "Failed rows are listed below, with what to do about them.", step)
    if not rows.ok:
        title = f"Nothing to score: {count_text(rows.rows, 'row')}, none with text"
        return TaskVerdict("look", title, "", step)
    return TaskVerdict("good", f"Complete: {scored}", "", step)


def words_of(command: object) -> list[str]:
    """Return the words of a recorded command; none if it is damaged."""
    try:
        return shown_words(shlex.split(command)) if isinstance(command, str) else []
    except ValueError:
        return []


def missing(task: TaskData) -> str:
    """Return what is missing, in words."""
    unread = sum(each.state == "partial" for each in task.files)
    unstarted = sum(each.state == "not_started" for each in task.files)
    rows = sum(each.not_reached for each in task.files)
    pieces = [f"{count_text(rows, 'row')} not scored yet"] if rows else []
    pieces += [f"{count_text(unread, 'file')} not read completely"] if unread else []
    pieces += [f"{count_text(unstarted, 'file')} not started"] if unstarted else []
    pieces += [f"{task.submitted} at the service's Batch API"] if task.submitted else []
    return ", ".join(pieces) + "." if pieces else ""


def quota_used(axis: TimeAxis | None) -> tuple[str, str]:
    """Return how much of the quota was used, and of which limit: the tighter one."""
    if axis is None:
        return "unknown", "no timeline"
    limits = (("tpm", "tokens per minute"), ("rpm", "requests per minute"))
    used = [(share, words) for kind, words in limits if (share := axis.used(kind)) is not None]
    if not used:
        return "unknown", "no limit was set or returned"
    share, words = max(used)
    return percent_text(share, decimals=1), f"of the {words}"
