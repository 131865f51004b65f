"""One run, from settings to its account: what every door calls that has files to score.

It opens output and connection, lets the job work, merges where one file was asked for, and leaves a
record of the run. It knows no terminal.
"""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from typing import Any

import orjson

from batchscore.bounds import Bounds, bounds_of
from batchscore.ended import Ended
from batchscore.endpoints import endpoints_of, simulated
from batchscore.errors import ExitCode, OutputError
from batchscore.job import Job
from batchscore.output import Output, holding, output_of
from batchscore.process import on_the_fastest_loop, stopping
from batchscore.report.tally import Statistics, Tally
from batchscore.rows import Event, Listen, Notice
from batchscore.scoring import Endpoint
from batchscore.settings import Settings
from batchscore.stores.address import Place
from batchscore.survey import Survey, survey, wanted_by
from batchscore.version import VERSION
from batchscore.write import storage
from batchscore.write.formats import format_named
from batchscore.write.layout import Layout
from batchscore.write.ledger import Ledger
from batchscore.write.lock import Hold
from batchscore.write.one_file import (
    discard_other_tasks,
    refuse_other_tasks,
    refuse_to_lose,
    write_one_file,
)


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that ended, well or not; `with_file`: the one file that was asked for is there."""

    outcome: Ended
    statistics: Statistics
    survey: Survey
    settings: Settings
    output: Output
    layout: Layout
    record: Place
    seconds: float
    exit_code: ExitCode
    with_file: bool


def score_files(
    settings: Settings,
    inputs: Sequence[str],
    *,
    environ: Mapping[str, str],
    listen: Listen,
    named: Mapping[str, str] | None = None,
) -> Finished:
    """Score files and return how it went.

    Raises a `BatchscoreError` for what is found wrong before the first request; what stops a run later
    is in the outcome. On the main thread SIGINT and SIGTERM stop it gracefully, a second one at once
    (`KeyboardInterrupt`).
    """
    bounds = bounds_of(settings, time.time())
    output = output_of(settings)
    surveyed = survey(inputs, settings, output=output.asked_for)
    endpoints = [] if settings.simulate else endpoints_of(settings, environ, named)
    with holding(settings, output, listen) as hold:
        return score_surveyed(settings, surveyed, output, endpoints, environ, listen, hold, bounds)


def score_surveyed(
    settings: Settings,
    surveyed: Survey,
    output: Output,
    endpoints: Sequence[Endpoint],
    environ: Mapping[str, str],
    listen: Listen,
    hold: Hold,
    bounds: Bounds,
) -> Finished:
    """Score what was surveyed into an output that is held."""
    layout, ledger = open_ledger(settings, surveyed, output, listen)
    if surveyed.problems:
        listen(
            Notice(
                f"{len(surveyed.problems)} of {len(surveyed.problems) + len(surveyed.ready)} files cannot be "
                "scored; the others are (the reasons come at the end)."
            )
        )
    tally = Tally()

    def heard(event: Event) -> None:
        tally.add(event)
        listen(event)

    with simulated(settings) as rehearsal:
        if rehearsal is not None:
            endpoints = [rehearsal]
        # What is loaded stays loaded: the collector need not walk through it again and again.
        gc.freeze()
        try:
            outcome = on_the_fastest_loop(
                scored(settings, surveyed, ledger, endpoints, environ, heard, hold, bounds)
            )
        except asyncio.CancelledError:
            # The second signal: leave at once.
            raise KeyboardInterrupt from None
    with_file = False
    if output.file is not None:
        if outcome.stopped_by is None and not outcome.interrupted:
            write_one_file(ledger, output.file, names_of(surveyed), settings.dimensions)
        with suppress(OutputError):
            with_file = storage.exists(output.file)
    finished = Finished(
        outcome=outcome,
        statistics=tally.statistics(),
        survey=surveyed,
        settings=settings,
        output=output,
        layout=layout,
        record=layout.runs / f"{moment(bounds.started):%Y%m%dT%H%M%SZ}-{worker()}.json",
        seconds=time.time() - bounds.started,
        exit_code=outcome.exit_code(settings.error_threshold),
        with_file=with_file,
    )
    with suppress(OutputError):
        # A full disk has already been reported by whatever met it first.
        write_record(finished, endpoints, bounds.started)
    return finished


def open_ledger(
    settings: Settings, surveyed: Survey, output: Output, listen: Listen
) -> tuple[Layout, Ledger]:
    """Open the output folder; raises `OutputError` where it holds something else."""
    chosen = format_named(part_format(settings, output))
    layout = Layout(output.folder, settings.task, chosen.suffix)
    ledger = Ledger(layout, chosen, surveyed.schema, settings.rows_per_part, fingerprint(settings, output))
    ledger.retry_errors = settings.retry_errors
    foreign = output.file is not None and storage.exists(output.file) and not storage.exists(layout.readme)
    if foreign and not settings.overwrite:
        raise OutputError(
            f"{output.file} is there already and batchscore did not write it; "
            "choose another name, or replace it with --overwrite."
        )
    discarded = 0
    if output.file is not None and not settings.overwrite:
        refuse_other_tasks(ledger, output.file)
    elif output.file is not None:
        discarded = discard_other_tasks(ledger)
    discarded += ledger.prepare(overwrite=settings.overwrite)
    if output.file is not None and not settings.overwrite:
        refuse_to_lose(ledger, output.file, names_of(surveyed))
    elif output.file is not None:
        # Until the new run is through there must be no file that looks like its result.
        storage.remove(output.file)
    if discarded:
        listen(Notice(f"--overwrite discarded {discarded:,} scores that {output.asked_for} held."))
    return layout, ledger


def names_of(surveyed: Survey) -> list[str]:
    """Return the files that can be scored, as records name them, in input order."""
    return [ready.file.name for ready in surveyed.ready]


def part_format(settings: Settings, output: Output) -> str:
    """Return the parts' format: that of the one file, where the two are of a kind."""
    if output.file is None:
        return settings.format
    return "jsonl" if output.file.suffix.lower() == ".jsonl" else "parquet"


