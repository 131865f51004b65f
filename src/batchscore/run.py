"""One run, from settings to its account: what every door calls that has files to score.

It opens output and connection, lets the job work, merges where one file was asked for, and leaves a
record of the run. It knows no terminal.
"""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from itertools import count

import orjson

from batchscore.account import names_of, open_ledger
from batchscore.bounds import Bounds, bounds_of
from batchscore.ended import Ended
from batchscore.endpoints import endpoints_of, simulated
from batchscore.errors import ExitCode, OutputError, SettingsError
from batchscore.first_answer import require_an_answer
from batchscore.incremental import Changes, carry_over, end, out_of_sight, without_emptied
from batchscore.job import Job
from batchscore.json_text import for_json
from batchscore.output import Output, holding, output_of
from batchscore.plan.expected import expecting
from batchscore.process import on_the_fastest_loop, stopping
from batchscore.report.tally import Statistics, Tally
from batchscore.report.timeline import Timeline
from batchscore.rows import Event, Listen, Notice
from batchscore.scoring import Endpoint
from batchscore.secret_names import without_secrets
from batchscore.settings import Settings
from batchscore.stores.address import Place, StoredPath, place_of
from batchscore.survey import Survey, survey
from batchscore.tracked import tracked
from batchscore.version import VERSION
from batchscore.versions import versions
from batchscore.write import storage
from batchscore.write.layout import Layout
from batchscore.write.ledger import Ledger
from batchscore.write.lock import Hold
from batchscore.write.next_version import NextLedger
from batchscore.write.one_file import write_one_file

#: Runs of this process so far: those that begin within one second must not share a name.
_runs = count(1)


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that ended, well or not; `with_file`: the one file that was asked for is there.

    `report` is the page of it, where one was made.
    """

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
    changes: Changes | None = None
    report: Place | None = None


def score_files(
    settings: Settings,
    inputs: Sequence[str],
    *,
    environ: Mapping[str, str],
    listen: Listen,
    named: Mapping[str, str] | None = None,
    command: str = "",
    afterwards: Callable[[Finished], Finished] | None = None,
) -> Finished:
    """Score files and return how it went; `command` goes into the run's record, for who wants to go on.

    `afterwards` is done with the finished run before MLflow gets its files, once the output is let go.

    Raises a `BatchscoreError` for what is found wrong before the first request; what stops a run later
    is in the outcome. On the main thread SIGINT and SIGTERM stop it gracefully, a second one at once
    (`KeyboardInterrupt`).
    """
    bounds = bounds_of(settings, time.time())
    if settings.incremental and isinstance(place_of(settings.output), StoredPath):
        raise SettingsError(
            "--incremental needs an output on a disk of this machine, and this one is in a store. Score into "
            "a folder and copy that, or leave --incremental out."
        )
    output = output_of(settings)
    surveyed = survey(inputs, settings, output=output.asked_for)
    endpoints = [] if settings.simulate else endpoints_of(settings, environ, named)
    name = f"{moment(bounds.started):%Y%m%dT%H%M%SZ}-{worker_of(settings)}"
    with tracked(settings, environ, listen, name) as run:
        with holding(settings, output, listen) as hold:
            finished = score_surveyed(
                settings, surveyed, output, endpoints, environ, run.heard, hold, bounds, name, command
            )
        if afterwards is not None:
            finished = afterwards(finished)
        run.finished(
            finished.outcome,
            finished.exit_code,
            finished.seconds,
            finished.layout,
            finished.record,
            finished.report,
        )
        return finished


def score_surveyed(
    settings: Settings,
    surveyed: Survey,
    output: Output,
    endpoints: Sequence[Endpoint],
    environ: Mapping[str, str],
    listen: Listen,
    hold: Hold,
    bounds: Bounds,
    name: str,
    command: str = "",
) -> Finished:
    """Score what was surveyed into an output that is held; `name` is the run's."""
    tally, timeline = Tally(), Timeline()

    def heard(event: Event) -> None:
        tally.add(event)
        timeline(event)
        listen(event)

    def require() -> None:
        if endpoints:
            require_an_answer(settings, endpoints, environ, heard, bounds)

    layout, ledger = open_ledger(settings, surveyed, output, listen, name, require)
    if surveyed.problems:
        listen(
            Notice(
                f"{len(surveyed.problems)} of {len(surveyed.problems) + len(surveyed.ready)} files cannot be "
                "scored; the others are (the reasons come at the end)."
            )
        )
    if isinstance(ledger, NextLedger):
        surveyed = without_emptied(surveyed, ledger, listen)
        carry_over(surveyed, ledger, listen)
    with closing(ledger), simulated(settings) as rehearsal:
        if rehearsal is not None:
            endpoints = [rehearsal]
        try:
            outcome = on_the_fastest_loop(
                scored(settings, surveyed, ledger, endpoints, environ, heard, hold, bounds)
            )
        except asyncio.CancelledError:
            # The second signal: leave at once.
            raise KeyboardInterrupt from None
    with_file, names, changes, standing = False, names_of(surveyed), None, ledger
    if isinstance(ledger, NextLedger):
        whole = not outcome.unfinished and not outcome.unreadable and outcome.stopped_by is None
        standing = ledger.visible
        unseen = out_of_sight(surveyed, ledger)
        if unseen is not None and settings.prune:
            listen(Notice(f"--prune drops nothing: {unseen[0]} may still be there ({unseen[1]})."))
        whole = whole and unseen is None
        try:
            changes = end(surveyed, ledger, whole=whole, prune=settings.prune)
            names += changes.vanished
        except OutputError as error:
            outcome = replace(outcome, stopped_by=outcome.stopped_by or error)
    if output.file is not None:
        if outcome.stopped_by is None and not outcome.interrupted:
            write_one_file(standing, output.file, names, settings.dimensions)
        with suppress(OutputError):
            with_file = storage.exists(output.file)
    finished = Finished(
        outcome=outcome,
        statistics=tally.statistics(),
        survey=surveyed,
        settings=settings,
        output=output,
        layout=layout,
        record=layout.runs / f"{name}.json",
        # A clock that was set back must not make it end before it began.
        seconds=max(time.time() - bounds.started, 0.0),
        exit_code=outcome.exit_code(settings.error_threshold),
        with_file=with_file,
        changes=changes,
    )
    try:
        write_record(finished, endpoints, bounds.started, timeline, command)
    except Exception as error:
        # Its scores stand: what tells of them must not make a finished run fail.
        listen(Notice(f"This run leaves no record of itself, though its scores stand: {error}."))
    return finished


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
        async with bounds.watching(listen), expecting(settings, surveyed, heard):
            job = Job(surveyed, settings, ledger, endpoints, environ, heard, stop, bounds.drain_seconds)
            outcome = await job.run()
    early = bounds.reached if outcome.unfinished else None
    return replace(outcome, stopped_by=outcome.stopped_by or early)


