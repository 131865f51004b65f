"""What happens in one run, from settings to its result? Every door that has files to score calls this.

A run surveys the inputs, locks the output, lets the job work, merges if one file was requested, and leaves a
record and a page. It knows no terminal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from batchscore.batch.waits import PATIENT, Waits
from batchscore.endpoint.describe import destination_text
from batchscore.endpoint.target import Endpoint, endpoints_of, start_simulator
from batchscore.errors import (
    BatchscoreError,
    OutputError,
    OutputIncomplete,
    ServiceRefused,
    SettingsError,
    UsageError,
    message_of,
    setting_name,
)
from batchscore.output.incremental.next_ledger import NextLedger
from batchscore.output.incremental.switch import name_after
from batchscore.output.layout import Layout
from batchscore.output.ledger import Ledger
from batchscore.output.locks.lock import Lock
from batchscore.output.manifest import Manifest
from batchscore.output.missing import still_missing
from batchscore.output.open import lock_output, open_ledger
from batchscore.output.removed_parts import removed_parts
from batchscore.output.run_records import RecordedFile, checksum, checksum_of_inputs
from batchscore.output.shared_ledger import SharedLedger
from batchscore.output.spec import Output, fingerprint_of, output_of, output_spec
from batchscore.output.submitted import refuse_submitted
from batchscore.plan.survey import Survey, check_output, survey
from batchscore.plan.without_effect import without_effect
from batchscore.read.input_file import is_standard_input
from batchscore.report.page.make import write_report
from batchscore.report.page.sample import quickly
from batchscore.report.run_end import RunEnd
from batchscore.report.tally import Tally
from batchscore.report.timeline import Timeline
from batchscore.report.tracking.follow import tracked
from batchscore.rows import Event, Listen, Notice
from batchscore.run.event_loop import rare_garbage_collection, run_on_fast_loop, stop_on_signals
from batchscore.run.expected import announce_expected
from batchscore.run.incremental import (
    Changes,
    carry_over_files,
    compare_inputs,
    end_changes,
    hidden_input,
)
from batchscore.run.job import Job, RunningEngine
from batchscore.run.prompt_source import PromptSource, announce_lost
from batchscore.run.record import (
    RunCall,
    RunResult,
    RunStart,
    base_of,
    errors_by_code,
    files_at_start,
    run_name,
    without_removed,
    write_record,
    write_start,
)
from batchscore.run.result_file import write_result_file
from batchscore.run.stop import StopConditions, stop_conditions
from batchscore.run.test_request import refusal_of_test
from batchscore.run.via_batch import ViaBatch, check_via, live_endpoints
from batchscore.settings.fields import Settings
from batchscore.settings.slices import (
    EndpointSettings,
    OutputSettings,
    RecordSettings,
    RequestSettings,
    StopSettings,
    cut,
)
from batchscore.stores import storage
from batchscore.stores.address import Place, StoredPath, place_of
from batchscore.task import TASKS


@rare_garbage_collection(2_000_000)  # what is known of fifty thousand files stays, and is in no cycle
def score_files(
    settings: Settings,
    inputs: Sequence[str],
    *,
    environ: Mapping[str, str],
    listen: Listen,
    named: Mapping[str, str] | None = None,
    command: str = "",
    warnings: Sequence[str] = (),
) -> RunResult:
    """Score files and return how the run ended; `command` is recorded so that the run can be resumed.

    `named` says which variable or file gave a setting its value. The first notice says where requests go; the
    `warnings` follow. Raises a `BatchscoreError` for what is wrong before the first request; an error that
    ends the run later is in the outcome. On the main thread the first SIGINT or SIGTERM stops the run
    gracefully, the second one at once (`KeyboardInterrupt`).
    """
    run = prepare(settings, inputs, environ=environ, listen=listen, named=named, command=command)
    listen(Notice(destination_text(run.endpoints, (named or {}).get("config"))))
    answers = run.survey.answers
    unused = without_effect(settings, run.survey.suffixes, run.output, piped=is_standard_input(inputs))
    for text in (*warnings, *unused, *(() if answers is None else answers.notices())):
        listen(Notice(text))
    with tracked(settings, environ, listen, run.call.name) as tracking:
        run.listen = tracking.listener
        with lock_output(cut(OutputSettings, settings), run.output, listen) as lock:
            saved = run.score(lock)
            # The next run that takes the lock reads from the record which files are not complete.
            result = run.finish()
        result = replace(result, report=run.write_page(result.statistics.ok, saved))
        places = result.layout, result.record, result.report
        tracking.finished(result.outcome, result.exit_code, result.seconds, *places)
        return result


def prepare(
    settings: Settings,
    inputs: Sequence[str],
    *,
    environ: Mapping[str, str],
    listen: Listen,
    named: Mapping[str, str] | None = None,
    command: str = "",
) -> Run:
    """Return a run whose settings and inputs can be used; nothing is written, locked or sent."""
    conditions = stop_conditions(cut(StopSettings, settings), time.time())
    if settings.incremental and isinstance(place_of(settings.output), StoredPath):
        raise SettingsError(
            f"{setting_name('incremental')} needs an output on a local disk, and this one is in a store. "
            f"Score into a folder and copy that, or leave {setting_name('incremental')} out."
        )
    if settings.part_of is not None and isinstance(place_of(settings.output), StoredPath):
        raise UsageError(
            f"{setting_name('part_of')} needs an output on a disk with file locks, and this is in a store. "
            "Score into a folder and copy that, or give each worker its own files, with "
            f"{setting_name('shared_output', True)}."
        )
    output = output_of(cut(OutputSettings, settings))
    surveyed = survey(inputs, settings, output=output.named)
    check_output(settings, surveyed, output)
    endpoints = [] if settings.simulate else endpoints_of(cut(EndpointSettings, settings), environ, named)
    check_via(settings, endpoints, environ)
    name = run_name(conditions.started, shared_output=settings.shared_output)
    call = RunCall(name, tuple(inputs), command)
    return Run(call, settings, environ, listen, output, surveyed, endpoints, conditions)


@dataclass(slots=True)
class Run:
    """One run over files: `score` works on the output, `finish` leaves the record and the page."""

    call: RunCall
    settings: Settings
    environ: Mapping[str, str]
    listen: Listen
    output: Output
    survey: Survey
    endpoints: Sequence[Endpoint]
    conditions: StopConditions
    tally: Tally = field(default_factory=Tally)
    timeline: Timeline = field(default_factory=Timeline)
    layout: Layout = field(init=False)
    start: RunStart = field(init=False)
    outcome: RunEnd = field(init=False)
    changes: Changes | None = None
    file_written: bool = False

    def score(self, lock: Lock, waits: Waits = PATIENT) -> list[Manifest]:
        """Score the files into the locked output; `waits` are those of batches.

        Return the manifests of files that are complete without a doubt.
        """
        settings, survey = self.settings, self.survey
        for_output = cut(OutputSettings, settings)
        fingerprint = fingerprint_of(cut(RecordSettings, settings), self.output)
        spec = output_spec(for_output, self.output, fingerprint, survey.schema, survey.places)
        self.layout = spec.layout
        refuse_submitted(self.layout, overwrite=settings.overwrite, by_batch=settings.via == "batch")
        ledger = open_ledger(spec, for_output, self.output, self.listen, self.call.name, self.require_answer)
        if survey.problems:
            total = len(survey.problems) + len(survey.ready)
            text = f"{len(survey.problems)} of {total} files cannot be scored; the summary says why."
            self.listen(Notice(text))
        announce_lost(ledger, survey, settings, self.listen)
        if isinstance(ledger, NextLedger):
            self.survey, digests = compare_inputs(survey, ledger, self.listen)
            self.begin(ledger.visible, digests, ledger.unchanged)
            carry_over_files(self.survey, ledger, digests, self.listen)
        else:
            complete = {
                file: each.input for file, each in ledger.manifests.items() if each.state == "complete"
            }
            self.begin(ledger, complete, ())
        with closing(ledger), start_simulator(cut(EndpointSettings, settings)) as simulator:
            if simulator is not None:
                self.endpoints = [simulator]
            self.outcome = run_on_fast_loop(self.work(ledger, lock, waits))
        visible = ledger.visible if isinstance(ledger, NextLedger) else ledger
        names = list(self.survey.places)
        own = visible.own if isinstance(visible, SharedLedger) else None
        manifests = [visible.manifests[name] for name in names if name in visible.manifests]
        removed = removed_parts(visible.spec.layout, manifests, own)
        self.outcome = without_removed(self.outcome, removed, self.output)
        if isinstance(ledger, NextLedger):
            self.finish_changes(ledger)
            names += self.changes.vanished if self.changes is not None else ()
        by_code = errors_by_code(self.outcome, self.tally.statistics(), visible)
        self.outcome = replace(self.outcome, errors_by_code=by_code)
        self.write_file(visible, names)
        sound = {each.file for each in self.outcome.files if each.state == "complete" and not each.problem}
        sound -= ledger.recorded.replaced
        return [] if visible is not ledger else [each for each in manifests if each.file in sound]

    def write_file(self, visible: Ledger, names: Sequence[str]) -> None:
        """Write the one file that was requested; if that fails, the run still ends with its record."""
        file, end = self.output.file, self.outcome
        if file is None or end.stopped_by is not None or end.interrupted:
            return
        why = f"interrupted while {file} was being written. All scores are saved: no row is sent again."
        self.outcome = replace(end, stopped_by=OutputIncomplete(why))
        try:
            self.finish()  # the file may take minutes; a kill meanwhile leaves the figures of the run
            write_result_file(file, visible, names, self.settings, self.survey, end, self.listen)
            self.outcome, self.file_written = end, True
        except BatchscoreError as error:
            self.outcome = replace(end, stopped_by=error)
        except KeyboardInterrupt:
            pass

    def begin(self, ledger: Ledger, versions: Mapping[str, str], done: Collection[str]) -> None:
        """Write down which files the run is going to read; raises `OutputError`."""
        settings, spec = self.settings, ledger.spec
        layout = spec.layout
        files = files_at_start(self.survey, versions, done)
        inputs, fingerprint = checksum_of_inputs(self.call.inputs), checksum(spec.identity)
        earlier: list[RecordedFile] = []
        # One of many workers says nothing of the others. What is discarded leaves nothing to do.
        if not (settings.shared_output or settings.overwrite or settings.prune):
            own = {each["file"] for each in files}
            left = still_missing(ledger.recorded, ledger.manifests, inputs=inputs, fingerprint=fingerprint)
            earlier = [each for each in left if each.file not in own]
        names = {name.removesuffix(".json") for name in storage.visible_names(layout.runs)}
        name = self.call.name
        if not settings.shared_output:
            # The last record counts, also if the clock was set back.
            name = name_after(names, name)
        self.start = RunStart(
            record=layout.runs / f"{name}.json",
            call=self.call,
            started=self.conditions.started,
            settings=settings,
            inputs=inputs,
            fingerprint=fingerprint,
            earlier=tuple(earlier),
            complete_files=None if settings.shared_output else ledger.complete_files,
            base=base_of(self.survey, self.call.inputs),
            versions=versions,
        )
        write_start(self.start, files, one_file=self.output.file is not None)

    async def work(self, ledger: Ledger, lock: Lock, waits: Waits) -> RunEnd:
        """Run the job on this loop, with everything that may stop it."""
        conditions, stop, settings = self.conditions, self.conditions.stop, self.settings
        if settings.via == "batch":
            stop.waits_for = "calls in flight, not for batches"
        loop = asyncio.get_running_loop()
        lost = Notice("Stopping: the lock of the output was removed, or another run has taken it.")

        def on_lost_lock() -> None:
            # This is another thread's call, and the loop may have ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self.hear, lost)
                loop.call_soon_threadsafe(stop.request)

        lock.when_lost = on_lost_lock
        listen = conditions.before(self.hear)
        source = PromptSource(self.survey, ledger, listen, settings.limit)
        batches = ViaBatch(settings, self.endpoints[0], self.environ, self.layout, waits)
        opens = batches.opener(self.open_engine)
        job = Job(
            TASKS[settings.task], source, ledger, opens, listen, stop, conditions.drain_seconds, batches.used
        )
        with stop_on_signals(stop, self.hear):
            async with (
                conditions.watch_deadline(self.hear),
                announce_expected(settings, self.survey, listen),
            ):
                files = await job.run()
                names = {each.file.name for each in self.survey.ready}
                if not stop.failed:  # then what is in journals is published
                    await batches.remove_published(self.hear, names, stopped=stop.requested or source.limited)
        answered = (ledger.simulated, *(each.simulated for each in ledger.manifests.values()))
        simulated = settings.simulate or any(answered)
        end = RunEnd(files, source.limited, stop.requested, stop.reason, source.repeated_ids(), simulated)
        # A condition that was met by the very last rows has stopped nothing.
        return end if stop.failed or end.unfinished else replace(end, stopped_by=None)

    def open_engine(self, *prompts: Any, **given: Any) -> AbstractAsyncContextManager[RunningEngine]:
        """Return this run's engine over a source of prompts."""
        from batchscore.engine.open import open_engine  # noqa: PLC0415 - a finished output needs no engine

        endpoints = live_endpoints(self.settings, self.environ, self.endpoints)
        requests = cut(RequestSettings, self.settings)
        return open_engine(requests, endpoints, *prompts, environ=self.environ, **given)

    def require_answer(self) -> None:
        """Send one short text with the run's own parameters before paid scores are discarded for new ones.

        Raises a `BatchscoreError` if it is not answered, and `KeyboardInterrupt` if a signal came first.
        """
        if not self.endpoints:
            return
        try:
            reason = run_on_fast_loop(self.refusal())
        except BatchscoreError as error:
            text = f"{error.text} Nothing was discarded."
            raise type(error)(text, service_reply=error.service_reply) from None
        if reason is not None:
            raise ServiceRefused(f"the service refused a short test text, so nothing was discarded: {reason}")

    async def refusal(self) -> str | None:
        """Return why a short text was refused; `None` if it was answered, or only batches take texts."""
        if self.settings.via == "batch":
            batches = ViaBatch(self.settings, self.endpoints[0], self.environ, self.layout, PATIENT)
            if not await batches.is_answered_live():
                return None
        return await refusal_of_test(self.open_engine, self.conditions, self.hear)

    def hear(self, event: Event) -> None:
        """Count an event for the record, and pass it on."""
        self.tally.add(event)
        self.timeline(event)
        self.listen(event)

    def finish_changes(self, ledger: NextLedger) -> None:
        """Write what the run changed; that is all of it only if every input was read and scored."""
        end, prune = self.outcome, self.settings.prune
        hidden = hidden_input(self.survey, ledger)
        if hidden is not None and prune:
            file, reason = hidden
            text = f"{setting_name('prune')} removes nothing: {file} may still exist ({reason})."
            self.listen(Notice(text))
        complete = not (end.unfinished or end.unreadable or end.stopped_by is not None or hidden is not None)
        try:
            self.changes = end_changes(self.survey, ledger, complete=complete, prune=prune)
        except OutputError as error:
            self.outcome = replace(end, stopped_by=end.stopped_by or error)

    def finish(self) -> RunResult:
        """Write the run's record and return its result; a record that fails does not fail the run."""
        file, with_file = self.output.file, False
        with suppress(OutputError):
            with_file = file is not None and storage.exists(file)
        result = RunResult(
            outcome=self.outcome,
            statistics=self.tally.statistics(),
            survey=self.survey,
            settings=self.settings,
            output=self.output,
            layout=self.layout,
            record=self.start.record,
            # A clock that was set back must not make the run end before it began.
            seconds=max(time.time() - self.conditions.started, 0.0),
            exit_code=self.outcome.exit_code(self.settings.error_threshold),
            with_file=with_file,
            file_written=self.file_written,
            changes=self.changes,
        )
        try:
            write_record(result, self.endpoints, self.start, self.timeline)
        except Exception as error:
            text = f"The run's record cannot be written; its scores are saved: {message_of(error)}."
            self.listen(Notice(text))
        return result

    def write_page(self, ok: int, saved: Collection[Manifest]) -> Place | None:
        """Write the page; `None` if it failed, or if other workers may still write to the output."""
        if self.settings.shared_output:
            return None
        try:
            shown = str(self.output.named)
            return write_report(self.output.folder, shown=shown, effort=quickly(ok), known=saved)
        except (Exception, KeyboardInterrupt) as error:
            # The scores are saved. A page that fails must not change how the run ended.
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else message_of(error)
            self.listen(Notice(f"The run's page was not written ({why}); `batchscore report` makes it."))
            return None
