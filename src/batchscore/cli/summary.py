"""How did a run end: as text for people, and as one JSON object?

Pure. It shows no cell of the input and no secret.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from batchscore.cli.say import limited_lists
from batchscore.errors import (
    TRANSIENT,
    ErrorCode,
    ExitCode,
    InputChanged,
    count_text,
    duration_text,
    name_settings,
    setting_name,
)
from batchscore.output.spec import StandardOutput
from batchscore.output.tables.write import is_table
from batchscore.report.advice import RunState, advice, after_share, encodings_in, goes_on, next_step
from batchscore.report.words import code_text, counts_text, money_text
from batchscore.rows import Expected
from batchscore.run.record import RunResult
from batchscore.settings.declare import as_flag
from batchscore.stores.address import Place, command_word, shell_command

#: How many files or problems are listed before "and N more".
MOST_LISTED = 5

#: The counts of rows in JSON, and those of this run.
ROWS = ("rows", "ok", "errors", "failed", "not_reached", "in_journal", "not_saved")
COUNTS = ("without_text", "requests", "prompt_tokens", "completion_tokens", "tokens_kept")


def summary(
    run: RunResult, *, words: Sequence[str], expected: Expected | None = None, printed: bool = False
) -> str:
    """Return the closing lines; the last one has the next command. `words` are those after `batchscore`.

    `expected` is the size of the whole run, if that is known. `printed`: the scores are on standard output,
    and nothing else is kept of a run without failed rows.
    """
    end, now = run.outcome, run.statistics
    others = f"all are listed in {run.record}"
    readings = [f"  {line}" for line in limited_lists({"read": run.survey.said}, others)]
    lines = [headline(run, expected), *readings, *failures(run), *unwritten(run)]
    if now.finish_reasons:
        lines.append(f"  finish reasons: {counts_text(now.finish_reasons)}")
    if now.without_text:
        lines.append(f"  {count_text(now.without_text, 'answer')} without text")
    lines += requests_and_cost(run)
    unreadable = {"cannot be scored": [(each.file, each.problem) for each in end.unreadable]}
    lines += [f"  {line}" for line in limited_lists(unreadable | run.survey.left_out, others)]
    lines += changes(run)
    if end.repeated.count:
        lines.append(f"  {end.repeated}")
    done = printed and run.exit_code is ExitCode.DONE and not end.failed
    lines += [] if done else places(run)
    if end.stopped_by is not None:
        lines.append(f"Stopped: {end.stopped_by.terminal_text}")
    elif end.interrupted:
        lines.append("Interrupted. Completed rows are saved.")
    elif end.limited and end.unfinished:
        lines.append(f"{setting_name('limit')} was reached.")
    if not done:
        is_share = run.settings.part_of is not None and run.exit_code is ExitCode.DONE and not end.limited
        state, encodings = (
            state_of(run, ["batchscore", *words]),
            encodings_in(each.problem for each in end.unreadable),
        )
        lines.append(str(after_share(state) if is_share else next_step(state, encodings)))
    return "\n".join(lines)


def headline(run: RunResult, expected: Expected | None) -> str:
    """Return the rows by result, and what is left of a run that ended early."""
    end = run.outcome
    task = run.settings.task + (" (simulated)" if run.settings.simulate else "")
    counts = [f"{end.failed:,} failed"]
    if end.errors > end.failed:
        counts.append(f"{end.errors - end.failed:,} empty")
    done = end.ok + end.in_journal + end.errors
    known = sum(file.known for file in end.files)
    if run.settings.shared_output:  # also what others have done since this run began
        known = max(known, done - run.statistics.rows)
    if known:
        counts.append(f"{known:,} done by {earlier(run)}")
    if not end.unfinished:
        rows = f"{count_text(end.rows, 'row')} of {count_text(len(end.files), 'file')}"
        if unread := sum(file.state == "unreadable" for file in end.files):
            rows += f", {unread:,} of which cannot be scored completely"
        return f"{task}: {rows}: {', '.join([f'{end.ok:,} scored', *counts])}"
    not_reached = end.not_reached - end.in_journal
    changed = end.stopped_by.name if isinstance(end.stopped_by, InputChanged) else None
    unread = sum(file.state == "partial" and not file.complete and file.file != changed for file in end.files)
    unstarted = sum(file.state == "not_started" for file in end.files)
    if changed:
        counts.append(f"{changed} has changed")
    if not unread and not unstarted and not changed:
        done_of = f"{done:,} of {count_text(end.rows, 'row')} done"
        return f"{task}: {', '.join([done_of, *counts, f'{not_reached:,} remaining'])}"
    if expected is not None and expected.rows > done:
        counts.append(f"{'' if expected.exact else 'about '}{expected.rows - done:,} remaining")
    elif not_reached:
        # With a limit nothing is wrong.
        counts.append(f"{not_reached:,} {'remaining' if end.limited else 'read but not scored'}")
    if unread and run.settings.part_of is not None and not (end.stopped or end.limited):
        counts.append(f"{count_text(unread, 'file')} waiting for other workers")
    elif unread:
        counts.append(f"{count_text(unread, 'file')} not read completely")
    if unstarted:
        counts.append(f"{count_text(unstarted, 'file')} not started")
    return f"{task}: {count_text(done, 'row')} done, {', '.join(counts)}"


def failures(run: RunResult) -> list[str]:
    """Return the failed rows by code, and what to do about each."""
    empty = ErrorCode.EMPTY_INPUT.value
    by_code = Counter(run.outcome.errors_by_code)
    found = [(code, count) for code, count in by_code.most_common() if code != empty]
    lines = [f"{count:,} {code_text(code)}: {advice(code)}" for code, count in found[:MOST_LISTED]]
    if len(found) > MOST_LISTED:
        lines.append(f"and {counts_text(dict(found[MOST_LISTED:]))}")
    if found and (more := run.outcome.failed - sum(count for _, count in found)) > 0:
        lines.append(f"and {more:,} more of {earlier(run)}")
    return [f"  {'failed:' if not place else '':<7} {line}" for place, line in enumerate(lines)]


def earlier(run: RunResult) -> str:
    """Return what the runs are called that did what this one found done; workers run at the same time."""
    return "other runs" if run.settings.shared_output else "earlier runs"


def unwritten(run: RunResult) -> list[str]:
    """Return what is known of scores whose records could not be written."""
    saved, lost = run.outcome.in_journal, run.outcome.not_saved
    lines = []
    if saved:
        rows = count_text(saved, "scored row")
        lines.append(f"  saved:  {rows} without a record: the next run writes them without a request")
    if lost:
        lines.append(f"  lost:   {count_text(lost, 'scored row')}: the next run sends them again")
    return lines


def requests_and_cost(run: RunResult) -> list[str]:
    """Return this run's duration, requests, tokens and cost."""
    now = run.statistics
    lines = [f"  took:   {duration_text(run.seconds)}, {count_text(now.requests, 'request')}"]
    if now.retried:
        failed = count_text(now.retried.total(), "request")
        lines.append(f"          {failed} retried or failed: {counts_text(now.retried)}")
    tokens = count_text(now.prompt_tokens + now.completion_tokens, "token")
    if now.completion_tokens:
        tokens += f": {now.prompt_tokens:,} in prompts, {now.completion_tokens:,} in answers"
    lines.append(f"  used:   {tokens}")
    cost = run.settings.cost(now.prompt_tokens, now.completion_tokens, now.full_price)
    if cost is not None:
        lines.append(f"  cost:   {money_text(cost)} at the given prices")
    return lines