def fingerprint(settings: Settings, output: Output) -> dict[str, Any]:
    """Return what determines a record: runs that differ in it cannot share an output."""
    wanted = wanted_by(settings)
    text_field = {} if settings.text_field is None else {"text_field": settings.text_field}
    return text_field | {
        "model": settings.model,
        "deployment": settings.deployment,
        "params": settings.api_params,
        "on_long_input": settings.on_long_input,
        "column": settings.column,
        "prompt": settings.prompt,
        "system": settings.system,
        "messages": list(wanted.messages) if wanted.messages is not None else None,
        "txt": settings.txt,
        "id": settings.id,
        "keep": list(settings.keep),
        "usage": settings.usage,
        "raw": settings.raw,
        "format": part_format(settings, output),
        "rows_per_part": settings.rows_per_part,
        "simulated": settings.simulate,
    }


async def scored(
    settings: Settings,
    surveyed: Survey,
    ledger: Ledger,
    endpoints: Sequence[Endpoint],
    environ: Mapping[str, str],
    listen: Listen,
    hold: Hold,
    bounds: Bounds,
) -> Ended:
    """Run the job on this loop, with signals and bounds that stop it."""
    stop = bounds.stop
    loop = asyncio.get_running_loop()

    def lost() -> None:
        listen(Notice("Stopping: the lock of the output was removed, or another run has taken it over."))
        stop.set()

    def lost_in_its_thread() -> None:
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(lost)

    hold.when_lost = lost_in_its_thread
    heard = bounds.listening(listen)
    with stopping(stop, listen):
        async with bounds.watching(listen):
            job = Job(surveyed, settings, ledger, endpoints, environ, heard, stop, bounds.drain_seconds)
            outcome = await job.run()
    early = bounds.reached if outcome.unfinished else None
    return replace(outcome, stopped_by=outcome.stopped_by or early)


def write_record(finished: Finished, endpoints: Sequence[Endpoint], started: float) -> None:
    """Write `runs/<start>-<worker>.json`: what was set, what came of it; no cell, no secret."""
    settings = {each.name: getattr(finished.settings, each.name) for each in fields(finished.settings)}
    reached = [
        {"name": name, "url": target.url, "auth": target.auth, "from": target.sources, "rpm": rpm, "tpm": tpm}
        for name, target, rpm, tpm in ((each.name, each.target, each.rpm, each.tpm) for each in endpoints)
    ]
    statistics = finished.statistics
    outcome = finished.outcome
    record = {
        "version": VERSION,
        "started": moment(started).isoformat(timespec="seconds"),
        "seconds": round(finished.seconds, 3),
        "worker": worker(),
        "exit_code": int(finished.exit_code),
        "reason": outcome.reason,
        "settings": settings,
        "endpoints": reached,
        "rows": outcome.rows,
        "ok": outcome.ok,
        "errors": outcome.errors,
        "empty": outcome.errors - outcome.failed,
        "not_reached": outcome.not_reached,
        "this_run": {
            "ok": statistics.ok,
            "errors": statistics.errors,
            "finish_reasons": statistics.finish_reasons,
            "requests": statistics.requests,
            "retried": statistics.retried,
            "prompt_tokens": statistics.prompt_tokens,
            "completion_tokens": statistics.completion_tokens,
        },
        "files": [
            {
                "file": file.file,
                "state": file.state,
                "read_to_its_end": file.to_its_end,
                "rows": file.rows,
                "ok": file.ok,
                "errors": file.errors,
            }
            | ({"problem": file.problem} if file.problem else {})
            for file in outcome.files
        ],
        "skipped": [{"name": each.name, "reason": each.reason} for each in finished.survey.skipped],
        "repeated_ids": outcome.repeated_ids,
    }
    body = orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE, default=str)
    storage.write_whole(finished.record, body)


def moment(started: float) -> datetime:
    """Return a time in UTC."""
    return datetime.fromtimestamp(started, timezone.utc)


def worker() -> str:
    """Return what tells this process from others that write to the same output."""
    return f"{platform.node() or 'host'}-{os.getpid()}"
