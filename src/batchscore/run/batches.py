"""What can a user see of the batches of an output, and do to them, between two runs?

It reads no input, sends no rows and records no results.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from batchscore.endpoint.target import Endpoint, endpoints_of
from batchscore.errors import (
    BatchscoreError,
    OutputLocked,
    SettingsError,
    UsageError,
    count_text,
    setting_name,
)
from batchscore.output.find import folder_of_locks, output_folder
from batchscore.output.layout import Layout
from batchscore.output.locks.lock import hold_lock, refuse_locked
from batchscore.output.submitted import (
    Chunk,
    Chunks,
    Step,
    batches_command,
    chunk_folder,
    recorded_service,
    unconfirmed_text,
)
from batchscore.settings.fields import Settings
from batchscore.settings.slices import EndpointSettings, cut
from batchscore.stores.address import Place
from batchscore.task import TASKS

if TYPE_CHECKING:
    from batchscore.batch.commands import Found

T = TypeVar("T")

#: The settings of a run whose rows are of this task.
SettingsFor = Callable[[str], tuple[Settings, Mapping[str, str]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLine:
    """One batch of an output. `state` is that at the service, else the last step of ours.

    `asked`: the service has just given it, and how many of `total` lines it has `answered`. `latest_end` is
    in seconds since the epoch, 0 if it is not known. `problem` says why the batch is not at the service.
    `twice` says which other batches of the same rows are there.
    """

    task: str
    chunk: Chunk
    state: str
    asked: bool
    answered: int
    total: int
    latest_end: float
    problem: str
    twice: str


@dataclass(frozen=True, slots=True)
class BatchesOfOutput:
    """The batches of an output. `done` says what was done to them, `not_asked` why no service was asked.

    `unconfirmed` says which may be there, too. `service` are the flags of the service of the last run.
    """

    output: str
    lines: Sequence[BatchLine]
    done: Sequence[str] = ()
    not_asked: str = ""
    unconfirmed: str = ""
    service: Sequence[str] = ()


def show_batches(
    named: Place, task: str | None, settings_for: SettingsFor, environ: Mapping[str, str]
) -> BatchesOfOutput:
    """Return the batches of an output, with their present state if the service can be reached."""
    found, not_asked = read_batches(named, task), ""
    if any((each.chunk.batch or each.chunk.unconfirmed) and not each.chunk.simulated for each in found):
        from batchscore.batch.commands import look_at_all  # noqa: PLC0415 - the SDK takes half a second to load

        try:
            found = call(found, settings_for, environ, lambda plane: look_at_all(plane, found))
        except UsageError:
            raise
        except BatchscoreError as error:
            not_asked = error.text
    # Of a chunk without a batch, the next run takes the first.
    seen = {
        each.chunk.key: len(each.others) + (each.chunk.is_open and not each.chunk.batch) for each in found
    }
    unsure = [
        unconfirmed_text(chunks, seen) for chunks in {each.task: each.chunks for each in found}.values()
    ]
    shown = " ".join(filter(None, unsure))
    service = recorded_service(output_folder(named), found[0].task) if found else ()
    return BatchesOfOutput(str(named), list(map(line_of, found)), (), not_asked, shown, service)


def change_batches(
    named: Place,
    action: str,
    words: Sequence[str],
    task: str | None,
    settings_for: SettingsFor,
    environ: Mapping[str, str],
    notice: Callable[[str], object],
) -> BatchesOfOutput:
    """Cancel, adopt or forget batches; raises a `BatchscoreError`, such as `OutputLocked` if a run works."""
    from batchscore.batch.commands import adopt, cancel, forget, select  # noqa: PLC0415

    found = read_batches(named, task)
    check_words(action, words, found)
    with ExitStack() as stack:
        folder = output_folder(named)
        for each in dict.fromkeys(one.task for one in found):
            locks, what = folder_of_locks(folder), f"{named} ({each})"
            if action == "cancel":  # that changes nothing of ours: a run that waits sees what becomes of it
                notice_run(locks, each, what, notice)
            else:
                lock = hold_lock(
                    locks, each, what=what, command=f"batchscore batches {action}", notice=notice
                )
                stack.enter_context(lock)
        found = read_batches(named, task)
        chosen = [] if action == "adopt" else select(found, words)
        act = cancel if action == "cancel" else forget
        if action == "adopt":
            key = words[0] if len(words) == 2 else None
            said = call(found, settings_for, environ, lambda plane: adopt(plane, found, key, words[-1]))
            done = [said]
        elif all(each.chunk.simulated for each in chosen):  # a rehearsal has no service any more
            done = asyncio.run(each_of(act, None, chosen))
        else:
            try:
                done = call(chosen, settings_for, environ, lambda plane: each_of(act, plane, chosen))
            except SettingsError as error:  # there is no service to ask
                if action == "cancel":
                    raise
                if any(each.chunk.waiting and not each.chunk.simulated for each in chosen):
                    raise SettingsError(
                        f"{error.text} A batch that still runs must be cancelled first, so its service is "
                        "asked. If that is gone, name the one that it had."
                    ) from None
                notice(f"The service was not called, so they may still run: {error.text}")
                done = asyncio.run(each_of(forget, None, chosen))
    return BatchesOfOutput(str(named), list(map(line_of, read_batches(named, task))), done)


def notice_run(locks: Path, task: str, what: str, notice: Callable[[str], object]) -> None:
    """Say that a run which works on the output will send the rows of a cancelled batch again."""
    try:
        refuse_locked(locks, task, what=what)
    except OutputLocked as error:
        notice(
            f"{error.text} It sends the rows again that a cancelled batch has not answered. To prevent that, "
            "stop it first, and then cancel what it has submitted by then."
        )


def check_words(action: str, words: Sequence[str], found: Sequence[Found]) -> None:
    """Raise `UsageError` if an action has too few or too many words, or there is nothing to act on."""
    if action == "forget" and not words:
        raise UsageError("forget needs the KEY of each batch to forget: its rows will be paid for again.")
    if action == "adopt" and len(words) not in {1, 2}:
        raise UsageError("adopt takes a batch ID, or the KEY of a chunk and a batch ID.")
    if not found and (words or action != "cancel"):
        raise UsageError(f"This output has no batches, so there is nothing to {action}.")


async def each_of(
    act: Callable[[Any, Found], Coroutine[Any, Any, str]], plane: Any, chosen: Sequence[Found]
) -> list[str]:
    """Act on one chunk after the other, and return what was done."""
    return [await act(plane, each) for each in chosen]


def read_batches(named: Place, task: str | None) -> list[Found]:
    """Return all chunks of an output; raises `InputError` if it is not one."""
    from batchscore.batch.commands import Found  # noqa: PLC0415

    folder = output_folder(named)
    found = []
    for each in TASKS if task is None else (task,):
        chunks = Chunks(chunk_folder(Layout(folder, each, "")))
        found += [Found(each, chunks, chunk) for chunk in chunks.read_all()]
    return found


def call(
    found: Sequence[Found],
    settings_for: SettingsFor,
    environ: Mapping[str, str],
    act: Callable[[Any], Coroutine[Any, Any, T]],
) -> T:
    """Make calls to the service of an output; raises a `BatchscoreError`."""
    from batchscore.batch.commands import calls_to  # noqa: PLC0415

    task = found[0].task if found else next(iter(TASKS))
    settings, origins = settings_for(task)
    endpoint = service_of(settings, environ, origins)

    async def acting() -> T:
        async with calls_to(endpoint, TASKS[task], environ) as plane:
            return await act(plane)

    return asyncio.run(acting())


def service_of(settings: Settings, environ: Mapping[str, str], origins: Mapping[str, str]) -> Endpoint:
    """Return the one service that is asked; raises `SettingsError`."""
    if settings.simulate:
        raise SettingsError("the simulator of a rehearsal ends with its run.")
    endpoints = endpoints_of(cut(EndpointSettings, settings), environ, origins)
    if len(endpoints) != 1:
        raise SettingsError(
            f"[[deployments]] names {len(endpoints)} deployments, and batches have one. Name its service "
            f"with {setting_name('endpoint')}."
        )
    return endpoints[0]


def line_of(found: Found) -> BatchLine:
    """Return what is shown of a chunk."""
    chunk, now = found.chunk, found.now
    state = chunk.status if chunk.step in {Step.ENDED, Step.SETTLED} and chunk.status else chunk.step.value
    return BatchLine(
        task=found.task,
        chunk=chunk,
        state=state if now is None else now.status,
        asked=now is not None,
        # A canary has a line of ours besides its rows.
        answered=0 if now is None else min(now.completed + now.failed, chunk.rows),
        total=0 if now is None else min(now.total, chunk.rows),
        latest_end=chunk.expires_at if now is None else now.expires or chunk.expires_at,
        problem=found.problem,
        twice=twice_text(found),
    )


def twice_text(found: Found) -> str:
    """Return what other batches of a chunk's rows cost; empty for none."""
    chunk, said = found.chunk, []
    for each in found.others:
        rows = f"{min(each.completed, chunk.rows):,} of {count_text(chunk.rows, 'row')}"
        text = f"Batch {each.id} has rows that were sent a second time: {each.status}, {rows} answered"
        stop = f" To cancel it, run: {batches_command(found.chunks, 'cancel', chunk.key)}"
        said.append(f"{text}, which may be billed twice.{'' if each.ended else stop}")
    return " ".join(said)