def places(run: RunResult) -> list[str]:
    """Return where the results are."""
    end, lines = run.outcome, []
    if run.file_written and run.with_file:
        lines.append(f"  scores: {run.output.file}")
    elif end.ok:
        lines.append(f"  scores: {run.layout.scores}")
        if (file := run.output.file) is not None:
            is_now = "still holds the scores of an earlier run" if run.with_file else "is not written yet"
            # A table has the columns of the input, which must be as it was scored.
            cannot_merge = is_table(file) and isinstance(end.stopped_by, InputChanged)
            offer = so_far(run, file) if end.unfinished and not cannot_merge else ""
            lines.append(f"          {file} {is_now}{offer}")
    elif run.output.file is not None and end.unfinished and not run.with_file:
        lines.append(f"  {run.output.file} is not written yet: no row is scored")
    elif run.output.file is not None and not end.unfinished:
        why = "no row was scored, so the vector length is unknown"
        lines.append(f"  {run.output.file} was not written: {why}")
    if end.errors:
        lines.append(f"  errors: {run.layout.errors}")
    return lines + ([f"  report: {run.report}"] if run.report is not None else [])


def so_far(run: RunResult, file: Place) -> str:
    """Return how the rows that are done can be written to a file beside the one that is not complete.

    Its name has their number: after the next stop, `merge` would not replace the file of this one.
    """
    other = file.with_name(f"{file.name.removesuffix(file.suffix)}-so-far-{run.outcome.ok}{file.suffix}")
    words = ["batchscore", "merge", command_word(file), command_word(other), "--task", run.settings.task]
    return f". To write the rows so far, run: {shell_command(words)}"


