"""How is a training job made at a service, looked at, found, paused, resumed and cancelled?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

from batchscore.provider.client import CallFailed, ControlPlane, NotThere, Unknown
from batchscore.provider.job_object import (
    ENDED,
    PAUSED,
    PAUSING,
    QUEUED,
    RUNNING,
    JobCheckpoint,
    JobState,
    TrainingEvent,
    job_checkpoint,
    job_state,
    training_event,
)
from batchscore.provider.lists import newest_first

#: States that show that an action has happened, or is not needed, whatever became of its reply.
SHOWS = {"cancel": ENDED | {"cancelling"}, "pause": {PAUSED, PAUSING}, "resume": frozenset[str]()}

#: States of a job that was resumed, if the reply was lost: others are in them, too.
RESUMED = frozenset({QUEUED, RUNNING, "resuming"})


async def create_job(plane: ControlPlane, body: Mapping[str, Any]) -> JobState:
    """Make a job. It is asked for one time only: if `Unknown` is raised, look for it with `newest_jobs`."""

    async def call(headers: Mapping[str, str]) -> JobState:
        # What the SDK does not know, as Azure's trainingType, it sends as it is.
        known = {name: body[name] for name in ("model", "training_file")}
        more = {name: value for name, value in body.items() if name not in known}
        found = await plane.client.fine_tuning.jobs.create(**known, extra_body=more, extra_headers=headers)
        return known_job(found, "the creation of a job")

    return await plane.once("the creation of a job", call)


async def look_at_job(plane: ControlPlane, job: str) -> JobState:
    """Return a job as it is now. Raises `CallFailed`; `NotThere` also for another project's."""

    async def call(headers: Mapping[str, str]) -> JobState:
        found = await plane.client.fine_tuning.jobs.retrieve(job, extra_headers=headers)
        return known_job(found, "a look at a job")

    return await plane.repeat("a look at a job", call)


async def newest_jobs(plane: ControlPlane, since: float) -> list[JobState]:
    """Return the jobs of a resource, newest first, none made before `since`. Raises `CallFailed`.

    The list is not filtered by metadata: a service that does not keep them would give nothing.
    """
    jobs = plane.client.fine_tuning.jobs
    listed = newest_first(plane, "the list of jobs", jobs.list, job_state, since)
    return [each async for each in listed]


async def change_job(plane: ControlPlane, job: str, action: str) -> JobState:
    """Pause, resume or cancel a job, and return it as it is then. Raises `CallFailed` if that is refused."""
    what = {"pause": "pausing", "resume": "resuming", "cancel": "cancelling"}[action] + " the job"

    async def call(headers: Mapping[str, str]) -> None:
        jobs = plane.client.fine_tuning.jobs
        # Versions of the SDK before 2.30 know no pause.
        act = getattr(jobs, action, None)
        if act is not None:
            await act(job, extra_headers=headers)
        else:
            path = f"/fine_tuning/jobs/{job}/{action}"
            await plane.client.post(path, cast_to=object, options={"headers": dict(headers)})

    was_lost = False
    for is_last, make in enumerate((plane.once, plane.repeat)):
        try:
            await make(what, call)
            break
        except NotThere:
            raise
        except CallFailed as failure:
            # A lost reply hides that it has happened.
            was_lost = was_lost or isinstance(failure, Unknown)
            state = await look_at_job(plane, job)
            if state.status in SHOWS[action] or (was_lost and action == "resume" and state.status in RESUMED):
                return state
            if is_last or not isinstance(failure, Unknown):
                raise
    return await look_at_job(plane, job)


async def newest_events(plane: ControlPlane, job: str) -> AsyncIterator[TrainingEvent]:
    """Give the events of a job, newest first, each once. Raises `CallFailed`.

    New ones may arrive while pages are read, so that an event is on two of them.
    """
    seen: set[str] = set()
    page_of = partial(plane.client.fine_tuning.jobs.list_events, job)
    async for each in newest_first(plane, "the events of the job", page_of, training_event, 0.0):
        if each.id not in seen:
            seen.add(each.id)
            yield each


async def checkpoints_of(plane: ControlPlane, job: str) -> list[JobCheckpoint]:
    """Return the checkpoints that the service has kept, by their step. Raises `CallFailed`."""
    page_of = partial(plane.client.fine_tuning.jobs.checkpoints.list, job)
    listed = newest_first(plane, "the checkpoints of the job", page_of, job_checkpoint, 0.0)
    found = {each.id: each async for each in listed}
    return sorted(found.values(), key=lambda each: each.step)


def known_job(found: Any, what: str) -> JobState:
    """Return the state of a job; raises `Unknown` if the reply was something else."""
    state = job_state(found)
    if not state.id:
        raise Unknown(what, why="the reply is not a job")
    return state
