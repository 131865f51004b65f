"""How did a run end, in words for a person and in one object for a machine?

Pure: a finished run in, text or JSON out. No cell of the input, no secret.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from batchscore.errors import TRANSIENT, ErrorCode, ExitCode, name_settings
from batchscore.report.advice import mending
from batchscore.report.words import clock, counted, money, named, worded
from batchscore.run.result import RunResult
from batchscore.settings.declare import as_flag

#: How many files or problems are listed before "and so many more".
MOST_LISTED = 5


def summary(finished: RunResult, *, words: Sequence[str]) -> str:
    """Return the closing lines; the last is the next command. `words` are those after `batchscore`."""
    outcome, now = finished.outcome, finished.statistics
    lines = [headline(finished)]
    lines.extend(failures(finished))
    if now.finish_reasons:
        lines.append(f"  answers ended by: {named(now.finish_reasons)}")
    lines.extend(effort(finished))
    lines.extend(
        f"  cannot be scored: {each.file}: {each.problem}" for each in outcome.unreadable[:MOST_LISTED]
    )
    lines.extend(more(len(outcome.unreadable), "files cannot be scored", finished))
    skipped = finished.survey.skipped
    lines.extend(f"  skipped: {each.name}: {each.reason}" for each in skipped[:MOST_LISTED])
    lines.extend(more(len(skipped), "files skipped", finished))
    lines.extend(changes(finished))
    if outcome.repeated_ids:
        lines.append(f"  rows with an id that an earlier row had: {outcome.repeated_ids:,}")
    lines.extend(places(finished))
    lines.extend(next_step(finished, words))
    return "\n".join(lines)


def headline(finished: RunResult) -> str:
    """Return the rows and what became of them."""
    outcome = finished.outcome
    empty = outcome.errors - outcome.failed
    so_far = " so far" if outcome.unfinished else ""
    pieces = [f"{outcome.ok:,} scored{so_far}", f"{outcome.failed:,} failed"]
    if empty:
        pieces.append(f"{empty:,} empty")
    known = sum(file.known for file in outcome.files)
    if known:
        pieces.append(f"{known:,} of them by earlier runs")
    task = finished.settings.task + (" (simulated)" if finished.settings.simulate else "")
    if outcome.unfinished:
        # Nobody knows how many rows there are in what was not read.
        return f"{task}: {'; '.join([', '.join(pieces), *left(finished)])}"
    rows = f"{counted(outcome.rows, 'row')} of {counted(len(outcome.files), 'file')}"
    return f"{task}: {rows}: {', '.join(pieces)}"


def left(finished: RunResult) -> list[str]:
    """Return what a run that ended early has not done."""
    outcome = finished.outcome
    pieces = []
    if outcome.not_reached:
        pieces.append(f"{counted(outcome.not_reached, 'row')} read but not scored")
    unread = sum(file.state == "partial" and not file.complete for file in outcome.files)
    if unread:
        pieces.append(f"{counted(unread, 'file')} not read to {'its' if unread == 1 else 'their'} end")
    unstarted = sum(file.state == "not_started" for file in outcome.files)
    if unstarted:
        pieces.append(f"{counted(unstarted, 'file')} not started")
    return pieces


def failures(finished: RunResult) -> list[str]:
    """Return what went wrong with rows in this run, by code, and what to do about each."""
    found = {
        code: count
        for code, count in finished.statistics.errors.items()
        if code != ErrorCode.EMPTY_INPUT.value
    }
    codes = sorted(found, key=lambda code: -found[code])
    lines = [f"{found[code]:,} {worded(code)}: {mending(code)}" for code in codes[:MOST_LISTED]]
    rest = {code: found[code] for code in codes[MOST_LISTED:]}
    if rest:
        lines.append(f"and {named(rest)}")
    return [f"  {'failed:' if not place else '':<7} {line}" for place, line in enumerate(lines)]


def effort(finished: RunResult) -> list[str]:
    """Return what this run took and cost."""
    now = finished.statistics
    lines = [f"  took:   {clock(finished.seconds)}, {counted(now.requests, 'request')}"]
    if now.retried:
        lines.append(f"          {sum(now.retried.values()):,} came to nothing: {named(now.retried)}")
    tokens = counted(now.prompt_tokens + now.completion_tokens, "token")
    if now.completion_tokens:
        tokens += f": {now.prompt_tokens:,} of prompts, {now.completion_tokens:,} of answers"
    lines.append(f"  used:   {tokens}")
    cost = finished.settings.cost(now.prompt_tokens, now.completion_tokens)
    if cost is not None:
        lines.append(f"  cost:   {money(cost)} by the prices given")
    return lines


def places(finished: RunResult) -> list[str]:
    """Return where the results are."""
    outcome = finished.outcome
    lines = []
    if finished.with_file:
        lines.append(f"  scores: {finished.output.file}")
    elif outcome.ok:
        lines.append(f"  scores: {finished.layout.scores}")
    elif finished.output.file is not None and not outcome.unfinished:
        unwritten = f"nothing was scored, so {finished.output.file} was not written"
        lines.append(f"  {unwritten} (the length of its vectors is not known)")
    if outcome.errors:
        lines.append(f"  errors: {finished.layout.errors}")
    lines += [f"  report: {finished.report}"] if finished.report is not None else []
    return lines


def changes(finished: RunResult) -> list[str]:
    """Return what a run with `--incremental` has changed."""
    found = finished.changes
    if found is None:
        return []
    kinds = (
        ("new", found.new),
        ("changed", found.changed),
        ("moved", found.moved),
        ("deleted", found.deleted),
    )
    told = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
    lines = [f"  changes: {told}: {found.file}"]
    if found.dropped:
        lines.append(f"  dropped, for the input is gone: {some(found.dropped)}")
    if found.vanished:
        lines.append(
            f"  no input any more, but their scores stand (--prune drops them): {some(found.vanished)}"
        )
    return lines


def some(files: Sequence[str]) -> str:
    """Return names of files, cut where there are many."""
    more = f" and {len(files) - MOST_LISTED:,} more" if len(files) > MOST_LISTED else ""
    return ", ".join(files[:MOST_LISTED]) + more


def next_step(finished: RunResult, words: Sequence[str]) -> list[str]:
    """Return why the run ended early, where it did, and the next command."""
    outcome = finished.outcome
    # With --overwrite the same command would begin anew instead of going on.
    again = [word for word in words if word != "--overwrite"]
    command = typed(again)
    if outcome.stopped_by is not None:
        text = outcome.stopped_by.text
        must_act = finished.exit_code is not ExitCode.CONTINUE_LATER
        acting = "When that is mended, the" if must_act else "Later the"
        return [f"Stopped: {text}", f"{acting} same command goes on: {command}"]
    if outcome.interrupted:
        return ["Interrupted. What was answered is kept.", f"The same command goes on: {command}"]
    if outcome.limited and outcome.unfinished:
        whole = typed(without(again, "--limit"))
        return [f"--limit was reached. All rows: {whole}"]
    if outcome.unreadable:
        return [f"When these files are mended, the same command scores them: {command}"]
    if outcome.failed:
        lasting = any(ErrorCode(code) not in TRANSIENT for code in failed_codes(finished))
        if lasting and "--retry-errors" not in again:
            return [f"To ask every failed row again: {command} --retry-errors"]
        return [f"The same command asks the failed rows again: {command}"]
    return [found_by(finished, command)]


def failed_codes(finished: RunResult) -> list[str]:
    """Return the codes of this run's failed rows; of earlier runs' only lasting errors are left."""
    codes = [code for code in finished.statistics.errors if code != ErrorCode.EMPTY_INPUT.value]
    earlier = finished.outcome.failed > finished.statistics.failed
    return [*codes, *([ErrorCode.INVALID_REQUEST.value] if earlier else [])]


def found_by(finished: RunResult, command: str) -> str:
    """Return the command that leads on from a run in which nothing went wrong."""
    task, output = finished.settings.task, finished.output
    if not finished.outcome.ok:
        return f"Nothing was scored; when there are rows, the same command scores them: {command}"
    if output.file is not None:
        code = f"import batchscore; print(batchscore.read_scores({json.dumps(str(output.file))}))"
        return f"To look at them: {shlex.join(['python', '-c', code])}"
    folder = str(output.asked_for).rstrip("/")
    return f"To make one file of them: {typed(['merge', folder, f'{folder}-{task}.jsonl', '--task', task])}"


def typed(words: Sequence[str]) -> str:
    """Return a command of ours as it is typed."""
    return shlex.join(["batchscore", *words])


def without(words: Sequence[str], flag: str) -> list[str]:
    """Return words without a flag and its value."""
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word != flag and not word.startswith(f"{flag}="):
            kept.append(word)
        skip = word == flag
    return kept


def more(count: int, what: str, finished: RunResult) -> list[str]:
    """Return a line for what was not listed, and where all of it is."""
    if count <= MOST_LISTED:
        return []
    return [f"  and {count - MOST_LISTED:,} more {what}; all are named in {finished.record}"]


def for_machines(finished: RunResult) -> dict[str, Any]:
    """Return the run's end as one JSON object."""
    outcome, now = finished.outcome, finished.statistics
    return {
        "event": "finished",
        "exit_code": int(finished.exit_code),
        "reason": outcome.reason and name_settings(outcome.reason, as_flag),
        "task": finished.settings.task,
        "simulated": finished.settings.simulate,
        "rows": outcome.rows,
        "ok": outcome.ok,
        "errors": outcome.errors,
        "failed": outcome.failed,
        "not_reached": outcome.not_reached,
        "known": sum(file.known for file in outcome.files),
        "files": len(outcome.files),
        "files_not_read_to_their_end": [
            file.file for file in outcome.files if file.state == "partial" and not file.complete
        ],
        "files_not_started": [file.file for file in outcome.files if file.state == "not_started"],
        "unreadable": [{"file": file.file, "problem": file.problem} for file in outcome.unreadable],
        "skipped": [{"name": each.name, "reason": each.reason} for each in finished.survey.skipped],
        "errors_by_code": dict(now.errors),
        "finish_reasons": dict(now.finish_reasons),
        "requests": now.requests,
        "retried": dict(now.retried),
        "prompt_tokens": now.prompt_tokens,
        "completion_tokens": now.completion_tokens,
        "tokens_kept": now.kept_tokens,
        "cost": finished.settings.cost(now.prompt_tokens, now.completion_tokens),
        "repeated_ids": outcome.repeated_ids,
        "limited": outcome.limited,
        "interrupted": outcome.interrupted,
        "seconds": round(finished.seconds, 3),
        "output": str(finished.output.asked_for),
        "output_written": finished.with_file or finished.output.file is None,
        "scores": str(finished.layout.scores),
        "error_records": str(finished.layout.errors),
        "record": str(finished.record),
        "report": None if finished.report is None else str(finished.report),
        "changes": None
        if finished.changes is None
        else asdict(finished.changes) | {"file": str(finished.changes.file)},
    }
