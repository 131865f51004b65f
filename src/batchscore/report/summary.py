"""How did a run end, in words for a person and in one object for a machine?

Pure: a finished run in, text or JSON out. No cell of the input, no secret.
"""

from __future__ import annotations

from typing import Any

from batchscore.errors import ErrorCode
from batchscore.report.progress import clock, named
from batchscore.run import Finished

#: How many files or problems are listed before "and so many more".
MOST_LISTED = 5


def summary(finished: Finished, *, command: str) -> str:
    """Return the closing lines; the last says what to do next, where there is something to do."""
    outcome, now = finished.outcome, finished.statistics
    if outcome.stopped_by is not None and not outcome.ok:
        return "\n".join(next_step(finished, command))
    lines = [headline(finished)]
    failures = {code: count for code, count in now.errors.items() if code != ErrorCode.EMPTY_INPUT.value}
    if failures:
        lines.append(f"  errors of this run: {named(failures)}")
    if now.finish_reasons:
        lines.append(f"  answers ended by: {named(now.finish_reasons)}")
    lines.append(effort(finished))
    lines.extend(
        f"  cannot be scored: {each.file}: {each.problem}" for each in outcome.unreadable[:MOST_LISTED]
    )
    lines.extend(more(len(outcome.unreadable), "files cannot be scored"))
    skipped = finished.survey.skipped
    lines.extend(f"  skipped: {each.name}: {each.reason}" for each in skipped[:MOST_LISTED])
    lines.extend(more(len(skipped), "files skipped"))
    if outcome.repeated_ids:
        lines.append(f"  rows with an id that an earlier row had: {outcome.repeated_ids:,}")
    lines.extend(places(finished))
    lines.extend(next_step(finished, command))
    return "\n".join(lines)


def headline(finished: Finished) -> str:
    """Return the rows and what became of them."""
    outcome = finished.outcome
    empty = outcome.errors - outcome.failed
    pieces = [f"{outcome.ok:,} scored", f"{outcome.failed:,} failed"]
    if empty:
        pieces.append(f"{empty:,} empty")
    if outcome.not_reached:
        pieces.append(f"{outcome.not_reached:,} not reached")
    task = finished.settings.task + (" (simulated)" if finished.settings.simulate else "")
    known = f", {finished.statistics.known:,} of them by earlier runs" if finished.statistics.known else ""
    files = f"{len(outcome.files):,} file{'s' if len(outcome.files) != 1 else ''}"
    return f"{task}: {outcome.rows:,} rows of {files}: {', '.join(pieces)}{known}"


def effort(finished: Finished) -> str:
    """Return what this run cost."""
    now = finished.statistics
    pieces = [f"{now.requests:,} request{'s' if now.requests != 1 else ''}"]
    if now.retried:
        pieces.append(f"{sum(now.retried.values()):,} of them came to nothing ({named(now.retried)})")
    pieces.append(f"{now.prompt_tokens + now.completion_tokens:,} tokens")
    pieces.append(clock(finished.seconds))
    return f"  {', '.join(pieces)}"


def places(finished: Finished) -> list[str]:
    """Return where the results are."""
    outcome = finished.outcome
    lines = []
    if finished.with_file:
        lines.append(f"  scores: {finished.output.file}")
    elif outcome.ok:
        lines.append(f"  scores: {finished.layout.scores}")
    if outcome.errors:
        lines.append(f"  errors: {finished.layout.errors}")
    return lines


def next_step(finished: Finished, command: str) -> list[str]:
    """Return why the run ended early, and what goes on."""
    outcome = finished.outcome
    if outcome.stopped_by is not None:
        text = str(outcome.stopped_by)
        acting = "When that is mended, the" if outcome.stopped_by.exit_code == 1 else "The"
        return [f"Stopped: {text}", f"{acting} same command goes on: {command}"]
    if outcome.interrupted:
        return ["Interrupted. What was answered is kept.", f"The same command goes on: {command}"]
    if outcome.limited:
        return ["--limit was reached; the same command without it scores the rest."]
    return []


def more(count: int, what: str) -> list[str]:
    """Return a line for what was not listed."""
    return [f"  and {count - MOST_LISTED:,} more {what}"] if count > MOST_LISTED else []


def for_machines(finished: Finished) -> dict[str, Any]:
    """Return the run's end as one JSON object."""
    outcome, now = finished.outcome, finished.statistics
    return {
        "event": "finished",
        "exit_code": int(finished.exit_code),
        "reason": str(outcome.stopped_by) if outcome.stopped_by else None,
        "task": finished.settings.task,
        "simulated": finished.settings.simulate,
        "rows": outcome.rows,
        "ok": outcome.ok,
        "errors": outcome.errors,
        "failed": outcome.failed,
        "not_reached": outcome.not_reached,
        "known": now.known,
        "files": len(outcome.files),
        "unreadable": [{"file": file.file, "problem": file.problem} for file in outcome.unreadable],
        "skipped": [{"name": each.name, "reason": each.reason} for each in finished.survey.skipped],
        "errors_by_code": dict(now.errors),
        "finish_reasons": dict(now.finish_reasons),
        "requests": now.requests,
        "retried": dict(now.retried),
        "prompt_tokens": now.prompt_tokens,
        "completion_tokens": now.completion_tokens,
        "repeated_ids": outcome.repeated_ids,
        "limited": outcome.limited,
        "interrupted": outcome.interrupted,
        "seconds": round(finished.seconds, 3),
        "output": str(finished.output.asked_for),
        "scores": str(finished.layout.scores),
        "error_records": str(finished.layout.errors),
    }
