"""How did a task end: is it complete, what is missing, what is the next step?

Pure. Figures of rows come from the manifests, which count each row once. Costs come from the runs' records.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchscore.errors import TRANSIENT, ErrorCode, count_text, name_settings
from batchscore.output.checkpoints import waiting_text
from batchscore.report.advice import NextStep, after_share, encodings_in, next_step
from batchscore.report.page.model import TaskData
from batchscore.report.page.runs import mapping
from batchscore.report.page.time_axis import TimeAxis
from batchscore.report.resume import reason_of, recorded_state
from batchscore.report.words import percent_text
from batchscore.rows import FileTotals
from batchscore.settings.declare import as_flag
from batchscore.stores.address import command_word, shell_command

#: What is said of a run without an end in its record: if no run is working now, and if that is not known.
DID_NOT_END = {False: "was killed", None: "was killed, or is still working"}


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
    reason = name_settings(reason_of(record), as_flag)
    if reason.partition(" ")[0].isalpha():  # not the name of a file
        reason = reason[:1].upper() + reason[1:]
    ended = not task.runs or task.runs[-1].ended
    if task.running:
        reason = (
            "A run is still working on this output. The page shows the rows that it has published so far."
        )
    elif not ended:
        reason = f"The last run did not end: it {DID_NOT_END[task.running]}."
    unfinished = rows.not_reached or any(each.state not in {"complete", "unreadable"} for each in task.files)
    stopped = bool(unfinished or not task.files or not ended or task.running)
    unreadable = [each for each in task.files if each.state == "unreadable"]
    state = replace(
        recorded_state(record, task.task, output, stopped=stopped),
        unreadable=[bool(each.ok or each.errors) for each in unreadable],
        failed=rows.failed,
        transient=sum(task.failures.by_code.get(code.value, 0) for code in TRANSIENT),
        codes=[code for code in task.failures.by_code if code != ErrorCode.EMPTY_INPUT.value],
        all_codes=task.failures.read >= task.failures.total,
        ok=rows.ok,
    )
    step = next_step(state, encodings_in(each.problem for each in unreadable)) if not task.running else None
    if unfinished and settings.get("part_of") and not state.must_act:
        text = "To see which shares are missing, and a command that scores one, run"
        step = NextStep(text, after_share(state).command)
    failed = f"{count_text(rows.failed, 'row')} failed"
    scored = f"{rows.ok:,} of {count_text(rows.rows, 'row')} scored"
    scored += f"; {rows.empty:,} empty" if rows.empty else ""
    of_others = f"of the others, {scored}" + (f"; {failed}" if rows.failed else "")
    if state.stopped:
        begun = "In progress" if task.running else "Incomplete"
        title = f"{begun}: {count_text(rows.ok, 'row')} scored so far"
        if not rows.ok:
            title = begun if task.running or task.waiting else "No row was scored"
        if not unfinished and not ended:
            title = f"{begun if task.running else 'The last run did not end'}; {scored}"
        if task.waiting:
            title += f"{',' if rows.ok else ':'} {waiting_text(task.waiting)}"
        title += f", {failed}" if rows.failed else ""
        bad = state.must_act or not task.files
        return TaskVerdict("bad" if bad else "look", title, reason or missing(task), step)
    if unreadable:
        first, more = unreadable[0], " (the others are below, under Files)" if len(unreadable) > 1 else ""
        why = name_settings(f"{first.file}: {first.problem or 'cannot be read'}{more}", as_flag)
        title = f"{count_text(len(unreadable), 'file')} cannot be read; {of_others}"
        return TaskVerdict("look", title, why, step)
    if task.unread:
        title = f"{count_text(task.unread, 'file')} not shown here; {of_others}"
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


def missing(task: TaskData) -> str:
    """Return what is missing, in words."""
    unread = sum(each.state == "partial" for each in task.files)
    unstarted = sum(each.state == "not_started" for each in task.files)
    rows = sum(each.not_reached for each in task.files)
    pieces = [f"{count_text(rows, 'row')} not scored yet"] if rows else []
    pieces += [f"{count_text(unread, 'file')} not read completely"] if unread else []
    pieces += [f"{count_text(unstarted, 'file')} not started"] if unstarted else []
    pieces += [f"{waiting_text(task.waiting)}, which the next run publishes"] if task.waiting else []
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
