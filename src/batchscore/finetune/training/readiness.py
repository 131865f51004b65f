"""What does a service say before a job is paid: can the model be trained, until when, and is there room?

It only reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from batchscore.finetune.service.calls import PURPOSE, TrainingPlace
from batchscore.finetune.service.dialects import TrainingDialect, dialect_of
from batchscore.finetune.training.costs import KnownLimit
from batchscore.provider import files, jobs, models
from batchscore.provider.client import ControlPlane, NotThere, Refused
from batchscore.provider.models import ModelFacts
from batchscore.report.words import moment_text
from batchscore.settings.secrets import shown_address

DAY = 86400.0
#: An end that is nearer is a warning.
SOON = 90 * DAY
#: A job that waits for longer is not looked for.
LONGEST_QUEUE = 30 * DAY


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What the service says. `problems` prevent training, `warnings` may; `facts` are for people."""

    service: str
    model: ModelFacts | None
    facts: tuple[tuple[str, str], ...]
    limits: tuple[KnownLimit, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    has_training_types: bool


def service_facts(place: TrainingPlace, model: str, sizes: tuple[int, ...], now: float) -> ServiceFacts:
    """Return what a service says of training a model on files of these sizes; raises a `BatchscoreError`."""
    dialect = dialect_of(place.target)

    async def reading() -> ServiceFacts:
        async with place.calls() as plane:
            return await read(plane, dialect, model, sizes, now)

    return asyncio.run(reading())


async def read(
    plane: ControlPlane, dialect: TrainingDialect, model: str, sizes: tuple[int, ...], now: float
) -> ServiceFacts:
    """Read the facts; raises `CallFailed` if the service does not respond."""
    found: ModelFacts | None = None
    problems: list[str] = []
    try:
        found = await models.look_at_model(plane, model)
    except NotThere:
        problems.append(f"{dialect.service} does not list the model {model} for this key.")
    waiting = 0
    try:
        waiting = sum(not each.ended for each in await jobs.newest_jobs(plane, now - LONGEST_QUEUE))
    except Refused as failure:
        if failure.status not in {401, 403, 404, 405}:
            raise
        problems.append(f"This identity cannot train here: listing its jobs is refused ({failure.status}).")
    listed = []
    try:
        listed = await files.list_files(plane, purpose=PURPOSE)
    except Refused as failure:
        problems.append(f"This identity cannot list files here ({failure.status}).")
    facts = [
        ("service", shown_address(str(plane.client.base_url).rstrip("/"))),
        ("jobs that have not ended", f"{waiting:,}"),
    ]
    if found is not None:
        facts += list(model_lines(found))
    return ServiceFacts(
        dialect.service,
        found,
        tuple(facts),
        tuple(room(dialect, len(listed), sum(each.bytes for each in listed), waiting, sizes)),
        (*problems, *ended(found, now)),
        tuple(warnings_of(found, now)),
        bool(dialect.training_types),
    )


def model_lines(found: ModelFacts) -> Iterator[tuple[str, str]]:
    """Yield what is known of a model."""
    if found.lifecycle:
        yield "lifecycle", found.lifecycle
    for what, at in (("training until", found.trained_until), ("in use until", found.used_until)):
        if at is not None:
            yield what, moment_text(at)


def room(
    dialect: TrainingDialect, count: int, size: int, waiting: int, sizes: tuple[int, ...]
) -> Iterator[KnownLimit]:
    """Yield what a resource holds with the new files and the new job, if there are limits."""
    if dialect.most_files:
        yield KnownLimit("training files of the resource", count + len(sizes), dialect.most_files)
    if dialect.most_bytes:
        yield KnownLimit("bytes of training files of the resource", size + sum(sizes), dialect.most_bytes)
    if dialect.most_queued:
        yield KnownLimit("jobs that have not ended", waiting + 1, dialect.most_queued)


def ended(found: ModelFacts | None, now: float) -> Iterator[str]:
    """Yield why a model cannot be trained any more."""
    if found is not None:
        for what, at in (("Training of", found.trained_until), ("Use of", found.used_until)):
            if at is not None and at <= now:
                yield f"{what} {found.id} ended on {moment_text(at)}."


def warnings_of(found: ModelFacts | None, now: float) -> Iterator[str]:
    """Yield what may prevent training, or ends soon."""
    if found is None:
        return
    if found.trainable is False:
        yield f"The service does not mark {found.id} as trainable. It may still be: some open models are not."
    for what, at in (("Training of", found.trained_until), ("Use of", found.used_until)):
        if at is not None and now < at <= now + SOON:
            yield f"{what} {found.id} ends on {moment_text(at)}."