def changes(run: RunResult) -> list[str]:
    """Return what an incremental run has changed."""
    found = run.changes
    if found is None:
        return []
    kinds = {"new": found.new, "changed": found.changed, "moved": found.moved, "deleted": found.deleted}
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
    lines = [f"  changes: {counts}: {found.file}"]
    if found.in_full:
        listed = "all its records are" if found.in_full == 1 else "all their records are"
        files = count_text(found.in_full, "file")
        lines.append(f"  {files} had scores that no change log named: {listed} listed there")
    if found.dropped:
        lines.append(f"  input file deleted, scores removed: {some(found.dropped)}")
    if found.vanished:
        prune = f"use {setting_name('prune', True)} to remove"
        lines.append(f"  input file deleted, scores kept ({prune}): {some(found.vanished)}")
    return lines


def some(files: Sequence[str]) -> str:
    """Return names of files, only the first if there are many."""
    more = f" and {len(files) - MOST_LISTED:,} more" if len(files) > MOST_LISTED else ""
    return ", ".join(files[:MOST_LISTED]) + more


def state_of(run: RunResult, command: Sequence[str]) -> RunState:
    """Return the facts that decide the next step."""
    end = run.outcome
    failed = {code: n for code, n in end.errors_by_code.items() if code != ErrorCode.EMPTY_INPUT.value}
    stopped = end.stopped_by is not None or end.interrupted or (end.limited and end.unfinished)
    return RunState(
        task=run.settings.task,
        output=str(run.output.named),
        command=goes_on(command, end.reason or "", stopped=stopped),
        stopped=stopped,
        must_act=end.stopped_by is not None and run.exit_code.user_must_act,
        changed=isinstance(end.stopped_by, InputChanged),
        limited=end.limited and end.stopped_by is None and not end.interrupted,
        unreadable=[bool(each.ok or each.errors) for each in end.unreadable],
        failed=end.failed,
        # Rows that failed in earlier runs and were not retried have permanent errors.
        transient=sum(failed.get(code.value, 0) for code in TRANSIENT),
        codes=failed,
        all_codes=sum(failed.values()) >= end.failed,
        takes_incremental=(
            isinstance(run.output.folder, Path)
            and run.settings.limit is None
            and not run.settings.shared_output
            and not isinstance(run.settings.output, StandardOutput)
        ),
        ok=end.ok,
        one_file=run.output.file is not None,
    )


def to_json(run: RunResult) -> dict[str, Any]:
    """Return the end of the run as one JSON object."""
    end, now = run.outcome, run.statistics
    return {
        "event": "finished",
        "exit_code": int(run.exit_code),
        "reason": end.reason and name_settings(end.reason, as_flag),
        "task": run.settings.task,
        "simulated": end.simulated,
        **{name: getattr(end, name) for name in ROWS},
        "known": sum(file.known for file in end.files),
        "files": len(end.files),
        "files_not_read_to_their_end": [
            file.file for file in end.files if file.state == "partial" and not file.complete
        ],
        "files_not_started": [file.file for file in end.files if file.state == "not_started"],
        "unreadable": [
            {"file": file.file, "problem": name_settings(file.problem, as_flag)} for file in end.unreadable
        ],
        **run.survey.remarks(as_flag),
        "errors_by_code": dict(end.errors_by_code),
        "finish_reasons": dict(now.finish_reasons),
        "retried": dict(now.retried),
        **{name: getattr(now, name) for name in COUNTS},
        "cost": run.settings.cost(now.prompt_tokens, now.completion_tokens, now.full_price),
        **end.repeated.to_json(),
        "limited": end.limited,
        "interrupted": end.interrupted,
        "seconds": round(run.seconds, 3),
        "output": str(run.output.named),
        "output_written": run.output.file is None or (run.file_written and run.with_file),
        "scores": str(run.layout.scores),
        "error_records": str(run.layout.errors),
        "record": str(run.record),
        "report": None if run.report is None else str(run.report),
        "changes": None if run.changes is None else asdict(run.changes) | {"file": str(run.changes.file)},
    }