def write_record(
    finished: Finished, endpoints: Sequence[Endpoint], started: float, timeline: Timeline, command: str
) -> None:
    """Write `runs/<start>-<worker>.json`: what was set, what came of it; no cell, no secret."""
    settings = {each.name: getattr(finished.settings, each.name) for each in fields(finished.settings)}
    settings["param"] = without_secrets(settings["param"])
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
        # As in the record's name, which begins with the moment.
        "worker": finished.record.name.removesuffix(".json").partition("-")[2],
        "host": platform.node() or "host",
        "command": command,
        "exit_code": int(finished.exit_code),
        "reason": outcome.reason,
        "settings": settings,
        "endpoints": reached,
        "rows": outcome.rows,
        "ok": outcome.ok,
        "errors": outcome.errors,
        "empty": outcome.errors - outcome.failed,
        "not_reached": outcome.not_reached,
        "attempts": sum(file.attempts for file in outcome.files),
        "tokens_billed": sum(file.tokens_billed for file in outcome.files),
        "tokens_kept": sum(file.tokens_kept for file in outcome.files),
        "this_run": {
            "ok": statistics.ok,
            "errors": statistics.errors,
            "finish_reasons": statistics.finish_reasons,
            "requests": statistics.requests,
            "retried": statistics.retried,
            "prompt_tokens": statistics.prompt_tokens,
            "completion_tokens": statistics.completion_tokens,
            "tokens_billed": statistics.prompt_tokens + statistics.completion_tokens,
            "tokens_kept": statistics.kept_tokens,
        },
        "files": [
            {
                "file": file.file,
                "state": file.state,
                "read_to_its_end": file.to_its_end,
                "rows": file.rows,
                "ok": file.ok,
                "errors": file.errors,
                "empty": file.empty,
                "attempts": file.attempts,
                "tokens_billed": file.tokens_billed,
                "tokens_kept": file.tokens_kept,
            }
            | ({"problem": file.problem} if file.problem else {})
            for file in outcome.files
        ],
        "skipped": [{"name": each.name, "reason": each.reason} for each in finished.survey.skipped],
        "repeated_ids": outcome.repeated_ids,
        "versions": versions(),
        # Hundreds of figures, which are not worth a line each.
        "timeline": orjson.Fragment(
            orjson.dumps(timeline.record(max(finished.seconds - timeline.lasted, 0.0)))
        ),
    }
    if finished.changes is not None:
        record["changes"] = asdict(finished.changes)
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    storage.write_whole(finished.record, orjson.dumps(for_json(record), option=options, default=str))


def moment(started: float) -> datetime:
    """Return a time in UTC."""
    return datetime.fromtimestamp(started, timezone.utc)


def worker_of(settings: Settings) -> str:
    """Return what tells this run from others that write to the same output."""
    name = f"{platform.node() or 'host'}-{os.getpid()}"
    if settings.shared:
        # Machines of a cluster may have one name, and one number for their only process.
        return f"{name}-{secrets.token_hex(4)}"
    number = next(_runs)
    return name if number == 1 else f"{name}-{number}"
