"""What does each command of a training do at the service, between its options and its text?"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from batchscore.endpoint.target import Target, endpoints_of
from batchscore.endpoint.url import Values, endpoint_text, no_endpoint
from batchscore.errors import InputError, OutputLocked, SettingsError, setting_name
from batchscore.finetune.prepared_folder import read_summary
from batchscore.finetune.service.calls import TrainingPlace, address_above, host_of, require_endpoint
from batchscore.finetune.service.dialects import dialect_of
from batchscore.finetune.state import (
    JobRecord,
    ResultsRecord,
    TrainingState,
    change_job,
    hold_data,
    hold_folder,
    read_state,
    require_state,
    write_state,
)
from batchscore.finetune.training.begin import continued, digests_of, new_state, prepared_of, require_own
from batchscore.finetune.training.costs import TrainingCost
from batchscore.finetune.training.follow import JobLook, act, look, recent_events, watch
from batchscore.finetune.training.results import (
    ResultTable,
    epoch_ends,
    plain_bytes,
    proposal,
    table_of,
    table_of_metrics,
)
from batchscore.finetune.training.results_page import RESULTS_PAGE, RESULTS_TABLE, TrainingResults, page
from batchscore.finetune.training.start import Starter
from batchscore.provider import files, jobs
from batchscore.provider.client import ControlPlane, NotThere
from batchscore.provider.job_object import SUCCEEDED
from batchscore.settings.fields import Settings
from batchscore.settings.slices import EndpointSettings, cut
from batchscore.stores import storage

T = TypeVar("T")


def target_of(
    settings: Settings, environ: Mapping[str, str], origins: Mapping[str, str], where: str = ""
) -> Target:
    """Return the service that the settings name; raises `SettingsError`.

    `where` says which service is meant if they name none.
    """
    if settings.simulate:
        raise SettingsError("Training has no rehearsal. Start the simulator with: batchscore simulate")
    if not settings.deployments:
        text, _ = endpoint_text(Values({"endpoint": settings.endpoint}, environ, origins))
        if text is None:
            raise SettingsError(
                where or f"{no_endpoint()} To rehearse without a service, start `batchscore simulate`."
            )
    endpoints = endpoints_of(cut(EndpointSettings, settings), environ, origins)
    if len(endpoints) != 1:
        raise SettingsError(
            f"[[deployments]] names {len(endpoints)} deployments, and a model is trained at one service. "
            f"Name it with {setting_name('endpoint')}."
        )
    return endpoints[0].target


def run_start(
    place: TrainingPlace,
    request: Mapping[str, Any],
    urls: Mapping[str, str],
    listen: Callable[[str], object],
    *,
    again: bool = False,
    accepted: tuple[TrainingCost, Mapping[str, str]] | None = None,
) -> TrainingState:
    """Send the files and create the job, or continue with that; raises a `BatchscoreError`.

    An empty `request` is that of the state. `accepted` is the estimate that the user has accepted, and the
    digests of the files that it is of, by their part.
    """
    folder, dialect = place.folder, dialect_of(place.target)

    async def starting(state: TrainingState) -> TrainingState:
        async with place.calls() as plane:
            starter = Starter(plane, dialect, folder, state, place.limits, listen, urls)
            starter.is_continued = old is not None
            return await starter.run()

    with hold_folder(folder, "batchscore finetune start", listen):
        old = read_state(folder)
        if old is not None:
            require_endpoint(old, place.target, folder)
            require_own(old, folder)
        if old is not None and old.job.may_exist and not again:
            # Its files are at the service: nothing is sent, whatever became of them here.
            new = replace(old, job=JobRecord(request=request))
        else:
            summary = prepared_of(folder)
            if accepted is not None and accepted[1] != digests_of(summary):
                raise InputError(
                    f"{folder} was prepared again after its cost was estimated. Nothing was sent. To see the "
                    "new estimate, run the same command again."
                )
            new = new_state(folder, summary, host_of(place.target), dialect, request)
        state = continued(old, new, folder, again=again)
        job = replace(state.job, again=again or state.job.again)
        if accepted is not None:
            cost = accepted[0]
            job = replace(job, expected_tokens=cost.trained_tokens, price=cost.price)
        state = write_state(folder, replace(state, job=job, address=address_above(place.target)))
        wait = nullcontext() if state.job.id else hold_data(state, folder, listen, place.limits.settle)
        with wait:
            return asyncio.run(starting(state))


def run_status(place: TrainingPlace) -> JobLook:
    """Return the job as it is now, with its last events."""

    async def looking(plane: ControlPlane, state: TrainingState) -> JobLook:
        found = await look(plane, place.folder, state)
        return replace(found, events=await recent_events(plane, found.job.id))

    return _with_state(place, looking)


def run_watch(
    place: TrainingPlace, listen: Callable[[JobLook], object], wait_seconds: float | None = None
) -> JobLook:
    """Report the job until it has ended, or for `wait_seconds`; return the last look."""
    return _with_state(
        place, lambda plane, state: watch(plane, place.folder, state, place.limits, listen, wait_seconds)
    )


def run_action(place: TrainingPlace, action: str) -> JobLook:
    """Pause, resume or cancel the job."""
    return _with_state(place, lambda plane, state: act(plane, place.folder, state, action))


def run_results(place: TrainingPlace) -> tuple[JobLook, TrainingResults | None]:
    """Download and draw the results; `None` if there are none yet."""
    require_own(require_state(place.folder), place.folder)

    async def fetching(plane: ControlPlane, state: TrainingState) -> tuple[JobLook, TrainingResults | None]:
        found = await look(plane, place.folder, state)
        table = await _result_table(plane, place.folder, found)
        if not table.steps:
            return found, None
        kept = await jobs.checkpoints_of(plane, found.job.id)
        # What a job has so far is nothing to propose.
        best = proposal(table, kept, found.job.trained_model) if found.job.status == SUCCEEDED else None
        if found.job.ended:
            checkpoint = "" if best is None or best.is_last else best.model
            with suppress(OutputLocked):
                changed = change_job(place.folder, found.job.id, partial(replace, checkpoint=checkpoint))
                found = replace(found, state=changed)
        settings = found.job.settings
        ends = epoch_ends(table, settings.get("n_epochs"), is_complete=found.job.status == SUCCEEDED)
        results = TrainingResults(found.state, table, ends, kept, best, settings, read_summary(place.folder))
        storage.write_whole(place.folder / RESULTS_PAGE, page(results, str(place.folder)))
        return found, results

    return _with_state(place, fetching)


async def _result_table(plane: ControlPlane, folder: Path, found: JobLook) -> ResultTable:
    """Return the results: of their file, of the one that was saved, or else of the metrics in events."""
    saved = folder / RESULTS_TABLE
    for each in found.job.result_files:
        with tempfile.TemporaryDirectory(prefix="batchscore-results-") as scratch:
            path = Path(scratch) / "results"
            try:
                await files.download(plane, each, path)
            except NotThere:
                continue
            data = path.read_bytes()
        table = table_of(data)
        digest = storage.write_whole(saved, plain_bytes(data)).digest
        record = ResultsRecord(file_id=each, digest=digest)
        if found.job.ended:  # until then, the file grows
            with suppress(OutputLocked):
                change_job(folder, found.job.id, partial(replace, results=record))
        return table
    if found.state.results is not None and storage.exists(saved):
        return table_of(storage.whole(saved))
    return table_of_metrics([each.metrics async for each in jobs.newest_events(plane, found.job.id)][::-1])


def _with_state(
    place: TrainingPlace, act_on: Callable[[ControlPlane, TrainingState], Coroutine[Any, Any, T]]
) -> T:
    """Make calls about the job of a folder; raises a `BatchscoreError`."""
    state = require_state(place.folder)
    require_endpoint(state, place.target, place.folder)

    async def calling() -> T:
        async with place.calls() as plane:
            return await act_on(plane, state)

    return asyncio.run(calling())
