"""One run, from settings to its account: what every door calls that has files to score.

It opens output and connection, lets the job work, merges where one file was asked for, and leaves a
record of the run. It knows no terminal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace

from batchscore.endpoint.from_settings import Endpoint, endpoints_of, start_simulator
from batchscore.errors import OutputError, SettingsError
from batchscore.output.incremental.next_ledger import NextLedger
from batchscore.output.ledger import Ledger
from batchscore.output.locks.lock import Lock
from batchscore.output.one_file import write_one_file
from batchscore.output.open import open_ledger
from batchscore.output.place import Output, lock_output, output_of
from batchscore.output.spec import fingerprint_of, output_spec
from batchscore.plan.survey import Survey, survey
from batchscore.report.page.make import quickly, write_report
from batchscore.report.run_end import RunEnd
from batchscore.report.tally import Tally
from batchscore.report.timeline import Timeline
from batchscore.report.tracking.follow import tracked
from batchscore.rows import Event, Listen, Notice
from batchscore.run.event_loop import on_the_fastest_loop, stopping
from batchscore.run.expected import expecting
from batchscore.run.incremental import carry_over, end, out_of_sight, without_emptied
from batchscore.run.job import Job
from batchscore.run.preflight import require_an_answer
from batchscore.run.record import moment, worker_of, write_record
from batchscore.run.result import Finished
from batchscore.run.stop_conditions import Bounds, bounds_of
from batchscore.settings.fields import Settings
from batchscore.settings.slices import EndpointSettings, OutputSettings, RecordSettings, cut
from batchscore.stores import storage
from batchscore.stores.address import StoredPath, place_of


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
    output = output_of(cut(OutputSettings, settings))
    surveyed = survey(inputs, settings, output=output.named)
    service = cut(EndpointSettings, settings)
    endpoints = [] if settings.simulate else endpoints_of(service, environ, named)
    name = f"{moment(bounds.started):%Y%m%dT%H%M%SZ}-{worker_of(settings)}"
    with tracked(settings, environ, listen, name) as run:
        with lock_output(cut(OutputSettings, settings), output, listen) as hold:
            finished = score_surveyed(
                settings, surveyed, output, endpoints, environ, run.listener, hold, bounds, name, command
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
    hold: Lock,
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

    fingerprint = fingerprint_of(cut(RecordSettings, settings), output)
    for_output = cut(OutputSettings, settings)
    spec = output_spec(for_output, output, fingerprint, surveyed.schema, surveyed.places)
    layout, ledger = spec.layout, open_ledger(spec, for_output, output, listen, name, require)
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
    with closing(ledger), start_simulator(cut(EndpointSettings, settings)) as rehearsal:
        if rehearsal is not None:
            endpoints = [rehearsal]
        try:
            outcome = on_the_fastest_loop(
                scored(settings, surveyed, ledger, endpoints, environ, heard, hold, bounds)
            )
        except asyncio.CancelledError:
            # The second signal: leave at once.
            raise KeyboardInterrupt from None
    with_file, names, changes, standing = False, list(surveyed.places), None, ledger
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
    hold: Lock,
    bounds: Bounds,
) -> RunEnd:
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


def with_page(finished: Finished, listen: Listen) -> Finished:
    """Write the page of a run that has ended; one of several workers leaves that to `batchscore report`."""
    if finished.settings.shared_output:
        return finished
    output = finished.output
    try:
        page = write_report(output.folder, shown=str(output.named), effort=quickly(finished.statistics.ok))
    except (Exception, KeyboardInterrupt) as error:
        # The scores stand; what stops a page that is only looked at must not stop who made them, nor turn
        # a run that is through into one that was interrupted.
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
        listen(Notice(f"There is no page of this run ({reason}); `batchscore report` tries again."))
        return finished
    return replace(finished, report=page)
