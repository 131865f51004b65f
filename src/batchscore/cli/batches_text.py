"""What does `batchscore batches` print: a table of batches, or JSON, and what to do next?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batchscore.cli.say import aligned
from batchscore.errors import duration_text, name_settings
from batchscore.output.submitted import Step, submitted_text
from batchscore.report.words import moment_text
from batchscore.settings.declare import as_flag
from batchscore.stores.address import command_word, shell_command

if TYPE_CHECKING:
    from batchscore.run.batches import BatchesOfOutput, BatchLine

#: Our own steps, for a batch whose state at the service is not known.
STEPS = {
    "planned": "not sent yet",
    "uploaded": "uploaded, no batch yet",
    "creating": "creation not confirmed",
    "created": "submitted",
}


def to_json(shown: BatchesOfOutput) -> Any:
    """Return all of it as one JSON object. Times are seconds since the epoch, 0 if that has not happened."""
    lines = [
        {
            "task": line.task,
            **{name: getattr(line.chunk, name) for name in ("key", "rows", "round", "batch", "simulated")},
            **{
                name: getattr(line, name)
                for name in ("state", "asked", "answered", "total", "problem", "twice")
            },
            "open": line.chunk.waiting > 0,
            "recorded": line.chunk.step is Step.SETTLED and not line.chunk.waiting,
            **{name: getattr(line.chunk, name) for name in ("planned_at", "created_at", "ended_at")},
            "latest_end": line.latest_end,
        }
        for line in shown.lines
    ]
    return {
        "output": shown.output,
        "batches": lines,
        "done": list(shown.done),
        "unconfirmed": shown.unconfirmed,
        "not_asked": name_settings(shown.not_asked, as_flag),
    }


def to_text(shown: BatchesOfOutput, out: str, now: float, typed: Sequence[str] = (), resume: str = "") -> str:
    """Return what was done, or a table of the batches and what to do next.

    `typed` are the flags of the service in this command. `resume` has the score command, if it is known.
    """
    step = [resume] if resume else []
    if shown.done:
        return "\n".join([*shown.done, *step])
    if not shown.lines:
        return "No batches: nothing of this output is at the service's Batch API."
    opened = [line.chunk for line in shown.lines if line.chunk.waiting and not line.chunk.simulated]
    texts = [*table(shown.lines, now), ""]
    if opened:
        texts.append(f"{submitted_text(opened)} wait for results. The same score command fetches them.")
    else:
        texts.append("No row waits for results.")
    texts += [f"{line.chunk.batch} {line.problem}." for line in shown.lines if line.problem]
    texts += filter(None, [*(line.twice for line in shown.lines), shown.unconfirmed])
    if shown.not_asked:
        texts.append(f"States are the last known ones, because the service was not called: {shown.not_asked}")
        if shown.service and not typed:
            words = ["batchscore", "batches", command_word(out), *shown.service]
            texts.append(f"To call the service of the last run, run: {shell_command(words)}")
    return "\n".join([*texts, *advice(shown.lines, out, typed or shown.service), *step])


def advice(lines: Sequence[BatchLine], out: str, service: Sequence[str]) -> list[str]:
    """Return the commands that help with batches that are not confirmed or not there."""
    unnamed = [line.chunk for line in lines if not line.chunk.batch]
    unconfirmed = [chunk.key for chunk in unnamed if chunk.unconfirmed and chunk.step is not Step.CLOSED]
    gone = [line.chunk.key for line in lines if line.problem]

    def command(*words: str) -> str:
        return shell_command(["batchscore", "batches", command_word(out), *words, *service])

    said = []
    if unconfirmed:
        said.append(
            f"Whether a batch was made of {', '.join(unconfirmed)} is not known. The same score command "
            f"looks for it. If you know its ID: {command('adopt', unconfirmed[0], 'BATCH_ID')}"
        )
    if gone:
        said.append(f"To send the rows again, and pay for them again: {command('forget', *gone)}")
    return said


def table(lines: Sequence[BatchLine], now: float) -> list[str]:
    """Return the lines of a table."""
    several = len({line.task for line in lines}) > 1
    head = ["KEY", *(["TASK"] if several else []), "ROWS", "STATE", "ANSWERED", "AGE", "LATEST END", "BATCH"]
    cells = [head]
    for line in lines:
        chunk = line.chunk
        state = "not there" if line.problem else STEPS.get(line.state, line.state.replace("_", " "))
        if chunk.step is Step.CLOSED:
            state = "closed, a creation not confirmed"
        elif chunk.simulated or chunk.step is Step.SETTLED:
            recorded = ", partly recorded" if chunk.waiting else ", recorded"
            state += ", in a rehearsal" if chunk.simulated else recorded
        since = chunk.created_at or chunk.planned_at
        cells.append(
            [
                chunk.key,
                *([line.task] if several else []),
                f"{chunk.rows:,}",
                state,
                f"{line.answered:,} of {line.total:,}" if line.total else "-",
                duration_text(max(0.0, now - since)) if since else "-",
                moment_text(line.latest_end) if line.latest_end else "-",
                chunk.batch or "-",
            ]
        )
    return aligned(cells)
