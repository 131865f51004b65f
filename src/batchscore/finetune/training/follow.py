"""What does a training job do now, and how is it paused, resumed or cancelled?

Following never holds the folder's lock for long, so that several terminals can do it. Texts of the service go
to a terminal only: nothing of them is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from batchscore.errors import InputError, OutputError, ServiceRefused
from batchscore.finetune.offered import finetune_command
from batchscore.finetune.service.calls import CallLimits
from batchscore.finetune.state import (
    TrainingState,
    change_job,
    require_job,
    require_state,
    with_job,
    write_state,
)
from batchscore.finetune.training.steps import CLOCK_SECONDS, own_jobs, with_listed
from batchscore.provider import jobs
from batchscore.provider.client import ControlPlane, NotThere, Refused
from batchscore.provider.job_object import CANCELLED, JobState, TrainingEvent

#: The number of events that `status` shows.
RECENT = 5

#: Why an action may be refused.
NEEDS = {
    "pause": "Only a running job that has done at least one step can be paused, and not each service can.",
    "resume": "Only a paused job can be resumed.",
    "cancel": "",
}


async def recent_jobs(plane: ControlPlane, state: TrainingState) -> list[JobState]:
    """Return the jobs of a service that may be of a folder, newest first."""
    since = (state.job.intent_at or state.job.created_at) - CLOCK_SECONDS
    return await jobs.newest_jobs(plane, since)


@dataclass(frozen=True, slots=True)
class JobLook:
    """A job as it is now, with what has happened since the last look, oldest first."""

    state: TrainingState
    job: JobState
    events: Sequence[TrainingEvent] = ()


async def look(plane: ControlPlane, folder: Path, state: TrainingState) -> JobLook:
    """Return the job of a folder as it is now. Raises `InputError` if there is none, and `CallFailed`."""
    job = await find(plane, folder, state) if not state.job.id else await look_at(plane, folder, state)
    others = None if state.job.id and not state.job.doubtful else await recent_jobs(plane, state)
    return JobLook(record(folder, job, others=others), job)


async def renewed(plane: ControlPlane, folder: Path, state: TrainingState) -> TrainingState:
    """Record what the service says now of the jobs that are not known to have ended; return the state.

    The caller holds the folder's lock. Raises `ServiceRefused` if the folder's job is not there, and
    `CallFailed`.
    """
    own, others = state.job, state.earlier_jobs
    if own.id and not own.ended:
        state = with_job(state, await look_at(plane, folder, state))
    for each in others:
        if not each.ended:
            with suppress(NotThere):
                state = with_job(state, await jobs.look_at_job(plane, each.id))
    if own.doubtful or (own.intent_at and not own.id):
        state = with_listed(state, await recent_jobs(plane, state))
    return write_state(folder, state)


async def look_at(plane: ControlPlane, folder: Path, state: TrainingState) -> JobState:
    """Return a job by its id."""
    try:
        return await jobs.look_at_job(plane, state.job.id)
    except NotThere:
        raise ServiceRefused(
            f"The job {state.job.id} of {folder} is not there (404): another key's project owns it, or it "
            "was removed. Use the endpoint and the key that started it."
        ) from None


async def find(plane: ControlPlane, folder: Path, state: TrainingState) -> JobState:
    """Return the job of which no reply was received, from the service's list."""
    command = finetune_command("start", folder)
    if not state.job.intent_at:
        raise InputError(f"No job was created of {folder} yet. To continue, run: {command}")
    ours = own_jobs(state, await recent_jobs(plane, state))
    if not ours:
        raise InputError(
            f"The creation of the job of {folder} was not confirmed, and the service does not list it. To "
            f"look again, and to create it if it is not there, run: {command}"
        )
    return ours[0]


def record(
    folder: Path, job: JobState, last_event: str = "", others: Iterable[JobState] | None = None
) -> TrainingState:
    """Record what the service says of the folder's job, and return the state.

    `others` is a list of jobs in which doubles may be. Raises `InputError` if the folder has a newer job:
    another command may have changed that since the look.
    """

    def change(state: TrainingState) -> TrainingState:
        found = with_job(state, job)
        found = replace(found, job=replace(found.job, last_event=last_event or state.job.last_event))
        return found if others is None else with_listed(found, others)

    with suppress(OutputError):
        # Another command of this folder is working, or it cannot be written: the job is shown nevertheless.
        return change_job(folder, job.id, change)
    return change(require_job(require_state(folder), job.id, folder))


async def recent_events(plane: ControlPlane, job: str, most: int = RECENT) -> list[TrainingEvent]:
    """Return the last events of a job, oldest first."""
    found: list[TrainingEvent] = []
    async for each in jobs.newest_events(plane, job):
        found.append(each)
        if len(found) >= most:
            break
    return found[::-1]


async def events_after(plane: ControlPlane, job: str, known: set[str]) -> list[TrainingEvent]:
    """Return the events that are not known, oldest first, and make them known."""
    found: list[TrainingEvent] = []
    async for each in jobs.newest_events(plane, job):
        if each.id in known:
            break
        found.append(each)
    known.update(each.id for each in found)
    return found[::-1]


async def watch(
    plane: ControlPlane,
    folder: Path,
    state: TrainingState,
    limits: CallLimits,
    listen: Callable[[JobLook], object],
    wait_seconds: float | None = None,
) -> JobLook:
    """Report a job until it has ended, or for `wait_seconds`; return the last look. Raises `CallFailed`.

    A watch that was stopped continues after the last event that it has reported.
    """
    known = {state.job.last_event}
    begun = time.monotonic()
    while True:
        found = await look(plane, folder, state)
        # After the look: a job that has ended gets no more events.
        events = await events_after(plane, found.job.id, known)
        if events:
            found = replace(found, state=record(folder, found.job, events[-1].id))
        found = replace(found, events=events)
        listen(found)
        state = found.state
        left = None if wait_seconds is None else begun + wait_seconds - time.monotonic()
        if found.job.ended or (left is not None and left <= 0):
            return found
        await plane.sleep(limits.look if left is None else min(limits.look, left))


async def act(plane: ControlPlane, folder: Path, state: TrainingState, action: str) -> JobLook:
    """Pause, resume or cancel the job of a folder. Raises `InputError` if it has ended, and `CallFailed`."""
    found = await look(plane, folder, state)
    if found.job.ended:
        if action == "cancel" and found.job.status == CANCELLED:
            return found
        raise InputError(f"The job {found.job.id} has ended ({found.job.status}): nothing to {action}.")
    try:
        job = await jobs.change_job(plane, found.job.id, action)
    except NotThere:
        raise
    except Refused as failure:
        raise ServiceRefused(f"{failure}. The job is {found.job.status}. {NEEDS[action]}".rstrip()) from None
    return JobLook(record(folder, job), job)
