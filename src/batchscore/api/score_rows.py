"""Score rows from Python: any iterable in, results out as they come, no files.

`stream_rows` is for code that is asynchronous, `score_rows` for all other; a notebook may use either. Both
keep the same promises as a run over files does: every row gets one result, limits are kept, outages are
waited out. Memory is bounded: rows are taken when they can be asked, and no more of them than results
are taken.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, fields
from typing import Any

from batchscore.endpoint.from_settings import endpoints_of, start_simulator
from batchscore.engine import end_task
from batchscore.engine.open import open_engine
from batchscore.errors import UsageError
from batchscore.mlflow_model.choose import choose
from batchscore.prompts.prompt import Asker, asker_for
from batchscore.prompts.spec import wanted_by
from batchscore.prompts.template import NOTHING_TO_ASK, is_blank
from batchscore.rows import TEXT_COLUMN, Event, Prompt, Row, RowError, Settled, Table
from batchscore.settings.argument_names import flags_called_arguments, refuse_what_gives_no_rows
from batchscore.settings.fields import Settings
from batchscore.settings.slices import EndpointSettings, cut
from batchscore.settings.sources import without_settings

#: Settings that say something about files.
NOT_FOR_ROWS = frozenset(
    {
        *("output", "format", "rows_per_part", "overwrite", "retry_errors", "txt", "id", "keep"),
        *("shared_output", "scratch_dir", "base_dir"),
        *("limit", "error_threshold", "max_errors", "max_total_tokens", "max_spend", "price_in", "price_out"),
        *("prices", "track"),
        *("deadline", "incremental", "prune"),
    }
)

#: Lists of results that may wait between the engine's thread and the caller.
MOST_LISTS_WAITING = 4

#: How often a thread that waits for the other looks up.
LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Scored:
    """The result of one row: `row` counts from 0 in the order given.

    `value` is a `(d,)` float32 array for embeddings, else a text, or a list of texts where `n` answers were
    asked for; `None` where there is an `error`. `usage` and `raw` only on request; `truncated` where only the
    beginning of the text was asked.
    """

    row: int
    value: Any = None
    finish_reason: str | list[str | None] | None = None
    usage: Mapping[str, Any] | None = None
    raw: Any = None
    error: RowError | None = None
    truncated: bool = False


async def stream_rows(
    rows: Iterable[str | Mapping[str, Any]], *, task: str, model: str, **settings: Any
) -> AsyncGenerator[Scored, None]:
    """Give the result of each row, in the order in which they settle.

    A row is a text, or a mapping of columns for `column`, `prompt`, `messages`; `None` is a row that asks
    nothing. `settings` are those of the command line by their long names (`endpoint`, `rpm`, `tpm`,
    `max_tokens`, `simulate`, ...), with its `BATCHSCORE_...` variables and keys from the environment. Raises
    `UsageError` and `SettingsError` at once; `ServiceRefused` and `Outage` after the results that came before.

    Closing the generator ends the asking; what was asked by then is paid for, answered or not. Who leaves an
    `async for` early calls `aclose()` (`contextlib.aclosing`), since Python closes it only some time later.
    """
    async with aclosing(lists_of_results(rows, settings_of(task=task, model=model, **settings))) as lists:
        async for results in lists:
            for result in results:
                yield result


def score_rows(
    rows: Iterable[str | Mapping[str, Any]], *, task: str, model: str, **settings: Any
) -> Generator[Scored, None, None]:
    """Give the result of each row, as `stream_rows` does, to code that is not asynchronous.

    The asking happens in a thread with an event loop of its own, so that a loop which is running already,
    as in a notebook, does not matter; `rows` is iterated in that thread.
    """
    return results_of(rows, settings_of(task=task, model=model, **settings))


def results_of(rows: Iterable[str | Mapping[str, Any]], settings: Settings) -> Generator[Scored, None, None]:
    """Give the result of each row as `score_rows` does, by settings that are checked already."""
    return from_thread(lambda: lists_of_results(rows, settings))


def from_thread(
    lists_from: Callable[[], AsyncGenerator[list[Scored], None]],
) -> Generator[Scored, None, None]:
    """Give what an asynchronous generator gives, run in a thread with its own event loop."""
    waiting: queue.Queue[list[Scored] | BaseException | None] = queue.Queue(MOST_LISTS_WAITING)
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []
    given_up = threading.Event()

    def hand_over(item: list[Scored] | BaseException | None) -> bool:
        """Put an item into the queue; False where nobody listens any more."""
        while not given_up.is_set():
            try:
                waiting.put(item, timeout=LOOK_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    async def ask() -> None:
        task = asyncio.current_task()
        assert task is not None
        running.append((asyncio.get_running_loop(), task))
        if given_up.is_set():
            return
        async with aclosing(lists_from()) as lists:
            async for results in lists:
                if not await asyncio.to_thread(hand_over, results):
                    return

    def work() -> None:
        try:
            asyncio.run(ask())
        except BaseException as error:
            hand_over(error)
        else:
            hand_over(None)

    thread = threading.Thread(target=work, name="batchscore", daemon=True)
    thread.start()
    try:
        while (item := next_item(waiting)) is not None:
            if isinstance(item, BaseException):
                raise item
            yield from item
    finally:
        given_up.set()
        for loop, task in running:
            with suppress(RuntimeError):  # its loop is over
                loop.call_soon_threadsafe(task.cancel)
        # A generator that nobody closed may be swept up in any thread, this one's own included.
        if thread is not threading.current_thread():
            thread.join()


def next_item(
    waiting: queue.Queue[list[Scored] | BaseException | None],
) -> list[Scored] | BaseException | None:
    """Return what comes next; looks up now and then, so that Ctrl-C is heard on every system."""
    while True:
        try:
            return waiting.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            continue


async def lists_of_results(
    rows: Iterable[str | Mapping[str, Any]], settings: Settings
) -> AsyncGenerator[list[Scored], None]:
    """Give results in lists, as they settle.

    The asking is a task of its own, so that a loop which ends in the middle ends it in good order.
    """
    waiting: asyncio.Queue[list[Scored] | None] = asyncio.Queue()
    room = asyncio.Semaphore(MOST_LISTS_WAITING)

    async def ask() -> None:
        try:
            async with aclosing(asked(rows, settings)) as lists:
                async for results in lists:
                    await room.acquire()
                    waiting.put_nowait(results)
        finally:
            waiting.put_nowait(None)

    task = asyncio.create_task(ask())
    try:
        while (results := await waiting.get()) is not None:
            room.release()
            yield results
        await task
    finally:
        await end_task.end(task)


async def asked(
    rows: Iterable[str | Mapping[str, Any]], settings: Settings
) -> AsyncGenerator[list[Scored], None]:
    """Open an engine over the rows and give what it settles."""
    service = cut(EndpointSettings, settings)
    with start_simulator(service) as rehearsal:
        endpoints = [rehearsal] if rehearsal is not None else endpoints_of(service, os.environ, None)
        engine = open_engine(
            settings,
            endpoints,
            prompts_of(rows, settings),
            environ=os.environ,
            listen=unheard,
            stop=asyncio.Event(),
        )
        async with engine as running, aclosing(running.settled()) as settled:
            async for results in settled:
                yield [scored(result) for result in results]


def unheard(event: Event) -> None:
    """Hear an event and tell nobody: who calls from Python sees the results."""
    del event


def settings_of(**given: Any) -> Settings:
    """Return checked settings; raises `UsageError` for a name that is none."""
    known = {declared.name for declared in fields(Settings)} - NOT_FOR_ROWS
    for name in given:
        if name not in known:
            raise UsageError(f"{name} is not a setting for rows; there are {', '.join(sorted(known))}.")
    if "deployments" in given:
        given["deployments"] = tuple(given["deployments"])
    with flags_called_arguments():
        environ = without_settings(os.environ, NOT_FOR_ROWS)
        return choose({**given, "output": "nowhere"}, environ=environ).settings


def prompts_of(rows: Iterable[str | Mapping[str, Any]], settings: Settings) -> Iterator[Prompt | Settled]:
    """Give what each row asks; a row that is `None` or NaN, as pandas says nothing, asks nothing.

    Raises `UsageError` for what is no iterable of rows, `InputError` where the first row lacks a column.
    """
    refuse_what_gives_no_rows(rows)
    asker: Asker | None = None
    for number, row in enumerate(rows):
        if not isinstance(row, str) and is_blank(row):
            yield Settled("", number, NOTHING_TO_ASK)
            continue
        if asker is None:
            asker = asker_of(row, settings)
        values = {TEXT_COLUMN: row} if isinstance(row, str) else row
        if not isinstance(values, Mapping):
            raise UsageError(
                f"row {number} is {type(row).__name__}; a row is a text or a mapping of columns."
            )
        yield asker.ask(Row("", number, values))


def asker_of(first: Any, settings: Settings) -> Asker:
    """Return how rows like the first are asked."""
    columns = tuple(first) if isinstance(first, Mapping) else ()
    texts = tuple(name for name in columns if isinstance(first[name], str))
    headerless = not isinstance(first, Mapping)
    if headerless:
        columns = texts = (TEXT_COLUMN,)
    with flags_called_arguments():
        return asker_for(Table(columns, texts, headerless, iter(())), wanted_by(settings))


def scored(settled: Settled) -> Scored:
    """Return a settled row as callers see it."""
    result = settled.result
    if isinstance(result, RowError):
        return Scored(settled.row, error=result)
    return Scored(
        settled.row,
        result.value,
        result.finish_reason,
        result.usage,
        result.raw,
        truncated=settled.truncated,
    )
